"""A media server whose engines are other processes: real `webrtc-avatar engine`, real `serve`, a peer that speaks."""

import asyncio
import contextlib
import os
import signal
import socket
import sys

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


async def rendered(client):
    """Return how many frames engines have rendered for a media server."""
    async with client.get("/metrics") as response:
        text = await response.text()
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "webrtc_avatar_frames_total" and sample.labels["outcome"] == "rendered"
    )


async def more_rendered(client, count):
    """Wait until so many more frames have been rendered."""
    begun = await rendered(client)
    async with asyncio.timeout(SOON_S):
        while await rendered(client) < begun + count:
            await asyncio.sleep(0.1)


async def new_pictures(peer, count=40):
    """Return the next pictures that arrive."""
    peer.pictures.clear()
    await peer.until(lambda: len(peer.pictures) >= count, SOON_S)
    return np.stack(peer.pictures[:count])


def lips_move(pictures):
    """Return how much the mouth's luma changes between pictures, in grey levels, against the cheek beside it."""
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
        await stack.enter_async_context(engine(port))
        await more_rendered(client, 50)
        assert lips_move(await new_pictures(peer)) > 3
        assert (await peer.event(type="stats"))["epoch"] == 0
