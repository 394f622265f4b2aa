"""Two aiortc peers in one process that send to each other over loopback, and a session that ticks without an avatar."""

from __future__ import annotations

import asyncio
import time
import wave

import numpy as np
import soxr
from aiortc import RTCPeerConnection, RTCRtpSender

from webrtc_avatar.errors import SessionClosed
from webrtc_avatar.session.subscription import Subscription, Tick


class TickingSession:
    """Gives ticks as a session does: 25 a second, a moving picture, a tone, until it is closed."""

    def __init__(self) -> None:
        self.index = 1000
        self.subscriptions: set[Subscription] = set()
        self.subscribed = 0
        self.was_subscribed = asyncio.Event()
        self.is_closed = False
        self._task: asyncio.Task[None] | None = None

    def subscribe(self) -> Subscription:
        if self.is_closed:
            raise SessionClosed("closed")
        subscription = Subscription(self.subscriptions.discard)
        self.subscriptions.add(subscription)
        self.subscribed += 1
        self.was_subscribed.set()
        return subscription

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    def tick(self, **changes) -> Tick:
        """Give one tick at once."""
        self.index += 1
        fields = {
            "index": self.index,
            "sound": tone(self.index),
            "frame": picture(self.index),
            "due_s": time.monotonic(),
        }
        tick = Tick(**{**fields, **changes})
        for subscription in list(self.subscriptions):
            subscription.put(tick)
        return tick

    async def after(self, count: int) -> None:
        """Return when so many ticks more have gone out."""
        subscription = self.subscribe()
        async for _ in subscription:
            count -= 1
            if count == 0:
                break
        subscription.close()

    async def _run(self) -> None:
        due_s = time.monotonic()
        while True:
            self.tick()
            due_s += 0.04
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))

    async def aclose(self) -> None:
        self.is_closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for subscription in list(self.subscriptions):
            subscription.close()


def picture(index: int) -> np.ndarray:
    """Return an I420 picture with a bright square whose place tells the index (modulo 24)."""
    frame = np.full((768, 512), 128, np.uint8)
    frame[:512] = np.add.outer(np.arange(512), np.arange(512)) // 8 % 128
    left = 16 + 20 * (index % 24)
    frame[200:264, left : left + 20] = 235
    return frame


def place_of(luma: np.ndarray) -> int:
    """Return index modulo 24 of a decoded picture's luma (512, 512)."""
    left = int(np.argmax(np.convolve(luma[200:264].mean(axis=0), np.ones(20), "valid")))
    return round((left - 16) / 20)


def tone(index: int) -> np.ndarray:
    """Return 40 ms of a continuous tone, int16 (1920,)."""
    at = np.arange(1920) + 1920 * (index % 25)
    return np.rint(6000 * np.sin(2 * np.pi * 440 * at / 48_000)).astype(np.int16)


def speech(path) -> np.ndarray:
    """Return a recording as int16 (n,) at 48 kHz, n a multiple of 960."""
    with wave.open(str(path)) as file:
        sound = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        rate_hz = file.getframerate()
    sound = soxr.resample(sound.astype(np.float32), rate_hz, 48_000)
    return np.clip(np.rint(sound), -32768, 32767).astype(np.int16)[: len(sound) // 960 * 960]


def lag_and_match(heard: np.ndarray, said: np.ndarray) -> tuple[int, float]:
    """Return by how many samples `heard` lags `said` and the normalised correlation at that lag."""
    size = 1 << (len(heard) + len(said)).bit_length()
    a, b = heard.astype(np.float64), said.astype(np.float64)
    correlation = np.fft.irfft(np.fft.rfft(a, size) * np.conj(np.fft.rfft(b, size)))
    lag = int(np.argmax(correlation))
    overlap = a[lag : lag + len(b)]
    norm = np.sqrt((overlap**2).sum() * (b[: len(overlap)] ** 2).sum())
    return lag, float(correlation[lag] / norm)


def prefer(pc: RTCPeerConnection, kind: str, name: str) -> None:
    """Let a peer negotiate one codec only."""
    for transceiver in pc.getTransceivers():
        if transceiver.kind == kind:
            capabilities = RTCRtpSender.getCapabilities(kind).codecs
            transceiver.setCodecPreferences([codec for codec in capabilities if codec.name == name])


async def connect(sending: RTCPeerConnection, receiving: RTCPeerConnection) -> None:
    """Connect two peers; the first makes the offer."""
    connected = [asyncio.Event(), asyncio.Event()]
    for pc, event in zip((sending, receiving), connected, strict=True):
        pc.on("connectionstatechange", lambda pc=pc, event=event: pc.connectionState == "connected" and event.set())
    await sending.setLocalDescription(await sending.createOffer())
    await receiving.setRemoteDescription(sending.localDescription)
    await receiving.setLocalDescription(await receiving.createAnswer())
    await sending.setRemoteDescription(receiving.localDescription)
    await asyncio.gather(*(asyncio.wait_for(event.wait(), 20) for event in connected))
