"""hibari's spectra become sound: a pulse train through the harmonic part, shaped noise, a part of free phase, one inverse STFT.

What `hibari.dsp` does, over frames rather than over bins and with noise that is drawn once, in a third of the time.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from webrtc_avatar.speech.voices.hibari_graph import BINS

RATE_HZ = 24_000
FRAME_SAMPLES = 300
_WINDOW_SAMPLES = 1200
_OVERLAP = _WINDOW_SAMPLES // FRAME_SAMPLES
_WINDOW = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_WINDOW_SAMPLES) / _WINDOW_SAMPLES)).astype(np.float32)
_PULSE_WINDOW = _WINDOW / np.float32(_WINDOW_SAMPLES / 4)
"""A unit cosine then peaks at 1 in its spectrum."""
_LOUDEST_LOG = 7.0
_VOICED_ABOVE_HZ = 40.0
_HIGHEST_HARMONIC_HZ = 11_000.0
_NOISE_FRAMES = 1 << 16
"""Every frame's noise is taken from one of so many places of a table."""
_BLOCK_FRAMES = 64
"""What is worked on at a time stays in the cache."""
_SQUARES = (_WINDOW * _WINDOW).reshape(_OVERLAP, FRAME_SAMPLES)

Floats = npt.NDArray[np.float32]
Spectrum = npt.NDArray[np.complex64]


def sound_of(spectra: Floats, f0: Floats, seed: int) -> Floats:
    """Return samples at `RATE_HZ`, float32 (frame * `FRAME_SAMPLES`,).

    Args:
        spectra: float32 (frame, 5 * `BINS`) of `hibari_graph`.
        f0: float32 (frame,) in Hz.
        seed: draws the noise.
    """
    count = len(f0)
    around = np.pad(_pulse_train(f0), _WINDOW_SAMPLES // 2, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(around, _WINDOW_SAMPLES)[::FRAME_SAMPLES]
    noise = np.lib.stride_tricks.sliding_window_view(_noise_table(), BINS)
    places = np.random.default_rng(seed).integers(0, _NOISE_FRAMES, count)
    total = np.zeros((count + _OVERLAP - 1, FRAME_SAMPLES), np.float32)
    weight = np.zeros_like(total)
    for first in range(0, count, _BLOCK_FRAMES):
        end = min(first + _BLOCK_FRAMES, count)
        pulses = np.fft.rfft(windows[first:end] * _PULSE_WINDOW, axis=1).astype(np.complex64, copy=False)
        spectrum = _spectrum(spectra[first:end], pulses, noise[places[first:end]])
        frames = np.fft.irfft(spectrum, _WINDOW_SAMPLES, axis=1).astype(np.float32, copy=False)
        frames *= _WINDOW
        parts = frames.reshape(-1, _OVERLAP, FRAME_SAMPLES)
        for step in range(_OVERLAP):
            total[first + step : end + step] += parts[:, step]
            weight[first + step : end + step] += _SQUARES[step]
    total /= np.maximum(weight, np.float32(1e-11))
    half = _WINDOW_SAMPLES // 2
    samples: Floats = total.reshape(-1)[half : half + count * FRAME_SAMPLES]
    return samples


def _spectrum(spectra: Floats, pulses: Spectrum, noise: Spectrum) -> Spectrum:
    harmonic, angle, breath, free, phase = np.split(spectra, 5, axis=1)
    turn = np.empty_like(pulses)
    angle = np.tanh(angle)
    angle *= np.float32(np.pi)
    pulses *= _turned(turn, angle, harmonic)
    noise *= np.exp(np.minimum(breath, _LOUDEST_LOG))
    pulses += noise
    pulses += _turned(turn, phase, free)
    return pulses


def _turned(out: Spectrum, angle: Floats, log_magnitude: Floats) -> Spectrum:
    np.cos(angle, out=out.real)
    np.sin(angle, out=out.imag)
    out *= np.exp(np.minimum(log_magnitude, _LOUDEST_LOG))
    return out


@lru_cache(maxsize=1)
def _noise_table() -> Spectrum:
    drawn = np.random.default_rng(0).standard_normal((_NOISE_FRAMES + BINS, 2), dtype=np.float32)
    noise: Spectrum = drawn.view(np.complex64)[:, 0]
    return noise


def _pulse_train(f0: Floats) -> Floats:
    """Return every harmonic below 11 kHz at unit amplitude: sum of cos(h t) = sin((H + 1/2) t) / (2 sin(t / 2)) - 1/2."""
    half = FRAME_SAMPLES // 2
    share = (((np.arange(FRAME_SAMPLES) + 0.5) / FRAME_SAMPLES - 0.5) % 1.0).astype(np.float32)
    around = np.pad(f0, 1, mode="edge")
    hz = np.empty((len(f0), FRAME_SAMPLES), np.float32)
    hz[:, :half] = around[:-2, None] * (1 - share[:half]) + around[1:-1, None] * share[:half]
    hz[:, half:] = around[1:-1, None] * (1 - share[half:]) + around[2:, None] * share[half:]
    curve: Floats = hz.reshape(-1)
    voiced = curve > _VOICED_ABOVE_HZ
    np.maximum(curve, _VOICED_ABOVE_HZ, out=curve)
    turns = np.cumsum(curve, dtype=np.float64)
    turns /= RATE_HZ
    turns -= np.floor(turns)
    angle = turns.astype(np.float32)
    angle *= np.float32(2 * np.pi)
    harmonics = np.floor(np.float32(_HIGHEST_HARMONIC_HZ) / curve)
    harmonics += np.float32(0.5)
    below = 2 * np.sin(angle * np.float32(0.5))
    at_pulse = np.abs(below) <= 2e-3
    np.copyto(below, 1.0, where=at_pulse)
    angle *= harmonics
    train = np.sin(angle, out=angle)
    train /= below
    np.copyto(train, harmonics, where=at_pulse)
    train -= np.float32(0.5)
    train *= voiced
    pulses: Floats = train
    return pulses
