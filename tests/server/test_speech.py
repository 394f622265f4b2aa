"""Text in, speech out: over HTTP, the data channel and WebSockets, heard and seen by a real peer."""

from __future__ import annotations

import asyncio
import io
import json
import time
import wave

import av
import numpy as np
import pytest
import pytest_asyncio
from aiohttp.test_utils import TestClient, TestServer

from tests.server.conftest import Server
from tests.server.peer import Peer
from webrtc_avatar.server.app import create_app
from webrtc_avatar.settings import Settings

SHORT = "Hello there."
LONG = (
    "The first sentence says that a text may be long. The second one goes on without a gap between them. "
    "A third one follows so that there is something left to interrupt. And a fourth one is here as well."
)


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server():
    """Serve to all tests here, with one process that speaks; microphones do not drive faces."""
    settings = Settings(idle_seed=1, microphone="listens", speech_workers=1, grpc=False)
    client = TestClient(TestServer(create_app(settings)))
    await client.start_server()
    yield Server(client)
    await client.close()


@pytest_asyncio.fixture(loop_scope="module")
async def talking(server, speech):
    """Join the server with a microphone."""
    peer = Peer(server.client, speech)
    await peer.join()
    await peer.event(type="avatar", name="iris")
    yield server, peer
    await peer.aclose()


def loud(peer) -> bool:
    return bool(peer.sounds) and level(peer.sounds[-1]) > 300


def level(sound) -> float:
    return float(np.sqrt(np.mean(np.asarray(sound, np.float64) ** 2)))


async def say(server, peer, text, **fields):
    reply = await server.client.post(f"/api/sessions/{peer.session_id}/speak", json={"text": text, **fields})
    answer = await reply.json()
    assert reply.status == 202, answer
    return answer["id"]


async def test_the_voices_are_listed_best_first(server):
    answer = await (await server.client.get("/api/voices")).json()
    assert answer["default"] == "hibari/heart"
    assert answer["voices"][0]["id"] == "hibari/heart"
    assert {"language", "title", "abilities", "licence", "rate_hz"} <= set(answer["voices"][0])


async def test_a_text_becomes_a_whole_wav_file(server):
    reply = await server.client.post("/api/speech", json={"text": SHORT})
    assert reply.status == 200, await reply.text()
    assert reply.content_type == "audio/wav"
    data = await reply.read()
    assert reply.headers["Content-Length"] == str(len(data))
    with wave.open(io.BytesIO(data)) as read:
        assert read.getframerate() == 24_000
        samples = np.frombuffer(read.readframes(read.getnframes()), "<i2")
    assert 0.4 < len(samples) / 24_000 < 2.5
    assert level(samples) > 300


@pytest.mark.parametrize("accept", ["audio/wav", "audio/ogg", "audio/pcm"])
async def test_a_text_is_streamed_while_it_is_made(server, accept):
    reply = await server.client.post("/api/speech", json={"text": LONG}, headers={"Accept": accept})
    assert reply.status == 200
    assert reply.headers["Transfer-Encoding"] == "chunked"
    data = await reply.read()
    if accept == "audio/pcm":
        seconds = len(data) / 48_000
    else:
        with av.open(io.BytesIO(data)) as container:
            seconds = sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))
    assert 9 < seconds < 20


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, "invalid_request"),
        ({"text": "  "}, 400, "invalid_request"),
        ({"text": 7}, 400, "invalid_request"),
        ({"text": "a", "speed": 9}, 400, "invalid_request"),
        ({"text": "a", "speed": True}, 400, "invalid_request"),
        ({"text": "a", "voice": "nobody/none"}, 404, "unknown_voice"),
        ({"text": "Hello.", "emotion": "joy"}, 422, "unsupported_parameter"),
        ({"text": "<speak>Hi <audio src='x'/></speak>"}, 400, "invalid_ssml"),
        ({"text": "x" * 6000}, 400, "invalid_request"),
        ({"text": "…!"}, 400, "nothing_to_say"),
    ],
)
async def test_what_cannot_be_said_is_refused_with_its_reason(server, body, status, code):
    reply = await server.client.post("/api/speech", json=body)
    answer = await reply.json()
    assert (reply.status, answer["error"]["code"]) == (status, code), answer
    assert len(answer["error"]["message"]) > 20


