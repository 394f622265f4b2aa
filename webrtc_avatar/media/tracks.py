"""Tracks that hand out packets which were encoded once for all: one object a viewer, filled by the broadcast."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import av
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError

from webrtc_avatar.audio.chunk import FRAME_RATE_HZ, SOUND_RATE_HZ, SOUND_SAMPLES
from webrtc_avatar.media.opus import PACKET_SAMPLES
from webrtc_avatar.media.video_encoder import Codec

_VIDEO_CLOCK_HZ = 90_000
_VIDEO_TIME_BASE = Fraction(1, _VIDEO_CLOCK_HZ)
_AUDIO_TIME_BASE = Fraction(1, SOUND_RATE_HZ)
_PICTURE_TICKS = _VIDEO_CLOCK_HZ // FRAME_RATE_HZ

_MAX_PICTURES = 6
_MAX_SOUNDS = 25


def picture_packet(data: bytes, tick_index: int) -> av.Packet[Any]:
    """Return the packet of a tick's picture, its time stamp counted from tick 0 at 90 kHz."""
    packet: av.Packet[Any] = av.Packet(data)
    packet.pts = packet.dts = tick_index * _PICTURE_TICKS
    packet.time_base = _VIDEO_TIME_BASE
    return packet


def sound_packet(data: bytes, tick_index: int, half: int) -> av.Packet[Any]:
    """Return the packet of a tick's first (0) or second (1) 20 ms of sound, its time stamp counted from tick 0 at 48 kHz."""
    packet: av.Packet[Any] = av.Packet(data)
    packet.pts = packet.dts = tick_index * SOUND_SAMPLES + half * PACKET_SAMPLES
    packet.time_base = _AUDIO_TIME_BASE
    return packet


class PacketTrack(MediaStreamTrack):
    """A track whose `recv` returns packets that others encoded.

    It takes part from its first `recv` to its `stop`; what is made before or after costs nothing.

    Args:
        on_begin: called once, when somebody first reads the track.
        on_end: called once, when the track stops, read or not.
        depth: packets that may wait.

    Attributes:
        dropped: packets that were thrown away because the viewer did not read them in time.
    """

    def __init__(
        self, *, on_begin: Callable[[PacketTrack], None], on_end: Callable[[PacketTrack], None], depth: int
    ) -> None:
        super().__init__()
        self._on_begin = on_begin
        self._on_end = on_end
        self._depth = depth
        self._queue: deque[av.Packet[Any]] = deque()
        self._filled = asyncio.Event()
        self._begun = False
        self.dropped = 0

    async def recv(self) -> av.Packet[Any]:
        """Return the next packet.

        Raises:
            MediaStreamError: the track or its session has ended.
        """
        if self.readyState == "live" and not self._begun:
            self._begun = True
            self._on_begin(self)
        while not self._queue and self.readyState == "live":
            self._filled.clear()
            await self._filled.wait()
        if self.readyState != "live":
            raise MediaStreamError
        return self._queue.popleft()

    def stop(self) -> None:
        """End the track; who waits in `recv` is told. Twice is fine."""
        was_live = self.readyState == "live"
        super().stop()
        self._queue.clear()
        self._filled.set()
        if was_live:
            self._on_end(self)

    def _put(self, packet: av.Packet[Any]) -> None:
        self._queue.append(packet)
        self._filled.set()


class SoundTrack(PacketTrack):
    """Opus packets of 20 ms. A viewer who does not read them in time loses the oldest."""

    kind = "audio"

    def __init__(self, *, on_begin: Callable[[PacketTrack], None], on_end: Callable[[PacketTrack], None]) -> None:
        super().__init__(on_begin=on_begin, on_end=on_end, depth=_MAX_SOUNDS)

    def offer(self, packet: av.Packet[Any]) -> None:
        """Hand a packet to the viewer."""
        if len(self._queue) >= self._depth:
            self._queue.popleft()
            self.dropped += 1
        self._put(packet)


class PictureTrack(PacketTrack):
    """Packets of one video codec. A viewer begins at a key frame, and after having been too slow begins again at one.

    Args:
        codec: `VP8` or `H264`.
        on_begin: see `PacketTrack`.
        on_end: see `PacketTrack`.
        on_key_wanted: called when only a key frame helps.
        depth: pictures that may wait.
    """

    kind = "video"

    def __init__(
        self,
        codec: Codec,
        *,
        on_begin: Callable[[PacketTrack], None],
        on_end: Callable[[PacketTrack], None],
        on_key_wanted: Callable[[], None],
        depth: int = _MAX_PICTURES,
    ) -> None:
        super().__init__(on_begin=on_begin, on_end=on_end, depth=depth)
        self.codec = codec
        self.request_key_frame = on_key_wanted
        self._needs_key = True

    def offer(self, packet: av.Packet[Any], *, is_key: bool) -> None:
        """Hand a picture to the viewer, unless one before it is missing."""
        if len(self._queue) >= self._depth:
            self.dropped += len(self._queue)
            self._queue.clear()
            self._needs_key = True
        if self._needs_key and not is_key:
            self.dropped += 1
            self.request_key_frame()
            return
        self._needs_key = False
        self._put(packet)
