"""Writes a film: H.264 and AAC in an MP4 that is whole or not there at all, and that says that it is synthetic."""

from __future__ import annotations

import os
import secrets
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from webrtc_avatar.audio.chunk import FRAME_RATE_HZ
from webrtc_avatar.audio.decode import Piece
from webrtc_avatar.avatar.compose import Picture
from webrtc_avatar.errors import CannotWrite
from webrtc_avatar.media.marking import OF_NOBODY, Marking
from webrtc_avatar.media.signing import FilmSigner

SUFFIXES = (".mp4", ".m4v", ".mov")
_BITS_PER_SAMPLE = 4
"""AAC gets 4 bits a sample and channel, 192 kb/s for mono at 48 kHz, within these bounds a channel."""
_LEAST_BPS, _MOST_BPS = 48_000, 128_000
_BT709 = 1


class Mp4:
    """One film. A context manager: left with an error, it leaves no file. For one thread at a time.

    The file gets its name when it is whole; until then it lies beside under a name that begins with a dot.

    Args:
        path: the film; its folder exists.
        rate_hz: of the sound.
        channels: of the sound, 1 or 2.
        crf: quality of the picture, 0 to 51: each 6 more halve the bits; 17 cannot be told from the original.
        preset: x264's, how much work goes into small files.
        overwrite: replace a file that is there.
        marking: what it says of its origin.
        signer: signs it in the end, if there is one.

    Raises:
        CannotWrite: the file is there already, its name does not end as films do, or it cannot be made.
    """

    def __init__(
        self,
        path: Path,
        *,
        rate_hz: int,
        channels: int,
        crf: int = 17,
        preset: str = "veryfast",
        overwrite: bool = False,
        marking: Marking = OF_NOBODY,
        signer: FilmSigner | None = None,
    ) -> None:
        self.path = path
        self._marking, self._signer = marking, signer
        self._check(overwrite)
        self._options = {"crf": str(crf), "preset": preset}
        self._overwrite = overwrite
        self._rate_hz, self._channels = rate_hz, channels
        self._part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        try:
            self._part.open("xb").close()
            self._container = av.open(
                f"file:{self._part}",
                "w",
                format="mov" if self._is_quicktime else "mp4",
                options={"movflags": "faststart"},
            )
            self._container.metadata.update(marking.tags)
            if self._is_quicktime:
                self._container.metadata["xmp"] = marking.xmp.decode()
        except OSError as error:
            self._part.unlink(missing_ok=True)
            raise CannotWrite(
                f"{path} cannot be written ({error.strerror or error}); name a file in a folder that exists and that you "
                "may write to"
            ) from error
        self._streams: tuple[Any, Any] | None = None
        self._frames = self._samples = 0

    def __enter__(self) -> Mp4:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.finish()
        else:
            self.discard()

    def add(self, picture: Picture, sound: Piece) -> None:
        """Append a frame and its sound.

        Args:
            picture: I420 uint8 (height * 3 / 2, width); all of a film have one size.
            sound: float32 (rate / 25, channels), -1..1; the last one may be shorter.

        Raises:
            CannotWrite: the disk is full.
        """
        if self._streams is None:
            self._streams = self._open_streams(picture.shape[1], picture.shape[0] * 2 // 3)
        video, audio = self._streams
        frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
        frame.pts, frame.time_base = self._frames, Fraction(1, FRAME_RATE_HZ)
        self._frames += 1
        self._mux(video.encode(frame))
        if len(sound):
            layout = "mono" if self._channels == 1 else "stereo"
            heard = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound.T), format="fltp", layout=layout)
            # With its time stamp the encoder knows how much of its own delay lies before it, and the file says so (edit list).
            heard.sample_rate, heard.pts, heard.time_base = self._rate_hz, self._samples, Fraction(1, self._rate_hz)
            self._samples += len(sound)
            self._mux(audio.encode(heard))

    def finish(self) -> None:
        """Write what the encoders hold back, and give the film its name.

        Raises:
            CannotWrite: the disk is full, or a file of that name has appeared meanwhile.
        """
        try:
            for stream in self._streams or ():
                self._mux(stream.encode(None))
            try:
                self._container.close()
                if not self._is_quicktime:
                    with self._part.open("ab") as file:
                        file.write(self._marking.mp4_box)
                if self._signer is not None:
                    self._sign(self._signer)
            except OSError as error:
                raise self._full(error) from error
            self._check(self._overwrite)
            os.replace(self._part, self.path)
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """Leave nothing behind; after `finish` it does nothing."""
        try:
            self._container.close()
        except (OSError, ValueError):
            pass  # what could not be written is thrown away
        finally:
            self._part.unlink(missing_ok=True)

    def _sign(self, signer: FilmSigner) -> None:
        """Last of all, for the signature covers all that the file holds by then."""
        signed = self._part.with_suffix(".signed")
        try:
            signer.sign(self._part, signed, name=self.path.name)
            os.replace(signed, self._part)
        finally:
            signed.unlink(missing_ok=True)

    @property
    def _is_quicktime(self) -> bool:
        return self.path.suffix.lower() == ".mov"

    def _check(self, overwrite: bool) -> None:
        if self.path.suffix.lower() not in SUFFIXES:
            raise CannotWrite(
                f"{self.path} does not end in {', '.join(SUFFIXES)}; films are written as MP4: name it so"
            )
        if self.path.is_dir():
            raise CannotWrite(f"{self.path} is a folder; name a file in it")
        if self.path.exists() and not overwrite:
            raise CannotWrite(f"{self.path} is there already; name another file, or allow it with --overwrite")

    def _open_streams(self, width: int, height: int) -> tuple[Any, Any]:
        video: Any = self._container.add_stream("libx264", rate=FRAME_RATE_HZ, options=self._options)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        context = video.codec_context
        context.thread_count = 1
        # Pictures are sRGB in BT.601 YUV; unsaid, players take anything this large for BT.709.
        context.colorspace, context.color_range = Colorspace.ITU601, ColorRange.MPEG
        context.color_primaries = context.color_trc = _BT709
        layout = "mono" if self._channels == 1 else "stereo"
        audio: Any = self._container.add_stream("aac", rate=self._rate_hz, layout=layout)
        audio.bit_rate = self._channels * min(max(_BITS_PER_SAMPLE * self._rate_hz, _LEAST_BPS), _MOST_BPS)
        return video, audio

    def _mux(self, packets: Any) -> None:
        try:
            self._container.mux(packets)
        except OSError as error:
            raise self._full(error) from error

    def _full(self, error: OSError) -> CannotWrite:
        return CannotWrite(
            f"{self.path} cannot be written to the end ({error.strerror or error}); make room and try again"
        )
