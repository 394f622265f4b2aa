"""What clients of the lip-sync service send and get: pieces of sound, and frames."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from webrtc_avatar.audio import decode
from webrtc_avatar.audio.chunk import CHUNKS_AFTER, CHUNKS_BEFORE, FRAME_RATE_HZ, Samples
from webrtc_avatar.audio.window import EXTRA_CHUNKS, chunk
from webrtc_avatar.client.lipsync_failures import CallFailed, FrameFailed
from webrtc_avatar.errors import InvalidAudio
from webrtc_avatar.rpc import optimized_lipsyncsrv_pb2 as messages

ImageFormat = Literal["jpeg", "png", "webp", "raw"]
AudioEncoding = Literal["float32", "int16"]
Sound: TypeAlias = Path | str | BinaryIO | npt.NDArray[np.float32]
"""A file of any kind, or float32 (n,), mono, 16 kHz, -1..1."""

_FORMATS: dict[ImageFormat, messages.OutputOptions.ImageFormat] = {
    "jpeg": messages.OutputOptions.JPEG,
    "png": messages.OutputOptions.PNG,
    "webp": messages.OutputOptions.WEBP,
    "raw": messages.OutputOptions.RAW_BGR,
}
_ENCODINGS: dict[AudioEncoding, messages.AudioEncoding] = {"float32": messages.FLOAT32, "int16": messages.INT16}


@dataclass(frozen=True, slots=True)
class Output:
    """What frames shall be.

    Attributes:
        format: how they are encoded; `raw` is BGR, 3 bytes a pixel.
        face_only: the face's box alone, to be put into the footage at `LipSyncFrame.bounds`.
        quality: of JPEG and WebP, 1 to 100; 0: the server's own.
        blendshapes: each frame's face as numbers, too: `LipSyncFrame.blendshapes`.
    """

    format: ImageFormat = "jpeg"
    face_only: bool = False
    quality: int = 0
    blendshapes: bool = False

    def message(self) -> messages.OutputOptions:
        """Return it as the contract has it."""
        composition = messages.OutputOptions.FACE_ONLY if self.face_only else messages.OutputOptions.FULL_FRAME
        return messages.OutputOptions(
            composition=composition,
            format=_FORMATS[self.format],
            jpeg_quality=self.quality,
            blendshapes=self.blendshapes,
        )


JPEG = Output()
"""Whole frames as JPEG."""


@dataclass(frozen=True, slots=True)
class LipSyncFrame:
    """One frame, or why there is none.

    Attributes:
        frame_id: its number.
        error: why it could not be made; none where it could.
        bounds: left, top, right, bottom of the face in the whole frame, right and bottom exclusive.
        width: of the picture in pixels.
        height: of the picture in pixels.
        format: how the picture is encoded.
        batch_size: frames in the model call that made it.
        processing_time_ms: from the request to the picture.
        queue_time_ms: of that, waiting.
        inference_time_ms: of that, the model call.
        composite_time_ms: of that, composing and encoding.
        blendshapes: where they were asked for, float32 (52,), 0..1, in the order of `avatar.arkit.ARKIT_NAMES`; else None.
        head_deg: with them, float32 (3,): pitch (down), yaw and roll (to the right of the picture) in degrees.
        time_s: with them, the frame's time from frame 0.
    """

    frame_id: int
    error: str | None
    bounds: tuple[int, ...]
    width: int
    height: int
    format: ImageFormat
    batch_size: int
    processing_time_ms: int
    queue_time_ms: float
    inference_time_ms: float
    composite_time_ms: float
    blendshapes: npt.NDArray[np.float32] | None
    head_deg: npt.NDArray[np.float32] | None
    time_s: float | None
    _data: bytes = field(repr=False)

    @property
    def image(self) -> bytes:
        """The encoded picture.

        Raises:
            FrameFailed: there is none; the message says why.
        """
        if self.error is not None:
            raise FrameFailed(f"frame {self.frame_id} could not be made: {self.error}", frame_id=self.frame_id)
        return self._data

    def picture(self) -> npt.NDArray[np.uint8]:
        """Return the picture decoded, uint8 (height, width, 3), BGR.

        Raises:
            FrameFailed: there is none.
        """
        data = np.frombuffer(self.image, np.uint8)
        if self.format == "raw":
            return data.reshape(self.height, self.width, 3)
        decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
        if decoded is None:
            raise FrameFailed(f"frame {self.frame_id} came as no {self.format.upper()}", frame_id=self.frame_id)
        return np.asarray(decoded, np.uint8)


def frame_of(response: messages.OptimizedInferenceResponse, image_format: ImageFormat) -> LipSyncFrame:
    """Return a frame from the wire."""
    told = bool(response.blendshapes)
    return LipSyncFrame(
        frame_id=response.frame_id,
        error=None if response.success else response.error or "the server gave no reason",
        bounds=tuple(response.bounds),
        width=response.width,
        height=response.height,
        format=image_format,
        batch_size=response.batch_size,
        processing_time_ms=response.processing_time_ms,
        queue_time_ms=response.queue_time_ms,
        inference_time_ms=response.inference_time_ms,
        composite_time_ms=response.composite_time_ms,
        blendshapes=np.array(response.blendshapes, np.float32) if told else None,
        head_deg=np.array(response.head_deg, np.float32) if told else None,
        time_s=response.time_s if told else None,
        _data=response.image_data,
    )


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a server says of an avatar.

    Attributes:
        name: to ask for.
        frame_count: frames of footage, which goes to and fro.
        videos: what `footage` may be asked for.
        bounds: of the face in frame 0.
        width: of a frame in pixels.
        height: of a frame in pixels.
        fps: frames a second.
        chunks_before: chunks before its own that reach a frame.
        chunks_after: chunks after its own that a live frame waits for.
    """

    name: str
    frame_count: int
    videos: tuple[str, ...]
    bounds: tuple[int, ...]
    width: int
    height: int
    fps: float
    chunks_before: int
    chunks_after: int


