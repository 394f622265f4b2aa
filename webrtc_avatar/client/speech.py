"""Speech from a program: sound of a text, and texts and sound that a live session says.

async with SpeechClient("http://127.0.0.1:8080") as client:
    Path("hello.wav").write_bytes(await client.synthesize("Hello."))
    await client.speak(session_id, "Hello.", interrupt=True)
    async for event in client.speak_stream(session_id, tokens):       # a language model's, as they come
        print(event)
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Mapping
from contextlib import aclosing
from typing import Any, Literal, Self
from urllib.parse import quote

import aiohttp
import numpy as np
import numpy.typing as npt

from webrtc_avatar.client.failures import RequestRefused, ServerUnreachable

Event = dict[str, Any]
Format = Literal["wav", "opus", "pcm"]

_TYPES: dict[Format, str] = {"wav": "audio/wav", "opus": "audio/ogg", "pcm": "audio/pcm"}
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=15, sock_read=60)
_LAST = frozenset(("finished", "interrupted", "failed"))


class SpeechClient:
    """One server's speech. An async context manager.

    Args:
        url: where the server listens, such as `http://127.0.0.1:8080`.
        token: bearer token, where the server asks for one.

    All methods raise ServerUnreachable where nothing answers, and RequestRefused with the server's code and message where it
    refuses: a voice that is not installed, a parameter that the voice cannot follow, a session that has ended.
    """

    def __init__(self, url: str = "http://127.0.0.1:8080", *, token: str | None = None) -> None:
        self._url = (url if "://" in url else f"http://{url}").rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections; twice is fine."""
        http, self._http = self._http, None
        if http is not None:
            await http.close()

    async def voices(self) -> list[dict[str, Any]]:
        """Return the voices, best first; each with `id`, `language`, `title`, `abilities` and so on."""
        voices: list[dict[str, Any]] = (await self._json("GET", "/api/voices"))["voices"]
        return voices

    async def get_worker_status(self) -> dict[str, Any]:
        """Return what the server's processes that speak do: `total_workers`, `ready_workers`, `busy_workers`, `queue_size` and more."""
        return await self._json("GET", "/api/speech/status")

    async def open_session(self, avatar: str | None = None) -> str:
        """Open a live session without a microphone, to be watched over WHEP; return its id. It ends when nobody watches."""
        body = {} if avatar is None else {"avatar": avatar}
        return str((await self._json("POST", "/api/sessions", json=body))["session_id"])

    async def synthesize(self, text: str, **parameters: Any) -> bytes:
        """Return a text's sound as a whole WAV file, int16 mono.

        Args:
            text: what to say, or SSML.
            parameters: `voice`, `checkpoint`, `speed`, `pitch`, `emotion`, `style`, `seed`, `ssml`.
        """
        async with self._request("POST", "/api/speech", json={"text": text, **parameters}) as reply:
            return await reply.read()

    async def stream(self, text: str, *, kind: Format = "wav", **parameters: Any) -> AsyncGenerator[bytes]:
        """Yield a text's sound as a file of a kind while it is made; for parameters see `synthesize`."""
        headers = {"Accept": _TYPES[kind]}
        async with self._request("POST", "/api/speech", json={"text": text, **parameters}, headers=headers) as reply:
            async for data in reply.content.iter_any():
                yield data

    async def speak(self, session_id: str, text: str, *, interrupt: bool = False, **parameters: Any) -> int:
        """Have a live session say a text, after what it says or, `interrupt`, in place of it; return the turn's id."""
        body = {"text": text, "interrupt": interrupt, **parameters}
        return int((await self._json("POST", f"/api/sessions/{quote(session_id)}/speak", json=body))["id"])

    async def interrupt(self, session_id: str) -> None:
        """Silence a live session at once, whatever it was about to say."""
        async with self._request("POST", f"/api/sessions/{quote(session_id)}/interrupt"):
            pass

    async def play(self, session_id: str, file: bytes, *, interrupt: bool = False) -> int:
        """Have a live session play a sound file of any kind as if it said it; return the turn's id."""
        form = aiohttp.FormData({"interrupt": "true" if interrupt else "false"})
        form.add_field("audio", file, filename="sound")
        return int((await self._json("POST", f"/api/sessions/{quote(session_id)}/audio", data=form))["id"])

    async def speak_stream(
        self, session_id: str, texts: AsyncIterable[str] | Iterable[str], **parameters: Any
    ) -> AsyncGenerator[Event]:
        """Have a live session say a text that is still being written; yield the session's events until it is said.

        Args:
            session_id: the session.
            texts: pieces of the text, cut anywhere.
            parameters: see `synthesize`.
        """
        messages = ({"text": text, **parameters} async for text in _each(texts))
        async with aclosing(self._turn(f"/ws/speak/{quote(session_id)}", messages)) as events:
            async for event in events:
                yield event

    async def play_stream(
        self, session_id: str, sound: AsyncIterable[npt.NDArray[np.int16]], rate_hz: int
    ) -> AsyncGenerator[Event]:
        """Have a live session play sound while it is made; yield the session's events until it is played.

        Args:
            session_id: the session.
            sound: int16 (n,), mono.
            rate_hz: 8000 to 192000.
        """
        messages = (np.asarray(samples, "<i2").tobytes() async for samples in sound)
        path = f"/ws/audio/{quote(session_id)}?rate={rate_hz}"
        async with aclosing(self._turn(path, messages)) as events:
            async for event in events:
                yield event

    async def _turn(
        self, path: str, messages: AsyncIterator[Mapping[str, Any]] | AsyncIterator[bytes]
    ) -> AsyncGenerator[Event]:
        try:
            socket = await self._session.ws_connect(self._url + path, headers=self._headers)
        except aiohttp.WSServerHandshakeError as error:
            raise RequestRefused(
                f"the server does not take {path} ({error.status}); is the session still there?", refusal="refused"
            ) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._unreachable(error) from error

        async def send() -> None:
            async for message in messages:
                await (socket.send_bytes(message) if isinstance(message, bytes) else socket.send_json(message))
            await socket.send_json({"end": True})

        sender = asyncio.create_task(send(), name="speech-sender")
        turn: int | None = None
        try:
            async for message in socket:
                event: Event = json.loads(message.data)
                if event["type"] == "error":
                    raise RequestRefused(event["message"], refusal=event["code"])
                if event["type"] == "speech" and event["state"] == "queued" and turn is None:
                    turn = event["id"]
                yield event
                if event["type"] == "speech" and event["id"] == turn and event["state"] in _LAST:
                    return
        finally:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)
            await socket.close()

    @property
    def _session(self) -> aiohttp.ClientSession:
        if self._http is None:
            self._http = aiohttp.ClientSession(timeout=_TIMEOUT)
        return self._http

    async def _json(self, method: str, path: str, **what: Any) -> dict[str, Any]:
        async with self._request(method, path, **what) as reply:
            answer: dict[str, Any] = await reply.json()
            return answer

    def _request(self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **what: Any) -> _Reply:
        asked = self._session.request(method, self._url + path, headers={**self._headers, **(headers or {})}, **what)
        return _Reply(asked, self._unreachable)

    def _unreachable(self, error: Exception) -> ServerUnreachable:
        return ServerUnreachable(
            f"no server answers at {self._url} ({error or type(error).__name__}); "
            "start one with `webrtc-avatar serve`, or check the URL"
        )


class _Reply:
    """An answer that is no refusal."""

    def __init__(self, asked: Any, unreachable: Any) -> None:
        self._asked, self._unreachable = asked, unreachable

    async def __aenter__(self) -> aiohttp.ClientResponse:
        try:
            reply: aiohttp.ClientResponse = await self._asked.__aenter__()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._unreachable(error) from error
        if reply.status < 400:
            return reply
        try:
            refused = (await reply.json())["error"]
            raise RequestRefused(refused["message"], refusal=refused["code"])
        except (ValueError, KeyError, TypeError, aiohttp.ClientError) as error:
            raise RequestRefused(f"the server answered {reply.status}", refusal="refused") from error
        finally:
            await self._asked.__aexit__(None, None, None)

    async def __aexit__(self, *failure: Any) -> None:
        await self._asked.__aexit__(*failure)


async def _each(texts: AsyncIterable[str] | Iterable[str]) -> AsyncIterator[str]:
    if isinstance(texts, AsyncIterable):
        async for text in texts:
            yield text
    else:
        for text in texts:
            yield text
