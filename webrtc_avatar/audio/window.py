"""Which chunks the frames of a request need, and how few they are when nothing is sent twice.

Frame `f` hears the 16 chunks `f - 8` to `f + 7`, so `n` consecutive frames need `n + 15`. Past either end of the sound its first
or last chunk is repeated. Source: the seed documents on batched lip-sync inference ("audio batch optimization").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from webrtc_avatar.audio.chunk import CHUNK_BYTES, CHUNK_SAMPLES, CHUNKS_BEFORE, WINDOW_CHUNKS, Samples
from webrtc_avatar.errors import InvalidAudio

EXTRA_CHUNKS = WINDOW_CHUNKS - 1
"""Chunks of a request beyond its frames: 8 before the first and 7 after the last."""

SAVINGS_FRAMES = (1, 2, 4, 8, 20, 100, 240, 500)
"""The requests that the seed documents count."""

Chunks = npt.NDArray[np.float32]
"""float32 (n, 640): consecutive chunks of mono sound at 16 kHz, -1..1."""


class ChunkRange(NamedTuple):
    """Chunks of a sound by number.

    Attributes:
        first: number of the first one; negative ones lie before the sound and repeat its chunk 0.
        end: number after the last one.
    """

    first: int
    end: int


def required_chunks(frame_count: int) -> int:
    """Return how many chunks so many consecutive frames need: 15 more than frames.

    Raises:
        InvalidAudio: fewer than one frame.
    """
    if frame_count < 1:
        raise InvalidAudio(f"a request is for at least 1 frame; got {frame_count}")
    return frame_count + EXTRA_CHUNKS


def audio_range(start: int, frame_count: int) -> ChunkRange:
    """Return the chunks that the frames `start` to `start + frame_count - 1` need.

    Raises:
        InvalidAudio: fewer than one frame.
    """
    first = start - CHUNKS_BEFORE
    return ChunkRange(first, first + required_chunks(frame_count))


def chunk(samples: Samples) -> Chunks:
    """Cut a sound into chunks, the last one filled up with silence.

    Args:
        samples: float32 (n,), mono, 16 kHz, -1..1.

    Returns:
        float32 (n / 640 rounded up, 640): a view where n is a multiple of 640.

    Raises:
        InvalidAudio: another shape or type.
    """
    if samples.ndim != 1 or samples.dtype != np.float32:
        raise InvalidAudio(
            f"chunks are cut from float32 samples of one channel at 16 kHz; got {samples.dtype} {samples.shape}: "
            "mix to one channel and convert first"
        )
    missing = -len(samples) % CHUNK_SAMPLES
    return (np.pad(samples, (0, missing)) if missing else samples).reshape(-1, CHUNK_SAMPLES)


def pad(chunks: Chunks, *, start: int = 0, frame_count: int | None = None) -> Chunks:
    """Return the chunks of a request, with those past either end of the sound repeated.

    Args:
        chunks: float32 (n, 640), the whole sound, at least one chunk.
        start: number of the first frame.
        frame_count: how many frames; none: all from `start` to the end of the sound.

    Returns:
        float32 (frame_count + 15, 640): a view where no chunk had to be repeated.

    Raises:
        InvalidAudio: another shape or type, no chunk at all, or no frame.
    """
    _check(chunks)
    if len(chunks) == 0:
        raise InvalidAudio("there is no chunk to repeat: the sound is empty; give at least 1 sample of sound")
    first, end = audio_range(start, len(chunks) - start if frame_count is None else frame_count)
    if first >= 0 and end <= len(chunks):
        return chunks[first:end]
    return chunks[np.clip(np.arange(first, end), 0, len(chunks) - 1)]


def window(padded: Chunks, index: int) -> Chunks:
    """Return the 16 chunks that a frame of a request hears, as a view.

    Args:
        padded: float32 (n + 15, 640), the request's chunks.
        index: which of its n frames, from 0.

    Raises:
        InvalidAudio: another shape or type, or a frame that the chunks do not reach.
    """
    _check(padded)
    if not 0 <= index <= len(padded) - WINDOW_CHUNKS:
        raise InvalidAudio(
            f"frame {index} of a request needs the chunks {index} to {index + EXTRA_CHUNKS} of it; there are {len(padded)}"
        )
    return padded[index : index + WINDOW_CHUNKS]


def to_bytes(chunks: Chunks) -> list[bytes]:
    """Return chunks as the wire has them: 2,560 bytes each, little-endian float32."""
    _check(chunks)
    return [row.tobytes() for row in chunks.astype("<f4", copy=False)]


def from_bytes(chunks: Sequence[bytes]) -> Chunks:
    """Return chunks from the wire, float32 (n, 640).

    Raises:
        InvalidAudio: one of them is not 2,560 bytes long.
    """
    for place, data in enumerate(chunks):
        if len(data) != CHUNK_BYTES:
            raise InvalidAudio(
                f"chunk {place} has {len(data)} bytes; expected {CHUNK_BYTES}: 640 little-endian float32"
            )
    return np.frombuffer(b"".join(chunks), "<f4").astype(np.float32, copy=False).reshape(-1, CHUNK_SAMPLES)


@dataclass(frozen=True, slots=True)
class Savings:
    """What sending each chunk once saves, against 16 chunks a frame.

    Attributes:
        frames: consecutive frames of a request.
    """

    frames: int

    @property
    def redundant_chunks(self) -> int:
        """Chunks when each frame brings its own window."""
        return self.frames * WINDOW_CHUNKS

    @property
    def chunks(self) -> int:
        """Chunks when each is sent once."""
        return required_chunks(self.frames)

    @property
    def saved_chunks(self) -> int:
        """The difference."""
        return self.redundant_chunks - self.chunks

    @property
    def saved_bytes(self) -> int:
        """The difference on the wire, as float32."""
        return self.saved_chunks * CHUNK_BYTES

    @property
    def share(self) -> float:
        """The difference as a share of what was sent before, 0..1."""
        return self.saved_chunks / self.redundant_chunks


def _check(chunks: Chunks) -> None:
    if chunks.ndim != 2 or chunks.shape[1] != CHUNK_SAMPLES or chunks.dtype != np.float32:
        raise InvalidAudio(f"chunks are float32 (n, {CHUNK_SAMPLES}) at 16 kHz; got {chunks.dtype} {chunks.shape}")
