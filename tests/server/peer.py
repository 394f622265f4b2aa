"""A small aiortc peer that speaks real speech to a server and keeps what comes back."""

import asyncio
import fractions
import json
import time
import wave
from pathlib import Path

import av
import numpy as np
import soxr
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError

from tests.system_parts import SPEECH_FOLDER

RATE_HZ = 48_000
PACKET_SAMPLES = 960


def read_speech():
    """Read sentences from an audio book, int16 mono at 48 kHz."""
    with wave.open(str(sorted(Path(SPEECH_FOLDER).glob("*.wav"))[0])) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        return soxr.resample(samples.astype(np.float32) / 32768, file.getframerate(), RATE_HZ)


class SpeechTrack(MediaStreamTrack):
    """A microphone in front of which somebody reads, again and again."""

    kind = "audio"

    def __init__(self, samples):
        super().__init__()
        self._samples = np.clip(samples * 32767, -32768, 32767).astype(np.int16)
        self._count = 0
        self._start_s = None

    async def recv(self):
        if self.readyState != "live":
            raise MediaStreamError
        if self._start_s is None:
            self._start_s = time.monotonic()
        await asyncio.sleep(max(0.0, self._start_s + self._count * PACKET_SAMPLES / RATE_HZ - time.monotonic()))
        where = (self._count * PACKET_SAMPLES) % (len(self._samples) - PACKET_SAMPLES)
        frame = av.AudioFrame.from_ndarray(
            self._samples[None, where : where + PACKET_SAMPLES], format="s16", layout="mono"
        )
        frame.sample_rate = RATE_HZ
        frame.time_base = fractions.Fraction(1, RATE_HZ)
        frame.pts = self._count * PACKET_SAMPLES
        self._count += 1
        return frame


class Peer:
    """A browser tab, more or less: with a microphone, or watching only."""

    def __init__(self, client, speech=None):
        self.client = client
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.events = []
        self.pictures = []
        self.sounds = []
        self.session_id = None
        self.location = None
        self.offered_s = None
        self.first_picture_s = None
        self._news = asyncio.Condition()
        self._tasks = []
        self.control = None
        self.pc.on("track", self._on_track)
        if speech is not None:
            self.pc.addTransceiver(SpeechTrack(speech), "sendrecv")
            self.control = self.pc.createDataChannel("control")
            self.control.on("message", self._on_message)
        else:
            self.pc.addTransceiver("audio", "recvonly")
        self.pc.addTransceiver("video", "recvonly")

    async def offer(self):
        await self.pc.setLocalDescription()
        return self.pc.localDescription.sdp

    async def post_offer(self, **fields):
        """Send the offer; return the response."""
        body = {"sdp": await self.offer(), "type": "offer", **fields}
        self.offered_s = time.monotonic()
        return await self.client.post("/offer", json=body)

    async def join(self, **fields):
        """Start a session with the microphone; return its id."""
        response = await self.post_offer(**fields)
        answer = await response.json()
        assert response.status == 200, answer
        self.session_id = answer["session_id"]
        await self.pc.setRemoteDescription(RTCSessionDescription(answer["sdp"], "answer"))
        return self.session_id

    async def watch(self, session_id):
        """Watch a session over WHEP; return the response."""
        headers = {"Content-Type": "application/sdp"}
        response = await self.client.post(f"/whep/{session_id}", data=await self.offer(), headers=headers)
        if response.status == 201:
            self.location = response.headers["Location"]
            await self.pc.setRemoteDescription(RTCSessionDescription(await response.text(), "answer"))
        return response

    def send(self, message):
        self.control.send(message if isinstance(message, str) else json.dumps(message))

    async def until(self, holds, timeout_s=30):
        """Wait until `holds()` is true after something has arrived."""
        async with asyncio.timeout(timeout_s), self._news:
            await self._news.wait_for(holds)

    async def event(self, **wanted):
        """Wait for an event with these fields and return it, taking it and what came before off the list."""
        found = []

        def look():
            for number, event in enumerate(self.events):
                if wanted.items() <= event.items():
                    found.append(event)
                    del self.events[: number + 1]
                    return True
            return False

        await self.until(look)
        return found[0]

    async def vanish(self):
        """Lose the network without a goodbye: sockets are gone, nobody hears of it."""
        for transceiver in self.pc.getTransceivers():
            for protocol in transceiver.receiver.transport.transport._connection._protocols:
                protocol.transport.abort()

    async def aclose(self):
        await self.pc.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _on_track(self, track):
        self._tasks.append(asyncio.create_task(self._receive(track)))

    def _on_message(self, message):
        self.events.append(json.loads(message))
        self._tasks.append(asyncio.create_task(self._tell()))

    async def _receive(self, track):
        kept = self.pictures if track.kind == "video" else self.sounds
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            if track.kind == "video" and self.first_picture_s is None:
                self.first_picture_s = time.monotonic()
            kept.append(frame.to_ndarray())
            del kept[:-100]
            await self._tell()

    async def _tell(self):
        async with self._news:
            self._news.notify_all()
