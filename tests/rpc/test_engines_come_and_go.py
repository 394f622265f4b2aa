"""Several engines for one media server: shared load, and what happens to frames when engines stop, drain or come back."""

import asyncio
import math
from dataclasses import replace

import numpy as np
import pytest

from tests.avatar import footage_parts as parts
from tests.rpc.conftest import until
from tests.rpc.engine_parts import SOON_S, Live, assert_same, faces_of, loaded, remote
from webrtc_avatar.avatar.library import Library
from webrtc_avatar.engine import bulk
from webrtc_avatar.errors import (
    EngineLost,
    FrameOutOfRange,
)


async def test_two_engines_share_the_load(start, iris, voice):
    first, second = await start(), await start()
    async with remote(first, second) as far:
        await loaded(far, iris)
        await until(lambda: all(iris.name in one.models for one in far._connections))
        streams = [Live(far, iris) for _ in range(10)]
        for live in streams:
            for chunk in voice[:3]:
                live.say(chunk)
        for live in streams:
            assert (await live.face()).crop is not None
        assert [one.server._engine_service.streams for one in (first, second)] == [5, 5]
        assert far.status().models[0].name == "iris"
        assert len(far.status().workers) == 2


async def test_a_full_engine_is_left_alone_and_another_one_taken(start, iris, voice):
    small, large = await start(engine_max_streams=1), await start()
    async with remote(small, large) as far:
        await loaded(far, iris)
        await until(lambda: all(iris.name in one.models for one in far._connections))
        streams = [Live(far, iris) for _ in range(6)]
        shown = []
        for chunk in voice[:12]:
            for live in streams:
                live.say(chunk)
            await asyncio.sleep(0.04)
        for live in streams:
            while live.index - 1 > (face := await live.face()).index + 1:
                pass
            shown.append(face)
        assert all(face.crop is not None for face in shown)
        assert [one.server._engine_service.streams for one in (small, large)] == [1, 5]


async def test_bulk_work_goes_on_elsewhere_and_nothing_is_lost(start, engine, iris, voice):
    first, second = await start(), await start()
    async with remote(first, second) as far:
        await loaded(far, iris)
        await until(lambda: all(iris.name in one.models for one in far._connections))
        faces = []
        async for face in bulk.frames(far, iris, np.concatenate([voice] * 3), windowed=True):
            faces.append(face)
            if len(faces) == 20:
                busy = first if first.server._engine_service.streams else second
                await busy.server.aclose()
    assert_same(faces, await faces_of(engine, iris, np.concatenate([voice] * 3), windowed=True))


@pytest.fixture(scope="module")
def footage(tmp_path_factory):
    folder = tmp_path_factory.mktemp("avatars")
    parts.make_footage(folder / "painted", count=12, width=320, height=240)
    return folder


async def test_footage_keeps_its_bases_and_its_place_on_the_grid_of_spectra(start, engine, footage, voice, monkeypatch):
    begun, open_stream = [], engine.open
    monkeypatch.setattr(
        engine, "open", lambda *args, **given: begun.append(given.get("first_chunk")) or open_stream(*args, **given)
    )
    library = Library([footage], shipped=False)
    painted = library.get("painted")
    first, second = await start(folders=[footage]), await start(folders=[footage])
    async with remote(first, second) as far:
        await loaded(far, painted)
        await until(lambda: all("painted" in one.models for one in far._connections))
        asked = [face async for face in bulk.features(far, painted, [7, 99, 3, 3], bases=[1, 1, 2, 5])]
        near = [face async for face in bulk.features(engine, painted, [7, 99, 3, 3], bases=[1, 1, 2, 5])]
        assert [type(face.error) for face in asked] == [type(None), FrameOutOfRange, type(None), type(None)]
        assert all(
            np.array_equal(face.crop, other.crop)
            for face, other in zip(asked, near, strict=True)
            if face.crop is not None
        )
        live = Live(far, painted)
        for chunk in voice[:52]:
            live.say(chunk, ask=False)
        await until(lambda: first.server._engine_service.streams + second.server._engine_service.streams == 1)
        busy = first if first.server._engine_service.streams else second
        await busy.server.aclose()
        await until(lambda: live.stream._caller._link is None)
        live.say(voice[52])
        face = await live.face()
        heard = live.stream._caller._heard_by_a_frame
    assert begun[-2:] == [0, 52 - heard]
    expected = await faces_of(engine, painted, voice, bases=int)
    assert face.index == 52 - painted.model.chunks_after
    assert np.abs(face.crop.astype(int) - expected[face.index].crop).max() <= 1


