"""Stress and pitch of a voice, heard chunk by chunk, for nods and brows.

Loudness is that below 2 kHz, where vowels are and hiss is not, in steps of 10 ms. A syllable is stressed where loudness
rises quickly and ends up among the loudest of the last seconds. Pitch is the strongest peak of the normalized autocorrelation of
the last two chunks (Boersma, 1993, "Accurate short-term analysis of the fundamental frequency ..."), tied to the peaks before it so
that octaves do not flip, and believed once two chunks agree. It is told against the speaker's running median: a deep voice
and a high one raise the same brows.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from webrtc_avatar.audio.chunk import CHUNK_SAMPLES, SAMPLE_RATE_HZ

LOWEST_HZ, HIGHEST_HZ = 70.0, 400.0
"""Pitch outside of this counts as unvoiced."""

FULL_SEMITONES = 6.0
"""A pitch of 1 or -1."""

_DECIMATION = 4
_RATE_HZ = SAMPLE_RATE_HZ / _DECIMATION
_CHUNK = CHUNK_SAMPLES // _DECIMATION
_FFT = 512
_STEPS = 4
_LAGS = (int(_RATE_HZ / HIGHEST_HZ) - 1, math.ceil(_RATE_HZ / LOWEST_HZ) + 2)
_WINDOW = np.hanning(2 * _CHUNK + 2)[1:-1].astype(np.float32)

_VOICED = 0.55
"""Height of the autocorrelation's peak from which a sound has a pitch."""
_SHORTER_IS_BETTER = 0.09
"""Bonus for each octave up: a period's double is as periodic."""
_NEAR_IS_BETTER = 0.12
_NEAR_SEMITONES = 5.0
_FORGET_CHUNKS = 10
_MEDIAN_CHUNKS, _MEDIAN_FROM_CHUNKS = 200, 6
"""The median is that of so many voiced chunks: eight seconds of them, and not before a quarter of a second."""

_QUIETEST_DB = -58.0
_LOWEST_PEAK_DB, _FIRST_PEAK_DB = -44.0, -36.0
"""What counts as loud before anybody has spoken, and in a long silence: a room's noise is no speech."""
_RISE_DB = (5.0, 16.0)
_PROMINENT_DB = (-6.0, 2.0)
_PEAK_FALL_DB = 0.25
"""How fast the loudness of the loudest syllables is forgotten, per chunk: 6 dB a second."""
_PAUSE_CHUNKS = 4

Samples = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Prosody:
    """What one chunk says.

    Attributes:
        stress: 0..1, how clearly a stressed syllable begins in it; 0 between beginnings.
        pitch: -1..1, height against the speaker's running median, six semitones each way; 0 where unvoiced.
        pitch_hz: 0 where unvoiced.
    """

    stress: float
    pitch: float
    pitch_hz: float


SILENT = Prosody(0.0, 0.0, 0.0)


def _window_correlation() -> Samples:
    power = np.abs(np.fft.rfft(_WINDOW, 2 * _FFT)) ** 2
    correlation = np.fft.irfft(power)[: _LAGS[1] + 1]
    return np.asarray(correlation / correlation[0], np.float32)


_WINDOW_CORRELATION = _window_correlation()
_LAG_RANGE = np.arange(_LAGS[0], _LAGS[1] + 1)
_OCTAVE_BONUS = (-_SHORTER_IS_BETTER * np.log2(_LAG_RANGE / _LAGS[0])).astype(np.float32)


