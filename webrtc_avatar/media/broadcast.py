"""From a session to its viewers: each tick is encoded once for each codec that somebody watches, and once as sound.

The picture and the first 20 ms of sound of a tick leave in the same turn of the event loop, the second 20 ms follow 20 ms
later. An RTCP sender report ties the time stamp of the last packet to the moment at which it left, so whatever lies between
picture and sound there is what receivers show as skew. Therefore the sound waits for the encoder (1 to 4 ms), but never
longer than `_PATIENCE_S`: a slow picture must not hurt the sound.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, Protocol

import av
from aiortc import MediaStreamTrack, RTCRtpSender
from aiortc.rtp import RTCP_PSFB_APP, AnyRtcpPacket, RtcpPsfbPacket, RtcpRrPacket, RtcpSrPacket, unpack_remb_fci

from webrtc_avatar.errors import SessionClosed
from webrtc_avatar.media.channel import Channel
from webrtc_avatar.media.opus import PACKET_SAMPLES, OpusEncoder
from webrtc_avatar.media.tracks import PacketTrack, PictureTrack, SoundTrack, sound_packet
from webrtc_avatar.media.video_encoder import Codec
from webrtc_avatar.metrics import Metrics
from webrtc_avatar.settings import Settings

if TYPE_CHECKING:
    from webrtc_avatar.session.subscription import Tick

log = logging.getLogger(__name__)

_PATIENCE_S = 0.020
"""The sound waits for its picture no longer than this."""
_HALF_S = 0.020


class Ticks(Protocol):
    """What a subscription does: give ticks one after the other until it is closed."""

    def __aiter__(self) -> AsyncIterator[Tick]:
        """Iterate over the ticks."""

    def close(self) -> None:
        """End the iteration."""


class TickSource(Protocol):
    """What a broadcast needs of a session."""

    def subscribe(self) -> Ticks:
        """Return the ticks from now on; `SessionClosed` if it has ended."""


class Broadcast:
    """Encodes one session for all its viewers. Lives on the event loop; encodes on `executor`.

    Nothing is subscribed, open or running while nobody watches.

    Args:
        session: where ticks come from.
        settings: bitrates and codecs.
        metrics: where encoders count their time.
        executor: threads that encode pictures; by default those of the event loop.
    """

    def __init__(
        self, session: TickSource, settings: Settings, metrics: Metrics, executor: Executor | None = None
    ) -> None:
        self._session = session
        self._settings = settings
        self._metrics = metrics
        self._executor = executor
        self._channels: dict[Codec, Channel] = {}
        self._sounds: set[SoundTrack] = set()
        self._opus: OpusEncoder | None = None
        self._second_half: tuple[asyncio.TimerHandle, av.Packet[Any]] | None = None
        self._pump: asyncio.Task[None] | None = None
        self._pumps: set[asyncio.Task[None]] = set()
        self._tracks: set[PacketTrack] = set()
        self._closed = False

    @property
    def open_encoders(self) -> int:
        """Video encoders that are open now: one for each codec that is watched."""
        return sum(channel.is_open for channel in self._channels.values())

    def video(self, codec: Codec) -> PictureTrack:
        """Return a new track for a viewer of the pictures, in packets of `codec`.

        Raises:
            SessionClosed: the broadcast has ended.
        """
        self._refuse_if_closed()
        channel = self._channels.get(codec)
        if channel is None:
            channel = Channel(codec, settings=self._settings, metrics=self._metrics, executor=self._executor)
            self._channels[codec] = channel
        track = PictureTrack(codec, on_begin=self._begin, on_end=self._end, on_key_wanted=channel.request_key_frame)
        self._tracks.add(track)
        return track

    def audio(self) -> SoundTrack:
        """Return a new track for a viewer of the sound, in packets of Opus.

        Raises:
            SessionClosed: the broadcast has ended.
        """
        self._refuse_if_closed()
        track = SoundTrack(on_begin=self._begin, on_end=self._end)
        self._tracks.add(track)
        return track

    def bind(self, sender: RTCRtpSender, track: MediaStreamTrack) -> None:
        """Let a viewer's RTCP reach the shared encoder: key-frame requests, bandwidth estimates and losses.

        Args:
            sender: the sender of `track`; to be bound before it sends.
            track: what `video` returned; anything else has nothing to bind.
        """
        if not isinstance(track, PictureTrack):
            return
        channel = self._channels[track.codec]
        handle = sender._handle_rtcp_packet

        async def listen(packet: AnyRtcpPacket) -> None:
            if isinstance(packet, RtcpPsfbPacket) and packet.fmt == RTCP_PSFB_APP:
                try:
                    bitrate_bps, sources = unpack_remb_fci(packet.fci)
                except ValueError:
                    return
                if sender._ssrc in sources and track in channel.viewers:
                    channel.bitrate.estimate(track, bitrate_bps)
            elif isinstance(packet, RtcpRrPacket | RtcpSrPacket):
                for report in packet.reports:
                    if report.ssrc == sender._ssrc and track in channel.viewers:
                        channel.bitrate.loss(track, report.fraction_lost / 256, time.monotonic())
            await handle(packet)

        sender._handle_rtcp_packet = listen  # type: ignore[method-assign]
        sender._send_keyframe = channel.request_key_frame  # type: ignore[method-assign]

    async def aclose(self) -> None:
        """End all tracks and wait for what is being encoded. Twice is fine."""
        self._closed = True
        for track in list(self._tracks):
            track.stop()
        self._tracks.clear()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        for channel in self._channels.values():
            await channel.aclose()

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise SessionClosed("the session has ended; open a new one with POST /offer")

    def _begin(self, track: PacketTrack) -> None:
        if isinstance(track, PictureTrack):
            self._channels[track.codec].join(track)
        elif isinstance(track, SoundTrack):
            self._sounds.add(track)
        if self._pump is None and not self._closed:
            self._pump = asyncio.create_task(self._run(), name="broadcast")
            self._pumps.add(self._pump)
            self._pump.add_done_callback(self._pumps.discard)

    def _end(self, track: PacketTrack) -> None:
        self._tracks.discard(track)
        if isinstance(track, PictureTrack):
            self._channels[track.codec].leave(track)
        elif isinstance(track, SoundTrack):
            self._sounds.discard(track)
        if not self._is_watched and self._pump is not None:
            self._pump.cancel()
            self._pump = None

    @property
    def _is_watched(self) -> bool:
        return bool(self._sounds) or any(channel.viewers for channel in self._channels.values())

    async def _run(self) -> None:
        try:
            ticks = self._session.subscribe()
        except SessionClosed:
            self._end_all()
            return
        try:
            async for tick in ticks:
                await self._send(tick)
            self._end_all()
        finally:
            ticks.close()
            if self._second_half is not None:
                self._second_half[0].cancel()
                self._second_half = None
            self._opus = None

    async def _send(self, tick: Tick) -> None:
        jobs = [job for channel in self._channels.values() if (job := channel.encode(tick)) is not None]
        sounds = self._encode_sound(tick) if self._sounds else None
        if jobs:
            await asyncio.wait(jobs, timeout=_PATIENCE_S)
        for channel in self._channels.values():
            channel.release()
        if sounds is not None:
            self._send_sound(*sounds)

    def _encode_sound(self, tick: Tick) -> tuple[av.Packet[Any], av.Packet[Any]]:
        """Encode 40 ms on the event loop: 0.2 ms, less than a thread and back."""
        started_s = time.monotonic()
        if self._opus is None:
            self._opus = OpusEncoder(self._settings.audio_bitrate_bps)
        halves = (tick.sound[:PACKET_SAMPLES], tick.sound[PACKET_SAMPLES:])
        first, second = (sound_packet(self._opus.encode(sound), tick.index, half) for half, sound in enumerate(halves))
        self._metrics.stage_run.labels("encode_audio").observe(time.monotonic() - started_s)
        return first, second

    def _send_sound(self, first: av.Packet[Any], second: av.Packet[Any]) -> None:
        if self._second_half is not None:
            self._second_half[0].cancel()
            self._send_second_half()
        for track in self._sounds:
            track.offer(first)
        timer = asyncio.get_running_loop().call_later(_HALF_S, self._send_second_half)
        self._second_half = (timer, second)

    def _send_second_half(self) -> None:
        if self._second_half is None:
            return
        packet, self._second_half = self._second_half[1], None
        for track in self._sounds:
            track.offer(packet)

    def _end_all(self) -> None:
        self._closed = True
        self._pump = None
        for track in list(self._tracks):
            track.stop()
        self._tracks.clear()