async def test_the_status_tells_workers_queue_and_batching(server):
    before = await (await server.client.get("/api/speech/status")).json()
    await (await server.client.post("/api/speech", json={"text": SHORT})).read()
    async with asyncio.timeout(5):
        while (status := await (await server.client.get("/api/speech/status")).json())["busy_workers"]:  # noqa: ASYNC110 - it ends in another process
            await asyncio.sleep(0.01)
    assert (status["total_workers"], status["ready_workers"], status["queue_size"]) == (1, 1, 0)
    assert status["batching_enabled"] is True
    assert status["succeeded"] == before["succeeded"] + 1


async def test_a_session_says_a_text_and_its_lips_move(talking):
    server, peer = talking
    turn = await say(server, peer, SHORT)
    queued = await peer.event(type="speech", id=turn, state="queued")
    assert queued
    await peer.event(type="speech", id=turn, state="started")
    caption = await peer.event(type="caption", id=turn)
    assert caption["text"] == SHORT
    assert [word["text"] for word in caption["words"]] == ["Hello", "there."]
    assert caption["words"][0]["start_s"] < caption["words"][1]["start_s"]
    await peer.until(lambda: loud(peer))
    await peer.event(type="speech", id=turn, state="finished")
    assert server.live.get(peer.session_id).session.figures.rendered > 10


async def test_the_data_channel_says_the_same(talking):
    _, peer = talking
    peer.send({"type": "speak", "text": SHORT})
    await peer.event(type="speech", id=1, state="finished")
    peer.send({"type": "speak", "text": ""})
    assert (await peer.event(type="error"))["code"] == "invalid_request"
    peer.send({"type": "speak", "text": "a", "voice": "nobody"})
    assert (await peer.event(type="error"))["code"] == "unknown_voice"


async def test_an_interrupt_silences_all_that_waits_and_what_comes_after_is_heard(talking):
    server, peer = talking
    first, second = await say(server, peer, LONG), await say(server, peer, LONG)
    await peer.event(type="speech", id=first, state="started")
    await peer.until(lambda: loud(peer))
    reply = await server.client.post(f"/api/sessions/{peer.session_id}/interrupt")
    assert reply.status == 204
    await peer.event(type="speech", id=first, state="interrupted")
    await peer.event(type="speech", id=second, state="interrupted")
    await asyncio.sleep(0.3)
    peer.sounds.clear()
    await asyncio.sleep(0.5)
    assert max(level(sound) for sound in peer.sounds) < 30, "nothing stale is heard"
    third = await say(server, peer, SHORT)
    await peer.event(type="speech", id=third, state="finished")


async def test_a_text_in_place_of_another_is_heard_at_once(talking):
    server, peer = talking
    first = await say(server, peer, LONG)
    await peer.event(type="speech", id=first, state="started")
    second = await say(server, peer, SHORT, interrupt=True)
    await peer.event(type="speech", id=first, state="interrupted")
    await peer.event(type="speech", id=second, state="finished")


async def test_a_refused_text_interrupts_nothing(talking):
    server, peer = talking
    first = await say(server, peer, SHORT)
    reply = await server.client.post(
        f"/api/sessions/{peer.session_id}/speak", json={"text": "a", "voice": "nobody", "interrupt": True}
    )
    assert reply.status == 404
    await peer.event(type="speech", id=first, state="finished")


async def test_a_text_that_is_still_being_written_is_said_sentence_by_sentence(talking):
    server, peer = talking
    async with server.client.ws_connect(f"/ws/speak/{peer.session_id}") as socket:
        for token in ("Hel", "lo the", "re. Th", "is goes", " on, and"):
            await socket.send_json({"text": token})
        caption = await told(socket, "caption")
        assert caption["text"] == "Hello there."
        await socket.send_json({"text": " then it ends"})
        await socket.send_json({"end": True})
        assert (await told(socket, "caption"))["text"] == "This goes on, and then it ends"
        assert (await told(socket, "speech", state="finished"))["id"] == caption["id"]


async def test_a_socket_interrupts_and_begins_anew(talking):
    server, peer = talking
    async with server.client.ws_connect(f"/ws/speak/{peer.session_id}") as socket:
        await socket.send_json({"text": LONG})
        await told(socket, "speech", state="started")
        await socket.send_json({"interrupt": True, "text": SHORT, "end": True})
        assert (await told(socket, "speech", state="interrupted"))["id"] == 1
        assert (await told(socket, "speech", state="finished"))["id"] == 2


