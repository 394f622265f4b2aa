"""A sound file cut into the moments of a film: what the model hears in each frame, and what people hear in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import soxr

from webrtc_avatar.audio.chunk import CHUNK_SAMPLES, FRAME_RATE_HZ, Samples
from webrtc_avatar.audio.decode import Mono16k, Piece, SoundFile

RATES_HZ = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
"""Rates that AAC has and that every player plays; each is a whole number of samples a frame."""


class Moment(NamedTuple):
    """40 ms of sound.

    Attributes:
        samples: float32 (640,), mono, 16 kHz, -1..1: what the model hears.
        sound: float32 (rate / 25, channels): what people hear; the film's last may be shorter.
    """

    samples: Samples
    sound: Piece


def film_rate(rate_hz: int) -> int:
    """Return the rate at which a film carries sound of a rate: the same if AAC has it, else the next higher, at most 48 kHz."""
    return next((rate for rate in RATES_HZ if rate >= rate_hz), RATES_HZ[-1])


def moments(sound: SoundFile, *, lead_in_s: float = 0.0, lead_out_s: float = 0.0) -> Iterator[Moment]:
    """Yield a file's moments; memory does not grow with its length.

    Args:
        sound: an open file, of which nothing was read yet.
        lead_in_s: silence before it.
        lead_out_s: silence behind it.

    Raises:
        UnreadableSound: nothing of it can be decoded.
    """
    heard, played = _Queue(1), _Queue(sound.channels)
    to_samples, to_sound = Mono16k(sound.rate_hz), _ToRate(sound.rate_hz, sound.channels)
    size = film_rate(sound.rate_hz) // FRAME_RATE_HZ
    for piece in _with_silence(sound, lead_in_s, lead_out_s):
        heard.push(to_samples.push(piece)[:, None])
        played.push(to_sound.push(piece))
        while len(heard) >= CHUNK_SAMPLES and len(played) >= size:
            yield Moment(heard.take(CHUNK_SAMPLES)[:, 0], played.take(size))
    heard.push(to_samples.flush()[:, None])
    played.push(to_sound.flush())
    while len(heard) or len(played):
        samples = heard.take(CHUNK_SAMPLES)[:, 0]
        yield Moment(np.pad(samples, (0, CHUNK_SAMPLES - len(samples))), played.take(size))


def length_s(sound: SoundFile, *, lead_in_s: float = 0.0, lead_out_s: float = 0.0) -> float | None:
    """Return how long a film will be as far as the file announces it."""
    return None if sound.duration_s is None else sound.duration_s + lead_in_s + lead_out_s


def _with_silence(sound: SoundFile, lead_in_s: float, lead_out_s: float) -> Iterator[Piece]:
    yield np.zeros((round(lead_in_s * sound.rate_hz), sound.channels), np.float32)
    yield from sound.pieces()
    yield np.zeros((round(lead_out_s * sound.rate_hz), sound.channels), np.float32)


class _ToRate:
    """The sound that people hear, at the film's rate."""

    def __init__(self, rate_hz: int, channels: int) -> None:
        rate_out = film_rate(rate_hz)
        self._channels = channels
        self._stream = (
            None
            if rate_out == rate_hz
            else soxr.ResampleStream(rate_hz, rate_out, channels, dtype="float32", quality="HQ")
        )

    def push(self, piece: Piece) -> Piece:
        if self._stream is None:
            return piece
        return np.asarray(self._stream.resample_chunk(piece), np.float32).reshape(-1, self._channels)

    def flush(self) -> Piece:
        nothing = np.zeros((0, self._channels), np.float32)
        if self._stream is None:
            return nothing
        return np.asarray(self._stream.resample_chunk(nothing, last=True), np.float32).reshape(-1, self._channels)


class _Queue:
    """Samples that wait to be taken, float32 (n, channels)."""

    def __init__(self, channels: int) -> None:
        self._held = np.zeros((0, channels), np.float32)

    def __len__(self) -> int:
        return len(self._held)

    def push(self, piece: Piece) -> None:
        self._held = np.concatenate((self._held, piece)) if len(self._held) else piece

    def take(self, count: int) -> Piece:
        """Return the next `count` samples, or what is left."""
        taken, self._held = self._held[:count], self._held[count:]
        return taken
