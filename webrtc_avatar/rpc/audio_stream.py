"""Live sound in, frames out: each as soon as the 7 chunks after its own are there.

Frame n belongs to the n-th 40 ms of all the sound that was sent. Sound comes in utterances: one begins with the first sound, and with the first
after `end` or `interrupt`. Its first and its last chunk are repeated past its ends, so its frames are those of a batch with audio.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field

from webrtc_avatar.audio.chunk import CHUNKS_AFTER, CHUNKS_BEFORE, Samples
from webrtc_avatar.engine import AnyStream, Face
from webrtc_avatar.errors import EngineFailure, InvalidRequest
from webrtc_avatar.rpc.frame import Frame, check_output
from webrtc_avatar.rpc.images import Output
from webrtc_avatar.rpc.lipsync import LipSync
from webrtc_avatar.rpc.sound import Cutter, Encoding

MAX_BACKLOG_CHUNKS = 1_500
"""Sound that waits, a minute of it; then the caller has to wait."""

_IN_FLIGHT = 32
_PACED = 4
"""With so few frames under way the caller sends as fast as it speaks, and goes before bulk work, but after live sessions."""
_PACED_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class AudioMessage:
    """What a caller sends.

    Attributes:
        model_name: who speaks; in the first message.
        audio: sound of any length; of Opus one packet.
        encoding: of the sound; what the first message with sound says holds for all.
        end: the utterance ends with this sound.
        interrupt: drop sound and frames that wait, before this sound.
        output: of the frames; in the first message.
    """

    model_name: str = ""
    audio: bytes = b""
    encoding: Encoding = Encoding.FLOAT32
    end: bool = False
    interrupt: bool = False
    output: Output = field(default_factory=Output)


async def stream_audio(lipsync: LipSync, messages: AsyncIterator[AudioMessage]) -> AsyncGenerator[Frame, None]:
    """Yield the frames of live sound, in order; the end of `messages` ends the sound.

    Raises:
        InvalidRequest: no first message, or a later one for another avatar or in another encoding.
        InvalidAudio: it is no sound. The frames of the sound before it come first.
        UnknownAvatar, InvalidAvatar: see `LipSync.batch_with_audio`.
        EngineFailure: the engine stopped.
    """
    first = await anext(messages, None)
    if first is None:
        raise InvalidRequest("the stream ended before its first message, which names the model")
    check_output(await lipsync.casting.get(first.model_name), first.output)
    voice = _Voice(lipsync, first.model_name, first.output)

    async def listen() -> None:
        try:
            await voice.take(first)
            async for message in messages:
                await voice.take(message)
            await voice.finish()
        except Exception as error:
            voice.fail(error)

    listener = asyncio.create_task(listen(), name="rpc-listen")
    try:
        async with aclosing(voice.frames()) as frames:
            async for frame in frames:
                yield frame
    finally:
        listener.cancel()
        await asyncio.gather(listener, return_exceptions=True)
        await voice.aclose()


class _Utterance:
    """Sound from one beginning to its end. `stream` is set at once after it is made."""

    stream: AnyStream

    def __init__(self, first: int) -> None:
        self.first = first
        self.next_chunk = first
        self.last: Samples | None = None
        self.ended = False
        self.dropped = False
        self.waiting: dict[int, asyncio.Future[Frame]] = {}

    def drop(self) -> None:
        """Want nothing of it any more."""
        self.dropped = True
        self.stream.close()
        for future in self.waiting.values():
            future.cancel()
        self.waiting.clear()


class _Voice:
    """One caller's sound and its frames; see `stream_audio`."""

    def __init__(self, lipsync: LipSync, name: str, output: Output) -> None:
        self._lipsync = lipsync
        self._name = name
        self._output = output
        self._loop = asyncio.get_running_loop()
        self._cutter: Cutter | None = None
        self._encoding = Encoding.FLOAT32
        self._count = 0
        self._generation = 0
        self._backlog: deque[tuple[int, Samples | None]] = deque()
        self._finished = False
        self._changed = asyncio.Condition()
        self._room = asyncio.Semaphore(_IN_FLIGHT)
        self._in_flight = 0
        self._utterance: _Utterance | None = None
        self._alive: set[_Utterance] = set()
        self._frames: asyncio.Queue[tuple[_Utterance | None, asyncio.Future[Frame]] | None] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._feeder = asyncio.create_task(self._feed(), name="rpc-feed")

    async def take(self, message: AudioMessage) -> None:
        """Take a message; waits while too much sound does."""
        if message.model_name not in ("", self._name):
            raise InvalidRequest(
                f"this stream is for {self._name!r}; got model_name {message.model_name[:64]!r}: open another stream for it"
            )
        if message.interrupt:
            self._interrupt()
        chunks = self._cut(message)
        async with self._changed:
            for chunk in chunks:
                self._backlog.append((self._count, chunk))
                self._count += 1
            if message.end:
                self._backlog.append((self._count, None))
            self._changed.notify_all()
            await self._changed.wait_for(lambda: len(self._backlog) <= MAX_BACKLOG_CHUNKS or self._feeder.done())

    async def finish(self) -> None:
        """End the sound for good."""
        await self.take(AudioMessage(end=True))
        async with self._changed:
            self._finished = True
            self._changed.notify_all()

    def fail(self, error: Exception) -> None:
        """Let `frames` raise an error after the frames that are under way."""
        future: asyncio.Future[Frame] = self._loop.create_future()
        future.set_exception(error)
        self._frames.put_nowait((None, future))

    async def frames(self) -> AsyncGenerator[Frame, None]:
        """Yield the frames in order; called once."""
        while (slot := await self._frames.get()) is not None:
            utterance, future = slot
            await asyncio.wait({future})
            if utterance is None:
                future.result()
                continue
            self._room.release()
            self._in_flight -= 1
            if not utterance.dropped:
                yield future.result()
        await self._feeder

    async def aclose(self) -> None:
        """Drop everything."""
        self._feeder.cancel()
        for utterance in self._alive:
            utterance.drop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(self._feeder, *self._tasks, return_exceptions=True)

    def _cut(self, message: AudioMessage) -> list[Samples]:
        if self._cutter is None and message.audio:
            self._cutter, self._encoding = Cutter(message.encoding), message.encoding
        if message.audio and message.encoding not in (Encoding.FLOAT32, self._encoding):
            raise InvalidRequest(
                f"this stream began in {self._encoding.name}; got {message.encoding.name}: open another stream for it"
            )
        if self._cutter is None:
            return []
        chunks = self._cutter.push(message.audio)
        return chunks + self._cutter.flush() if message.end else chunks

    def _interrupt(self) -> None:
        self._generation += 1
        self._backlog.clear()
        self._utterance = None
        if self._cutter is not None:
            self._cutter = Cutter(self._encoding)
        for utterance in self._alive:
            utterance.drop()
        self._alive.clear()

    async def _feed(self) -> None:
        """Hand sound to the engine, chunk by chunk, as there is room for frames."""
        try:
            while True:
                async with self._changed:
                    await self._changed.wait_for(lambda: self._backlog or self._finished)
                    if not self._backlog:
                        return
                    number, chunk = self._backlog.popleft()
                    self._changed.notify_all()
                generation = self._generation
                if chunk is not None:
                    await self._say(number, chunk, generation)
                elif self._utterance is not None:
                    await self._end(self._utterance, generation)
        finally:
            self._frames.put_nowait(None)

    async def _say(self, number: int, chunk: Samples, generation: int) -> None:
        utterance = self._utterance
        if utterance is None:
            await self._lipsync.casting.get(self._name)
            if generation != self._generation:
                return
            utterance = self._utterance = self._begin(number)
            for _ in range(CHUNKS_BEFORE):
                self._push(utterance, chunk, None)
        await self._ask(utterance, chunk, generation)

    async def _end(self, utterance: _Utterance, generation: int) -> None:
        for _ in range(CHUNKS_AFTER):
            if utterance.last is not None and generation == self._generation:
                await self._ask(utterance, utterance.last, generation)
        if generation == self._generation:
            utterance.ended = True
            self._utterance = None
            self._tidy(utterance)

    def _begin(self, number: int) -> _Utterance:
        utterance = _Utterance(number)
        first_chunk = utterance.next_chunk = number - CHUNKS_BEFORE
        loop = self._loop
        cast = self._lipsync.casting.known(self._name)
        assert cast is not None

        def on_face(face: Face) -> None:
            loop.call_soon_threadsafe(self._arrived, utterance, face)

        def on_stop() -> None:
            loop.call_soon_threadsafe(self._stopped, utterance)

        utterance.stream = self._lipsync.engine.open(
            cast.avatar, on_face, first_chunk=first_chunk, windowed=True, on_stop=on_stop
        )
        self._alive.add(utterance)
        return utterance

    async def _ask(self, utterance: _Utterance, chunk: Samples, generation: int) -> None:
        """Hand over a chunk, and ask for the frame that it completes."""
        frame = utterance.next_chunk - CHUNKS_AFTER
        if frame < utterance.first:
            self._push(utterance, chunk, None)
            return
        await self._room.acquire()
        if generation != self._generation:
            self._room.release()
            return
        self._in_flight += 1
        future = utterance.waiting[frame] = self._loop.create_future()
        self._frames.put_nowait((utterance, future))
        paced = self._in_flight <= _PACED
        self._push(utterance, chunk, time.monotonic() + _PACED_WITHIN_S if paced else math.inf)

    def _push(self, utterance: _Utterance, chunk: Samples, deadline_s: float | None) -> None:
        cast = self._lipsync.casting.known(self._name)
        assert cast is not None
        index = utterance.next_chunk
        base = None if deadline_s is None else cast.painter.fold(index - CHUNKS_AFTER)
        utterance.stream.push(chunk, index=index, deadline_s=deadline_s, epoch=0, base=base)
        utterance.next_chunk += 1
        utterance.last = chunk

    def _arrived(self, utterance: _Utterance, face: Face) -> None:
        if (future := utterance.waiting.get(face.index)) is not None:
            task = asyncio.create_task(self._draw(utterance, face, future), name="rpc-draw")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _draw(self, utterance: _Utterance, face: Face, future: asyncio.Future[Frame]) -> None:
        cast = self._lipsync.casting.known(self._name)
        assert cast is not None
        try:
            frame = await self._lipsync.finish(cast, face, self._output)
        except RuntimeError as error:  # the threads are gone: the server goes down
            failure = EngineFailure(f"frame {face.index} was not drawn: {error}")
            frame = Frame(face.index, error=failure)
        if not future.done():
            future.set_result(frame)
        utterance.waiting.pop(face.index, None)
        self._tidy(utterance)

    def _stopped(self, utterance: _Utterance) -> None:
        error = EngineFailure("the engine stopped before all frames were rendered; ask again when it is back")
        for future in utterance.waiting.values():
            if not future.done():
                future.set_exception(error)
        utterance.waiting.clear()

    def _tidy(self, utterance: _Utterance) -> None:
        if utterance.ended and not utterance.waiting:
            utterance.stream.close()
            self._alive.discard(utterance)
