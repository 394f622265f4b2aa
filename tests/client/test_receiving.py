import asyncio

import pytest
from aiortc.rtp import RtcpSenderInfo, RtcpSrPacket, RtpPacket

from webrtc_avatar.client import receiving
from webrtc_avatar.client.receiving import AudioTap, Unwrapper, VideoTap


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now_s = 100.0

        def monotonic(self):
            return self.now_s

    clock = Clock()
    monkeypatch.setattr(receiving, "time", clock)
    return clock


class Receiver:
    """What a tap needs of an RTCRtpReceiver."""

    def __init__(self):
        self.nacks = []
        self.rtcp = []

    async def _send_rtcp_nack(self, ssrc, missing):
        self.nacks.append(missing)

    async def _handle_rtcp_packet(self, packet):
        self.rtcp.append(packet)


def packet(sequence, timestamp, data, *, last=True):
    made = RtpPacket(payload_type=96, sequence_number=sequence & 0xFFFF, timestamp=timestamp & 0xFFFFFFFF)
    made.marker = int(last)
    made._data = data
    return made


def video():
    frames = []
    return VideoTap(frames.append), frames


def test_a_frame_is_whole_at_its_marker_and_not_when_the_next_begins(clock):
    tap, frames = video()
    tap.add(packet(1, 0, b"a", last=False))
    assert not frames
    clock.now_s = 100.004
    tap.add(packet(2, 0, b"b"))
    assert [(frame.data, frame.arrived_s, frame.whole) for frame in frames] == [(b"ab", 100.004, True)]


def test_packets_out_of_order_are_put_in_order(clock):
    tap, frames = video()
    for sequence, last in [(65534, False), (0, True), (65535, False)]:
        tap.add(packet(sequence, 0, str(sequence).encode(), last=last))
    assert [frame.data for frame in frames] == [b"65534655350"]


def test_a_packet_sent_again_fills_its_hole(clock):
    tap, frames = video()
    tap.add(packet(1, 0, b"a"))
    tap.add(packet(3, 7200, b"c"))
    clock.now_s += 0.1
    assert [frame.data for frame in frames] == [b"a"]
    tap.add(packet(2, 3600, b"b"))
    assert [frame.data for frame in frames] == [b"a", b"b", b"c"]
    assert frames[2].arrived_s == pytest.approx(100.1)
    assert tap.lost == 0


async def test_a_hole_is_asked_for_again_every_40_ms(clock):
    tap, _ = video()
    receiver = Receiver()
    tap.attach(receiver)
    tap.add(packet(1, 0, b"a"))
    for number in range(4):
        tap.add(packet(4 + number, 3600 * number, b"c"))
        clock.now_s += 0.03
    await asyncio.gather(*tap._nacks)
    assert receiver.nacks == [[2, 3]]


def test_a_hole_that_stays_costs_its_frame_and_asks_for_a_key_frame(clock):
    tap, frames = video()
    tap.add(packet(1, 0, b"a"))
    tap.add(packet(3, 3600, b"x"))
    clock.now_s += 0.6
    wants_key_frame, _ = tap.add(packet(4, 7200, b"d"))
    assert wants_key_frame
    assert [frame.data for frame in frames] == [b"a", b"d"]
    assert not frames[1].whole
    assert tap.lost == 1


def test_sound_that_is_missing_is_given_up_after_two_later_packets(clock):
    packets = []
    tap = AudioTap(packets.append)
    for sequence in (1, 3, 4):
        tap.add(packet(sequence, sequence * 960, b"s"))
    assert [taken.timestamp // 960 for taken in packets] == [1]
    tap.add(packet(5, 5 * 960, b"s"))
    assert [taken.timestamp // 960 for taken in packets] == [1, 3, 4, 5]
    assert tap.lost == 1
    tap.add(packet(2, 2 * 960, b"late"))
    assert len(packets) == 4


async def test_sender_reports_are_kept_on_the_extended_clock(clock):
    tap, _ = video()
    receiver = Receiver()
    tap.attach(receiver)
    tap.add(packet(1, 0xFFFFFF00, b"a"))
    report = RtcpSrPacket(
        ssrc=1, sender_info=RtcpSenderInfo(ntp_timestamp=5 << 32, rtp_timestamp=0x100, packet_count=1, octet_count=1)
    )
    await receiver._handle_rtcp_packet(report)
    assert tap.reports.rtp == [0x100000100]
    assert tap.reports.ntp_s == [5.0]
    assert receiver.rtcp == [report]


def test_counters_are_extended_over_their_wrap_both_ways():
    unwrapper = Unwrapper(16)
    assert [unwrapper.extend(value) for value in (65535, 1, 0, 65534, 2)] == [65535, 65537, 65536, 65534, 65538]
