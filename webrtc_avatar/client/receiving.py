"""What arrives at a peer, taken before any jitter buffer: whole frames by their marker bit, sound packet by packet.

aiortc's own buffers belong to the test peer and not to the server: its video buffer ends a frame when the next one
begins (40 ms at 25 fps), its audio buffer holds 60 ms. A tap takes the place of the buffer inside the receiver, so that
aiortc goes on doing RTCP (reports, NACK, bandwidth estimate) while every packet is seen at the moment it comes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiortc import RTCRtpReceiver
from aiortc.rtp import RtcpSrPacket, RtpPacket

_NTP_FRACTION = 1 << 32
_HOLE_PATIENCE_S = 0.5
_PLI_PAUSE_S = 0.5
_NACK_PAUSE_S = 0.04
_MOST_NACKED = 100
_LATE_PACKETS = 2


class Unwrapper:
    """Extends a counter that wraps at `1 << bits` to one that does not."""

    def __init__(self, bits: int) -> None:
        self._modulus = 1 << bits
        self._last: int | None = None

    def extend(self, value: int) -> int:
        """Return the extended value nearest to the previous one."""
        if self._last is None:
            self._last = value
            return value
        half = self._modulus // 2
        extended = self._last + (value - self._last + half) % self._modulus - half
        self._last = max(self._last, extended)
        return extended


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """A complete frame (or sound packet) as it came.

    Attributes:
        data: VP8 or Annex B H.264 (Opus for sound).
        timestamp: RTP timestamp, extended.
        arrived_s: when the last packet that it needed came, `time.monotonic()`.
        payload_type: RTP payload type.
        whole: false where frames before it are missing: only a key frame decodes.
    """

    data: bytes
    timestamp: int
    arrived_s: float
    payload_type: int
    whole: bool = True


@dataclass
class SenderReports:
    """The NTP and RTP times of a stream's RTCP sender reports (RFC 3550 section 6.4.1), in order of arrival.

    Attributes:
        rate_hz: the stream's RTP clock.
        ntp_s: seconds since 1900.
        rtp: extended RTP timestamps.
    """

    rate_hz: int
    ntp_s: list[float] = field(default_factory=list)
    rtp: list[int] = field(default_factory=list)

    def add(self, ntp_timestamp: int, rtp: int) -> None:
        """Keep one report; a report that repeats the one before (nothing sent since) is skipped."""
        ntp_s = ntp_timestamp / _NTP_FRACTION
        if rtp and (not self.rtp or rtp != self.rtp[-1]):
            self.ntp_s.append(ntp_s)
            self.rtp.append(rtp)


class Tap:
    """Stands in for the jitter buffer of one receiver and keeps its sender reports.

    Attributes:
        reports: the sender reports so far.
        packets: packets received, retransmissions included.
        lost: packets that never came, as far as known.
    """

    rate_hz = 0

    def __init__(self) -> None:
        self.reports = SenderReports(self.rate_hz)
        self.packets = 0
        self.lost = 0
        self._sequence = Unwrapper(16)
        self._timestamp = Unwrapper(32)

    def attach(self, receiver: RTCRtpReceiver) -> None:
        """Take the place of the receiver's jitter buffer, before packets flow."""
        internals: Any = receiver
        internals._RTCRtpReceiver__jitter_buffer = self
        handle = internals._handle_rtcp_packet

        async def handle_rtcp(packet: Any) -> None:
            if isinstance(packet, RtcpSrPacket):
                self._report(packet)
            await handle(packet)

        internals._handle_rtcp_packet = handle_rtcp

    def _report(self, packet: RtcpSrPacket) -> None:
        if self.packets:
            info = packet.sender_info
            self.reports.add(info.ntp_timestamp, self._timestamp.extend(info.rtp_timestamp))

    def add(self, packet: RtpPacket) -> tuple[bool, None]:
        """Take one packet; called by aiortc. Returns whether a key frame is to be asked for, and no frame."""
        self.packets += 1
        sequence = self._sequence.extend(packet.sequence_number)
        timestamp = self._timestamp.extend(packet.timestamp)
        return self._take(packet, sequence, timestamp, time.monotonic()), None

    def _take(self, packet: RtpPacket, sequence: int, timestamp: int, now_s: float) -> bool:
        raise NotImplementedError


def _payload(packet: RtpPacket) -> bytes:
    data: bytes = packet._data  # type: ignore[attr-defined]  # what aiortc's receiver left of the codec's payload
    return data


