"""Measures how well an ear hears, through the streaming path: chunk after chunk, as the server gives it sound.

A phoneme counts as shown if the mouth does what it must in any frame that overlaps it, give or take 20 ms.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from webrtc_avatar.audio.chunk import CHUNK_SAMPLES, FRAME_RATE_HZ, Samples
from webrtc_avatar.audio.mel import (
    MEL_BANDS,
    MEL_ROWS_BEFORE,
    MEL_ROWS_PER_CHUNK,
    MEL_WINDOW,
    SILENT_MEL,
    MelRows,
    MelStream,
)
from webrtc_avatar.speech.phonemes import Segment, mouth_curves, viseme_shares
from webrtc_avatar.speech.visemes import VISEME_NAMES, WEIGHTS
from webrtc_avatar.training.utterances import Utterance

LOOKAHEADS = range(4)
ROUND_WEIGHTS = [WEIGHTS.index(name) for name in ("pucker", "funnel", "round")]
JAW, PRESS, ROLL = (WEIGHTS.index(name) for name in ("jawOpen", "press", "rollLower"))
CLOSED_JAW, CLOSED_PRESS = 0.12, 0.2
_NEAR_S = 0.02
_SILENCE_MARGIN_S = 0.12
_ROW_RATE_HZ = 100

Floats = npt.NDArray[np.float32]
Ear = Callable[[Floats], tuple[Floats, Floats]]


def load_ear(path: Path) -> Ear:
    """Return a function from windows (n, 64, 80) to (weights (n, 4, 12), visemes (n, 4, 16)), on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session: Any = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    return lambda windows: tuple(session.run(["weights", "visemes"], {"mel": windows}))


