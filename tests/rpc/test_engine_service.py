"""An engine for other machines, and the hand of a media server on it: one process here, real gRPC between them."""

import asyncio
import math
import queue
import shutil
import subprocess
import sys
import time
from pathlib import Path

import grpc
import numpy as np
import pytest

from tests.rpc.conftest import until
from tests.rpc.engine_parts import SOON_S, Live, assert_same, faces_of, loaded, remote
from webrtc_avatar.avatar.library import Library
from webrtc_avatar.engine import bulk
from webrtc_avatar.engine.fingerprint import content_fingerprint
from webrtc_avatar.engine.remote import RemoteEngine
from webrtc_avatar.errors import (
    AvatarMismatch,
    InvalidSettings,
    NoFeatures,
    Unauthorized,
    UnknownAvatar,
)
from webrtc_avatar.metrics import Metrics
from webrtc_avatar.rpc import engine_pb2 as messages
from webrtc_avatar.rpc import engine_pb2_grpc
from webrtc_avatar.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


def test_the_generated_code_is_current(tmp_path):
    kinds = [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python")]
    source = "webrtc_avatar/rpc/engine.proto"
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", "-I", ".", *kinds, source], cwd=ROOT, check=True)
    made = sorted(path for path in (tmp_path / "webrtc_avatar/rpc").iterdir() if path.is_file())
    assert len(made) == 3
    for path in made:
        assert path.read_text() == (ROOT / "webrtc_avatar/rpc" / path.name).read_text(), path.name


@pytest.mark.parametrize("options", [{}, {"windowed": True}, {"windowed": True, "first_frame": 20, "frame_count": 30}])
async def test_faces_from_afar_are_those_of_the_engine_at_hand(start, engine, iris, voice, options):
    async with remote(await start()) as far:
        await loaded(far, iris)
        assert_same(await faces_of(far, iris, voice, **options), await faces_of(engine, iris, voice, **options))


async def test_errors_keep_their_kind_on_the_way(start, iris):
    async with remote(await start()) as far:
        await loaded(far, iris)
        faces = [face async for face in bulk.features(far, iris, [3, 1])]
    assert [type(face.error) for face in faces] == [NoFeatures, NoFeatures]


async def test_a_reset_forgets_the_sound_and_the_frames_before_it(start, iris, voice, gate):
    async with remote(await start()) as far:
        await loaded(far, iris)
        live = Live(far, iris)
        for chunk in voice[:5]:
            live.say(chunk)
        await asyncio.to_thread(gate.entered.wait, SOON_S)
        live.stream.reset(1)
        for chunk in voice[:3]:
            live.say(chunk, epoch=1)
        gate.open()
        first, second = await live.face(), await live.face()
    assert [(face.epoch, face.index) for face in (first, second)] == [(1, 5), (1, 6)]


async def test_a_deadline_that_has_passed_comes_back_as_late(start, iris, voice):
    async with remote(await start()) as far:
        await loaded(far, iris)
        live = Live(far, iris)
        for index, chunk in enumerate(voice[:3]):
            live.stream.push(chunk, index=index, deadline_s=time.monotonic() - 1, epoch=0)
        face = await live.face()
    assert face.late
    assert face.crop is None


async def test_the_way_to_the_engine_and_back_is_taken_off_the_time_that_is_left(start, iris):
    asks = []

    class Wire:
        async def write(self, request):
            asks.extend(request.asks)

        def cancel(self):
            pass

    async with remote(await start()) as far:
        await loaded(far, iris)
        connection = far._connections[0]
        connection._round_trips_s.clear()
        connection._round_trips_s.append(0.5)
        live = Live(far, iris)
        link = None
        for ask in (False, False):
            live.say(np.zeros(640, np.float32), ask=ask)
        link = live.stream._caller._link
        link._call, call = Wire(), link._call
        live.say(np.zeros(640, np.float32))
        live.stream.push(np.zeros(640, np.float32), index=3, deadline_s=math.inf, epoch=0)
        await until(lambda: len(asks) >= 2)
        call.cancel()
    timed = [ask.remaining_ms for ask in asks if ask.HasField("remaining_ms")]
    assert timed[0] == pytest.approx(1000 * (SOON_S - 0.5), abs=400)
    assert timed[1] == math.inf


async def test_two_hundred_streams_leave_nothing_behind(start, engine, iris, voice):
    server = await start()
    async with remote(server) as far:
        await loaded(far, iris)
        streams = [Live(far, iris) for _ in range(200)]
        for live in streams:
            for chunk in voice[:3]:
                live.say(chunk)
        for live in streams[:100]:
            await live.face()
        service = server.server._engine_service
        await until(lambda: service.streams == 200)
        for live in streams:
            live.stream.close()
        await until(lambda: service.streams == 0)
        await until(lambda: sum(model.streams for model in engine.status().models) == 0)
        assert not far._callers
        assert not far._connections[0].links
        names = {"engine-write", "engine-read", "engine-listen"}
        await until(lambda: not names & {task.get_name() for task in asyncio.all_tasks()})


async def test_a_stream_that_is_forgotten_closes_when_it_was_answered(start, iris, voice):
    server = await start()
    async with remote(server) as far:
        await loaded(far, iris)
        live = Live(far, iris)
        for chunk in voice[:3]:
            live.say(chunk)
        await until(lambda: server.server._engine_service.streams == 1)
        live.stream = None
        await live.face()
        await until(lambda: server.server._engine_service.streams == 0)
        assert not far._callers


async def test_the_token_is_asked_for(start, iris):
    server = await start(token="secret")
    async with remote(server) as far:
        with pytest.raises(Unauthorized, match="refuses the token; set engine_token"):
            await loaded(far, iris)
    async with remote(server, engine_token="wrong") as far:
        with pytest.raises(Unauthorized):
            await loaded(far, iris)
    async with remote(server, engine_token="secret") as far:
        assert (await loaded(far, iris)).chunks_after == iris.model.chunks_after


async def test_the_same_certificates_serve_as_for_other_calls(start, iris, tmp_path):
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    made = ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
    named = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
    await asyncio.to_thread(
        subprocess.run, [*made, *named, "-keyout", key, "-out", cert], check=True, capture_output=True
    )
    server = await start(grpc_tls_cert=cert, grpc_tls_key=key)
    async with remote(f"localhost:{server.server.port}", engine_tls_ca=cert) as far:
        await loaded(far, iris)
    with pytest.raises(InvalidSettings, match="engine_tls_ca"):
        async with remote(server, engine_tls_ca=tmp_path / "none.pem"):
            pass


async def test_an_engine_with_another_avatar_of_that_name_is_refused(start, iris, tmp_path):
    shutil.copytree(iris.folder, tmp_path / "iris", ignore=shutil.ignore_patterns("source"))
    with (tmp_path / "iris" / "avatar.toml").open("a") as manifest:
        manifest.write("# not the same\n")
    other = Library([tmp_path], shipped=False).get("iris")
    server = await start()
    async with remote(server) as far:
        with pytest.raises(AvatarMismatch, match="holds another avatar 'iris'"):
            await loaded(far, other)
        await loaded(far, iris)


def test_a_fingerprint_tells_networks_apart_and_not_pictures_or_line_ends(iris, tmp_path):
    def copy(name):
        shutil.copytree(iris.folder, tmp_path / name / "iris", ignore=shutil.ignore_patterns("source"))
        return tmp_path / name / "iris"

    def fingerprint(folder):
        return content_fingerprint(Library([folder.parent], shipped=False).get("iris"))

    same, ended, other = copy("same"), copy("ended"), copy("other")
    (ended / "avatar.toml").write_bytes((iris.folder / "avatar.toml").read_bytes().replace(b"\n", b"\r\n"))
    data = bytearray((other / "mouth.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (other / "mouth.onnx").write_bytes(data)
    assert fingerprint(same) == fingerprint(ended) == content_fingerprint(iris)
    assert fingerprint(other) != content_fingerprint(iris)


async def test_an_avatar_that_no_engine_has_is_unknown(start, second_name, library):
    async with remote(await start()) as far:
        with pytest.raises(UnknownAvatar, match="there is no avatar 'juno'"):
            await loaded(far, second_name)


@pytest.fixture
def second_name(iris, tmp_path):
    shutil.copytree(iris.folder, tmp_path / "juno", ignore=shutil.ignore_patterns("source"))
    manifest = tmp_path / "juno" / "avatar.toml"
    manifest.write_text(manifest.read_text().replace('name = "iris"', 'name = "juno"'))
    return Library([tmp_path], shipped=False).get("juno")


async def test_an_engine_may_be_used_from_a_thread_without_a_loop(start, iris, voice):
    server = await start()

    def use():
        far = RemoteEngine(Settings(engines=[server.server.address]), Metrics())
        far.start()
        try:
            far.load(iris).result(SOON_S)
            faces = queue.Queue()
            stream = far.open(iris, faces.put)
            for index, chunk in enumerate(voice[:3]):
                stream.push(chunk, index=index, deadline_s=time.monotonic() + SOON_S, epoch=0)
            return faces.get(timeout=SOON_S)
        finally:
            far.close()

    # In a process of its own a loop beside the one of gRPC's server would be unusual; films are rendered without one.
    assert server is not None
    face = await asyncio.to_thread(use)
    assert face.crop is not None


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (messages.RenderRequest(), "the first message"),
        (messages.RenderRequest(open=messages.Open(avatar="nobody")), "there is no avatar"),
    ],
)
async def test_calls_that_make_no_sense_are_refused(start, request_, said):
    server = await start()
    stub = engine_pb2_grpc.EngineServiceStub(server.channel)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in stub.Render(iter([request_])):
            pass
    assert said in caught.value.details()


@pytest.mark.parametrize(
    "ask",
    [
        messages.Ask(chunk=messages.Chunk(samples=bytes(7))),
        messages.Ask(chunk=messages.Chunk(samples=bytes(400))),
        messages.Ask(frame=messages.Frame(frame=1)),
    ],
)
async def test_asks_that_make_no_sense_end_the_call(start, iris, ask):
    server = await start()
    stub = engine_pb2_grpc.EngineServiceStub(server.channel)
    opening = messages.Open(avatar="iris", fingerprint=content_fingerprint(iris))
    call = stub.Render()
    await call.write(messages.RenderRequest(open=opening, asks=[ask]))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asyncio.wait_for(call.read(), SOON_S)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    await until(lambda: server.server._engine_service.streams == 0)


@pytest.mark.parametrize("address", ["nowhere", "a b:1", "http://a:1", "::1:50051"])
def test_an_address_is_a_host_and_a_port(address):
    with pytest.raises(ValueError, match="engines"):
        Settings(engines=[address])
