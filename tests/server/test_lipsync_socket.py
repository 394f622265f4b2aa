"""Lip-sync over a WebSocket."""

import asyncio
import contextlib
import json
import struct
import time

import aiohttp
import cv2
import numpy as np
import pytest

from webrtc_avatar.audio.window import pad
from webrtc_avatar.server.app import LIPSYNC, RPC
from webrtc_avatar.server.lipsync_messages import pack, unpack


@pytest.fixture(scope="module")
def voice():
    """Chunks (50, 640) of a hum that opens and closes the mouth: two seconds."""
    t = np.arange(50 * 640) / 16_000
    return (0.3 * np.sin(900 * t) * np.abs(np.sin(9 * t))).astype(np.float32).reshape(-1, 640)


class Caller:
    """A socket, and what comes over it."""

    def __init__(self, socket):
        self.socket = socket

    async def ask(self, payload=None, **fields):
        if payload is None:
            await self.socket.send_str(json.dumps(fields))
        else:
            await self.socket.send_bytes(pack(fields, payload))

    async def answer(self, **expected):
        """Return the next message: fields, with a payload under `image`."""
        message = await asyncio.wait_for(self.socket.receive(), 20)
        assert message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY), message
        fields, payload = unpack(message.data)
        assert expected.items() <= fields.items(), fields
        return {**fields, "image": payload}

    async def until(self, kind, number):
        """Return the frames of a call up to its end, and the end."""
        frames = []
        while (message := await self.answer(id=number))["type"] == "frame":
            frames.append(message)
        assert message["type"] == kind, message
        return frames, message


@pytest.fixture
async def connect(server):
    async with contextlib.AsyncExitStack() as stack:

        async def open_socket(**options):
            socket = await stack.enter_async_context(server.client.ws_connect("/ws/lipsync", **options))
            return Caller(socket)

        yield open_socket


@pytest.fixture
async def caller(connect):
    return await connect()


def batch(voice, *, start=0, count=10, **fields):
    """Return the fields and the payload of a batch with audio."""
    payload = pad(voice, start=start, frame_count=count).astype("<f4").tobytes()
    fields = {"model_name": "iris", "start_frame_id": start, "frame_count": count, **fields}
    return {"type": "generate_batch_with_audio", "payload": payload, **fields}


def picture(frame):
    return cv2.imdecode(np.frombuffer(frame["image"], np.uint8), cv2.IMREAD_COLOR)


def test_the_layout_is_what_the_documentation_says():
    message = pack({"a": 1}, b"payload")
    assert message == struct.pack("<I", 7) + b'{"a":1}' + b"\0" + b"payload"
    assert unpack(message) == ({"a": 1}, b"payload")
    assert unpack('{"a": 1}') == ({"a": 1}, b"")


async def test_frames_come_in_order_with_their_figures_and_then_the_end(caller, voice):
    await caller.ask(id=7, **batch(voice, start=5, count=12))
    frames, done = await caller.until("done", 7)
    assert [frame["frame_id"] for frame in frames] == list(range(5, 17))
    for frame in frames:
        assert frame["success"]
        assert picture(frame).shape == (frame["height"], frame["width"], 3)
        assert len(frame["bounds"]) == 4
        assert frame["batch_size"] >= 1
        assert frame["inference_time_ms"] > 0
    assert done["frames"] == 12
    assert done["total_processing_time_ms"] > 0


async def test_one_frame_and_the_other_formats(caller, voice):
    window = pad(voice, start=20, frame_count=1).astype("<f4").tobytes()
    sizes = {"JPEG": b"\xff\xd8", "PNG": b"\x89PNG", "WEBP": b"RIFF", "RAW_BGR": b""}
    for number, (form, magic) in enumerate(sizes.items()):
        output = {"format": form, "composition": "FACE_ONLY"}
        await caller.ask(window, id=number, type="generate_inference", model_name="iris", frame_id=20, output=output)
        frame = await caller.answer(type="frame", id=number, frame_id=20)
        assert frame["image"].startswith(magic)
        if form == "RAW_BGR":
            assert len(frame["image"]) == 3 * frame["width"] * frame["height"]


