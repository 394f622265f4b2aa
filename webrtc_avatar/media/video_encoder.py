"""Video encoders of one session: I420 pictures in, one packet each out, VP8 or H.264.

Both encode in real time without look-ahead, on the calling thread. Settings were chosen by measurement on 512x512 pictures
of a talking head at 300 kbit/s, one slow core: VP8 `cpu-used` -8 takes 1.2 ms and reaches 44.4 dB (-12: 1.1 ms, 43.3 dB;
denoising on: 1.6 ms, 42.5 dB); H.264 `superfast` 1.15 ms and 44.7 dB (`ultrafast`: 0.7 ms, 42.3 dB).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import av
import numpy as np
import numpy.typing as npt
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType

from webrtc_avatar.audio.chunk import FRAME_RATE_HZ

Codec = Literal["VP8", "H264"]

_TIME_BASE = Fraction(1, FRAME_RATE_HZ)
_NEVER = 1_000_000
"""Pictures between key frames that nobody asked for."""

_REOPEN_BELOW = 0.85
_REOPEN_ABOVE = 1.25
_REOPEN_DOWN_PICTURES = 2 * FRAME_RATE_HZ
_REOPEN_UP_PICTURES = 5 * FRAME_RATE_HZ


@dataclass(frozen=True, slots=True)
class EncodedPicture:
    """One encoded picture.

    Attributes:
        data: a VP8 frame, or an H.264 access unit in Annex B with its parameter sets before a key frame.
        is_key: it can be decoded without any other.
    """

    data: bytes
    is_key: bool


class VideoEncoder(ABC):
    """Encodes a stream of pictures. Any thread, one call at a time.

    Args:
        max_bitrate_bps: the bitrate is never set higher.
    """

    def __init__(self, *, max_bitrate_bps: int) -> None:
        self._max_bitrate_bps = max_bitrate_bps
        self._codec: VideoCodecContext | None = None
        self._size = (0, 0)
        self._since_open = 0

    @property
    def bitrate_bps(self) -> int:
        """The bitrate that the encoder aims at now; 0 before the first picture."""
        return self._codec.bit_rate or 0 if self._codec is not None else 0

    def encode(
        self, picture: npt.NDArray[np.uint8], index: int, *, bitrate_bps: int, key: bool = False
    ) -> EncodedPicture:
        """Encode a picture.

        Args:
            picture: uint8 (height * 3 / 2, width), I420. Another size than before begins a new stream with a key frame.
            index: number of the picture at 25 a second; rises, with holes where pictures were skipped.
            bitrate_bps: what to aim at; how soon it is followed is up to the codec.
            key: make it a key frame.
        """
        bitrate_bps = min(bitrate_bps, self._max_bitrate_bps)
        size = (picture.shape[1], picture.shape[0] * 2 // 3)
        if self._codec is None or size != self._size:
            self._size = size
            self._begin(bitrate_bps)
        else:
            self._follow(bitrate_bps)
        assert self._codec is not None
        frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
        frame.pts = index
        frame.time_base = _TIME_BASE
        frame.pict_type = PictureType.I if key else PictureType.NONE
        packets = self._codec.encode(frame)
        self._since_open += 1
        return EncodedPicture(
            b"".join(bytes(packet) for packet in packets), is_key=any(packet.is_keyframe for packet in packets)
        )

    def _begin(self, bitrate_bps: int) -> None:
        self._codec = self._open(bitrate_bps)
        self._since_open = 0

    def _create(self, name: str, bitrate_bps: int, options: dict[str, str]) -> VideoCodecContext:
        codec = av.CodecContext.create(name, "w")
        assert isinstance(codec, VideoCodecContext)
        codec.width, codec.height = self._size
        codec.pix_fmt = "yuv420p"
        codec.bit_rate = bitrate_bps
        codec.framerate = Fraction(FRAME_RATE_HZ)
        codec.time_base = _TIME_BASE
        codec.thread_count = 1
        codec.gop_size = _NEVER
        codec.options = options
        return codec

    @abstractmethod
    def _open(self, bitrate_bps: int) -> VideoCodecContext:
        """Return a fresh codec for `self._size`."""

    @abstractmethod
    def _follow(self, bitrate_bps: int) -> None:
        """Move towards another bitrate."""


class Vp8Encoder(VideoEncoder):
    """VP8 by libvpx. Its bitrate is fixed once it is open, and opening anew costs a key frame, so small changes are let be."""

    def _open(self, bitrate_bps: int) -> VideoCodecContext:
        codec = self._create(
            "libvpx",
            bitrate_bps,
            {
                "deadline": "realtime",
                "cpu-used": "-8",
                "lag-in-frames": "0",
                "minrate": str(bitrate_bps),
                "maxrate": str(bitrate_bps),
                "bufsize": str(bitrate_bps // 2),
                "undershoot-pct": "100",
                "overshoot-pct": "15",
                "max-intra-rate": "450",
                "noise-sensitivity": "0",
                "static-thresh": "1",
            },
        )
        codec.qmin = 2
        codec.qmax = 56
        return codec

    def _follow(self, bitrate_bps: int) -> None:
        ratio = bitrate_bps / max(1, self.bitrate_bps)
        down = ratio < _REOPEN_BELOW and self._since_open >= _REOPEN_DOWN_PICTURES
        up = ratio > _REOPEN_ABOVE and self._since_open >= _REOPEN_UP_PICTURES
        if down or up:
            self._begin(bitrate_bps)


class H264Encoder(VideoEncoder):
    """H.264 constrained baseline by libx264, which follows a bitrate at once.

    libx264 takes another bitrate only if it was opened with a constant one, so it is opened with the highest.
    """

    def _open(self, bitrate_bps: int) -> VideoCodecContext:
        codec = self._create(
            "libx264",
            self._max_bitrate_bps,
            {
                "preset": "superfast",
                "tune": "zerolatency",
                "profile": "baseline",
                "level": "31",
                "forced-idr": "1",
                "maxrate": str(self._max_bitrate_bps),
                "bufsize": str(self._max_bitrate_bps // 4),
                "x264-params": "scenecut=0:sliced-threads=0:repeat-headers=1",
            },
        )
        codec.open()
        codec.bit_rate = bitrate_bps
        return codec

    def _follow(self, bitrate_bps: int) -> None:
        assert self._codec is not None
        self._codec.bit_rate = bitrate_bps


def open_encoder(codec: Codec, *, max_bitrate_bps: int) -> VideoEncoder:
    """Return an encoder for a codec; it takes memory only with its first picture."""
    kind = Vp8Encoder if codec == "VP8" else H264Encoder
    return kind(max_bitrate_bps=max_bitrate_bps)
