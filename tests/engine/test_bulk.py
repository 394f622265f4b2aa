"""Frames for calls that are not a session: in order, bounded, cancelled at once, each fault its own."""

import asyncio
import contextlib
import itertools
from dataclasses import replace

import numpy as np
import pytest

from tests.engine.stand_ins import SOON_S, chunk, engine_of, package
from webrtc_avatar.audio.mel import log_mel
from webrtc_avatar.avatar.library import Library, default_folders
from webrtc_avatar.engine import Engine
from webrtc_avatar.engine.bulk import features, frames
from webrtc_avatar.errors import EngineFailure, FrameOutOfRange, InvalidAudio, NoFeatures
from webrtc_avatar.metrics import Metrics
from webrtc_avatar.settings import Settings

CHUNKS = [chunk(seed=i) for i in range(60)]
"""The stand-in model hears two chunks after a frame's own."""


@pytest.fixture
def rooms():
    with engine_of() as rooms:
        yield rooms


@pytest.fixture
def anna(tmp_path):
    return package(tmp_path, "anna")


async def collect(faces):
    return [face async for face in faces]


async def until(condition):
    async with asyncio.timeout(SOON_S):
        while not condition():  # noqa: ASYNC110, what is waited for happens on threads
            await asyncio.sleep(0.002)


async def test_every_chunk_gives_a_frame_in_order(rooms, anna):
    got = await collect(frames(rooms.engine, anna, CHUNKS))
    assert [face.index for face in got] == list(range(60))
    assert all(face.error is None and face.crop is not None for face in got)
    rows = log_mel(np.concatenate(CHUNKS))
    assert got[20].weights == pytest.approx(rows[4 * 20 + 10].mean(), abs=1e-3)
    assert np.mean([face.batch_size for face in got]) > 1.5


async def test_frames_that_are_not_wanted_cost_no_call_and_come_empty_in_their_place(rooms, anna):
    asked = []

    def wanted(frame):
        asked.append(frame)
        return frame in range(20, 30) or frame == 58

    got = await collect(frames(rooms.engine, anna, CHUNKS, wanted=wanted))
    assert asked == list(range(60))
    assert [face.index for face in got] == list(range(60))
    assert [face.index for face in got if face.crop is not None] == [*range(20, 30), 58]
    assert all(face.error is None for face in got)
    assert rooms.engine.status().frames == 11
    assert await collect(frames(rooms.engine, anna, CHUNKS[:5], wanted=lambda _: False)) == [
        replace(face, crop=None, weights=None, batch_size=0, wait_s=0.0, run_s=0.0) for face in got[:5]
    ]
    assert rooms.engine.status().frames == 11


async def test_chunks_may_come_late_and_one_by_one(rooms, anna):
    came = asyncio.Event()

    async def chunks():
        for samples in CHUNKS[:5]:
            yield samples
        came.set()
        await asyncio.sleep(0.02)
        yield CHUNKS[5]

    stream = frames(rooms.engine, anna, chunks())
    first = [await anext(stream) for _ in range(3)]
    assert came.is_set()
    assert [face.index for face in first] == [0, 1, 2]
    assert [face.index for face in await collect(stream)] == [3, 4, 5]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"first_chunk": 100}, range(100, 160)),
        ({"first_frame": 10}, range(10, 60)),
        ({"first_frame": 10, "frame_count": 5}, range(10, 15)),
        ({"frame_count": 60}, range(60)),
        ({"frame_count": 99}, range(60)),
        ({"frame_count": 0}, range(0)),
        ({"windowed": True, "first_chunk": -8}, range(45)),
        ({"windowed": True, "first_chunk": -8, "first_frame": 2, "frame_count": 40}, range(2, 42)),
        ({"first_frame": 70}, range(0)),
    ],
    ids=str,
)
async def test_which_frames_come(rooms, anna, options, expected):
    got = await collect(frames(rooms.engine, anna, CHUNKS, **options))
    assert [face.index for face in got] == list(expected)