async def test_calls_share_the_socket(caller, voice):
    for number in range(4):
        await caller.ask(id=number, **batch(voice, count=5 + number))
    counts = dict.fromkeys(range(4), 0)
    ended = set()
    while len(ended) < 4:
        message = await caller.answer()
        if message["type"] == "frame":
            assert message["frame_id"] == counts[message["id"]]
            counts[message["id"]] += 1
        else:
            assert message["type"] == "done"
            ended.add(message["id"])
    assert counts == {number: 5 + number for number in range(4)}


async def test_live_sound_becomes_frames_as_it_comes(caller, voice):
    ask = {"id": 1, "type": "stream_audio"}
    await caller.ask(voice[:8].tobytes(), model_name="iris", **ask)
    assert (await caller.answer(type="frame"))["frame_id"] == 0
    await caller.ask(voice[8:10].tobytes(), end=True, **ask)
    assert [(await caller.answer(type="frame"))["frame_id"] for _ in range(9)] == list(range(1, 10))
    await caller.ask(voice[:3].tobytes(), interrupt=True, end=True, **ask)
    assert [(await caller.answer(type="frame"))["frame_id"] for _ in range(3)] == [10, 11, 12]
    await caller.ask(close=True, **ask)
    assert (await caller.answer(type="done", id=1))["frames"] == 13


async def test_opus_packets_have_their_length_before_them(caller):
    from tests.rpc.test_sound import opus_packets

    packets = opus_packets(1.0)
    payload = b"".join(struct.pack("<H", len(packet)) + packet for packet in packets)
    ask = {"id": 1, "type": "stream_audio", "model_name": "iris", "audio_encoding": "OPUS"}
    await caller.ask(payload, end=True, close=True, **ask)
    frames, _ = await caller.until("done", 1)
    assert len(frames) in (len(packets), len(packets) + 1)
    await caller.ask(payload[:-1], **{**ask, "id": 2})
    assert "ends within the Opus packet" in (await caller.answer(type="error", id=2))["message"]


async def test_avatars_are_loaded_listed_described_and_shown(caller):
    await caller.ask(id=1, type="load_package", package_name="iris")
    assert (await caller.answer(type="load_package", id=1))["success"]
    await caller.ask(id=2, type="list_models")
    assert "iris" in (await caller.answer(type="list_models"))["loaded_models"]
    await caller.ask(id=3, type="get_model_metadata", model_name="iris")
    assert (await caller.answer(type="get_model_metadata"))["frame_count"] == 1500
    await caller.ask(id=4, type="get_video_frame", model_name="iris", frame_id=3)
    assert picture(await caller.answer(type="get_video_frame", frame_id=3)).shape == (512, 512, 3)
    await caller.ask(id=5, type="get_stats", model_name="iris")
    assert (await caller.answer(type="get_stats"))["device"].startswith("onnx")
    await caller.ask(id=6, type="health_check")
    assert (await caller.answer(type="health_check"))["healthy"] is True


REFUSED = [
    ({"frame_count": 4, "payload": bytes(2560 * 18)}, "invalid_audio", "INVALID_ARGUMENT", "need 19"),
    ({"frame_count": 1, "payload": bytes(2560 * 16 - 4)}, "invalid_audio", "INVALID_ARGUMENT", "2556 are left"),
    ({"model_name": "sanders"}, "unknown_avatar", "NOT_FOUND", "installed: iris"),
    ({"frame_count": "ten"}, "invalid_request", "INVALID_ARGUMENT", '"frame_count"'),
    ({"frame_count": True}, "invalid_request", "INVALID_ARGUMENT", '"frame_count"'),
    ({"frame_count": 2**40}, "invalid_request", "INVALID_ARGUMENT", '"frame_count"'),
    ({"output": {"format": "GIF"}}, "invalid_request", "INVALID_ARGUMENT", "RAW_BGR"),
    ({"output": {"fromat": "PNG"}}, "invalid_request", "INVALID_ARGUMENT", '"output"'),
    ({"audio_encoding": 1}, "invalid_request", "INVALID_ARGUMENT", "INT16"),
    ({"type": "dance"}, "invalid_request", "INVALID_ARGUMENT", "stream_audio"),
    ({"type": "generate_batch_inference", "frame_ids": [1]}, "no_features", "FAILED_PRECONDITION", "send audio"),
    ({"type": "generate_batch_inference", "frame_ids": [1, "a"]}, "invalid_request", "INVALID_ARGUMENT", "'a'"),
    ({"type": "get_video_frame", "frame_id": -1}, "frame_out_of_range", "OUT_OF_RANGE", "0 to 1499"),
    ({"type": "load_package", "package_dir": "/etc"}, "forbidden", "PERMISSION_DENIED", "avatar_folders"),
    ({"type": "cancel"}, "invalid_request", "INVALID_ARGUMENT", "no call 14"),
    ({"type": "stream_audio", "end": 5}, "invalid_request", "INVALID_ARGUMENT", '"end"'),
]


