"""Sound as it is fed: a whole file of any kind, or bare samples, to one mono stream of its own rate."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt

from webrtc_avatar.audio.decode import SoundFile
from webrtc_avatar.errors import BufferFull, InvalidAudio

RAW_TYPES = ("audio/l16", "audio/pcm", "audio/raw")
"""Content types of bare samples: int16, little-endian, mono, of the session's rate."""


def decode(
    data: bytes, *, content_type: str, raw_rate_hz: int, most_s: float
) -> tuple[npt.NDArray[np.float32] | npt.NDArray[np.int16], int]:
    """Return the samples, (n,), and their rate in Hz.

    Args:
        data: the file.
        content_type: as the client says; only those of bare samples are believed.
        raw_rate_hz: rate of bare samples.
        most_s: longer sound is refused before it is decoded to its end.

    Raises:
        UnreadableSound: FFmpeg decodes no sound in it.
        InvalidAudio: half a sample.
        BufferFull: it is longer than `most_s`.
    """
    if content_type.lower() in RAW_TYPES:
        if len(data) % 2:
            raise InvalidAudio(f"{content_type} is int16, two bytes a sample; got {len(data)} bytes")
        samples = np.frombuffer(data, "<i2").astype(np.int16)
        _check(len(samples), raw_rate_hz, most_s)
        return samples, raw_rate_hz
    parts, count = [], 0
    with SoundFile(io.BytesIO(data)) as sound:
        for piece in sound.pieces():
            parts.append(piece[:, 0] if piece.shape[1] == 1 else piece.mean(axis=1, dtype=np.float32))
            count += len(piece)
            _check(count, sound.rate_hz, most_s)
        return np.concatenate(parts), sound.rate_hz


def _check(count: int, rate_hz: int, most_s: float) -> None:
    if count > most_s * rate_hz:
        raise BufferFull(f"one feed holds at most {most_s:g} s of sound; this one is longer: feed it in pieces")
