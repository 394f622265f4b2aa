"""A small real server for tests of the peer: it draws a mouth that follows the received sound with a known delay.

Every picture is one of 24 VP8 key frames made beforehand, and the sound goes back as it came, so nothing but the
delays that a test asks for lies between what is sent and what returns.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from fractions import Fraction

import av
import numpy as np
from aiohttp import web
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription

from webrtc_avatar.client import measure
from webrtc_avatar.client.receiving import AudioTap, EncodedFrame

LEVELS = 24
BOX_CENTRE = (256, 320)


def face(opening: float) -> np.ndarray:
    """Return an I420 frame uint8 (768, 512): skin, and lips `16 + 28 * opening` pixels high."""
    y, x = np.mgrid[0:512, 0:512]
    lips = ((x - BOX_CENTRE[0]) / 44) ** 2 + ((y - BOX_CENTRE[1]) / (8 + 14 * opening)) ** 2 < 1
    luma = np.where(lips, 120, 150).astype(np.uint8)
    u = np.where(lips[::2, ::2], 105, 110).astype(np.uint8)
    v = np.where(lips[::2, ::2], 165, 150).astype(np.uint8)
    return np.concatenate([luma.ravel(), u.ravel(), v.ravel()]).reshape(768, 512)


def key_frames() -> list[bytes]:
    """Return the faces as VP8 key frames, closed to open."""
    encoded = []
    for step in range(LEVELS):
        encoder = av.CodecContext.create("libvpx", "w")
        encoder.width = encoder.height = 512
        encoder.pix_fmt = "yuv420p"
        encoder.bit_rate = 4_000_000
        encoder.time_base = Fraction(1, 25)
        encoder.thread_count = 1
        encoder.options = {"deadline": "realtime", "cpu-used": "-6", "lag-in-frames": "0"}
        frame = av.VideoFrame.from_ndarray(face(step / (LEVELS - 1)), format="yuv420p")
        frame.pts = 0
        encoded.append(b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)]))
    return encoded


class TimedTrack(MediaStreamTrack):
    """Returns each packet at its time."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        super().__init__()
        self.queue: asyncio.Queue[tuple[float, av.Packet]] = asyncio.Queue()

    async def recv(self) -> av.Packet:
        due_s, packet = await self.queue.get()
        await asyncio.sleep(max(0.0, due_s - time.monotonic()))
        return packet


class EchoServer:
    """One session at a time; `delay_s` from a chunk's last packet to its picture, `skew_s` more for the picture."""

    def __init__(self, *, delay_s: float = 0.2, skew_s: float = 0.0, answer: web.Response | None = None) -> None:
        self.delay_s, self.skew_s, self.answer = delay_s, skew_s, answer
        self.connections: set[RTCPeerConnection] = set()
        self.ended: list[str] = []
        self.received: list[str] = []
        self._faces = key_frames()

    @asynccontextmanager
    async def running(self):
        app = web.Application()
        app.router.add_post("/offer", self._offer)
        app.router.add_delete("/api/sessions/{id}", self._end)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            for connection in self.connections:
                await connection.close()
            await runner.cleanup()

    async def _offer(self, request: web.Request) -> web.Response:
        if self.answer is not None:
            return self.answer
        body = await request.json()
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.connections.add(connection)
        picture, sound = TimedTrack("video"), TimedTrack("audio")
        mouth = _Mouth(self, picture, sound)

        @connection.on("datachannel")
        def on_channel(channel) -> None:
            channel.send('{"type": "state", "state": "idle"}')
            channel.on("message", self.received.append)

        await connection.setRemoteDescription(RTCSessionDescription(body["sdp"], "offer"))
        for transceiver in connection.getTransceivers():
            transceiver.sender.replaceTrack(picture if transceiver.kind == "video" else sound)
            transceiver.direction = "sendonly" if transceiver.kind == "video" else "sendrecv"
            if transceiver.kind == "audio":
                AudioTap(mouth.hear).attach(transceiver.receiver)
        await connection.setLocalDescription(await connection.createAnswer())
        return web.json_response({"sdp": connection.localDescription.sdp, "type": "answer", "session_id": "echo-1"})

    async def _end(self, request: web.Request) -> web.Response:
        self.ended.append(request.match_info["id"])
        return web.Response(status=204)


class _Mouth:
    """Pairs packets to chunks, and sends each chunk's sound and picture together."""

    def __init__(self, server: EchoServer, picture: TimedTrack, sound: TimedTrack) -> None:
        self._server, self._picture, self._sound = server, picture, sound
        self._decoder = av.CodecContext.create("libopus", "r")
        self._decoder.sample_rate = 48000
        self._decoder.layout = "mono"
        self._decoder.format = "s16"
        self._chunk: list[bytes] = []
        self._heard: list[np.ndarray] = []
        self._count = 0
        self._origin_s = 0.0

    def hear(self, packet: EncodedFrame) -> None:
        self._heard += [f.to_ndarray().reshape(-1) for f in self._decoder.decode(av.Packet(packet.data))]
        self._chunk.append(packet.data)
        if len(self._chunk) < 2:
            return
        samples = np.concatenate(self._heard)
        if self._count == 0:
            self._origin_s = packet.arrived_s
        due_s = self._origin_s + self._count * 0.04 + self._server.delay_s
        level = float(measure.loudness(measure.level_dbfs(samples)).mean())
        self._put(self._picture, due_s + self._server.skew_s, self._server._faces[round(level * (LEVELS - 1))], 3600)
        for part, data in enumerate(self._chunk):
            self._put(self._sound, due_s + part * 0.02, data, 960, 2 * self._count + part)
        self._count += 1
        self._chunk, self._heard = [], []

    def _put(self, track: TimedTrack, due_s: float, data: bytes, duration: int, index: int | None = None) -> None:
        packet = av.Packet(data)
        packet.pts = duration * (self._count if index is None else index)
        packet.time_base = Fraction(1, 90000 if track.kind == "video" else 48000)
        track.queue.put_nowait((due_s, packet))
