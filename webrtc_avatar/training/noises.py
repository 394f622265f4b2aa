"""Sounds that are not speech and must leave the mouth at rest, each made from a seed: hums, breath, keyboards, streets, music."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.signal import firwin, lfilter

from webrtc_avatar.audio.chunk import SAMPLE_RATE_HZ, Samples

NOISE_S = 40
"""Length of each."""
_COUNT = NOISE_S * SAMPLE_RATE_HZ

Wave = npt.NDArray[np.float64]


def noise_sounds(rng: np.random.Generator) -> dict[str, Samples]:
    """Return 40 s of each kind of sound that is not speech, by name; see `noise_sound`."""
    return {name: noise_sound(name, rng) for name in NOISES}


def noise_sound(name: str, rng: np.random.Generator) -> Samples:
    """Return 40 s of a kind of noise, float32 at 16 kHz, about as loud as full-scale speech."""
    return np.asarray(_MAKERS[name](rng), np.float32)


def _white(rng: np.random.Generator) -> Wave:
    return rng.normal(0, 0.1, _COUNT)


def _brown(rng: np.random.Generator) -> Wave:
    filtered: Wave = lfilter([0.02], [1, -0.99], _white(rng))
    return 4 * filtered


def _hum(rng: np.random.Generator) -> Wave:
    time_s = np.arange(_COUNT) / SAMPLE_RATE_HZ
    sound: Wave = 0.02 * _white(rng)
    for k in range(1, 12):
        sound += 0.15 / k * np.sin(2 * np.pi * 50 * k * time_s + k)
    return sound


def _clicks(rng: np.random.Generator) -> Wave:
    clicks = np.zeros(_COUNT)
    clicks[rng.integers(0, _COUNT, NOISE_S * 3)] = rng.uniform(-8, 8, NOISE_S * 3)
    filtered: Wave = lfilter([1], [1, -1.6, 0.8], clicks)
    return filtered + 0.01 * _white(rng)


def _pink(white: Wave) -> Wave:
    """Return white noise with 3 dB less an octave (filter of Paul Kellet)."""
    filtered: Wave = lfilter([0.049922, -0.095994, 0.050613, -0.004409], [1, -2.494956, 2.017266, -0.522189], white)
    return 4 * filtered


def _band(samples: Wave, lowest_hz: float, highest_hz: float) -> Wave:
    taps = firwin(101, (lowest_hz, highest_hz), fs=SAMPLE_RATE_HZ, pass_zero=False)
    filtered: Wave = lfilter(taps, [1], samples)
    return filtered


def _breath(rng: np.random.Generator) -> Wave:
    """Breaths in (brighter, shorter) and out (darker, longer), every two to six seconds."""
    sound = 0.002 * rng.normal(0, 1, _COUNT)
    start = 0
    while start < _COUNT:
        for lowest_hz, highest_hz, length_s in ((700, 6500, rng.uniform(0.3, 0.9)), (300, 3500, rng.uniform(0.5, 1.4))):
            count = min(int(length_s * SAMPLE_RATE_HZ), _COUNT - start)
            if count > 0:
                swell = np.sin(np.pi * (np.arange(count) / count) ** rng.uniform(0.6, 1.6)) ** 2
                level = rng.uniform(0.1, 0.5)
                sound[start : start + count] += level * swell * _band(rng.normal(0, 1, count), lowest_hz, highest_hz)
            start += int((length_s + rng.uniform(0.1, 0.6)) * SAMPLE_RATE_HZ)
        start += int(rng.uniform(0.6, 3.5) * SAMPLE_RATE_HZ)
    return sound


def _struck(rng: np.random.Generator, frequencies_hz: list[float], decay_s: float, length_s: float) -> Wave:
    """Return what a struck thing sounds like: dying resonances and a short burst of noise."""
    time_s = np.arange(int(length_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    burst: Wave = rng.normal(0, 1, len(time_s)) * np.exp(-time_s / (decay_s / 3))
    for hz in frequencies_hz:
        burst += rng.uniform(0.3, 1) * np.sin(2 * np.pi * hz * time_s) * np.exp(-time_s / decay_s)
    return burst


def _keyboard(rng: np.random.Generator) -> Wave:
    """Keys pressed and released in bursts of typing, and a mouse now and then."""
    sound = 0.003 * rng.normal(0, 1, _COUNT)
    at_s = 0.3
    while at_s < NOISE_S - 1:
        for _ in range(int(rng.integers(3, 25))):
            for delay_s, level in ((0.0, rng.uniform(0.2, 0.8)), (rng.uniform(0.06, 0.12), rng.uniform(0.05, 0.3))):
                resonances = [float(hz) for hz in rng.uniform(300, 5500, 3)]
                hit = level * _struck(rng, resonances, rng.uniform(0.004, 0.015), 0.06)
                first = int((at_s + delay_s) * SAMPLE_RATE_HZ)
                sound[first : first + len(hit)] += hit[: max(0, _COUNT - first)]
            at_s += rng.uniform(0.08, 0.3)
            if at_s > NOISE_S - 1:
                break
        at_s += rng.uniform(0.5, 2.5)
    return sound


def _street(rng: np.random.Generator) -> Wave:
    """A rumble, cars that pass, a horn, steps."""
    rumble = 3 * lfilter([0.02], [1, -0.985], rng.normal(0, 0.1, _COUNT))
    time_s = np.arange(_COUNT) / SAMPLE_RATE_HZ
    sound: Wave = rumble + 0.3 * _pink(rng.normal(0, 0.05, _COUNT))
    for _ in range(9):
        middle_s, width_s = rng.uniform(0, NOISE_S), rng.uniform(0.8, 3.0)
        swell = np.exp(-(((time_s - middle_s) / width_s) ** 2))
        sound += rng.uniform(0.5, 2.5) * swell * _band(rng.normal(0, 0.3, _COUNT), 80, rng.uniform(900, 3000))
    for _ in range(3):
        first, count = int(rng.uniform(0, NOISE_S - 2) * SAMPLE_RATE_HZ), int(rng.uniform(0.2, 0.9) * SAMPLE_RATE_HZ)
        horn = sum(np.sign(np.sin(2 * np.pi * hz * time_s[:count])) for hz in rng.uniform(320, 560, 2))
        sound[first : first + count] += 0.2 * horn
    for step_s in np.arange(rng.uniform(0, 1), NOISE_S - 1, 0.55):
        hit = 0.4 * _struck(rng, [float(hz) for hz in rng.uniform(120, 900, 2)], 0.02, 0.1)
        first = int(step_s * SAMPLE_RATE_HZ)
        sound[first : first + len(hit)] += hit
    return sound


def _music(rng: np.random.Generator, *, drums: bool = False) -> Wave:
    """Chords and a melody of plucked or blown notes in a random key and tempo, with drums if asked for."""
    sound = np.zeros(_COUNT)
    beat_s, root = rng.uniform(0.3, 0.7), rng.uniform(100, 220)
    scale = (0, 2, 4, 5, 7, 9, 11)
    timbre = rng.uniform(0.35, 0.85)
    for beat, at_s in enumerate(np.arange(0.0, NOISE_S - 3, beat_s)):
        degrees = [int(rng.integers(7, 15))]
        if beat % 4 == 0:
            chord = int(rng.integers(7))
            degrees += [chord, chord + 2, chord + 4]
        for degree in degrees:
            if rng.random() < 0.2:
                continue
            note_hz = root * 2 ** ((scale[degree % 7] + 12 * (degree // 7)) / 12)
            length_s = beat_s * (3.8 if degree < 7 else rng.choice((0.9, 1.9)))
            time_s = np.arange(int(length_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
            vibrato = 0.004 * np.sin(2 * np.pi * 5.5 * time_s) * (timbre > 0.6)
            tones: Wave = np.zeros(len(time_s))
            for harmonic in range(1, 9):
                tones += timbre**harmonic * np.sin(2 * np.pi * harmonic * note_hz * (time_s + vibrato / note_hz))
            rise, fall = np.minimum(1, time_s / 0.015), np.minimum(1, (length_s - time_s) / 0.05)
            first = int(at_s * SAMPLE_RATE_HZ)
            sound[first : first + len(time_s)] += 0.12 * tones * rise * fall * np.exp(-time_s * rng.uniform(0, 3))
        if drums:
            resonances = [60.0, 110.0] if beat % 2 == 0 else [190.0, 330.0]
            hit = 0.3 * _struck(rng, resonances, 0.06 if beat % 2 == 0 else 0.03, 0.25)
            first = int(at_s * SAMPLE_RATE_HZ)
            sound[first : first + len(hit)] += hit
    return sound


_MAKERS: dict[str, Callable[[np.random.Generator], Wave]] = {
    "white": _white,
    "pink": lambda rng: _pink(_white(rng)),
    "brown": _brown,
    "fan": lambda rng: 2 * _band(_white(rng), rng.uniform(100, 300), rng.uniform(800, 2000)),
    "hum": _hum,
    "breath": _breath,
    "clicks": _clicks,
    "keyboard": _keyboard,
    "street": _street,
    "music": _music,
    "band": lambda rng: _music(rng, drums=True),
}
NOISES = tuple(_MAKERS)