async def test_what_is_wrong_is_answered_as_over_grpc(caller, voice):
    for number, (fields, code, status, said) in enumerate(REFUSED):
        await caller.ask(id=number, **{**batch(voice), **fields})
        error = await caller.answer(type="error", id=number)
        assert (error["code"], error["status"]) == (code, status)
        assert said in error["message"]
    await caller.ask(id=100, type="health_check")
    await caller.answer(type="health_check", id=100)


async def test_a_message_without_sense_is_an_error_and_no_end(caller):
    text = (
        "",
        "{",
        "[]",
        "null",
        '{"id": -1}',
        '{"id": 1.5, "type": "list_models"}',
        '{"type": "list_models"}',
        "[" * 9_000,
    )
    data = (b"", b"\1\0", b"\xff\xff\xff\xff{}", b"\2\0\0\0{", b"\0\0\0\0", b"\4\0\0\0\xff\xfe\xfd\xfc")
    for message in text:
        await caller.socket.send_str(message)
        error = await caller.answer(type="error", code="invalid_request")
        assert "id" not in error
    for message in data:
        await caller.socket.send_bytes(message)
        await caller.answer(type="error", code="invalid_request")
    await caller.ask(id=10, type="health_check")
    await caller.answer(type="health_check", id=10)


@pytest.fixture
async def held(server, monkeypatch):
    """Hold the model back until the event is set."""
    import threading

    lipsync = server.client.app[LIPSYNC]
    model = lipsync.engine.load((await lipsync.casting.get("iris")).avatar).result()
    render, opened = model.render, threading.Event()
    held = []

    def wait(jobs):
        held.extend(jobs)
        assert opened.wait(30)
        return render(jobs)

    monkeypatch.setattr(model, "render", wait)
    opened.jobs = held
    yield opened
    opened.set()


async def quiet(server):
    async with asyncio.timeout(20):
        await server.client.app[LIPSYNC].until_idle()


async def busy(server, count):
    async with asyncio.timeout(20):
        while server.client.app[LIPSYNC].calls < count:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_call_is_cancelled_by_its_number(server, caller, voice, held):
    await caller.ask(id=1, **batch(voice, count=50))
    await busy(server, 1)
    await caller.ask(id=1, **batch(voice, count=1))
    assert "under way" in (await caller.answer(type="error"))["message"]
    await caller.ask(id=1, type="cancel")
    assert (await caller.answer(type="done", id=1))["cancelled"] is True
    await quiet(server)
    held.set()
    await caller.ask(id=1, **batch(voice, count=1))
    frames, _ = await caller.until("done", 1)
    assert len(frames) == 1
    assert len(held.jobs) <= 16 + 1


async def test_closing_the_socket_ends_its_calls(server, caller, voice, held):
    for number in range(3):
        await caller.ask(id=number, **batch(voice, count=50))
    await caller.ask(voice.tobytes(), id=5, type="stream_audio", model_name="iris")
    await busy(server, 4)
    await caller.socket.close()
    await quiet(server)


async def test_one_socket_has_32_calls_at_most(server, caller, voice, held):
    for number in range(33):
        await caller.ask(id=number, **batch(voice, count=1))
    error = await caller.answer(type="error", id=32)
    assert (error["code"], error["status"]) == ("server_full", "RESOURCE_EXHAUSTED")
    held.set()
    assert {(await caller.answer())["type"] for _ in range(64)} == {"frame", "done"}


async def test_without_the_token_nobody_gets_in(start, voice):
    server = await start(token="open sesame")
    for value in ("", "Bearer nonsense", "open sesame", "Bearer", "Basic open sesame"):
        options = {"headers": {"Authorization": value}} if value else {}
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await server.client.ws_connect("/ws/lipsync", **options)
        assert refused.value.status == 401
    response = await server.client.get("/ws/lipsync?access_token=open")
    assert (response.status, (await response.json())["error"]["code"]) == (401, "unauthorized")
    assert response.headers["WWW-Authenticate"] == "Bearer"
    for place, options in (
        ("/ws/lipsync", {"headers": {"Authorization": "Bearer open sesame"}}),
        ("/ws/lipsync?access_token=open%20sesame", {"origin": "https://elsewhere.example"}),
    ):
        async with server.client.ws_connect(place, **options) as socket:
            caller = Caller(socket)
            await caller.ask(id=1, type="health_check")
            await caller.answer(type="health_check")


