"""The microphone's end: RTP packets of a remote audio track become 40 ms chunks.

aiortc's own way of a sound keeps four packets in a jitter buffer (60 ms) and stalls for a dozen after one that is lost.
So the sink takes the packets where aiortc would buffer them, puts them in order, decodes and fills the gaps itself;
aiortc goes on counting them for statistics and RTCP.

Everything runs on the event loop's thread: taking, decoding and resampling a packet takes 0.13 ms (median on a slow core;
0.21 ms at the 99th percentile), no more than handing it to a thread and back would.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from aiortc import MediaStreamTrack, RTCRtpReceiver
from aiortc.mediastreams import MediaStreamError
from aiortc.rtp import AnyRtcpPacket, RtcpSrPacket

from webrtc_avatar.audio.chunk import SOUND_RATE_HZ, Chunk, Sound
from webrtc_avatar.audio.chunker import LIVE_LEAD_IN, Chunker
from webrtc_avatar.media.opus import PACKET_SAMPLES, Concealer, OpusDecoder, packet_samples
from webrtc_avatar.media.reorder import ReorderBuffer
from webrtc_avatar.media.timeline import MediaTimeline
from webrtc_avatar.metrics import Metrics

log = logging.getLogger(__name__)

_JITTER_BUFFER = "_RTCRtpReceiver__jitter_buffer"
_CODECS = "_RTCRtpReceiver__codecs"

_PATIENCE_S = 0.060
"""A packet that is overdue by this is taken for DTX, mute or loss: silence begins to flow."""
_FILL_LAG_S = 0.040
"""Silence keeps this far behind the time at which packets would have come, so those that resume find their place free."""
_FAR_BEHIND_SAMPLES = SOUND_RATE_HZ // 5
"""Packets that come later than this do not hold silence back: their timestamps stood still while it flowed."""
_FIRST_PATIENCE_S = 0.100
"""How long the very first packet is waited for, counted from `start`."""
_STALL_S = 0.030
"""A timer that is late by this means that the event loop stood still: packets may wait in the socket, so they come first."""
_GRACE_S = 0.005
_MAX_CATCH_UP_S = 1.0
"""After a longer stall the silence that was missed is not made up for."""
_UNIT_S = PACKET_SAMPLES / SOUND_RATE_HZ
_NTP_UNIX_S = 2_208_988_800


@dataclass(frozen=True, slots=True)
class _Packet:
    timestamp: int
    payload: bytes


class _Tap:
    """Stands where a receiver keeps its jitter buffer and passes each packet on instead of keeping it."""

    capacity = 0

    def __init__(self, take: Callable[[Any], None]) -> None:
        self._take = take

    def add(self, packet: Any) -> tuple[bool, None]:
        """Take an `aiortc.rtp.RtpPacket`; never hand a frame to aiortc's decoder."""
        self._take(packet)
        return False, None


