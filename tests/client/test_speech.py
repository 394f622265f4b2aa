"""The client of speech against a real server."""

from __future__ import annotations

import io
import wave
from collections.abc import AsyncIterator

import numpy as np
import pytest
import pytest_asyncio
from aiohttp.test_utils import TestServer

from webrtc_avatar.client import RequestRefused, ServerUnreachable, SpeechClient
from webrtc_avatar.server.app import create_app
from webrtc_avatar.settings import Settings

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def url() -> AsyncIterator[str]:
    server = TestServer(create_app(Settings(grpc=False, speech_workers=1, unwatched_timeout_s=60)))
    await server.start_server()
    yield str(server.make_url("/"))
    await server.close()


@pytest_asyncio.fixture(loop_scope="module")
async def client(url: str) -> AsyncIterator[SpeechClient]:
    async with SpeechClient(url) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def session_id(client: SpeechClient) -> str:
    opened = await client.open_session()
    return opened


async def test_voices_and_status_are_told(client: SpeechClient) -> None:
    assert (await client.voices())[0]["id"] == "hibari/heart"
    status = await client.get_worker_status()
    assert status["total_workers"] == 1
    assert status["batching_enabled"] is True


async def test_a_text_becomes_sound(client: SpeechClient) -> None:
    with wave.open(io.BytesIO(await client.synthesize("Hello.", speed=1.5))) as read:
        assert read.getnframes() > 4000
    pieces = [piece async for piece in client.stream("Hello.", kind="pcm")]
    assert sum(map(len, pieces)) > 8000


async def test_what_the_server_refuses_is_raised_with_its_reason(client: SpeechClient) -> None:
    with pytest.raises(RequestRefused, match="nobody") as refused:
        await client.synthesize("Hello.", voice="nobody")
    assert refused.value.refusal == "unknown_voice"
    with pytest.raises(RequestRefused) as refused:
        await client.speak("none", "Hello.")
    assert refused.value.refusal == "unknown_session"
    with pytest.raises(RequestRefused):
        [event async for event in client.speak_stream("none", ["Hello."])]


async def test_a_session_says_a_text_that_is_being_written(client: SpeechClient, session_id: str) -> None:
    async def tokens() -> AsyncIterator[str]:
        for token in ("Hel", "lo there. ", "How are ", "you?"):
            yield token

    from webrtc_avatar.client import Peer

    async with Peer(client._url, watch=session_id):
        events = [event async for event in client.speak_stream(session_id, tokens())]
    captions = [event["text"] for event in events if event["type"] == "caption"]
    assert captions == ["Hello there.", "How are you?"]
    states = [event["state"] for event in events if event["type"] == "speech"]
    assert states == ["queued", "started", "finished"]


async def test_live_sound_and_files_are_played(client: SpeechClient, session_id: str) -> None:
    from webrtc_avatar.client import Peer

    async def sound() -> AsyncIterator[np.ndarray]:
        for _ in range(5):
            yield (8000 * np.sin(np.arange(3200) / 5)).astype(np.int16)

    async with Peer(client._url, watch=session_id) as peer:
        events = [event async for event in client.play_stream(session_id, sound(), 16_000)]
        assert events[-1]["state"] == "finished"
        assert max(level for _, level in peer.heard()) > -30
        assert await client.play(session_id, await client.synthesize("Hello.")) == 2
        await client.interrupt(session_id)


async def test_a_server_that_is_not_there_is_told() -> None:
    async with SpeechClient("http://127.0.0.1:9") as client:
        with pytest.raises(ServerUnreachable, match="no server answers"):
            await client.voices()
