"""Log-mel rows of 16 kHz sound, for a whole recording or as a stream of 40 ms chunks.

80 bands from 50 to 7600 Hz, Hann window of 25 ms, one row every 10 ms. Row k is centred on sample 160 k, so it reaches
from sample 160 k - 200 to 160 k + 199; before the first sample there is silence.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from webrtc_avatar.audio.chunk import CHUNK_SAMPLES, SAMPLE_RATE_HZ, Samples
from webrtc_avatar.errors import InvalidAudio

MEL_BANDS = 80
MEL_HOP_SAMPLES = 160
MEL_ROWS_PER_CHUNK = CHUNK_SAMPLES // MEL_HOP_SAMPLES
MEL_WINDOW = 64
"""Rows that the ear hears at a time, the newest last: after chunk m was pushed the rows 4 m - 61 to 4 m + 2."""
MEL_ROWS_BEFORE = MEL_WINDOW - MEL_ROWS_PER_CHUNK + 1
"""Rows of the first chunk's window that lie before the start."""

MEL_REACH_SAMPLES = 200
"""Samples on either side of a row's centre that it hears."""

MelRows = npt.NDArray[np.float32]

_HALF_SAMPLES = MEL_REACH_SAMPLES
_WINDOW_SAMPLES = 2 * _HALF_SAMPLES
_FFT_SAMPLES = 512
_LOWEST_HZ, _HIGHEST_HZ = 50, 7600
_FLOOR = np.float32(1e-6)
_BLOCK_ROWS = 2048

SILENT_MEL = float(np.log(_FLOOR))
"""The value of every band in digital silence."""


def window_rows(chunk_index: int) -> range:
    """Return the indices of the mel rows that the ear hears once a chunk was pushed; negative ones lie before the start."""
    first = MEL_ROWS_PER_CHUNK * chunk_index - MEL_ROWS_BEFORE
    return range(first, first + MEL_WINDOW)


def log_mel(samples: Samples) -> MelRows:
    """Return the log-mel rows of a whole recording.

    Args:
        samples: float32 (n,), mono, 16 kHz, -1..1.

    Returns:
        float32 (rows, 80), 100 rows a second, natural logarithm of the power in each band. Past the end is silence.
    """
    _check(samples)
    padded = np.pad(samples, (_HALF_SAMPLES, _FFT_SAMPLES - _HALF_SAMPLES)).astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW_SAMPLES)[::MEL_HOP_SAMPLES]
    blocks = [_rows(frames[first : first + _BLOCK_ROWS]) for first in range(0, len(frames), _BLOCK_ROWS)]
    return np.concatenate(blocks)


class MelStream:
    """Log-mel rows of sound that comes in chunks; together they equal `log_mel` of the whole."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all sound: the next chunk is the first one again."""
        self._tail = np.zeros(_HALF_SAMPLES, np.float32)

    def push(self, samples: Samples) -> MelRows:
        """Take the next chunk and return the rows that it completes.

        Args:
            samples: float32 (640,), mono, 16 kHz.

        Returns:
            float32 (3, 80) for the first chunk: rows 0 to 2. From then on (4, 80): rows 4 n - 1 to 4 n + 2 for chunk n.

        Raises:
            InvalidAudio: if the shape or the type is another.
        """
        _check(samples)
        if len(samples) != CHUNK_SAMPLES:
            raise InvalidAudio(f"a mel stream takes chunks of {CHUNK_SAMPLES} samples; got {len(samples)}")
        known = np.concatenate([self._tail, samples])
        frames = np.lib.stride_tricks.sliding_window_view(known, _WINDOW_SAMPLES)[::MEL_HOP_SAMPLES]
        self._tail = known[MEL_HOP_SAMPLES * len(frames) :]
        return _rows(frames)


def _check(samples: Samples) -> None:
    if samples.ndim != 1 or samples.dtype != np.float32:
        raise InvalidAudio(
            f"mel rows are made from mono float32 samples at {SAMPLE_RATE_HZ} Hz; got {samples.dtype} of shape "
            f"{samples.shape}: mix to one channel and convert first"
        )


def _filter_bank() -> MelRows:
    """Return triangular filters on the mel scale of O'Shaughnessy (2595 log10(1 + f/700)): float32 (257, 80)."""
    lowest, highest = (2595 * np.log10(1 + hz / 700) for hz in (_LOWEST_HZ, _HIGHEST_HZ))
    edges_hz = 700 * (10 ** (np.linspace(lowest, highest, MEL_BANDS + 2) / 2595) - 1)
    bins_hz = np.arange(_FFT_SAMPLES // 2 + 1)[:, None] * SAMPLE_RATE_HZ / _FFT_SAMPLES
    rising = (bins_hz - edges_hz[:-2]) / (edges_hz[1:-1] - edges_hz[:-2])
    falling = (edges_hz[2:] - bins_hz) / (edges_hz[2:] - edges_hz[1:-1])
    return np.ascontiguousarray(np.maximum(0, np.minimum(rising, falling)), np.float32)


_FILTERS = _filter_bank()
_HANN = np.hanning(_WINDOW_SAMPLES).astype(np.float32)


def _rows(frames: MelRows) -> MelRows:
    """Return the log-mel rows of (rows, 400) samples. Four rows are too small a product for BLAS to start threads."""
    spectrum = np.fft.rfft(frames * _HANN, _FFT_SAMPLES)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32, copy=False)
    rows: MelRows = np.log(power @ _FILTERS + _FLOOR)
    return rows
