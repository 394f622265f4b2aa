"""One Render call to an engine on another machine: questions up, faces down."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

import grpc

from webrtc_avatar.errors import AvatarServerError, EngineFailure, EngineLost
from webrtc_avatar.rpc import engine_pb2 as messages

if TYPE_CHECKING:
    from webrtc_avatar.engine.remote_connection import Connection

log = logging.getLogger(__name__)

_QUESTIONS_A_MESSAGE = 32


class Question:
    """One thing that goes up.

    Attributes:
        ask: its message, but for the time that is left.
        deadline_s: `time.monotonic()` by which the face must be there; infinite: bulk; None: no face is asked for.
    """

    __slots__ = ("ask", "deadline_s", "index")

    def __init__(self, ask: messages.Ask, deadline_s: float | None = None, index: int | None = None) -> None:
        self.ask = ask
        self.deadline_s = deadline_s
        self.index = index


class Link:
    """It lasts until one side ends it.

    Args:
        connection: to which engine.
        opening: the first message, without asks.
        questions: its asks.
        on_faces: takes the faces of a message.
        on_end: told once, with the reason, that no more come, unless it was `close`.
    """

    def __init__(
        self,
        connection: Connection,
        opening: messages.Open,
        questions: Sequence[Question],
        *,
        on_faces: Callable[[Sequence[messages.Face]], None],
        on_end: Callable[[Link, AvatarServerError], None],
    ) -> None:
        self.connection = connection
        self._opening: messages.Open | None = opening
        self._questions = deque(questions)
        self._on_faces = on_faces
        self._on_end = on_end
        self._news = asyncio.Event()
        self._call = connection.open_call()
        connection.links.add(self)
        self._writer = asyncio.create_task(self._write(), name="engine-write")
        self._reader = asyncio.create_task(self._read(), name="engine-read")

    def fail(self, error: AvatarServerError) -> None:
        """End the call because the engine does not answer any more."""
        self.close()
        self._on_end(self, error)

    def send(self, question: Question) -> None:
        """Let a question go up."""
        self._questions.append(question)
        self._news.set()

    def close(self) -> None:
        """End the call; the engine drops what waits."""
        self.connection.links.discard(self)
        self._call.cancel()
        self._writer.cancel()
        self._reader.cancel()

    async def _write(self) -> None:
        try:
            while True:
                if self._questions or self._opening is not None:
                    await self._call.write(self._message())
                    continue
                self._news.clear()
                await self._news.wait()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return  # the reader tells why

    def _message(self) -> messages.RenderRequest:
        """Return what waits; the time that is left counts from the message's arrival to the faces' departure there."""
        request = messages.RenderRequest(open=self._opening)
        self._opening = None
        now_s = time.monotonic() + self.connection.round_trip_s
        for _ in range(min(len(self._questions), _QUESTIONS_A_MESSAGE)):
            question = self._questions.popleft()
            ask = request.asks.add()
            ask.CopyFrom(question.ask)
            if question.deadline_s is not None:
                left_s = question.deadline_s - now_s
                ask.remaining_ms = math.inf if left_s == math.inf else 1000 * left_s
        return request

    async def _read(self) -> None:
        try:
            async for response in self._call:
                self._on_faces(cast(messages.RenderResponse, response).faces)
            error: AvatarServerError = EngineLost(f"the engine at {self.connection.address} ended the stream")
        except grpc.aio.AioRpcError as failure:
            error = self.connection.error_of(failure)
        except Exception as failure:  # a message that makes no sense must not leave anybody waiting
            log.exception("the engine's answer cannot be read address=%s", self.connection.address)
            error = EngineFailure(f"the engine at {self.connection.address} sent what cannot be read: {failure}")
        self.connection.links.discard(self)
        self._call.cancel()
        self._writer.cancel()
        self._on_end(self, error)
