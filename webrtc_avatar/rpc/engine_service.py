"""An engine for media servers on other machines: `engine.proto`, served beside the public contract."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from functools import partial
from typing import TypeAlias

import grpc
import numpy as np

from webrtc_avatar.engine import Face
from webrtc_avatar.engine.fingerprint import content_fingerprint
from webrtc_avatar.engine.interface import AnyStream
from webrtc_avatar.errors import AvatarMismatch, EngineLost, InvalidAudio, InvalidRequest, ServerDraining, ServerFull
from webrtc_avatar.rpc import engine_pb2 as messages
from webrtc_avatar.rpc.casting import Cast
from webrtc_avatar.rpc.engine_wire import to_face, to_status
from webrtc_avatar.rpc.errors import answered, streamed
from webrtc_avatar.rpc.lipsync import LipSync

log = logging.getLogger(__name__)

Context: TypeAlias = grpc.aio.ServicerContext

SERVICE = messages.DESCRIPTOR.services_by_name["EngineService"].full_name

_FACES_A_MESSAGE = 8
_UNSENT_FACES = 256
"""A caller that does not take its faces is not listened to while so many wait."""


class EngineService:
    """The servicer of `EngineService`. Lives on the event loop.

    Args:
        lipsync: has the engine and the avatars.
        max_streams: open streams; the next one is refused.
    """

    def __init__(self, lipsync: LipSync, *, max_streams: int) -> None:
        self._lipsync = lipsync
        self._max_streams = max_streams
        self._streams = 0
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def streams(self) -> int:
        """How many are open."""
        return self._streams

    async def drain(self) -> None:
        """Take no streams any more, say so, and wait for those that are open."""
        self._draining = True
        await self._idle.wait()

    async def GetStatus(  # noqa: N802
        self, request: messages.StatusRequest, context: Context
    ) -> messages.StatusResponse:
        """Tell how the engine stands; one that cannot render is told as gone."""
        return await answered(context, self._status())

    async def Load(self, request: messages.LoadRequest, context: Context) -> messages.LoadResponse:  # noqa: N802
        """Load an avatar that both sides hold."""
        cast = await answered(context, self._cast(request.avatar, request.fingerprint))
        return messages.LoadResponse(chunks_before=cast.chunks_before, chunks_after=cast.chunks_after)

    async def Render(  # noqa: N802
        self, requests: AsyncIterator[messages.RenderRequest], context: Context
    ) -> AsyncGenerator[messages.RenderResponse, None]:
        """Render one caller's frames."""
        async with aclosing(streamed(context, self._rendered(requests))) as responses:
            async for response in responses:
                yield response

    async def _status(self) -> messages.StatusResponse:
        engine = self._lipsync.engine
        status = engine.status()
        if not status.running or not status.workers:
            raise EngineLost("its engine has stopped; its log says why: start it again")
        return to_status(status, runtime_name=engine.runtime_name, draining=self._draining, streams=self._streams)

    async def _rendered(
        self, requests: AsyncIterator[messages.RenderRequest]
    ) -> AsyncGenerator[messages.RenderResponse, None]:
        first = await anext(aiter(requests), None)
        if first is None or not first.HasField("open"):
            raise InvalidRequest("the first message of a Render call has `open`")
        with self._place():
            cast = await self._cast(first.open.avatar, first.open.fingerprint)
            caller = _Caller()
            stream = self._lipsync.engine.open(
                cast.avatar,
                caller.put,
                first_chunk=first.open.first_chunk,
                windowed=first.open.windowed,
                bulk=first.open.bulk,
                on_batch=caller.tell,
                on_stop=caller.stop,
            )
            listener = asyncio.create_task(_listen(stream, caller, first, requests), name="engine-listen")
            listener.add_done_callback(lambda _: caller.stop())
            try:
                async for faces in caller.faces():
                    yield messages.RenderResponse(faces=map(to_face, faces))
                if listener.done():
                    listener.result()
            finally:
                stream.close()
                listener.cancel()
                await asyncio.gather(listener, return_exceptions=True)

    async def _cast(self, name: str, fingerprint: bytes) -> Cast:
        cast = await self._lipsync.casting.get(name)
        own = await self._lipsync.in_thread(content_fingerprint, cast.avatar)
        if own != fingerprint:
            raise AvatarMismatch(
                f"this engine holds another avatar {name!r} (fingerprint {own.hex()[:12]}, asked for was "
                f"{fingerprint.hex()[:12]}): copy the package from one machine to the other, and start both again"
            )
        return cast

    @contextmanager
    def _place(self) -> Iterator[None]:
        if self._draining:
            raise ServerDraining("this engine is shutting down and takes no new streams; use another one")
        if self._streams >= self._max_streams:
            raise ServerFull(
                f"all {self._max_streams} streams of this engine are taken; use another one, or raise engine_max_streams there"
            )
        self._streams += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._streams -= 1
            if not self._streams:
                self._idle.set()


