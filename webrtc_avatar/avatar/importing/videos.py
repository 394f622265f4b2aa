"""Pictures of an MP4 file, one after the other, with its claims checked before anything is decoded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.reformatter import Interpolation

from webrtc_avatar.avatar.files import MAX_IMAGE_PX, checked_file
from webrtc_avatar.avatar.footage_frames import Picture, Size
from webrtc_avatar.avatar.manifest import MAX_FOOTAGE_FRAMES
from webrtc_avatar.errors import CannotImport

MAX_BYTES = 16 * 1024**3
_RATE_HZ = 25
_EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
"""Without the last two, colours come out up to four levels darker."""
_CODECS = ("h264", "hevc", "mpeg4", "vp8", "vp9", "av1", "mjpeg", "ffv1")


class Video:
    """A video file of a package.

    Args:
        folder: the package.
        name: of the file in it.

    Attributes:
        name: as given.
        size: width and height that its header claims; pictures of another size are an error.
        claimed_frames: what its header claims; 0: nothing.
        rate_hz: pictures a second; 0: unknown.

    Raises:
        CannotImport: it is no MP4, it has no picture, or it claims an impossible size.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self._path = checked_file(folder, name, max_bytes=MAX_BYTES)
        self._where = f"{folder.name}/{name}"
        with self._open() as container:
            stream = container.streams.video[0]
            context = stream.codec_context
            self.size: Size = (context.width, context.height)
            self.claimed_frames = stream.frames
            self.rate_hz = float(stream.average_rate or 0)
            if context.name.split("_")[0] not in _CODECS and context.codec.canonical_name not in _CODECS:
                raise CannotImport(
                    f"{self._where} is coded as {context.name}; read are {', '.join(_CODECS)}: convert it with FFmpeg"
                )
        if not all(16 <= side <= MAX_IMAGE_PX for side in self.size):
            raise CannotImport(
                f"{self._where} claims pictures of {self.size[0]}x{self.size[1]}, expected sides of 16 to {MAX_IMAGE_PX} "
                "pixels; scale it with FFmpeg"
            )
        if self.claimed_frames > MAX_FOOTAGE_FRAMES:
            raise CannotImport(
                f"{self._where} claims {self.claimed_frames} pictures, the limit is {MAX_FOOTAGE_FRAMES}; cut it"
            )

    def pictures(self) -> Iterator[Picture]:
        """Yield its pictures, uint8 (height, width, 3) BGR.

        Raises:
            CannotImport: it is damaged or ends too early.
        """
        count = 0
        try:
            with self._open() as container:
                stream = container.streams.video[0]
                for frame in container.decode(stream):
                    if (frame.width, frame.height) != self.size:
                        raise CannotImport(
                            f"{self._where}: picture {count} is {frame.width}x{frame.height}, the first was "
                            f"{self.size[0]}x{self.size[1]}; convert it with FFmpeg"
                        )
                    if count == MAX_FOOTAGE_FRAMES:
                        raise CannotImport(f"{self._where} has more than {MAX_FOOTAGE_FRAMES} pictures; cut it")
                    yield np.asarray(frame.to_ndarray(format="bgr24", interpolation=_EXACT), np.uint8)
                    count += 1
        except av.FFmpegError as error:
            raise self._damaged(f"picture {count}: {error.strerror}") from error
        if count < self.claimed_frames:
            raise self._damaged(f"it has {count} pictures, its header says {self.claimed_frames}")

    def count(self) -> int:
        """Return how many pictures it holds, without decoding them.

        Raises:
            CannotImport: fewer than its header says.
        """
        try:
            with self._open() as container:
                found = sum(1 for packet in container.demux(container.streams.video[0]) if packet.size)
        except av.FFmpegError as error:
            raise self._damaged(str(error.strerror)) from error
        if found < self.claimed_frames:
            raise self._damaged(f"it has {found} pictures, its header says {self.claimed_frames}")
        return found

    def _damaged(self, what: str) -> CannotImport:
        return CannotImport(f"{self._where} is damaged or cut short ({what}); copy it again")

    def _open(self) -> InputContainer:
        # The format is given, since FFmpeg would also take a list of other files or addresses for a video.
        try:
            container = av.open(self._path, format="mp4", metadata_errors="replace")
        except (av.FFmpegError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise CannotImport(f"{self._where} is not a readable MP4 file: {why}; convert it with FFmpeg") from error
        if not container.streams.video:
            container.close()
            raise CannotImport(f"{self._where} has no picture; put the video itself there")
        options = {"max_pixels": str(MAX_IMAGE_PX * MAX_IMAGE_PX)}
        container.streams.video[0].codec_context.options = options
        return container