class ProsodyEar:
    """Hears one speaker. Stateful; one call at a time."""

    def __init__(self) -> None:
        self._two = np.zeros(2 * _CHUNK, np.float32)
        self._levels = np.zeros(3 * _STEPS, np.float32)
        self._peak_db = _FIRST_PEAK_DB
        self._since_stress = _PAUSE_CHUNKS
        self._recent: deque[float] = deque(maxlen=_MEDIAN_CHUNKS)
        self._sorted: list[float] = []
        self._last_hz = 0.0
        self._since_voiced = _FORGET_CHUNKS

    def hear(self, samples: Samples) -> Prosody:
        """Return what the next chunk, float32 (640,) at 16 kHz, says."""
        low = samples.reshape(_CHUNK, _DECIMATION).mean(1)
        self._two[:_CHUNK] = self._two[_CHUNK:]
        self._two[_CHUNK:] = low
        stress, loud = self._stress(low)
        hz = self._pitch_hz() if loud else 0.0
        return Prosody(stress, self._relative(hz), hz) if hz or stress else SILENT

    def _stress(self, low: Samples) -> tuple[float, bool]:
        """Return how stressed a syllable begins, and whether anything can be heard at all."""
        power = np.square(low).reshape(_STEPS, -1).mean(1)
        levels = self._levels
        levels[:-_STEPS] = levels[_STEPS:]
        levels[-_STEPS:] = 10 * np.log10(power + 1e-10)
        now_db = float(levels[-_STEPS:].max())
        before_db = max(float(levels[:-_STEPS].min()), self._peak_db - 24.0, _QUIETEST_DB)
        prominent = _share(now_db - self._peak_db, *_PROMINENT_DB)
        rise = _share(now_db - before_db, *_RISE_DB)
        self._peak_db = max(self._peak_db - _PEAK_FALL_DB, now_db, _LOWEST_PEAK_DB)
        self._since_stress += 1
        stress = prominent * rise
        rising = now_db >= float(levels[-2 * _STEPS : -_STEPS].max()) + 2.0
        if stress < 0.1 or not rising or self._since_stress < _PAUSE_CHUNKS:
            return 0.0, now_db > _QUIETEST_DB
        self._since_stress = 0
        return stress, True

    def _pitch_hz(self) -> float:
        window = self._two - self._two.mean()
        spectrum = np.fft.rfft(window * _WINDOW, _FFT)
        correlation = np.fft.irfft(spectrum.real**2 + spectrum.imag**2)[: _LAGS[1] + 1]
        if correlation[0] <= 1e-9:
            return 0.0
        strength = correlation[_LAGS[0] :] / (correlation[0] * _WINDOW_CORRELATION[_LAGS[0] :])
        inner = strength[1:-1]
        peaks = np.flatnonzero((inner >= strength[:-2]) & (inner > strength[2:]) & (inner > _VOICED)) + 1
        self._since_voiced += 1
        if not len(peaks):
            return 0.0
        left, middle, right = strength[peaks - 1], strength[peaks], strength[peaks + 1]
        bend = np.minimum(left - 2 * middle + right, -1e-6)
        offset = 0.5 * (left - right) / bend
        score = middle - 0.25 * (left - right) * offset + _OCTAVE_BONUS[peaks]
        candidates_hz = _RATE_HZ / (_LAG_RANGE[peaks] + offset)
        if self._since_voiced <= _FORGET_CHUNKS:
            away = np.abs(12 * np.log2(candidates_hz / self._last_hz))
            score = score + _NEAR_IS_BETTER * np.maximum(1 - away / _NEAR_SEMITONES, 0)
        hz = float(candidates_hz[int(np.argmax(score))])
        if not LOWEST_HZ <= hz <= HIGHEST_HZ:
            return 0.0
        confirmed = self._since_voiced == 1 and abs(12 * math.log2(hz / self._last_hz)) < _NEAR_SEMITONES
        self._last_hz, self._since_voiced = hz, 0
        return hz if confirmed else 0.0

    def _relative(self, hz: float) -> float:
        """Return pitch against the running median, in semitones over six; 0 where unvoiced."""
        if not hz:
            return 0.0
        semitones = 12 * math.log2(hz / LOWEST_HZ)
        if len(self._recent) == self._recent.maxlen:
            del self._sorted[bisect_left(self._sorted, self._recent[0])]
        self._recent.append(semitones)
        insort(self._sorted, semitones)
        if len(self._sorted) < _MEDIAN_FROM_CHUNKS:
            return 0.0
        above = semitones - self._sorted[len(self._sorted) // 2]
        return min(max(above / FULL_SEMITONES, -1.0), 1.0)


def _share(value: float, low: float, high: float) -> float:
    return min(max((value - low) / (high - low), 0.0), 1.0)
