"""Streaming resamplers: any rate to the 48 kHz that is played, and 48 kHz to the 16 kHz that models hear.

`soxr` works in blocks: as a stream from 48 to 16 kHz it holds back 20 ms (LQ) to 37 ms (HQ), measured, which a voice on
its way to a face cannot afford. 48 to 16 kHz is exactly three to one, so a short symmetric filter does that step and
holds back 1.5 ms; `soxr` converts all other rates.
"""

from __future__ import annotations

import numpy as np
import soxr
from numpy.lib.stride_tricks import sliding_window_view

from webrtc_avatar.audio.chunk import SAMPLE_RATE_HZ, SOUND_RATE_HZ, Samples

DECIMATION = SOUND_RATE_HZ // SAMPLE_RATE_HZ
DECIMATOR_DELAY = 72
"""Samples at 48 kHz that must follow a sample before its filtered value is known."""

_CUTOFF_HZ = 7_800
_KAISER_BETA = 5.65


def _low_pass() -> Samples:
    """Return the filter's taps: float32 (145,), Kaiser window, 60 dB down from 8.4 kHz, flat to 7.2 kHz."""
    n = np.arange(-DECIMATOR_DELAY, DECIMATOR_DELAY + 1)
    cutoff = 2 * _CUTOFF_HZ / SOUND_RATE_HZ
    taps = cutoff * np.sinc(cutoff * n) * np.kaiser(len(n), _KAISER_BETA)
    return np.asarray(taps / taps.sum(), np.float32)


_TAPS = _low_pass()


class Decimator:
    """48 kHz to 16 kHz, sample-aligned: output sample k stands at input sample 3k."""

    def __init__(self) -> None:
        self._held = np.zeros(DECIMATOR_DELAY, np.float32)

    def push(self, samples: Samples) -> Samples:
        """Take float32 (n,) at 48 kHz and return the float32 (m,) at 16 kHz that are now known.

        After n samples in all, `(n - 70) // 3` have been returned.
        """
        held = np.concatenate((self._held, samples))
        count = (len(held) - len(_TAPS)) // DECIMATION + 1
        if count <= 0:
            self._held = held
            return np.zeros(0, np.float32)
        out = sliding_window_view(held, len(_TAPS))[: count * DECIMATION : DECIMATION] @ _TAPS
        self._held = held[count * DECIMATION :]
        return np.asarray(out, np.float32)


class Resampler:
    """Any rate to 48 kHz, as a stream. Output sample k stands at input time k / 48000 s."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._stream = (
            None
            if rate_hz == SOUND_RATE_HZ
            else soxr.ResampleStream(rate_hz, SOUND_RATE_HZ, 1, dtype="float32", quality="HQ")
        )
        self._taken = 0
        self._given = 0

    def push(self, samples: Samples) -> Samples:
        """Take float32 (n,) at the rate given and return the float32 (m,) at 48 kHz that are now known."""
        if self._stream is None:
            return samples
        self._taken += len(samples)
        out = self._stream.resample_chunk(samples)
        self._given += len(out)
        return np.asarray(out, np.float32)

    def flush(self) -> Samples:
        """Return what is still held back, so that the total is the input's duration to the nearest sample."""
        if self._stream is None:
            return np.zeros(0, np.float32)
        rest = self._stream.resample_chunk(np.zeros(0, np.float32), last=True)
        missing = round(self._taken * SOUND_RATE_HZ / self._rate_hz) - self._given
        self._stream.clear()
        self._taken = self._given = 0
        return np.asarray(np.pad(rest, (0, max(0, missing - len(rest))))[: max(0, missing)], np.float32)