@pytest.mark.parametrize("count", [0, 1, 2, 3])
async def test_a_sound_shorter_than_the_lookahead_gives_a_frame_a_chunk(rooms, anna, count):
    got = await collect(frames(rooms.engine, anna, CHUNKS[:count]))
    assert [face.index for face in got] == list(range(count))


async def test_nothing_is_rendered_that_was_not_asked_for(rooms, anna):
    await collect(frames(rooms.engine, anna, itertools.cycle(CHUNKS), first_frame=30, frame_count=7))
    model = rooms.models("anna")[0]
    assert sorted(model.bases)[-7:] == list(range(30, 37))
    assert not set(range(1, 30)) & set(model.bases)  # 0 is the warm-up's


async def test_frames_are_rendered_on_the_bases_asked_for(rooms, anna):
    await collect(frames(rooms.engine, anna, CHUNKS[:6], bases=lambda frame: 1000 + frame))
    await collect(frames(rooms.engine, anna, CHUNKS[:6], first_frame=2, bases=[7000, 7001, 7002, 7003]))
    await collect(features(rooms.engine, anna, [5, 5, 1], bases=[8000, 8001, 8002]))
    bases = set(rooms.models("anna")[0].bases)
    assert bases == {0, *range(1000, 1006), *range(7000, 7004), *range(8000, 8003)}


async def test_a_frame_before_the_first_chunk_is_refused(rooms, anna):
    with pytest.raises(InvalidAudio, match="frame 3 lies before the first chunk, 5"):
        await collect(frames(rooms.engine, anna, CHUNKS, first_chunk=5, first_frame=3))


async def test_a_bad_chunk_ends_the_call_with_the_numbers(rooms, anna):
    with pytest.raises(InvalidAudio, match=r"\(320,\)"):
        await collect(frames(rooms.engine, anna, [*CHUNKS[:5], np.zeros(320, np.float32)]))


async def test_what_the_sounds_source_raises_reaches_the_caller(rooms, anna):
    async def chunks():
        yield CHUNKS[0]
        raise OSError("the file ends here")

    with pytest.raises(OSError, match="ends here"):
        await collect(frames(rooms.engine, anna, chunks()))


async def test_no_more_sound_is_taken_than_faces_are(rooms, anna):
    taken = 0

    def endless():
        nonlocal taken
        for samples in itertools.cycle(CHUNKS):
            taken += 1
            yield samples

    async with contextlib.aclosing(frames(rooms.engine, anna, endless(), max_in_flight=10)) as faces:
        for _ in range(30):
            await anext(faces)
            await asyncio.sleep(0.001)
            assert taken <= 30 + 10 + 2 + 1
        status = rooms.engine.status()
        assert status.queued_bulk <= 10


async def test_closing_costs_nothing_more_than_the_call_under_way(rooms, anna):
    await asyncio.wrap_future(rooms.engine.load(anna))
    model = rooms.models("anna")[0]
    model.gate.clear()
    model.batches.clear()
    faces = frames(rooms.engine, anna, itertools.cycle(CHUNKS))
    waiting = asyncio.create_task(anext(faces))
    await until(lambda: rooms.engine.status().busy)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await faces.aclose()
    model.gate.set()
    assert [face.index for face in await collect(features(rooms.engine, anna, [7]))] == [7]
    assert len(model.batches) == 2
    assert model.batches[1] == 1
    assert rooms.engine.status().models[0].streams == 0


async def test_a_frame_that_fails_is_told_and_the_others_come(tmp_path):
    def fault(jobs):
        if any(job.base == 7 for job in jobs):
            raise RuntimeError("this frame cannot be drawn")

    with engine_of(options={"fault": fault}) as rooms:
        got = await collect(frames(rooms.engine, package(tmp_path, "anna"), CHUNKS))
    assert [face.index for face in got if face.error is not None] == [7]
    assert [face.index for face in got] == list(range(60))


