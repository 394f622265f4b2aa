"""The same speech from another throat, in another room, through another microphone.

What changes time or the waveform is done on samples; what only changes bands (gain, tilt, throat length, noise) is done
on log-mel rows, which is some thousand times cheaper and so can be new in every step.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import soxr
from scipy.signal import fftconvolve, firwin

from webrtc_avatar.audio.chunk import SAMPLE_RATE_HZ, Samples
from webrtc_avatar.audio.mel import MEL_BANDS, SILENT_MEL, MelRows
from webrtc_avatar.speech.phonemes import Segment
from webrtc_avatar.training.whisper import whispered

Floats = npt.NDArray[np.float32]

_SPEEDS = (0.84, 1.2)
_OPUS_RATE_HZ, _OPUS_FRAME_SAMPLES, _OPUS_DELAY_SAMPLES = 48_000, 960, 312
_DB = np.log(10) / 10
"""Natural logarithm of power per decibel."""


def other_room(samples: Samples, segments: list[Segment], rng: np.random.Generator) -> tuple[Samples, list[Segment]]:
    """Return speech at another speed and pitch, perhaps reverberant, clipped or with a narrower band, and its times."""
    speed = float(rng.uniform(*_SPEEDS))
    heard = soxr.resample(samples, SAMPLE_RATE_HZ * speed, SAMPLE_RATE_HZ, quality="LQ")
    moved = [Segment(start_s / speed, end_s / speed, viseme) for start_s, end_s, viseme in segments]
    if rng.random() < 0.04:
        heard = whispered(heard, rng)
    if rng.random() < 0.4:
        decay = np.exp(-np.arange(3200) / rng.uniform(120, 900))
        tail = rng.normal(0, 1, 3200) * decay
        tail[0] = rng.uniform(3, 14)
        heard = fftconvolve(heard, tail / np.abs(tail).max())[: len(heard)]
    if rng.random() < 0.25:
        taps = firwin(61, rng.uniform(3200, 7000), fs=SAMPLE_RATE_HZ)
        heard = fftconvolve(heard, taps, mode="same")
    if rng.random() < 0.15:
        taps = firwin(101, rng.uniform(80, 320), fs=SAMPLE_RATE_HZ, pass_zero=False)
        heard = fftconvolve(heard, taps, mode="same")
    heard = heard / max(1e-6, float(np.abs(heard).max()))
    if rng.random() < 0.15:
        heard = np.clip(heard * rng.uniform(1.5, 5), -0.9, 0.9)
    if rng.random() < 0.1:
        heard = through_opus((0.9 * heard).astype(np.float32), bit_rate=int(rng.integers(10_000, 32_000)))
    return (0.9 * heard).astype(np.float32), moved


def through_opus(samples: Samples, *, bit_rate: int) -> Samples:
    """Return what a call's codec leaves of 16 kHz sound, without the codec's delay."""
    import av

    encoder = av.CodecContext.create("libopus", "w")
    encoder.sample_rate, encoder.layout, encoder.format = _OPUS_RATE_HZ, "mono", "flt"
    encoder.bit_rate = bit_rate
    decoder = av.CodecContext.create("libopus", "r")
    decoder.sample_rate, decoder.layout = _OPUS_RATE_HZ, "mono"
    wide = soxr.resample(samples, SAMPLE_RATE_HZ, _OPUS_RATE_HZ, quality="LQ")
    count = -(-(len(wide) + _OPUS_DELAY_SAMPLES) // _OPUS_FRAME_SAMPLES)
    wide = np.pad(wide, (0, count * _OPUS_FRAME_SAMPLES - len(wide)))
    heard = []
    for part in [*wide.reshape(count, 1, _OPUS_FRAME_SAMPLES), None]:
        frame = None
        if part is not None:
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), format="flt", layout="mono")
            frame.sample_rate = _OPUS_RATE_HZ
        for packet in encoder.encode(frame):
            heard += [decoded.to_ndarray().reshape(-1) for decoded in decoder.decode(packet)]
    joined = np.concatenate(heard).astype(np.float32)
    if np.abs(joined).max() > 2:
        joined /= 32768
    narrow: Samples = soxr.resample(joined[_OPUS_DELAY_SAMPLES:], _OPUS_RATE_HZ, SAMPLE_RATE_HZ, quality="LQ")
    return np.pad(narrow, (0, max(0, len(samples) - len(narrow))))[: len(samples)]


def other_microphone(rows: MelRows, noise: MelRows, rng: np.random.Generator) -> MelRows:
    """Return log-mel rows of the same sound from another throat, at another gain and tilt, with noise added.

    Args:
        rows: float32 (n, 80) of speech whose peak is about full scale.
        noise: float32 (n, 80) of a noise about as loud.
        rng: draws everything.
    """
    gain_db = rng.uniform(-30, 0)
    to_noise_db = rng.uniform(8, 60)
    changed = _other_throat(rows, rng.uniform(0.86, 1.16)) + _colour(rng) + np.float32(gain_db * _DB)
    loud = noise + _colour(rng) + np.float32((gain_db - to_noise_db) * _DB)
    heard: MelRows = np.log(np.exp(changed) + np.exp(loud) + np.float32(np.exp(SILENT_MEL)))
    return heard


def _colour(rng: np.random.Generator) -> Floats:
    """Return a smooth equalization (80,): a tilt and a few bends, some decibels each, perhaps a hole."""
    knots = rng.normal(0, 2.5, 7).cumsum() * 0.6 + rng.normal(0, 2.0, 7)
    curve = np.interp(np.arange(MEL_BANDS), np.linspace(0, MEL_BANDS - 1, 7), knots - knots.mean())
    if rng.random() < 0.4:
        first = int(rng.integers(MEL_BANDS))
        curve[first : first + int(rng.integers(3, 16))] -= rng.uniform(3, 25)
    colour: Floats = (curve * _DB).astype(np.float32)
    return colour


_MEL_TOP, _MEL_BOTTOM = (2595 * np.log10(1 + hz / 700) for hz in (7600, 50))


def _other_throat(rows: MelRows, factor: float) -> MelRows:
    """Return rows with all frequencies multiplied by `factor` (vocal tract length), by interpolation between bands."""
    mels = _MEL_BOTTOM + (np.arange(MEL_BANDS) + 1) * (_MEL_TOP - _MEL_BOTTOM) / (MEL_BANDS + 1)
    from_mels = 2595 * np.log10(1 + (10 ** (mels / 2595) - 1) / factor)
    place = np.clip((from_mels - _MEL_BOTTOM) * (MEL_BANDS + 1) / (_MEL_TOP - _MEL_BOTTOM) - 1, 0, MEL_BANDS - 1.001)
    lower = place.astype(int)
    share = (place - lower).astype(np.float32)
    moved: MelRows = rows[:, lower] * (1 - share) + rows[:, lower + 1] * share
    return moved
