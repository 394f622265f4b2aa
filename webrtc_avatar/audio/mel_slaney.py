"""Normalised mel frames on the Slaney scale, as Wav2Lip and SyncTalk_2D hear: 80 a second, on one grid for all sound.

80 bands from 55 to 7600 Hz, window of 50 ms, pre-emphasis. Frame k is centred on sample 200 k and reaches from sample
200 k - 400 to 200 k + 399. A chunk of 640 samples is 3.2 frames, so a clip's first chunk decides how the grid lies in it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from webrtc_avatar.audio.chunk import CHUNK_SAMPLES, SAMPLE_RATE_HZ, Samples
from webrtc_avatar.errors import InvalidAudio

MEL_BANDS = 80
HOP_SAMPLES = 200
SILENT_LEVEL = -4.0
"""The value of every band in digital silence, and the lowest one there is."""

MelFrames = npt.NDArray[np.float32]
Precise = npt.NDArray[np.float64]

_WINDOW_SAMPLES = 800
_HALF_SAMPLES = _WINDOW_SAMPLES // 2
_LOWEST_HZ, _HIGHEST_HZ = 55.0, 7600.0
_PRE_EMPHASIS = 0.97
_FLOOR = 1e-5
_REFERENCE_DB = 20.0
_RANGE_DB = 100.0
_BLOCK_FRAMES = 1024


def mel_frames(samples: Samples) -> MelFrames:
    """Return the mel frames of a whole recording, with silence around it.

    Args:
        samples: float32 (n,), mono, 16 kHz, -1..1.

    Returns:
        float32 (1 + n // 200, 80), -4..4.

    Raises:
        InvalidAudio: the shape or the type is another.
    """
    stream = SlaneyStream()
    return np.concatenate([stream.push(samples), stream.finish()])


def first_frame(chunk: int) -> int:
    """Return the number of the first mel frame of sound that begins with a chunk: the last one centred at or before it."""
    return chunk * CHUNK_SAMPLES // HOP_SAMPLES


class SlaneyStream:
    """Mel frames of sound that comes in pieces; together they equal `mel_frames` of the whole.

    Args:
        first_chunk: number of the chunk with which the sound begins; may be negative. Before it is silence.

    Attributes:
        next_frame: number of the frame that comes next.
    """

    def __init__(self, first_chunk: int = 0) -> None:
        self.next_frame = first_frame(first_chunk)
        self._end = CHUNK_SAMPLES * first_chunk
        begin = HOP_SAMPLES * self.next_frame - _HALF_SAMPLES
        self._known: Precise = np.zeros(self._end - begin)
        self._last = 0.0

    def push(self, samples: Samples) -> MelFrames:
        """Take the next samples, float32 (n,), and return the frames that they complete, float32 (frames, 80).

        Raises:
            InvalidAudio: the shape or the type is another.
        """
        if samples.ndim != 1 or samples.dtype != np.float32:
            raise InvalidAudio(
                f"mel frames are made from mono float32 samples at {SAMPLE_RATE_HZ} Hz; got {samples.dtype} of shape "
                f"{samples.shape}: mix to one channel and convert first"
            )
        if not samples.size:
            return np.empty((0, MEL_BANDS), np.float32)
        precise = samples.astype(np.float64)
        before = np.concatenate([[self._last], precise[:-1]])
        self._last = float(precise[-1])
        self._end += len(samples)
        return self._take(precise - _PRE_EMPHASIS * before)

    def finish(self) -> MelFrames:
        """End the sound and return the frames that are centred in it or on its end and not yet complete."""
        count = self._end // HOP_SAMPLES + 1 - self.next_frame
        missing = HOP_SAMPLES * (count - 1) + _WINDOW_SAMPLES - len(self._known)
        return self._take(np.zeros(max(missing, 0)))

    def _take(self, emphasised: Precise) -> MelFrames:
        known = np.concatenate([self._known, emphasised])
        count = max((len(known) - _WINDOW_SAMPLES) // HOP_SAMPLES + 1, 0)
        self._known = known[HOP_SAMPLES * count :]
        self.next_frame += count
        made = np.empty((count, MEL_BANDS), np.float32)
        for first in range(0, count, _BLOCK_FRAMES):
            part = known[HOP_SAMPLES * first : HOP_SAMPLES * (min(first + _BLOCK_FRAMES, count) - 1) + _WINDOW_SAMPLES]
            windows = np.lib.stride_tricks.sliding_window_view(part, _WINDOW_SAMPLES)[::HOP_SAMPLES]
            made[first : first + _BLOCK_FRAMES] = _levels(windows)
        return made


def _levels(windows: Precise) -> Precise:
    """Return (frames, 80) of (frames, 800) samples, pre-emphasis done."""
    magnitude = np.abs(np.fft.rfft(windows * _HANN))
    decibels = 20 * np.log10(np.maximum(_FLOOR, magnitude @ _FILTERS)) - _REFERENCE_DB
    levels: Precise = np.clip(8 * (decibels + _RANGE_DB) / _RANGE_DB - 4, SILENT_LEVEL, -SILENT_LEVEL)
    return levels


def _filter_bank() -> Precise:
    """Return triangular filters on the scale of Slaney's Auditory Toolbox (1998), each of area 1: float64 (401, 80)."""
    lowest, highest = (_mel(hz) for hz in (_LOWEST_HZ, _HIGHEST_HZ))
    edges_hz = np.array([_hertz(mel) for mel in np.linspace(lowest, highest, MEL_BANDS + 2)])
    bins_hz = np.arange(_HALF_SAMPLES + 1)[:, None] * SAMPLE_RATE_HZ / _WINDOW_SAMPLES
    rising = (bins_hz - edges_hz[:-2]) / (edges_hz[1:-1] - edges_hz[:-2])
    falling = (edges_hz[2:] - bins_hz) / (edges_hz[2:] - edges_hz[1:-1])
    filters: Precise = np.maximum(0, np.minimum(rising, falling)) * 2 / (edges_hz[2:] - edges_hz[:-2])
    return filters


def _mel(hz: float) -> float:
    return 3 * hz / 200 if hz < 1000 else 15 + float(np.log(hz / 1000)) * 27 / float(np.log(6.4))


def _hertz(mel: float) -> float:
    return mel * 200 / 3 if mel < 15 else 1000 * float(np.exp((mel - 15) * np.log(6.4) / 27))


_FILTERS = _filter_bank()
_HANN = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_WINDOW_SAMPLES) / _WINDOW_SAMPLES)