def metadata_of(response: messages.GetModelMetadataResponse) -> Metadata:
    """Return an avatar's metadata from the wire.

    Raises:
        CallFailed: the server has none.
    """
    if not response.success:
        raise CallFailed(response.error or f"the server tells nothing of {response.model_name!r}")
    return Metadata(
        name=response.model_name,
        frame_count=response.frame_count,
        videos=tuple(response.available_videos),
        bounds=tuple(response.bounds),
        width=response.width,
        height=response.height,
        fps=response.fps,
        chunks_before=response.chunks_before,
        chunks_after=response.chunks_after,
    )


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive frames and the chunks that they need.

    Attributes:
        first: number of the first frame, from 0 at the sound's beginning.
        frame_count: how many.
        chunks: frame_count + 15 encoded chunks.
    """

    first: int
    frame_count: int
    chunks: list[bytes]

    def halves(self) -> tuple[Piece, Piece]:
        """Return the same frames as two pieces."""
        near = self.frame_count // 2
        far = self.frame_count - near
        return (
            Piece(self.first, near, self.chunks[: near + EXTRA_CHUNKS]),
            Piece(self.first + near, far, self.chunks[near : near + far + EXTRA_CHUNKS]),
        )


def pieces(chunks: Iterable[bytes], *, frames_each: int) -> Iterator[Piece]:
    """Cut a sound into pieces of at most `frames_each` frames, which overlap by 15 chunks; no more of it is held than one piece.

    Raises:
        InvalidAudio: the sound is empty.
    """
    held: list[bytes] = []
    first = 0
    for data in chunks:
        held = held or [data] * CHUNKS_BEFORE
        held.append(data)
        if len(held) == frames_each + EXTRA_CHUNKS:
            yield Piece(first, frames_each, held)
            held, first = held[frames_each:], first + frames_each
    if not held:
        raise InvalidAudio("the sound is empty; give at least 1 sample of it")
    held = held + held[-1:] * CHUNKS_AFTER
    while (left := len(held) - EXTRA_CHUNKS) > 0:
        count = min(left, frames_each)
        yield Piece(first, count, held[: count + EXTRA_CHUNKS])
        held, first = held[count:], first + count


def encoded(samples: Samples, encoding: AudioEncoding) -> bytes:
    """Return samples as the wire has them, little-endian."""
    if encoding == "float32":
        return bytes(samples.astype("<f4", copy=False).tobytes())
    return bytes(np.clip(np.rint(samples * 32768.0), -32768, 32767).astype("<i2").tobytes())


def encoding_of(encoding: AudioEncoding) -> messages.AudioEncoding:
    """Return the contract's number of an encoding."""
    return _ENCODINGS[encoding]


def chunks_of(sound: Sound) -> tuple[Iterable[Samples], int | None]:
    """Return a sound's chunks, float32 (640,) each, and how many they will be, where that is known before they are read.

    Raises:
        UnreadableSound: the file holds none.
        InvalidAudio: samples of another shape or type.
    """
    if isinstance(sound, np.ndarray):
        cut = chunk(sound)
        return cut, len(cut)
    if not isinstance(sound, Path | str):
        return decode.chunks(sound), None
    with decode.SoundFile(sound) as opened:
        length_s = opened.duration_s
    return decode.chunks(sound), None if length_s is None else math.ceil(length_s * FRAME_RATE_HZ - 1e-6)