async def test_live_frames_fail_at_once_and_the_next_ones_are_as_if_nothing_had_happened(
    start, engine, iris, voice, gate
):
    first, second = await start(), await start()
    async with remote(first, second) as far:
        await loaded(far, iris)
        await until(lambda: all(iris.name in one.models for one in far._connections))
        live = Live(far, iris)
        for chunk in voice[:40]:
            live.say(chunk, ask=False)
        live.say(voice[40])
        await asyncio.to_thread(gate.entered.wait, SOON_S)
        busy = first if first.server._engine_service.streams else second
        await busy.server.aclose()
        failed = await live.face()
        assert isinstance(failed.error, EngineLost)
        gate.open()
        live.say(voice[41])
        face = await live.face()
    expected = await faces_of(engine, iris, voice)
    assert failed.index == 39
    assert_same([face], [expected[40]])


async def test_without_any_engine_live_frames_fail_at_once_and_bulk_ones_in_the_end(start, iris, voice, monkeypatch):
    monkeypatch.setattr("webrtc_avatar.engine.remote_stream._WAIT_FOR_ANOTHER_S", 0.3)
    server = await start()
    async with remote(server) as far:
        await loaded(far, iris)
        await server.server.aclose()
        live = Live(far, iris)
        for chunk in voice[:3]:
            live.say(chunk)
        assert isinstance((await live.face()).error, EngineLost)
        stream = far.open(iris, live.faces.put_nowait, bulk=True)
        for index, chunk in enumerate(voice[:4]):
            stream.push(chunk, index=100 + index, deadline_s=math.inf, epoch=0)
        await live.face()
        assert isinstance((await live.face()).error, EngineLost)
        monkeypatch.setattr("webrtc_avatar.engine.remote._LATER_S", 0.3)
        with pytest.raises(EngineLost, match="no engine answers at"):
            await loaded(far, iris)


async def test_an_engine_that_goes_down_gives_its_live_streams_away_in_their_next_pause(start, iris, voice):
    first, second = await start(), await start()
    async with remote(first, second) as far:
        await loaded(far, iris)
        await until(lambda: all(iris.name in one.models for one in far._connections))
        live = Live(far, iris)
        for chunk in voice[:5]:
            live.say(chunk)
        await live.face()
        busy, other = (first, second) if first.server._engine_service.streams else (second, first)
        drained = asyncio.create_task(busy.server.drain())
        await until(lambda: any(one.status.draining for one in far._connections))
        while not drained.done():
            live.say(voice[5], ask=False)
            await asyncio.sleep(0.01)
        await drained
        live.say(voice[6])
        while (face := await live.face()).index < live.index - 2:
            pass
        assert face.crop is not None
        assert other.server._engine_service.streams == 1


async def test_a_server_whose_engine_has_stopped_counts_as_gone(start, engine, iris, monkeypatch):
    server = await start()
    async with remote(server) as far:
        await loaded(far, iris)
        stopped = replace(engine.status(), running=False)
        monkeypatch.setattr(engine, "status", lambda: stopped)
        await until(lambda: not far.status().workers)
        monkeypatch.setattr("webrtc_avatar.engine.remote._LATER_S", 0.2)
        with pytest.raises(EngineLost, match="its engine has stopped"):
            await loaded(far, iris)


async def test_who_waits_is_told_when_the_engine_stops(start, iris, voice, gate):
    async with remote(await start()) as far:
        await loaded(far, iris)
        told = asyncio.Event()
        stream = far.open(iris, lambda face: None, on_stop=told.set)
        stream.push(voice[0], index=0, deadline_s=None, epoch=0)
    await asyncio.wait_for(told.wait(), SOON_S)


async def test_no_bulk_frame_is_lost_while_engines_come_and_go(start, engine, iris, voice):
    servers = [await start(), await start()]
    sound = np.concatenate([voice] * 4)
    expected = await faces_of(engine, iris, sound, windowed=True)
    async with remote(*servers) as far:
        await loaded(far, iris)
        stopped = asyncio.Event()

        async def work():
            while not stopped.is_set():
                assert_same(await faces_of(far, iris, sound, windowed=True), expected)

        workers = [asyncio.create_task(work()) for _ in range(3)]
        for turn in range(5):
            await until(lambda: any(one.links for one in far._connections))
            # Three engines lost over the same frame count as the frame's fault, so each must have rendered something.
            await until(lambda: not any(caller._losses for caller in list(far._callers)))
            port = servers[turn % 2].server.port
            await servers[turn % 2].server.aclose()
            servers[turn % 2] = await start(grpc_port=port)
            await asyncio.sleep(0.2)
        stopped.set()
        await asyncio.gather(*workers)
        assert not far._callers
