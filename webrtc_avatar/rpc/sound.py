"""Sound from the wire, as chunks that the engine takes: checked, and where it is float32 not copied."""

from __future__ import annotations

import time
from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import numpy as np

from webrtc_avatar.audio.chunk import CHUNK_BYTES, CHUNK_SAMPLES, SAMPLE_RATE_HZ, SOUND_SAMPLES, Samples
from webrtc_avatar.audio.chunker import LIVE_LEAD_IN, Chunker
from webrtc_avatar.errors import InvalidAudio, InvalidRequest
from webrtc_avatar.media.opus import OpusDecoder, packet_samples

_CHECKED_TOGETHER = 16

_LOUDEST = 1.001
"""Above 1 by what int16 divided by 32767 gives, and rounding."""


class Encoding(IntEnum):
    """How chunks are sent, as the contract numbers it."""

    FLOAT32 = 0
    INT16 = 1
    OPUS = 2

    @classmethod
    def of(cls, number: int) -> Encoding:
        """Return it from the contract's number.

        Raises:
            InvalidRequest: there is no such number.
        """
        if number not in (member.value for member in cls):
            choices = ", ".join(f"{member.value} ({member.name})" for member in cls)
            raise InvalidRequest(f"audio_encoding is {choices}; got {number}")
        return cls(number)


_BYTES = {Encoding.FLOAT32: CHUNK_BYTES, Encoding.INT16: CHUNK_SAMPLES * 2}
_TYPES: dict[Encoding, np.dtype[Any]] = {Encoding.FLOAT32: np.dtype("<f4"), Encoding.INT16: np.dtype("<i2")}


def read_chunks(chunks: Sequence[bytes], encoding: Encoding) -> list[Samples]:
    """Return consecutive chunks, float32 (640,) each: views of the bytes where those are float32.

    Raises:
        InvalidAudio: one has another length than 40 ms, is no Opus, or holds numbers that are no sound; with its place.
    """
    chunks = list(chunks)  # a message makes the bytes anew each time that it is asked
    if encoding is Encoding.OPUS:
        decoder = _OpusChunks()
        return [decoder.chunk(data, f"chunk {place}") for place, data in enumerate(chunks)]
    for place, data in enumerate(chunks):
        if len(data) != _BYTES[encoding]:
            raise InvalidAudio(
                f"chunk {place} has {len(data)} bytes; expected {_BYTES[encoding]}: {CHUNK_SAMPLES} little-endian "
                f"{encoding.name.lower()} samples, 40 ms at 16 kHz"
            )
    heard = [_samples(data, encoding) for data in chunks]
    for first in range(0, len(chunks), _CHECKED_TOGETHER):
        # One look at several chunks costs a tenth of one at each, and a copy that is gone at once.
        if not _is_sound(_samples(b"".join(chunks[first : first + _CHECKED_TOGETHER]), encoding)):
            for place, samples in enumerate(heard[first : first + _CHECKED_TOGETHER], start=first):
                _checked(samples, f"chunk {place}")
    return heard


class Cutter:
    """Cuts a stream of sound, in pieces of any length, into chunks. Opus comes packet by packet, of any length."""

    def __init__(self, encoding: Encoding) -> None:
        self._encoding = encoding
        self._opus = _OpusChunks() if encoding is Encoding.OPUS else None
        self._rest = b""

    def push(self, data: bytes) -> list[Samples]:
        """Take sound and return the chunks that it completes, float32 (640,) each.

        Raises:
            InvalidAudio: it is no Opus, or holds numbers that are no sound.
        """
        if not data:
            return []
        if self._opus is not None:
            return self._opus.push(data, "the packet")
        data = self._rest + data if self._rest else data
        size = _BYTES[self._encoding]
        whole = len(data) // size * size
        self._rest = data[whole:]
        samples = _checked(_samples(data[:whole], self._encoding), "the sound") if whole else np.zeros(0, np.float32)
        return list(samples.reshape(-1, CHUNK_SAMPLES))

    def flush(self) -> list[Samples]:
        """Return what is left, filled up with silence, and start afresh.

        Raises:
            InvalidAudio: what is left ends within a sample, or is no sound.
        """
        if self._opus is not None:
            chunks, self._opus = self._opus.flush(), _OpusChunks()
            return chunks
        rest, self._rest = self._rest, b""
        if not rest:
            return []
        width = _TYPES[self._encoding].itemsize
        if len(rest) % width:
            raise InvalidAudio(
                f"the sound ends with {len(rest) % width} bytes of a sample; a sample of {self._encoding.name} has {width}"
            )
        chunk = np.zeros(CHUNK_SAMPLES, np.float32)
        chunk[: len(rest) // width] = _checked(_samples(rest, self._encoding), "the end of the sound")
        return [chunk]


class _OpusChunks:
    """Opus packets as chunks. The decoder's sound lies 6.5 ms later than what was encoded, and so do the chunks."""

    def __init__(self) -> None:
        self._decoder = OpusDecoder()
        self._chunker = Chunker(lead_in=LIVE_LEAD_IN)

    def chunk(self, data: bytes, what: str) -> Samples:
        """Return the chunk of a packet of 40 ms."""
        if packet_samples(data) != SOUND_SAMPLES:
            lasts = f"{packet_samples(data) / 48:g} ms" if packet_samples(data) else "no time: it is malformed"
            raise InvalidAudio(f"{what} is an Opus packet of {len(data)} bytes that lasts {lasts}; expected 40 ms")
        return self.push(data, what)[0]

    def push(self, data: bytes, what: str) -> list[Samples]:
        sound = self._decoder.decode(data)
        if sound is None:
            raise InvalidAudio(f"{what}, of {len(data)} bytes, is not an Opus packet (RFC 6716) that can be decoded")
        return [chunk.samples for chunk in self._chunker.push(sound, arrived_s=time.monotonic())]

    def flush(self) -> list[Samples]:
        if self._chunker.pending_samples <= LIVE_LEAD_IN:
            return []
        return [chunk.samples for chunk in self._chunker.flush(arrived_s=time.monotonic())]


def _samples(data: bytes, encoding: Encoding) -> Samples:
    samples = np.frombuffer(data, _TYPES[encoding])
    if encoding is Encoding.INT16:
        return np.asarray(samples.astype(np.float32) / np.float32(32768), np.float32)
    return np.asarray(samples, np.float32)


def _is_sound(samples: Samples) -> bool:
    # NaN makes either comparison false.
    return bool(samples.max() <= _LOUDEST and samples.min() >= -_LOUDEST)


def _checked(samples: Samples, what: str) -> Samples:
    """Return the samples if they are sound."""
    if not _is_sound(samples):
        place = int(np.argmax(~(np.abs(samples) <= _LOUDEST)))
        raise InvalidAudio(
            f"{what} has the sample {samples[place]:g} at {place}; expected finite numbers from -1 to 1 "
            f"(mono, {SAMPLE_RATE_HZ} Hz): divide int16 by 32768, and clip what a resampler lets overshoot"
        )
    return samples
