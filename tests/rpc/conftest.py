"""A gRPC server on a free port with the shipped avatar, a real client for it, and sound to send."""

import asyncio
import contextlib
import threading

import cv2
import grpc
import numpy as np
import pytest

from webrtc_avatar.audio.window import pad, to_bytes
from webrtc_avatar.avatar.library import Library
from webrtc_avatar.engine import Engine
from webrtc_avatar.metrics import Metrics
from webrtc_avatar.rpc import optimized_lipsyncsrv_pb2 as messages
from webrtc_avatar.rpc import optimized_lipsyncsrv_pb2_grpc as stubs
from webrtc_avatar.rpc.lipsync import LipSync
from webrtc_avatar.rpc.packages import Packages
from webrtc_avatar.rpc.serve import RpcServer
from webrtc_avatar.settings import Settings

MAX_BYTES = 50 * 1024 * 1024


def picture(image):
    """Return what an encoded image shows."""
    return cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)


def differ(a, b):
    """Return the largest difference of two encoded images in grey levels; batches of other sizes round otherwise."""
    return np.abs(picture(a).astype(int) - picture(b)).max()


ROUNDING = 6
"""Grey levels by which JPEGs of pictures differ that differ by one level here and there."""


def request_of(chunks, *, start=0, count=None, **fields):
    """Return a request for frames of a sound, chunks (n, 640)."""
    count = len(chunks) - start if count is None else count
    return messages.BatchInferenceWithAudioRequest(
        model_name="iris",
        start_frame_id=start,
        frame_count=count,
        audio_chunks=to_bytes(pad(chunks, start=start, frame_count=count)),
        **fields,
    )


async def until(condition):
    """Wait for what nobody announces."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def refused(code, *parts):
    """Expect a call to be refused with a status and a message that has these parts."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        yield
    assert caught.value.code() is code, caught.value
    for part in parts:
        assert part in caught.value.details()


@pytest.fixture(scope="session")
def voice():
    """Chunks (75, 640) of a hum that opens and closes the mouth: three seconds."""
    t = np.arange(75 * 640) / 16_000
    hum = sum(np.sin(2 * np.pi * pitch * t) / rank for rank, pitch in enumerate((140, 280, 700, 1_220), 1))
    return (0.2 * hum * np.abs(np.sin(2 * np.pi * 1.5 * t))).astype(np.float32).reshape(-1, 640)


@pytest.fixture(scope="session")
def library():
    return Library()


@pytest.fixture(scope="session")
def engine(library):
    engine = Engine(Settings(), Metrics())
    engine.start()
    engine.load(library.get("iris")).result(60)
    yield engine
    engine.close()


@pytest.fixture
def model(engine, library):
    """The avatar's model, to be tampered with."""
    return engine.load(library.get("iris")).result(60)


class Gate:
    """Holds the model back until it is opened, and counts what it renders."""

    def __init__(self, render):
        self._render = render
        self._open = threading.Event()
        self.entered = threading.Event()
        self.calls = self.frames = 0

    def __call__(self, jobs):
        self.calls += 1
        self.frames += len(jobs)
        self.entered.set()
        assert self._open.wait(30)
        return self._render(jobs)

    def open(self):
        self._open.set()


@pytest.fixture
def gate(model, monkeypatch):
    gate = Gate(model.render)
    monkeypatch.setattr(model, "render", gate)
    yield gate
    gate.open()


class Rpc:
    """A running server, a client for it, and a look inside."""

    def __init__(self, lipsync, server, channel):
        self.lipsync = lipsync
        self.server = server
        self.channel = channel
        self.stub = stubs.OptimizedLipSyncServiceStub(channel)

    async def quiet(self):
        """Wait until no call is under way."""
        async with asyncio.timeout(20):
            await self.lipsync.until_idle()


@pytest.fixture
async def start(engine, library):
    """Start servers with settings of one's own."""
    async with contextlib.AsyncExitStack() as stack:

        async def start_server(*, folders=None, credentials=None, options=(), **fields):
            settings = Settings(**{"grpc_port": 0, **fields})
            shelf = library if folders is None else Library(folders)
            lipsync = LipSync(engine=engine, library=shelf, settings=settings, metrics=Metrics())
            stack.callback(lipsync.close)
            server = RpcServer(lipsync, Packages(lipsync, shelf), settings)
            stack.push_async_callback(server.aclose)
            await server.start()
            limit = [("grpc.max_receive_message_length", MAX_BYTES), ("grpc.max_send_message_length", 2 * MAX_BYTES)]
            if credentials is None:
                channel = grpc.aio.insecure_channel(server.address, options=[*limit, *options])
            else:
                channel = grpc.aio.secure_channel(f"localhost:{server.port}", credentials, options=[*limit, *options])
            await stack.enter_async_context(channel)
            return Rpc(lipsync, server, channel)

        yield start_server


@pytest.fixture
async def rpc(start):
    return await start()


@pytest.fixture
def iris(library):
    return library.get("iris")