class VideoTap(Tap):
    """Puts packets in order and hands on each frame as soon as the packet with its marker bit is there.

    A hole is waited for: aiortc sends one NACK for it, and another only when more is lost; the tap repeats it every 40 ms
    as browsers do. After half a second the frames up to the hole are given up and a key frame is asked for.

    Args:
        on_frame: called on the event loop with each complete frame, in order.
    """

    rate_hz = 90_000

    def __init__(self, on_frame: Callable[[EncodedFrame], None]) -> None:
        super().__init__()
        self._on_frame = on_frame
        self._waiting: dict[int, tuple[RtpPacket, int]] = {}
        self._next: int | None = None
        self._scan = 0
        self._hole_s: float | None = None
        self._pli_s = 0.0
        self._nack_s = 0.0
        self._receiver: Any = None
        self._nacks: set[asyncio.Task[None]] = set()
        self._whole = True
        self.want_key_frame = False

    def _take(self, packet: RtpPacket, sequence: int, timestamp: int, now_s: float) -> bool:
        if self._next is None:
            self._next = self._scan = sequence
        if sequence >= self._next:
            self._waiting[sequence] = (packet, timestamp)
            self._assemble(now_s)
        newest = max(self._waiting, default=-1)
        if newest < self._scan:
            self._hole_s = None
        elif self._hole_s is None:
            self._hole_s = self._nack_s = now_s
        elif now_s - self._hole_s > _HOLE_PATIENCE_S:
            self._skip_hole(now_s)
        elif now_s - self._nack_s > _NACK_PAUSE_S:
            self._nack_s = now_s
            self._repeat_nack(packet.ssrc, newest)
        return self._pli(now_s)

    def attach(self, receiver: RTCRtpReceiver) -> None:
        """See `Tap.attach`."""
        super().attach(receiver)
        self._receiver = receiver

    def _repeat_nack(self, ssrc: int, newest: int) -> None:
        missing = [n & 0xFFFF for n in range(self._scan, newest) if n not in self._waiting]
        if self._receiver is not None and missing:
            task = asyncio.ensure_future(self._receiver._send_rtcp_nack(ssrc, missing[:_MOST_NACKED]))
            self._nacks.add(task)
            task.add_done_callback(self._nacks.discard)

    def _assemble(self, now_s: float) -> None:
        assert self._next is not None
        while (entry := self._waiting.get(self._scan)) is not None:
            packet, timestamp = entry
            self._scan += 1
            if not packet.marker:
                continue
            parts = [_payload(self._waiting.pop(n)[0]) for n in range(self._next, self._scan)]
            self._next = self._scan
            self._hole_s = None
            self._on_frame(EncodedFrame(b"".join(parts), timestamp, now_s, packet.payload_type, self._whole))
            self._whole = True

    def _skip_hole(self, now_s: float) -> None:
        """Give up the frame with the hole: go on after the next marker behind it, or at the next packet."""
        assert self._next is not None
        marker = next((n for n in sorted(self._waiting) if n > self._scan and self._waiting[n][0].marker), None)
        if marker is None:
            return
        self.lost += sum(n not in self._waiting for n in range(self._next, marker))
        for n in [n for n in self._waiting if n <= marker]:
            del self._waiting[n]
        self._next = self._scan = marker + 1
        self._hole_s = None
        self._whole = False
        self.want_key_frame = True
        self._assemble(now_s)

    def _pli(self, now_s: float) -> bool:
        if self.want_key_frame and now_s - self._pli_s > _PLI_PAUSE_S:
            self._pli_s = now_s
            self.want_key_frame = False
            return True
        return False


class AudioTap(Tap):
    """Hands on each Opus packet in order; one that is missing when two later ones have come is given up.

    Args:
        on_packet: called on the event loop with each packet, timestamps rising.
    """

    rate_hz = 48_000

    def __init__(self, on_packet: Callable[[EncodedFrame], None]) -> None:
        super().__init__()
        self._on_packet = on_packet
        self._waiting: dict[int, EncodedFrame] = {}
        self._next: int | None = None

    def _take(self, packet: RtpPacket, sequence: int, timestamp: int, now_s: float) -> bool:
        if self._next is None:
            self._next = sequence
        data = _payload(packet)
        if sequence >= self._next:
            self._waiting[sequence] = EncodedFrame(data, timestamp, now_s, packet.payload_type)
        while self._waiting:
            if self._next not in self._waiting:
                if len(self._waiting) <= _LATE_PACKETS:
                    break
                self.lost += min(self._waiting) - self._next
                self._next = min(self._waiting)
            whole = self._waiting.pop(self._next)
            self._next += 1
            if whole.data:
                self._on_packet(whole)
        return False