@pytest.mark.parametrize("message", ["{", "[]", '{"text": 5}', '{"dance": 1}', '{"interrupt": "yes"}'])
async def test_a_socket_answers_what_it_cannot_read(talking, message):
    server, peer = talking
    async with server.client.ws_connect(f"/ws/speak/{peer.session_id}") as socket:
        await socket.send_str(message)
        assert (await told(socket, "error"))["code"] == "invalid_request"


async def test_live_sound_over_a_socket_is_heard(talking):
    server, peer = talking
    tone = (8000 * np.sin(2 * np.pi * 300 * np.arange(16_000) / 16_000)).astype("<i2")
    async with server.client.ws_connect(f"/ws/audio/{peer.session_id}?rate=16000") as socket:
        for piece in np.split(tone, 10):
            await socket.send_bytes(piece.tobytes())
        await told(socket, "speech", state="started")
        await peer.until(lambda: loud(peer))
        await socket.send_json({"end": True})
        await told(socket, "speech", state="finished")
    assert (await server.client.get(f"/ws/audio/{peer.session_id}?rate=5")).status == 400


async def test_a_file_is_played_as_if_it_was_said(talking):
    server, peer = talking
    data = await (await server.client.post("/api/speech", json={"text": SHORT}, headers={"Accept": "audio/ogg"})).read()
    reply = await server.client.post(f"/api/sessions/{peer.session_id}/audio", data={"audio": io.BytesIO(data)})
    answer = await reply.json()
    assert reply.status == 202, answer
    await peer.until(lambda: loud(peer))
    await peer.event(type="speech", id=answer["id"], state="finished")


async def test_a_file_without_sound_is_refused(talking):
    server, peer = talking
    reply = await server.client.post(
        f"/api/sessions/{peer.session_id}/audio", data={"audio": io.BytesIO(b"garbage" * 99)}
    )
    assert (reply.status, (await reply.json())["error"]["code"]) == (415, "unreadable_sound")
    reply = await server.client.post(f"/api/sessions/{peer.session_id}/audio", data={"other": "x"})
    assert reply.status == 400


async def test_an_unknown_session_says_nothing(server):
    for reply in (
        await server.client.post("/api/sessions/none/speak", json={"text": SHORT}),
        await server.client.post("/api/sessions/none/interrupt"),
        await server.client.post("/api/sessions/none/audio", data={"audio": io.BytesIO(b"x")}),
        await server.client.get("/ws/speak/none"),
    ):
        assert reply.status == 404
        assert (await reply.json())["error"]["code"] == "unknown_session"


async def test_a_session_that_ends_ends_its_sockets(talking):
    server, peer = talking
    async with server.client.ws_connect(f"/ws/speak/{peer.session_id}") as socket:
        await socket.send_json({"text": LONG})
        await told(socket, "speech", state="started")
        await server.client.delete(f"/api/sessions/{peer.session_id}")
        assert await told(socket, "state", state="closed")
        async with asyncio.timeout(5):
            while not socket.closed:
                await socket.receive()


async def told(socket, kind, **fields):
    """Return the next event of a kind."""
    deadline_s = time.monotonic() + 20
    while time.monotonic() < deadline_s:
        event = json.loads(await socket.receive_str(timeout=20))
        if event["type"] == kind and fields.items() <= event.items():
            return event
    raise TimeoutError


async def test_a_file_that_is_interrupted_while_it_is_decoded_is_closed_behind_its_decoder(talking):
    server, peer = talking
    samples = (8000 * np.sin(np.arange(60 * 48_000) / 20)).astype("<i2")
    data = io.BytesIO()
    with av.open(data, "w", format="ogg") as file:
        stream = file.add_stream("libopus", rate=48_000, layout="mono")
        for start in range(0, len(samples), 960):
            frame = av.AudioFrame.from_ndarray(samples[None, start : start + 960], format="s16", layout="mono")
            frame.sample_rate = 48_000
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    for pause_s in (0.0, 0.001, 0.003, 0.01, 0.03, 0.1) * 5:
        form = {"audio": io.BytesIO(data.getvalue()), "interrupt": "true"}
        reply = await server.client.post(f"/api/sessions/{peer.session_id}/audio", data=form)
        assert reply.status == 202
        await asyncio.sleep(pause_s)
        await server.client.post(f"/api/sessions/{peer.session_id}/interrupt")
    turn = await say(server, peer, SHORT)
    await peer.event(type="speech", id=turn, state="finished")