def stream_windows(samples: Samples, *, chunks_more: int = 0) -> MelRows:
    """Return what the ear hears (chunks, 64, 80) after each chunk of a recording and of some chunks of silence behind it."""
    count = -(-len(samples) // CHUNK_SAMPLES) + chunks_more
    padded = np.pad(samples, (0, count * CHUNK_SAMPLES - len(samples)))
    stream = MelStream()
    rows = [np.full((MEL_ROWS_BEFORE, MEL_BANDS), SILENT_MEL, np.float32)]
    rows += [stream.push(chunk) for chunk in padded.reshape(-1, CHUNK_SAMPLES)]
    heard = np.lib.stride_tricks.sliding_window_view(np.concatenate(rows), MEL_WINDOW, axis=0)
    return np.ascontiguousarray(heard[::MEL_ROWS_PER_CHUNK].transpose(0, 2, 1))


def mouths(ear: Ear, samples: Samples, lookahead: int) -> tuple[Floats, Floats]:
    """Return each frame's weights (frames, 12) and visemes (frames, 16) with some chunks of look-ahead."""
    weights, visemes = ear(stream_windows(samples, chunks_more=lookahead))
    return weights[lookahead:, lookahead], visemes[lookahead:, lookahead]


class Tally:
    """Hits and tries by name, and averages."""

    def __init__(self) -> None:
        self._hits: Counter[str] = Counter()
        self._tries: Counter[str] = Counter()
        self._values: dict[str, list[float]] = {}

    def count(self, name: str, hits: float | np.bool, tries: int = 1) -> None:
        """Add hits out of tries."""
        self._hits[name] += int(hits)
        self._tries[name] += tries

    def note(self, name: str, value: float) -> None:
        """Add a value to average."""
        self._values.setdefault(name, []).append(value)

    def tried(self, name: str) -> bool:
        """Return whether anything of that name was counted or noted."""
        return bool(self._tries[name] or self._values.get(name))

    def rate(self, name: str) -> float:
        """Return hits over tries; not a number where nothing was tried."""
        return self._hits[name] / self._tries[name] if self._tries[name] else float("nan")

    def median(self, name: str) -> float:
        """Return the median of the values; not a number where there is none."""
        return float(np.median(self._values[name])) if self._values.get(name) else float("nan")

    def text(self, name: str) -> str:
        """Return `hits/tries (per cent)`, or the median of the values."""
        if name in self._values:
            return f"{np.median(self._values[name]):.2f}"
        return f"{self._hits[name]}/{self._tries[name]} ({100 * self.rate(name):.0f} %)" if self._tries[name] else "-"


def measure(ear: Ear, utterances: Iterable[Utterance], *, lookahead: int, gain_db: float = -12.0) -> Tally:
    """Return what the ear gets right on utterances whose peak is at 0.9, at a gain, with some chunks of look-ahead."""
    tally = Tally()
    for utterance in utterances:
        samples = (utterance.samples * 10 ** (gain_db / 20)).astype(np.float32)
        weights, visemes = mouths(ear, samples, lookahead)
        count_lips(tally, weights, utterance.segments)
        _count_frames(tally, weights, visemes, utterance.segments)
    return tally


def _frames(segment: Segment, count: int, *, near_s: float) -> slice:
    """Return the frames that show any of the segment, give or take `near_s`."""
    first = int(max(0.0, segment.start_s - near_s) * FRAME_RATE_HZ)
    last = int((segment.end_s + near_s) * FRAME_RATE_HZ) + 1
    return slice(min(first, count - 1), max(min(last, count), first + 1))


def count_lips(tally: Tally, weights: Floats, segments: list[Segment]) -> None:
    """Count in `tally` what lips do where they have a place to be.

    Args:
        tally: takes the counts.
        weights: of each frame, (frames, 12).
        segments: the speech's visemes.
    """
    rounding = weights[:, ROUND_WEIGHTS].sum(1)
    for segment in segments:
        near = _frames(segment, len(weights), near_s=_NEAR_S)
        if segment.viseme == "PP":
            closed = (weights[near, JAW] < CLOSED_JAW) & (weights[near, PRESS] > CLOSED_PRESS)
            tally.count("p b m closed", closed.any())
        elif segment.viseme == "FF":
            tally.count("f v lip rolled", weights[near, ROLL].max(initial=0) > 0.25)
        elif segment.viseme in ("O", "U"):
            tally.count("o u w rounded", rounding[near].max(initial=0) > 0.5)
        if segment.viseme in ("aa", "E", "O", "I") and segment.end_s - segment.start_s > 0.06:
            middle = min(len(weights) - 1, int((segment.start_s + segment.end_s) / 2 * FRAME_RATE_HZ))
            shut = weights[middle, JAW] < CLOSED_JAW and weights[middle, PRESS] > CLOSED_PRESS
            tally.count("i kept open" if segment.viseme == "I" else "open vowels kept open", not shut)
            if segment.viseme in ("E", "I"):
                tally.count("e i not rounded", rounding[middle] <= 0.5)


def _count_frames(tally: Tally, weights: Floats, visemes: Floats, segments: list[Segment]) -> None:
    count = len(weights)
    shares = viseme_shares(segments, count * MEL_ROWS_PER_CHUNK, _ROW_RATE_HZ)
    target = shares.reshape(count, MEL_ROWS_PER_CHUNK, len(VISEME_NAMES)).mean(1)
    spoken = target.argmax(1) > 0
    tally.count("frames right", (visemes.argmax(1) == target.argmax(1))[spoken].sum(), int(spoken.sum()))
    silent = np.ones(count, bool)
    for segment in segments:
        silent[_frames(segment, count, near_s=_SILENCE_MARGIN_S)] = False
    tally.count("silence closed", (weights[silent, JAW] < 0.06).sum(), int(silent.sum()))

    jaw = mouth_curves(segments, count * MEL_ROWS_PER_CHUNK, _ROW_RATE_HZ)[:, JAW]
    if jaw.std() < 1e-3 or weights[:, JAW].std() < 1e-4:
        return
    centred = np.convolve(np.pad(jaw, 20), np.full(MEL_ROWS_PER_CHUNK, 1 / MEL_ROWS_PER_CHUNK), "valid")
    lags = range(-12, 13)
    matches = [
        float(
            np.corrcoef(weights[:, JAW], centred[20 - lag :][: count * MEL_ROWS_PER_CHUNK : MEL_ROWS_PER_CHUNK])[0, 1]
        )
        for lag in lags
    ]
    tally.note("jaw correlation", matches[lags.index(0)])
    tally.note("jaw lag, ms", 10.0 * lags[int(np.argmax(matches))])