class MicrophoneSink:
    """Feeds a session from a remote audio track. Lives on one event loop.

    Args:
        feed: takes each chunk; called on the event loop's thread, chunks consecutive and without holes.
        loop: the event loop; the running one by default.
        metrics: where the time that a packet takes is counted.
        now: the clock, `time.monotonic` unless a test needs its own.

    Attributes:
        packets_received: packets that came, whatever became of them.
        packets_late: packets whose time had already been filled.
        packets_invalid: packets that were not Opus.
        samples_concealed: samples at 48 kHz that were filled in, silence during DTX or mute included.
        ntp_origin_s: the sender's wall clock (seconds since 1970) at media time 0, from its RTCP sender reports; None
            until one came.
    """

    def __init__(
        self,
        feed: Callable[[Chunk], None],
        *,
        loop: asyncio.AbstractEventLoop | None = None,
        metrics: Metrics | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._feed = feed
        self._loop = loop or asyncio.get_running_loop()
        self._metrics = metrics
        self._now = now
        self._decoder = OpusDecoder()
        self._concealer = Concealer()
        self._chunker = Chunker(lead_in=LIVE_LEAD_IN)
        self._timeline = MediaTimeline()
        self._reorder: ReorderBuffer[_Packet] = ReorderBuffer()
        self._receiver: RTCRtpReceiver | None = None
        self._reader: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._fill_s: float | None = None
        self._expected_s = 0.0
        self._stalled = False
        self._is_far_behind = False
        self._source: int | None = None
        self._opus_types: dict[int, bool] = {}
        self._started = False
        self._closed = False
        self._feed_failed = False
        self.packets_received = 0
        self.packets_late = 0
        self.packets_invalid = 0
        self.samples_concealed = 0
        self.ntp_origin_s: float | None = None

    @property
    def packets_lost(self) -> int:
        """Packets that never came, or came after they had been given up."""
        return self._reorder.lost + self._reorder.late

    def attach(self, receiver: RTCRtpReceiver) -> None:
        """Take the packets of `receiver`, as early as possible: before the answer is set is best."""
        self._receiver = receiver
        if hasattr(receiver, _JITTER_BUFFER):
            setattr(receiver, _JITTER_BUFFER, _Tap(self._take_rtp))
            self._listen_to_reports(receiver)
            return
        log.warning(
            "this aiortc has no %s; the sound is read from the track, about 60 ms later; install a version "
            "between 1.14 and 1.16 to avoid that",
            _JITTER_BUFFER,
        )
        self._reader = self._loop.create_task(self._read(receiver.track), name="microphone-reader")

    def start(self) -> None:
        """Let silence flow from now on if no packet comes. Twice is fine."""
        if self._started or self._closed:
            return
        self._started = True
        if self._fill_s is None:
            self._expected_s = self._now() + _FIRST_PATIENCE_S - _FILL_LAG_S
            self._fill_s = self._now() + _FIRST_PATIENCE_S
            self._arm()

    async def aclose(self) -> None:
        """Stop: no chunk is fed after this. Twice is fine."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    def receive(self, *, sequence: int, timestamp: int, payload: bytes, source: int = 0) -> None:
        """Take one RTP packet: 16-bit sequence number, 32-bit timestamp, Opus payload, synchronization source."""
        if self._closed:
            return
        now_s = self._now()
        self.packets_received += 1
        if source != self._source:
            if self._source is not None:
                self._reorder = ReorderBuffer()
                self._timeline.anew()
            self._source = source
        released = self._reorder.push(sequence, _Packet(timestamp, payload), now_s)
        for packet in released:
            self._play(packet, now_s)
        self._wait_for_next(now_s, packet_samples(payload) or PACKET_SAMPLES)
        if self._metrics is not None:
            self._metrics.stage_run.labels("sink").observe(self._now() - now_s)

    def _wait_for_next(self, now_s: float, samples: int) -> None:
        """Let silence flow if nothing follows what has just come, which lasts `samples` samples."""
        if not self._is_far_behind:
            self._expected_s = now_s + samples / SOUND_RATE_HZ
            self._fill_s = self._expected_s + _PATIENCE_S
        self._arm()

    def _take_rtp(self, packet: Any) -> None:
        """Take an `aiortc.rtp.RtpPacket` with its depayloaded data; nothing it holds may disturb aiortc's receiver."""
        try:
            if not self._is_opus(packet.payload_type):
                self.packets_invalid += 1
            elif packet._data:
                self.receive(
                    sequence=packet.sequence_number,
                    timestamp=packet.timestamp,
                    payload=packet._data,
                    source=packet.ssrc,
                )
        except Exception:
            log.exception("a packet of the microphone could not be taken")

    def _is_opus(self, payload_type: int) -> bool:
        known = self._opus_types.get(payload_type)
        if known is None:
            codec = getattr(self._receiver, _CODECS, {}).get(payload_type)
            known = codec is None or codec.name.lower() == "opus"
            self._opus_types[payload_type] = known
            if codec is not None and not known:
                log.warning("the microphone sends %s, which is ignored; expected audio/opus", codec.mimeType)
        return known

    def _play(self, packet: _Packet, now_s: float) -> None:
        sound = self._decoder.decode(packet.payload)
        if sound is None:
            self.packets_invalid += 1
        self._append(packet.timestamp, sound, packet_samples(packet.payload) or PACKET_SAMPLES, now_s)

    def _append(self, timestamp: int, sound: Sound | None, samples: int, now_s: float) -> None:
        """Put sound where its timestamp says; None is a packet of so many samples that could not be decoded."""
        length = samples if sound is None else len(sound)
        place = self._timeline.place(timestamp, length, now_s)
        self._is_far_behind = place.skip > _FAR_BEHIND_SAMPLES
        if place.gap:
            self._fill(place.gap, now_s)
        if place.skip >= length:
            self.packets_late += 1
        elif sound is None:
            self._fill(length - place.skip, now_s)
        else:
            self._concealer.heard(sound[place.skip :])
            self._push(sound[place.skip :], now_s, synthetic=False)

    def _fill(self, samples: int, now_s: float) -> None:
        self.samples_concealed += samples
        self._push(self._concealer.fill(samples), now_s, synthetic=True)

    def _push(self, sound: Sound, now_s: float, *, synthetic: bool) -> None:
        self._timeline.advance(len(sound))
        for chunk in self._chunker.push(sound, arrived_s=now_s, synthetic=synthetic):
            self._hand_over(chunk)

    def _hand_over(self, chunk: Chunk) -> None:
        if self._closed:
            return
        try:
            self._feed(chunk)
        except Exception:  # what the session makes of a chunk must not end the reception
            if not self._feed_failed:
                log.exception("a chunk was refused; further ones that are refused are not reported")
            self._feed_failed = True

    def _arm(self) -> None:
        """Set the one timer to what is due first: the end of a wait for a missing packet, or the next silence."""
        times = [time_s for time_s in (self._reorder.deadline_s, self._fill_s) if time_s is not None]
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if times and not self._closed:
            due_s = min(times)
            self._timer = self._loop.call_later(max(0.0, due_s - self._now()), self._on_time, due_s)

    def _on_time(self, due_s: float) -> None:
        self._timer = None
        now_s = self._now()
        if now_s - due_s > _STALL_S and not self._stalled:
            self._stalled = True
            self._timer = self._loop.call_later(_GRACE_S, self._on_time, now_s + _GRACE_S)
            return
        self._stalled = False
        for packet in self._reorder.expire(now_s):
            self._play(packet, now_s)
        if self._fill_s is not None and self._fill_s <= now_s:
            self._fill_silence(now_s)
        self._arm()

    def _fill_silence(self, now_s: float) -> None:
        """Let 20 ms pass on the sender's clock, and whatever of it is overdue one at a time, packets permitting."""
        if now_s - self._expected_s > _MAX_CATCH_UP_S:
            self._expected_s = now_s - _FILL_LAG_S
        self._fill(PACKET_SAMPLES, now_s)
        self._expected_s += _UNIT_S
        self._fill_s = self._expected_s + _FILL_LAG_S

    def _listen_to_reports(self, receiver: RTCRtpReceiver) -> None:
        """Read the sender's wall clock from its RTCP sender reports (RFC 3550, section 6.4.1)."""
        handle = receiver._handle_rtcp_packet

        async def listen(packet: AnyRtcpPacket) -> None:
            origin = self._timeline.origin
            if isinstance(packet, RtcpSrPacket) and packet.ssrc == self._source and origin is not None:
                info = packet.sender_info
                sent_s = info.ntp_timestamp / (1 << 32) - _NTP_UNIX_S
                position = self._timeline.unwrapped(info.rtp_timestamp) - origin
                if info.ntp_timestamp:
                    self.ntp_origin_s = sent_s - position / SOUND_RATE_HZ
            await handle(packet)

        receiver._handle_rtcp_packet = listen  # type: ignore[method-assign]

    async def _read(self, track: MediaStreamTrack) -> None:
        """Read decoded frames from a track instead of packets, where packets cannot be had."""
        while not self._closed:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            if not isinstance(frame, av.AudioFrame):
                continue
            now_s = self._now()
            stereo = frame.to_ndarray().reshape(-1, len(frame.layout.channels))
            sound = np.rint(stereo.mean(axis=1)).astype(np.int16)
            self._append((frame.pts or 0) % (1 << 32), sound, len(sound), now_s)
            self._wait_for_next(now_s, len(sound))
