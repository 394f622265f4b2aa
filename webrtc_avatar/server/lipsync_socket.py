"""`/ws/lipsync`: the lip-sync service for browsers, any number of calls on one WebSocket. docs/lipsync.md has the messages."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from weakref import WeakSet

from aiohttp import WSCloseCode, WSMsgType, web

from webrtc_avatar.errors import AvatarServerError, InvalidRequest, ServerFull, Unauthorized
from webrtc_avatar.rpc.audio_stream import AudioMessage, stream_audio
from webrtc_avatar.rpc.errors import status_of
from webrtc_avatar.rpc.frame import Frame, frame_fields
from webrtc_avatar.rpc.lipsync import LipSync
from webrtc_avatar.rpc.packages import Packages
from webrtc_avatar.rpc.sound import Encoding
from webrtc_avatar.server import lipsync_messages as messages
from webrtc_avatar.server import origins
from webrtc_avatar.server.lipsync_messages import Fields
from webrtc_avatar.server.signalling import SETTINGS
from webrtc_avatar.settings import Settings

log = logging.getLogger(__name__)

PATH = "/ws/lipsync"
MAX_CALLS = 32
"""Calls of one socket at a time."""

_TYPES = (
    "generate_inference",
    "generate_batch_inference",
    "generate_batch_with_audio",
    "stream_audio",
    "load_package",
    "list_models",
    "health_check",
    "get_model_metadata",
    "get_stats",
    "get_video_frame",
    "cancel",
)
_HEARTBEAT_S = 30.0
_QUEUED_MESSAGES = 8


def add_routes(app: web.Application, service: Callable[[], tuple[LipSync, Packages]]) -> None:
    """Add the socket; `service` returns what answers, once the application has started."""
    sockets: WeakSet[web.WebSocketResponse] = WeakSet()

    async def open_socket(request: web.Request) -> web.WebSocketResponse:
        settings = request.app[SETTINGS]
        check_caller(request, settings)
        socket = web.WebSocketResponse(
            max_msg_size=settings.rpc_max_message_bytes, compress=False, heartbeat=_HEARTBEAT_S
        )
        await socket.prepare(request)
        sockets.add(socket)
        await _Caller(socket, *service()).serve()
        return socket

    async def close_all(_app: web.Application) -> None:
        for socket in list(sockets):
            await socket.close(code=WSCloseCode.GOING_AWAY, message=b"server shutting down")

    app.router.add_get(PATH, open_socket)
    app.on_shutdown.append(close_all)


def check_caller(request: web.Request, settings: Settings) -> None:
    """Ask for the token, or without one for pages that are allowed: browsers let any site's page open a socket.

    Raises:
        Unauthorized: the token is missing, or another one.
        Forbidden: the request comes from a page that is not allowed.
    """
    if settings.token is not None:
        token = settings.token.get_secret_value()
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            given = request.query.get("access_token", "")
        if not hmac.compare_digest(given.encode(), token.encode()):
            raise Unauthorized(
                "this server asks for its token: send the header Authorization: Bearer TOKEN, or ?access_token=TOKEN"
            )
        return
    origins.check(request)


class _Caller:
    """One socket and its calls."""

    def __init__(self, socket: web.WebSocketResponse, lipsync: LipSync, packages: Packages) -> None:
        self._socket = socket
        self._lipsync = lipsync
        self._packages = packages
        self._calls: dict[int, asyncio.Task[None]] = {}
        self._streams: dict[int, asyncio.Queue[AudioMessage | None]] = {}

    async def serve(self) -> None:
        """Take messages until the socket closes; then end its calls."""
        try:
            async for message in self._socket:
                if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    await self._take(message.data)
        finally:
            for task in list(self._calls.values()):
                task.cancel()
            await asyncio.gather(*self._calls.values(), return_exceptions=True)

    async def _take(self, data: bytes | str) -> None:
        number: int | None = None
        try:
            fields, payload = messages.unpack(data)
            number = messages.call_id(fields)
            kind = messages.text(fields, "type")
            if kind == "cancel":
                await self._cancel(number)
            elif kind == "stream_audio" and number in self._streams:
                await self._hear(number, fields, payload)
            elif number in self._calls:
                number = None  # the call that has this number goes on
                raise InvalidRequest(f'"id" {fields["id"]} is the number of a call that is under way; choose another')
            elif len(self._calls) >= MAX_CALLS:
                raise ServerFull(f"{MAX_CALLS} calls of this socket are under way; wait for one of them, or cancel it")
            else:
                await self._begin(number, kind, fields, payload)
        except AvatarServerError as error:
            await self._send_error(number, error)

    async def _begin(self, number: int, kind: str, fields: Fields, payload: bytes) -> None:
        if kind == "stream_audio":
            self._streams[number] = asyncio.Queue(_QUEUED_MESSAGES)
        task = asyncio.create_task(self._run(number, kind, fields, payload), name=f"lipsync-{kind}")
        self._calls[number] = task
        task.add_done_callback(lambda _: self._forget(number))
        if kind == "stream_audio":
            try:
                await self._hear(number, fields, payload)
            except AvatarServerError:
                task.cancel()
                raise

    def _forget(self, number: int) -> None:
        self._calls.pop(number, None)
        self._streams.pop(number, None)

    async def _run(self, number: int, kind: str, fields: Fields, payload: bytes) -> None:
        """Run a call to its end, and answer what went wrong."""
        try:
            await self._work(number, kind, fields, payload)
        except AvatarServerError as error:
            await self._send_error(number, error)
        except ConnectionError:
            log.debug("the socket closed during call %d", number)
        except Exception:
            log.exception("call %d failed", number)
            message = "the server failed on this call; its log says why"
            await self._send(
                {"type": "error", "id": number, "code": "internal", "status": "INTERNAL", "message": message}
            )

    async def _work(self, number: int, kind: str, fields: Fields, payload: bytes) -> None:
        name = messages.text(fields, "model_name")
        match kind:
            case "generate_inference":
                await self._one(number, name, fields, payload)
            case "generate_batch_inference":
                frame_ids, output = messages.numbers(fields, "frame_ids"), messages.output(fields)
                await self._many(number, self._lipsync.batch(name, frame_ids, output))
            case "generate_batch_with_audio":
                await self._many(number, self._batch_with_audio(name, fields, payload))
            case "stream_audio":
                await self._many(number, stream_audio(self._lipsync, self._heard(number)))
            case "load_package":
                folder = messages.text(fields, "package_dir")
                loaded = await self._packages.load_package(messages.text(fields, "package_name"), folder)
                await self._answer(number, kind, loaded)
            case "list_models":
                await self._answer(number, kind, self._packages.list_models())
            case "health_check":
                await self._answer(number, kind, self._packages.health_check())
            case "get_model_metadata":
                await self._answer(number, kind, await self._packages.get_model_metadata(name))
            case "get_stats":
                await self._answer(number, kind, self._packages.get_stats(name))
            case "get_video_frame":
                place, video = messages.number(fields, "frame_id"), messages.text(fields, "video_type")
                await self._answer(number, kind, await self._packages.get_video_frame(name, place, video))
            case _:
                raise InvalidRequest(f'"type" is one of {", ".join(_TYPES)}; got {kind[:80]!r}')

    def _batch_with_audio(self, name: str, fields: Fields, payload: bytes) -> AsyncGenerator[Frame, None]:
        encoding = messages.encoding(fields)
        return self._lipsync.batch_with_audio(
            name,
            messages.number(fields, "start_frame_id"),
            messages.number(fields, "frame_count"),
            messages.chunks(payload, encoding),
            encoding,
            messages.output(fields),
        )

    async def _cancel(self, number: int) -> None:
        task = self._calls.get(number)
        if task is None:
            raise InvalidRequest(f"there is no call {number} under way; it may have ended")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await self._send({"type": "done", "id": number, "cancelled": True})

    async def _answer(self, number: int, kind: str, answer: Fields) -> None:
        fields = {"type": kind, "id": number, **answer}
        payload = fields.pop("frame_data", None)
        if payload is None:
            await self._send(fields)
        else:
            await self._socket.send_bytes(messages.pack(fields, payload))

    async def _one(self, number: int, name: str, fields: Fields, payload: bytes) -> None:
        sound, frame_id = messages.chunks(payload, Encoding.FLOAT32), messages.number(fields, "frame_id")
        with self._lipsync.call():
            frame = await self._lipsync.inference(name, frame_id, sound, messages.output(fields))
        await self._send_frame(number, frame)

    async def _many(self, number: int, frames: AsyncGenerator[Frame, None]) -> None:
        started_s, count = time.monotonic(), 0
        with self._lipsync.call():
            async with aclosing(frames):
                async for frame in frames:
                    await self._send_frame(number, frame)
                    count += 1
        total_ms = 1000 * (time.monotonic() - started_s)
        await self._send(
            {
                "type": "done",
                "id": number,
                "frames": count,
                "total_processing_time_ms": round(total_ms),
                "avg_frame_time_ms": total_ms / max(count, 1),
            }
        )

    async def _hear(self, number: int, fields: Fields, payload: bytes) -> None:
        """Hand a message of `stream_audio` to its call; waits while that has enough."""
        queue = self._streams[number]
        kind = messages.encoding(fields)
        pieces = messages.packets(payload) if kind is Encoding.OPUS else [payload]
        interrupt, end = messages.flag(fields, "interrupt"), messages.flag(fields, "end")
        name, output = messages.text(fields, "model_name"), messages.output(fields)
        for place, piece in enumerate(pieces or [b""]):
            last = place >= len(pieces) - 1
            await self._put(
                number, queue, AudioMessage(name, piece, kind, end and last, interrupt and not place, output)
            )
        if messages.flag(fields, "close"):
            await self._put(number, queue, None)

    async def _put(self, number: int, queue: asyncio.Queue[AudioMessage | None], message: AudioMessage | None) -> None:
        """Put a message into a call's queue, or drop it if the call ends meanwhile."""
        put = asyncio.ensure_future(queue.put(message))
        if (call := self._calls.get(number)) is not None:
            await asyncio.wait({put, call}, return_when=asyncio.FIRST_COMPLETED)
        put.cancel()

    async def _heard(self, number: int) -> AsyncIterator[AudioMessage]:
        queue = self._streams[number]
        while (message := await queue.get()) is not None:
            yield message

    async def _send_frame(self, number: int, frame: Frame) -> None:
        fields = {"type": "frame", "id": number, **frame_fields(frame)}
        await self._socket.send_bytes(messages.pack(fields, frame.image))

    async def _send_error(self, number: int | None, error: AvatarServerError) -> None:
        fields: Fields = {"type": "error"} if number is None else {"type": "error", "id": number}
        fields |= {"code": error.code, "status": status_of(error).name, "message": error.message}
        log.info("call refused: %s", error.message, extra={"code": error.code})
        await self._send(fields)

    async def _send(self, fields: Fields) -> None:
        if not self._socket.closed:
            await self._socket.send_str(json.dumps(fields))
