"""Repairs the times that synthesizers give: pauses that they count to a phoneme, and gaps that they count to none.

kokoro and hibari, for one, let the last phoneme before a comma or the end last through the pause, and give the space between
two words a time of its own in which the words sound on.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from webrtc_avatar.audio.chunk import SAMPLE_RATE_HZ, Samples
from webrtc_avatar.speech.phonemes import Segment

_SILENT_DB = -58.0
"""Against the loudest 10 ms: below the quietest f, above what a synthesizer leaves in its pauses."""
_PAUSE_S = 0.10
"""Silence of this length is a pause; a stop's closure is shorter."""
_KEPT_S = 0.06
"""How much of a pause belongs to the phoneme that ends in it: a closure, or a sound that dies away."""
_GAP_S = 0.12
_CLOSURES = frozenset(("PP", "DD", "kk"))


def repaired(samples: Samples, segments: list[Segment]) -> list[Segment]:
    """Return segments that neither last through pauses nor leave gaps within speech.

    Args:
        samples: float32 (n,), 16 kHz, without background noise.
        segments: in order of time.
    """
    silent = _silent_rows(samples)
    trimmed = [_without_pauses(segment, silent) for segment in segments]
    return _without_gaps(trimmed, silent)


def _silent_rows(samples: Samples) -> npt.NDArray[np.bool_]:
    """Return for each 10 ms whether it is silent."""
    hop = SAMPLE_RATE_HZ // 100
    rows = samples[: len(samples) // hop * hop].reshape(-1, hop).astype(np.float64)
    power = (rows**2).mean(1) + 1e-12
    silent: npt.NDArray[np.bool_] = 10 * np.log10(power / power.max()) < _SILENT_DB
    return silent


def _without_pauses(segment: Segment, silent: npt.NDArray[np.bool_]) -> Segment:
    first, last = max(0, int(segment.start_s * 100)), min(len(silent), int(np.ceil(segment.end_s * 100)))
    inside = silent[first:last]
    before, after = _run(inside), _run(inside[::-1])
    if before == len(inside):
        return segment._replace(end_s=min(segment.end_s, segment.start_s + max(_KEPT_S, 0.01)))
    start_s, end_s = segment.start_s, segment.end_s
    if after >= _PAUSE_S * 100:
        end_s = min(end_s, (last - after) / 100 + _KEPT_S)
    if before >= _PAUSE_S * 100:
        start_s = max(start_s, (first + before) / 100 - _KEPT_S)
    return segment._replace(start_s=start_s, end_s=end_s)


def _run(silent: npt.NDArray[np.bool_]) -> int:
    """Return how many rows at the beginning are silent."""
    return int(np.argmin(silent)) if not silent.all() else len(silent)


def _without_gaps(segments: list[Segment], silent: npt.NDArray[np.bool_]) -> list[Segment]:
    filled: list[Segment] = []
    for segment in segments:
        gap_s = segment.start_s - filled[-1].end_s if filled else 0.0
        if 0 < gap_s <= _GAP_S:
            rows = silent[int(filled[-1].end_s * 100) : int(np.ceil(segment.start_s * 100))]
            if not rows.any():
                middle_s = filled[-1].end_s + gap_s / 2
                filled[-1], segment = filled[-1]._replace(end_s=middle_s), segment._replace(start_s=middle_s)  # noqa: PLW2901
            elif segment.viseme in _CLOSURES:
                segment = segment._replace(start_s=segment.start_s - min(gap_s, _KEPT_S))  # noqa: PLW2901
        filled.append(segment)
    return filled
