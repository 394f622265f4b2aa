"""Real aiortc viewers watch a broadcast over loopback: pictures decode, key frames come when asked for, bitrates follow."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import numpy as np
from aiortc import RTCPeerConnection
from aiortc.rtp import RTCP_PSFB_APP, RTCP_PSFB_PLI, RtcpPsfbPacket, RtcpReceiverInfo, RtcpRrPacket, pack_remb_fci

from tests.media.peers import TickingSession, connect, place_of, prefer
from webrtc_avatar.media.broadcast import Broadcast
from webrtc_avatar.metrics import Metrics
from webrtc_avatar.settings import Settings


def working_threads():
    """Return the names of all threads but those that every event loop keeps for looking up addresses."""
    return sorted(thread.name for thread in threading.enumerate() if not thread.name.startswith("asyncio_"))


class Viewer:
    """A peer that watches, and the server's peer that sends to it."""

    def __init__(self, broadcast, codec):
        self.server, self.client = RTCPeerConnection(), RTCPeerConnection()
        self.codec = codec
        self.tracks = {}
        self.client.on("track", lambda track: self.tracks.update({track.kind: track}))
        picture = broadcast.video(codec)
        self.sender = self.server.addTrack(picture)
        broadcast.bind(self.sender, picture)
        self.server.addTrack(broadcast.audio())
        prefer(self.server, "video", codec)
        prefer(self.server, "audio", "opus")

    async def connect(self):
        await connect(self.server, self.client)

    async def pictures(self, count):
        return [await asyncio.wait_for(self.tracks["video"].recv(), 10) for _ in range(count)]

    async def sounds(self, count):
        return [await asyncio.wait_for(self.tracks["audio"].recv(), 10) for _ in range(count)]

    async def report(self, packet):
        """Send RTCP from the client to the server's sender, which hears no other estimates from now on."""
        receiver = self.client.getTransceivers()[0].receiver
        receiver._RTCRtpReceiver__remote_bitrate_estimator = None
        await self.client.getTransceivers()[0].receiver.transport._send_rtp(bytes(packet))

    async def aclose(self):
        await asyncio.gather(self.server.close(), self.client.close())


@asynccontextmanager
async def watching(*codecs):
    """Yield a broadcast, its session and connected viewers of these codecs; afterwards no thread or task may be left."""
    threads, tasks = working_threads(), asyncio.all_tasks()
    session = TickingSession()
    executor = ThreadPoolExecutor(1)
    broadcast = Broadcast(session, settings=Settings(), metrics=Metrics(), executor=executor)
    session.start()
    viewers = []
    try:
        for codec in codecs:
            viewers.append(Viewer(broadcast, codec))
            await viewers[-1].connect()
        yield broadcast, viewers
    finally:
        for viewer in viewers:
            await viewer.aclose()
        assert broadcast.open_encoders == 0
        await broadcast.aclose()
        await session.aclose()
        executor.shutdown()
    assert working_threads() == threads
    assert {task for task in asyncio.all_tasks() - tasks if "broadcast" in task.get_name()} == set()


async def test_two_viewers_of_vp8_and_one_of_h264_see_and_hear_the_same():
    async with watching("VP8", "H264", "VP8") as (broadcast, viewers):
        shown = await asyncio.gather(*(viewer.pictures(20) for viewer in viewers))
        assert broadcast.open_encoders == 2
        for pictures in shown:
            places = [place_of(picture.to_ndarray()[:512]) for picture in pictures]
            steps = np.diff(places) % 24
            assert list(steps) == [step // 3600 for step in np.diff([picture.pts for picture in pictures])]
            assert np.median(steps) == 1
        heard = await viewers[2].sounds(20)
        assert max(np.abs(sound.to_ndarray()).max() for sound in heard) > 3000


async def test_a_picture_loss_indication_brings_a_key_frame():
    async with watching("VP8") as (broadcast, (viewer,)):
        await viewer.pictures(5)
        channel = broadcast._channels["VP8"]
        count = channel._metrics.key_frames.labels("VP8")._value.get
        before = count()
        await viewer.report(RtcpPsfbPacket(fmt=RTCP_PSFB_PLI, ssrc=1, media_ssrc=viewer.sender._ssrc))
        await broadcast._session.after(10)
        assert count() == before + 1


async def test_the_least_of_the_viewers_estimates_decides_until_that_viewer_leaves():
    async with watching("H264", "H264") as (broadcast, viewers):
        await asyncio.gather(*(viewer.pictures(5) for viewer in viewers))
        channel = broadcast._channels["H264"]
        for viewer, bitrate_bps in zip(viewers, (260_000, 700_000), strict=True):
            fci = pack_remb_fci(bitrate_bps, [viewer.sender._ssrc])
            await viewer.report(RtcpPsfbPacket(fmt=RTCP_PSFB_APP, ssrc=1, media_ssrc=0, fci=fci))
        await broadcast._session.after(10)
        assert abs(channel._encoder.bitrate_bps - 260_000) < 1000
        await viewers[0].aclose()
        await broadcast._session.after(10)
        assert abs(channel._encoder.bitrate_bps - 700_000) < 2000


async def test_reported_loss_lowers_the_bitrate():
    async with watching("H264") as (broadcast, (viewer,)):
        await viewer.pictures(3)
        report = RtcpReceiverInfo(
            ssrc=viewer.sender._ssrc, fraction_lost=128, packets_lost=50, highest_sequence=1, jitter=0, lsr=0, dlsr=0
        )
        before = broadcast._channels["H264"].bitrate.target_bps
        await viewer.report(RtcpRrPacket(ssrc=1, reports=[report]))
        await broadcast._session.after(10)
        assert broadcast._channels["H264"].bitrate.target_bps <= before * 0.76