async def test_frames_by_number_come_as_asked_for_and_a_wrong_number_fails_alone(tmp_path):
    with engine_of(options={"frame_count": 100}) as rooms:
        asked = [5, 99, 5, -1, 0, 100, 42]
        got = await collect(features(rooms.engine, package(tmp_path, "anna"), asked, max_in_flight=2))
    assert [face.index for face in got] == asked
    assert [isinstance(face.error, FrameOutOfRange) for face in got] == [False, False, False, True, False, True, False]
    assert [float(face.weights[0]) for face in got if face.error is None] == [5, 99, 5, 0, 42]


async def test_two_devices_keep_the_order(tmp_path):
    with engine_of(("cpu", "cpu")) as rooms:
        anna = package(tmp_path, "anna")
        rooms.options = {"run_s": lambda size: 0.001 * (1 + size % 3)}
        await asyncio.wrap_future(rooms.engine.load(anna))
        await until(lambda: len(rooms.models("anna")) == 2 and len(rooms.engine.status().models[0].devices) == 2)
        for model in rooms.models("anna"):
            model.batches.clear()
        got = await collect(features(rooms.engine, anna, range(300)))
        assert [face.index for face in got] == list(range(300))
        assert [float(face.weights[0]) for face in got] == list(range(300))
        assert all(model.batches for model in rooms.models("anna"))


async def test_an_engine_that_stops_ends_the_call(rooms, anna):
    await asyncio.wrap_future(rooms.engine.load(anna))
    model = rooms.models("anna")[0]
    model.gate.clear()
    waiting = asyncio.create_task(collect(frames(rooms.engine, anna, CHUNKS)))
    await until(lambda: rooms.engine.status().busy)
    closing = asyncio.create_task(asyncio.to_thread(rooms.engine.close))
    await asyncio.sleep(0.01)
    model.gate.set()
    await closing
    with pytest.raises(EngineFailure, match="stopped before all frames"):
        await waiting
    with pytest.raises(EngineFailure, match="has stopped"):
        await collect(frames(rooms.engine, anna, CHUNKS))


async def test_live_frames_are_in_time_beside_bulk_work(tmp_path):
    """Deadlines as sessions have them, on a model that takes as long as a real one."""
    options = {"run_s": lambda size: 0.001 + 0.0005 * size}
    with engine_of(options=options) as rooms:
        anna = package(tmp_path, "anna")
        await asyncio.wrap_future(rooms.engine.load(anna))
        loop = asyncio.get_running_loop()
        live = []
        stream = rooms.engine.open(anna, live.append)
        rendering = asyncio.create_task(collect(frames(rooms.engine, anna, itertools.cycle(CHUNKS), frame_count=800)))
        for index in range(25):
            stream.push(chunk(seed=index), index=index, deadline_s=loop.time() + 0.3, epoch=0)
            await asyncio.sleep(0.02)
        got = await rendering
        await until(lambda: len(live) == 23)
        stream.close()
    assert len(got) == 800
    assert not any(face.late or face.error for face in live)


async def test_iris_says_the_same_in_bulk_as_live_and_has_no_features():
    iris = Library(default_folders()).get("iris")
    engine = Engine(Settings(device="cpu"), Metrics())
    engine.start()
    try:
        got = await collect(frames(engine, iris, CHUNKS[:20]))
        assert [face.index for face in got] == list(range(20))
        live = []
        stream = engine.open(iris, live.append)
        loop = asyncio.get_running_loop()
        for index, samples in enumerate(CHUNKS[:20]):
            stream.push(samples, index=index, deadline_s=loop.time() + SOON_S, epoch=0)
        await until(lambda: len(live) == 20 - stream.chunks_after)
        for face in live:
            np.testing.assert_allclose(face.weights, got[face.index].weights, atol=1e-4)
        missing = await collect(features(engine, iris, [0, 1]))
        assert all(isinstance(face.error, NoFeatures) for face in missing)
    finally:
        engine.close()
