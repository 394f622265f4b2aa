"""Sessions of the shipped avatar, on a runtime whose networks can be slowed down or broken on purpose."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from webrtc_avatar.audio.chunk import CHUNK_S, SOUND_SAMPLES, Chunk
from webrtc_avatar.avatar.library import Library, default_folders
from webrtc_avatar.engine import Engine
from webrtc_avatar.metrics import Metrics
from webrtc_avatar.session import SessionManager
from webrtc_avatar.settings import Settings


class StandInRuntime:
    """The shapes of the shipped networks without their weights; counts calls, waits or fails when told to."""

    name = "stand-in"

    def __init__(self):
        self.calls = 0
        self.allowed = threading.Event()
        self.allowed.set()
        self.fail = False

    def load(self, path, architecture):
        return self.ear if architecture == "speech_tcn" else self.mouth

    def ear(self, inputs):
        self.calls += 1
        self.allowed.wait(5)
        if self.fail:
            raise RuntimeError("broken on purpose")
        batch = len(inputs["mel"])
        return {"weights": np.zeros((batch, 4, 12), np.float32), "visemes": np.zeros((batch, 4, 16), np.float32)}

    def mouth(self, inputs):
        return {"crop": np.full((len(inputs["weights"]), 240, 224), 255, np.uint8)}


class Host:
    """A manager with everything it needs, and a way to feed sound in real time."""

    def __init__(self, **settings):
        self.settings = Settings(idle_seed=1, **settings)
        self.metrics = Metrics()
        self.runtime = StandInRuntime()
        self.engine = Engine(self.settings, self.metrics, runtime=self.runtime)
        self.pool = ThreadPoolExecutor(2)
        self.manager = SessionManager(
            settings=self.settings,
            library=Library(default_folders()),
            engine=self.engine,
            pool=self.pool,
            metrics=self.metrics,
        )

    async def open(self):
        session = await self.manager.create()
        self.runtime.calls = 0
        session.start()
        return session

    def outcome(self, name):
        return self.metrics.registry.get_sample_value("webrtc_avatar_frames_total", {"outcome": name}) or 0

    async def aclose(self):
        self.runtime.allowed.set()
        await self.manager.aclose("test over")
        self.engine.close()
        self.pool.shutdown()


@pytest.fixture
async def host():
    host = Host()
    host.engine.start()
    yield host
    await host.aclose()


def numbered_chunk(number, *, loud=True):
    """A chunk whose returned sound says which one it is."""
    loop_s = asyncio.get_running_loop().time()
    noise = np.random.default_rng(number).standard_normal(640) * (0.1 if loud else 0.0)
    return Chunk(
        samples=noise.astype(np.float32),
        sound=np.full(SOUND_SAMPLES, number, np.int16),
        media_time_s=number * CHUNK_S,
        arrived_s=loop_s,
    )


async def speak(session, numbers, *, loud=True):
    """Feed numbered chunks in real time."""
    loop = asyncio.get_running_loop()
    start_s = loop.time()
    for count, number in enumerate(numbers):
        await asyncio.sleep(max(0.0, start_s + count * CHUNK_S - loop.time()))
        session.feed(numbered_chunk(number, loud=loud))