class _Caller:
    """Faces on their way from the engine's threads to a caller. Lives on the loop; `put` and `stop` may be called anywhere."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._faces: deque[Face] = deque()
        self._changed = asyncio.Event()
        self._taken = asyncio.Event()
        self._stopped = False
        self._told = False

    def put(self, face: Face) -> None:
        """Take a face; `tell` follows when there are no more for now."""
        self._faces.append(face)

    def stop(self) -> None:
        """Take the news that nothing comes any more."""
        self._stopped = True
        self.tell()

    async def faces(self) -> AsyncGenerator[list[Face], None]:
        """Yield faces as they come, several at a time where several have."""
        while True:
            while self._faces:
                yield [self._faces.popleft() for _ in range(min(len(self._faces), _FACES_A_MESSAGE))]
                self._taken.set()
            if self._stopped:
                return
            self._changed.clear()
            if not self._faces:
                await self._changed.wait()

    async def room(self) -> None:
        """Wait while too many faces do."""
        while len(self._faces) >= _UNSENT_FACES:
            self._taken.clear()
            await self._taken.wait()

    def tell(self) -> None:
        """Wake the loop, once however often it is told."""
        if self._told:
            return
        self._told = True
        try:
            self._loop.call_soon_threadsafe(self._wake)
        except RuntimeError:
            return  # the loop is closed and nobody waits

    def _wake(self) -> None:
        self._told = False
        self._changed.set()


async def _listen(
    stream: AnyStream,
    caller: _Caller,
    first: messages.RenderRequest,
    requests: AsyncIterator[messages.RenderRequest],
) -> None:
    """Hand a caller's asks to its stream until they end."""
    stream.reset(first.open.epoch)
    for ask in first.asks:
        _hand_over(stream, ask)
    async for request in requests:
        await caller.room()
        for ask in request.asks:
            _hand_over(stream, ask)


def _hand_over(stream: AnyStream, ask: messages.Ask) -> None:
    kind = ask.WhichOneof("kind")
    if kind == "reset":
        stream.reset(ask.reset)
        return
    deadline_s = _deadline_s(ask.remaining_ms) if ask.HasField("remaining_ms") else None
    if kind == "chunk":
        chunk = ask.chunk
        if len(chunk.samples) % 4:
            raise InvalidAudio(f"a chunk is 640 float32, 2560 bytes; got {len(chunk.samples)} bytes")
        stream.push(
            np.frombuffer(chunk.samples, "<f4"),
            index=chunk.index,
            deadline_s=deadline_s,
            epoch=ask.epoch,
            base=chunk.base if chunk.HasField("base") else None,
        )
        return
    if deadline_s is None:
        raise InvalidRequest(f"an ask of kind {kind} has no remaining_ms; infinite for bulk work")
    if kind == "frame":
        frame = ask.frame
        stream.request(frame.frame, index=frame.index, deadline_s=deadline_s, epoch=ask.epoch, base=frame.base)
    elif kind == "finish":
        finish = ask.finish
        bases = dict(enumerate(finish.bases, start=finish.index))
        stream.finish(
            index=finish.index,
            deadline_s=deadline_s,
            epoch=ask.epoch,
            frames=range(finish.first, finish.end) if finish.HasField("first") else None,
            bases=partial(_base, bases),
        )


def _base(bases: dict[int, int], frame: int) -> int:
    return bases.get(frame, frame)


def _deadline_s(remaining_ms: float) -> float:
    return math.inf if remaining_ms == math.inf else time.monotonic() + remaining_ms / 1000
