"""Speech as a file that can be read while it is still being written: WAV, Ogg with Opus, or bare samples."""

from __future__ import annotations

import struct
from fractions import Fraction
from typing import Any, Literal, Protocol

import av
import numpy as np
import numpy.typing as npt

from webrtc_avatar.audio.chunk import SOUND_RATE_HZ
from webrtc_avatar.audio.resample import Resampler

Format = Literal["wav", "opus", "pcm"]
Samples = npt.NDArray[np.float32]

CONTENT_TYPES: dict[Format, str] = {"wav": "audio/wav", "opus": "audio/ogg", "pcm": "audio/pcm"}
UNKNOWN = 0xFFFFFFFF
"""The length in the header of a WAV file that is not finished, as FFmpeg, SoX and browsers understand it."""

_OPUS_BPS = 32_000
_PAGE_US = 40_000
"""Ogg pages are at most so long, so that a player has sound soon."""


class SpeechFile(Protocol):
    """A file in the making."""

    def add(self, samples: Samples) -> bytes:
        """Take sound, float32 (n,), -1..1, and return the bytes that are ready."""

    def finish(self) -> bytes:
        """Return the last bytes."""


def speech_file(kind: Format, rate_hz: int) -> SpeechFile:
    """Return a file of a kind.

    Args:
        kind: wav and pcm are int16 little-endian mono at `rate_hz`; opus is Ogg, 48 kHz, mono.
        rate_hz: of the samples, 8000 to 192000.
    """
    if kind == "wav":
        return _Bare(wav_header(rate_hz))
    return _Opus(rate_hz) if kind == "opus" else _Bare(b"")


def wav_header(rate_hz: int, data_bytes: int = UNKNOWN) -> bytes:
    """Return the header of a WAV file with int16 mono samples (RIFF); of one that is not finished without a length."""
    whole = data_bytes if data_bytes == UNKNOWN else data_bytes + 36
    form = struct.pack("<HHIIHH", 1, 1, rate_hz, 2 * rate_hz, 2, 16)
    return (
        struct.pack("<4sI4s4sI", b"RIFF", whole, b"WAVE", b"fmt ", len(form))
        + form
        + struct.pack("<4sI", b"data", data_bytes)
    )


def pcm16(samples: Samples) -> bytes:
    """Return samples as int16 little-endian; what is beyond full scale is clipped."""
    data: bytes = np.clip(np.rint(samples * 32767.0), -32768, 32767).astype("<i2").tobytes()
    return data


class _Bare:
    def __init__(self, header: bytes) -> None:
        self._header = header

    def add(self, samples: Samples) -> bytes:
        header, self._header = self._header, b""
        return header + pcm16(samples)

    def finish(self) -> bytes:
        header, self._header = self._header, b""
        return header


class _Sink:
    """What a muxer writes to, front to back."""

    def __init__(self) -> None:
        self._written = bytearray()

    def write(self, data: bytes) -> int:
        self._written += data
        return len(data)

    def take(self) -> bytes:
        data = bytes(self._written)
        self._written.clear()
        return data


class _Opus:
    def __init__(self, rate_hz: int) -> None:
        self._sink = _Sink()
        self._resampler = Resampler(rate_hz)
        self._container: Any = av.open(self._sink, "w", format="ogg", options={"page_duration": str(_PAGE_US)})
        self._stream: Any = self._container.add_stream("libopus", rate=SOUND_RATE_HZ, layout="mono")
        self._stream.bit_rate = _OPUS_BPS
        self._taken = 0

    def add(self, samples: Samples) -> bytes:
        self._encode(self._resampler.push(samples))
        return self._sink.take()

    def finish(self) -> bytes:
        self._encode(self._resampler.flush())
        for packet in self._stream.encode(None):
            self._container.mux(packet)
        self._container.close()
        return self._sink.take()

    def _encode(self, sound: Samples) -> None:
        if not len(sound):
            return
        frame = av.AudioFrame.from_ndarray(np.clip(sound, -1, 1)[None], format="flt", layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = SOUND_RATE_HZ, Fraction(1, SOUND_RATE_HZ), self._taken
        self._taken += len(sound)
        for packet in self._stream.encode(frame):
            self._container.mux(packet)
