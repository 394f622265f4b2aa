"""A media server whose engines are other processes: real `webrtc-avatar engine`, real `serve`, a peer that speaks."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys

import av
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.server.peer import Peer, read_speech
from tests.server.process import running

SOON_S = 60


@contextlib.asynccontextmanager
async def engine(port=0, **environment):
    """Run the command `engine`; yield the process and its address."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "webrtc_avatar", "engine", "--grpc-port", str(port)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, **environment},
    )
    try:
        line = (await asyncio.wait_for(process.stdout.readline(), SOON_S)).decode()
        assert "gRPC at " in line, line
        yield process, line.split()[-1]
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.kill()
        await process.wait()


@pytest.fixture(scope="module")
def speech():
    return read_speech()


@contextlib.asynccontextmanager
async def speaking(client, speech):
    peer = Peer(client, speech)
    try:
        await peer.join()
        yield peer
    finally:
        await peer.aclose()


async def metrics(client):
    async with client.get("/metrics") as response:
        return await response.text()


async def healthy(client, count):
    """Wait until so many engines are well."""
    async with asyncio.timeout(SOON_S):
        while f"webrtc_avatar_engine_healthy_workers {count}.0" not in await metrics(client):  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def readiness(client):
    async with client.get("/ready") as response:
        return response.status, (await response.json())["status"]


async def rendered(client):
    """Return how many frames engines have rendered for a media server."""
    return sum(
        sample.value
        for family in text_string_to_metric_families(await metrics(client))
        for sample in family.samples
        if sample.name == "webrtc_avatar_frames_total" and sample.labels["outcome"] == "rendered"
    )


async def more_rendered(client, count):
    """Wait until so many more frames have been rendered."""
    begun = await rendered(client)
    async with asyncio.timeout(SOON_S):
        while await rendered(client) < begun + count:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def new_pictures(peer, count=40):
    """Return the next pictures that arrive."""
    peer.pictures.clear()
    await peer.until(lambda: len(peer.pictures) >= count, SOON_S)
    return np.stack(peer.pictures[:count])


def lips_move(pictures):
    """Return how much the mouth's luma changes from one picture to the next at most, in grey levels."""
    luma = pictures[:, :512, :512].astype(int)
    return np.abs(np.diff(luma[:, 300:390, 190:320], axis=0)).mean(axis=(1, 2)).max()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


async def test_a_session_survives_that_its_engine_is_killed_and_speaks_again_when_it_is_back(speech):
    port = free_port()
    async with contextlib.AsyncExitStack() as stack:
        process, address = await stack.enter_async_context(engine(port))
        _, client = await stack.enter_async_context(running("--engine", address, "--no-grpc"))
        peer = await stack.enter_async_context(speaking(client, speech))
        await more_rendered(client, 50)
        assert lips_move(await new_pictures(peer)) > 3
        process.kill()
        await process.wait()
        before = await rendered(client)
        sounds = len(peer.sounds)
        held = await new_pictures(peer, 30)
        assert len(held) == 30
        assert len(peer.sounds) > sounds or len(peer.sounds) == 100
        assert await rendered(client) <= before + 1
        error = await peer.event(type="error")
        assert error["code"] == "engine_lost"
        assert (await readiness(client)) == (503, "no engine")
        await stack.enter_async_context(engine(port))
        await more_rendered(client, 50)
        assert lips_move(await new_pictures(peer)) > 3
        assert (await peer.event(type="stats"))["epoch"] == 0
        assert (await readiness(client)) == (200, "ready")


async def test_an_engine_that_hangs_is_left_and_another_one_taken(speech):
    async with contextlib.AsyncExitStack() as stack:
        both = [await stack.enter_async_context(starting) for starting in (engine(), engine())]
        flags = [flag for _, address in both for flag in ("--engine", address)]
        _, client = await stack.enter_async_context(running(*flags, "--no-grpc"))
        peers = [await stack.enter_async_context(speaking(client, speech)) for _ in range(2)]
        await more_rendered(client, 50)
        await healthy(client, 2)
        both[0][0].send_signal(signal.SIGSTOP)
        for peer in peers:
            await peer.event(type="stats")
        await healthy(client, 1)
        for peer in peers:
            assert lips_move(await new_pictures(peer)) > 3
        both[0][0].send_signal(signal.SIGCONT)
        await healthy(client, 2)


async def test_a_media_server_says_in_one_line_why_it_cannot_use_an_engine(tmp_path):
    shutil.copytree("models/iris", tmp_path / "iris", ignore=shutil.ignore_patterns("source"))
    with (tmp_path / "iris" / "avatar.toml").open("a") as manifest:
        manifest.write("# not the same\n")
    async with engine(WEBRTC_AVATAR_TOKEN="secret") as (_, address):
        locked, other = await asyncio.gather(
            refusal("--engine", address, WEBRTC_AVATAR_ENGINE_TOKEN="wrong"),
            refusal("--engine", address, "--avatar-folder", tmp_path, WEBRTC_AVATAR_ENGINE_TOKEN="secret"),
        )
    assert f"the engine at {address} refuses the token" in locked
    assert "holds another avatar 'iris'" in other


async def test_a_film_is_rendered_with_faces_from_elsewhere(tmp_path, speech_wav):
    made = ("render", "--audio", speech_wav, "--duration", "2", "-o", tmp_path / "film.mp4", "--preset", "ultrafast")
    async with engine() as (_, address):
        status, said = await run(*made, "--quiet", "--engine", address, "--device", "cuda:7")
    assert status == 0, said
    with av.open(str(tmp_path / "film.mp4")) as file:
        pictures = np.stack([frame.to_ndarray(format="gray") for frame in file.decode(video=0)])
    assert len(pictures) == 50
    assert lips_move(pictures) > 3


async def run(*command, **environment):
    """Run a command of ours to its end; return its exit status and what it said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "webrtc_avatar", *command),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, **environment},
    )
    said, _ = await asyncio.wait_for(process.communicate(), SOON_S)
    return process.returncode, said.decode()


async def refusal(*flags, **environment):
    """Run `serve`, which is expected to refuse; return its last line."""
    status, said = await run("serve", "--port", "0", "--no-grpc", *flags, **environment)
    assert status == 1, said
    assert "Traceback" not in said
    return said.splitlines()[-1]
