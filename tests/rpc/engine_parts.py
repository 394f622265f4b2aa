"""A media server's hand on engines, and what to ask of it."""

import asyncio
import contextlib
import time

import numpy as np

from webrtc_avatar.engine import bulk
from webrtc_avatar.engine.remote import RemoteEngine
from webrtc_avatar.metrics import Metrics
from webrtc_avatar.settings import Settings

SOON_S = 20.0


@contextlib.asynccontextmanager
async def remote(*servers, **settings):
    """A media server's hand on engines."""
    addresses = [one if isinstance(one, str) else one.server.address for one in servers]
    engine = RemoteEngine(Settings(engines=addresses, **settings), Metrics())
    engine.start()
    try:
        async with asyncio.timeout(3 * SOON_S):
            yield engine
    finally:
        engine.close()
        await asyncio.gather(*engine._tasks)


async def loaded(engine, avatar):
    return await asyncio.wait_for(asyncio.wrap_future(engine.load(avatar)), SOON_S)


async def faces_of(engine, avatar, chunks, **options):
    """Return crops and errors of a sound's frames."""
    return [face async for face in bulk.frames(engine, avatar, chunks, **options)]


def assert_same(faces, others):
    assert [face.index for face in faces] == [face.index for face in others]
    for face, other in zip(faces, others, strict=True):
        assert face.error is None, face.error
        assert np.abs(face.crop.astype(int) - other.crop).max() <= 1
        assert np.allclose(face.weights, other.weights, atol=1e-4)


class Live:
    """A live stream: chunks go in, faces come into a queue."""

    def __init__(self, engine, avatar):
        self.faces = asyncio.Queue()
        self.stream = engine.open(avatar, self.faces.put_nowait)
        self.index = 0

    def say(self, samples, *, ask=True, epoch=0):
        deadline_s = time.monotonic() + SOON_S if ask else None
        self.stream.push(samples, index=self.index, deadline_s=deadline_s, epoch=epoch)
        self.index += 1

    async def face(self):
        return await asyncio.wait_for(self.faces.get(), SOON_S)
