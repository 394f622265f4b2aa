"""WebSockets of a live session: `/ws/speak/{id}` takes a text while it is being written, `/ws/audio/{id}` sound while it is made.

Both answer the session's events as JSON. Text: `{"text": "…"}` appends, `{"end": true}` ends the turn, `{"interrupt": true}` silences;
the first message may say `voice`, `speed` and so on, as `POST /api/sessions/{id}/speak` does. Sound: binary messages of int16
little-endian, mono, at `?rate=` Hz (24000 where nothing is said); the same JSON messages end or interrupt.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator
from typing import Any
from weakref import WeakSet

import numpy as np
import numpy.typing as npt
from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from webrtc_avatar.errors import AvatarServerError, InvalidAudio, InvalidRequest
from webrtc_avatar.server.lipsync_socket import check_caller
from webrtc_avatar.server.live import LiveSession
from webrtc_avatar.server.signalling import LIVE, SETTINGS
from webrtc_avatar.server.speech import SPEECH
from webrtc_avatar.server.speech_messages import FIELDS, read_interrupt, read_request
from webrtc_avatar.session.audience import Event

log = logging.getLogger(__name__)

_HEARTBEAT_S = 30.0
_MOST_BYTES = 1 << 20
_MOST_EVENTS = 256
_WAITING = 1024
"""Messages that may wait for their turn to be said; what interrupts is read behind them."""
_RATES_HZ = range(8_000, 192_001)


def add_routes(app: web.Application) -> None:
    """Add both sockets."""
    sockets: WeakSet[web.WebSocketResponse] = WeakSet()

    async def open_socket(request: web.Request) -> web.WebSocketResponse:
        settings = request.app[SETTINGS]
        check_caller(request, settings)
        await request.app[SPEECH].ready()
        live = request.app[LIVE].get(request.match_info["session_id"])
        rate_hz = _rate(request) if request.path.startswith("/ws/audio/") else None
        socket = web.WebSocketResponse(max_msg_size=_MOST_BYTES, heartbeat=_HEARTBEAT_S, compress=False)
        await socket.prepare(request)
        sockets.add(socket)
        speaker = _Speaker(socket, live, rate_hz, settings.speech_max_text_chars)
        await speaker.serve()
        return socket

    async def close_all(_app: web.Application) -> None:
        for socket in list(sockets):
            await socket.close(code=WSCloseCode.GOING_AWAY, message=b"server shutting down")

    app.router.add_get("/ws/speak/{session_id}", open_socket)
    app.router.add_get("/ws/audio/{session_id}", open_socket)
    app.on_shutdown.append(close_all)


class _Speaker:
    """One socket: what it sends is said in turns, what happens in the session comes back."""

    def __init__(self, socket: web.WebSocketResponse, live: LiveSession, rate_hz: int | None, most_chars: int) -> None:
        self._socket, self._live, self._rate_hz, self._most_chars = socket, live, rate_hz, most_chars
        self._turn: asyncio.Queue[Any] | None = None
        self._events: asyncio.Queue[Event | None] = asyncio.Queue(_MOST_EVENTS)

    async def serve(self) -> None:
        """Take messages until the socket or the session closes."""
        forget = self._live.session.listen(self._on_event)
        teller = asyncio.create_task(self._tell(), name="speech-events")
        try:
            async for message in self._socket:
                await self._take(message)
        finally:
            forget()
            await self._end_turn()
            teller.cancel()
            await asyncio.gather(teller, return_exceptions=True)

    async def _take(self, message: WSMessage) -> None:
        try:
            if message.type is WSMsgType.BINARY:
                await self._hear(message.data)
            elif message.type is WSMsgType.TEXT:
                await self._obey(_read(message.data))
        except AvatarServerError as error:
            self._on_event({"type": "error", "code": error.code, "message": error.message})

    async def _hear(self, data: bytes) -> None:
        if self._rate_hz is None:
            raise InvalidRequest("this socket takes text; sound goes to /ws/audio/{session}")
        if len(data) % 2:
            raise InvalidAudio(f"sound is int16, two bytes a sample; got {len(data)} bytes")
        if self._turn is None:
            turn: asyncio.Queue[npt.NDArray[np.float32] | None] = asyncio.Queue(_WAITING)
            self._live.speaking.play(_items(turn), self._rate_hz)
            self._turn = turn
        await self._turn.put(np.frombuffer(data, "<i2").astype(np.float32) / np.float32(32768.0))

    async def _obey(self, fields: dict[str, Any]) -> None:
        unknown = set(fields) - {*FIELDS, "interrupt", "end"}
        if unknown:
            raise InvalidRequest(f"unknown field {min(unknown)!r:.80}; expected {', '.join(FIELDS)}, interrupt or end")
        if read_interrupt(fields):
            self._live.session.interrupt()
        if fields.get("text"):
            await self._say(fields)
        if fields.get("end"):
            await self._end_turn()

    async def _say(self, fields: dict[str, Any]) -> None:
        if self._rate_hz is not None:
            raise InvalidRequest("this socket takes sound; text goes to /ws/speak/{session}")
        request = read_request(fields, most_chars=self._most_chars, needs_text=False)
        if self._turn is None:
            turn: asyncio.Queue[str | None] = asyncio.Queue(_WAITING)
            self._live.speaking.say_as_it_comes(_items(turn), request)
            self._turn = turn
        await self._turn.put(request.text)

    async def _end_turn(self) -> None:
        if self._turn is not None:
            turn, self._turn = self._turn, None
            await turn.put(None)

    def _on_event(self, event: Event) -> None:
        if event.get("type") == "interrupted" and self._turn is not None:
            # What was being sent is not said any more; what comes next is a new turn.
            turn, self._turn = self._turn, None
            while not turn.empty():
                turn.get_nowait()
        if not self._events.full():
            self._events.put_nowait(event)
        if event.get("state") == "closed":
            while self._events.full():
                self._events.get_nowait()
            self._events.put_nowait(None)

    async def _tell(self) -> None:
        while (event := await self._events.get()) is not None:
            await self._socket.send_str(json.dumps(event, default=str))
        await self._socket.close(code=WSCloseCode.OK, message=b"the session has ended")


async def _items(queue: asyncio.Queue[Any]) -> AsyncGenerator[Any]:
    while (item := await queue.get()) is not None:
        yield item


def _read(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(
            f'a message is a JSON object such as {{"text": "Hello"}}; this is not JSON ({error!s:.120})'
        ) from error
    if not isinstance(value, dict):
        raise InvalidRequest(f'a message is a JSON object such as {{"text": "Hello"}}; got {type(value).__name__}')
    return value


def _rate(request: web.Request) -> int:
    text = request.query.get("rate", "24000")
    if not text.isdecimal() or len(text) > 6 or int(text) not in _RATES_HZ:
        raise InvalidRequest(f"rate is the samples a second, 8000 to 192000; got {text[:20]!r}")
    return int(text)
