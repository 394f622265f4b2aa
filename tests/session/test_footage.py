"""Sessions of footage beside those of drawn avatars: nothing that goes wrong with a picture stops the clock."""

import asyncio

import numpy as np
import pytest

from tests.avatar import footage_parts as parts
from tests.session.conftest import Host, numbered_chunk, speak
from webrtc_avatar.avatar.library import Library, default_folders
from webrtc_avatar.engine import Face
from webrtc_avatar.engine.runtime.onnx import OnnxRuntime
from webrtc_avatar.session.performer import Slot


@pytest.fixture
async def stage(tmp_path):
    """A host whose library has footage, and whose networks really run."""
    avatar = parts.make_footage(tmp_path / "painted", count=20)
    host = Host()
    host.manager._library = Library([tmp_path, *default_folders()], shipped=False)
    host.engine = type(host.engine)(host.settings, host.metrics, runtime=OnnxRuntime(threads=1))
    host.manager._engine = host.engine
    host.engine.start()
    yield host, avatar
    await host.aclose()


async def keep(subscription, kept, what):
    """Note something of every tick."""
    async for tick in subscription:
        kept += [what(tick)]


async def test_faces_of_the_former_avatar_are_never_put_into_footage(stage):
    host, _ = stage
    session = await host.manager.create("iris")
    face = asyncio.get_running_loop().create_future()
    face.set_result(Face(index=0, epoch=0, crop=np.zeros((240, 224), np.uint8)))
    waiting = Slot(index=0, chunk=numbered_chunk(0), epoch=0, voiced=True, face=face)
    session._ready.append(waiting)
    await session.set_avatar("painted")
    assert waiting.face is None


async def test_the_clock_goes_on_through_changes_between_drawn_and_filmed_avatars(stage):
    host, _ = stage
    session = await host.manager.create("iris")
    events, shapes = [], []
    session.listen(events.append)
    session.start()
    watcher = asyncio.create_task(keep(session.subscribe(), shapes, lambda tick: tick.frame.shape))
    speaking = asyncio.create_task(speak(session, range(60)))
    for name in ("painted", "iris", "painted"):
        await asyncio.sleep(0.4)
        await session.set_avatar(name)
    await speaking
    watcher.cancel()
    assert [event for event in events if event["type"] == "error"] == []
    assert {(768, 512), (180, 160)} <= set(shapes)
    assert shapes[-1] == (180, 160)
    assert len(shapes) > 20


async def test_a_damaged_frame_of_footage_is_told_and_the_picture_stays(stage):
    host, avatar = stage
    for number in range(5, 20):
        (avatar.folder / "frames" / f"{number:06d}.png").write_bytes(b"no picture")
    session = await host.manager.create("painted")
    events, frames = [], []
    session.listen(events.append)
    session.start()
    watcher = asyncio.create_task(keep(session.subscribe(), frames, lambda tick: tick.frame))
    await speak(session, range(35), loud=False)
    watcher.cancel()
    faults = [event for event in events if event["type"] == "error"]
    assert faults
    assert all("frames/0000" in fault["message"] for fault in faults)
    assert len(frames) > 10
    assert np.array_equal(frames[-1], frames[-2])