async def test_pages_of_other_sites_are_turned_away(server, connect):
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await connect(origin="https://elsewhere.example")
    assert refused.value.status == 403
    own = await connect(origin=str(server.client.make_url("/")).rstrip("/"))
    await own.ask(id=1, type="health_check")
    await own.answer(type="health_check")


async def test_who_is_no_websocket_is_told_so(server):
    response = await server.client.get("/ws/lipsync")
    assert response.status == 400


async def test_a_server_that_goes_down_says_goodbye(start):
    server = await start()
    socket = await server.client.ws_connect("/ws/lipsync")
    closing = asyncio.create_task(server.client.app.shutdown())
    message = await asyncio.wait_for(socket.receive(), 10)
    assert message.type is aiohttp.WSMsgType.CLOSE
    assert message.data == aiohttp.WSCloseCode.GOING_AWAY
    await closing


async def test_a_live_session_keeps_its_frames_beside_a_bulk_call(server, make_peer, caller, voice, monkeypatch):
    lipsync = server.client.app[LIPSYNC]
    model = lipsync.engine.load((await lipsync.casting.get("iris")).avatar).result()
    render = model.render

    def slow(jobs):
        time.sleep(0.002 * len(jobs))
        return render(jobs)

    monkeypatch.setattr(model, "render", slow)
    peer = make_peer(server)
    await peer.join()
    await peer.event(type="state", state="speaking")
    await peer.until(lambda: len(peer.pictures) >= 10)
    before = server.live.get(peer.session_id).session.stats()
    await caller.ask(id=1, **batch(np.tile(voice, (5, 1)), count=200))
    frames, _ = await caller.until("done", 1)
    assert len(frames) == 200
    after = server.live.get(peer.session_id).session.stats()
    # In the order of their arrival, each would wait for the 64 bulk frames before it: 130 ms, and all would be held.
    assert after["held_frames"] - before["held_frames"] < (after["ticks"] - before["ticks"]) / 2


async def test_grpc_answers_on_the_same_engine(server, voice):
    import grpc

    from webrtc_avatar.audio.window import to_bytes
    from webrtc_avatar.rpc import optimized_lipsyncsrv_pb2 as messages
    from webrtc_avatar.rpc import optimized_lipsyncsrv_pb2_grpc as stubs

    async with grpc.aio.insecure_channel(server.client.app[RPC].address) as channel:
        stub = stubs.OptimizedLipSyncServiceStub(channel)
        answer = await stub.GenerateBatchWithAudio(
            messages.BatchInferenceWithAudioRequest(
                model_name="iris", frame_count=4, audio_chunks=to_bytes(pad(voice, frame_count=4))
            )
        )
    assert [frame.frame_id for frame in answer.responses] == [0, 1, 2, 3]
    assert server.metric("webrtc_avatar_frames_total", outcome="rendered") >= 4


async def test_the_face_as_numbers_beside_its_pictures(caller, voice):
    await caller.ask(id=1, **batch(voice, start=5, count=8, output={"composition": "FACE_ONLY", "blendshapes": True}))
    told, _ = await caller.until("done", 1)
    await caller.ask(id=2, **batch(voice, start=5, count=8))
    plain, _ = await caller.until("done", 2)
    for frame in told:
        assert len(frame["blendshapes"]) == 52
        assert all(0 <= value <= 1 for value in frame["blendshapes"])
        assert len(frame["head_deg"]) == 3
        assert frame["time_s"] == round(frame["frame_id"] * 0.04, 3)
        assert frame["image"]
    assert len({tuple(frame["blendshapes"]) for frame in told}) > 1
    assert not any("blendshapes" in frame or "time_s" in frame for frame in plain)
    await caller.ask(id=3, **batch(voice, output={"blendshapes": 1}))
    assert '"blendshapes" is true or false' in (await caller.answer(type="error", id=3))["message"]
