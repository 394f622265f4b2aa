"""Frames that nobody waits for in real time, for calls that are not a session: in order, bounded in memory, cancelled at once.

    async for face in frames(engine, avatar, chunks): ...      # from sound
    async for face in features(engine, avatar, [7, 3, 3]): ... # from the features that the avatar's package brings

Both load the avatar if it is not loaded yet. Closing the generator (`aclose`, or leaving a task that is cancelled) drops
what waits in the engine; at most the model call that is under way is still paid for.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from webrtc_avatar.engine.interface import AnyEngine, AnyStream
from webrtc_avatar.engine.model import WINDOW_CHUNKS_BEFORE, Floats
from webrtc_avatar.engine.request import Face
from webrtc_avatar.errors import EngineFailure, InvalidAudio

if TYPE_CHECKING:
    from webrtc_avatar.avatar.package import AnyAvatar

MAX_IN_FLIGHT = 64
"""Frames of one caller in the engine at a time: enough for batches, and few enough that an hour of sound stays small."""

_CHUNKS_A_TURN = 16
"""After so many chunks of a list the event loop gets its turn."""

Bases = Callable[[int], int] | Sequence[int]
"""The frame of footage of each frame: of its number, or by its place among those asked for."""


async def frames(
    engine: AnyEngine,
    avatar: AnyAvatar,
    chunks: AsyncIterable[Floats] | Iterable[Floats],
    *,
    first_chunk: int = 0,
    windowed: bool = False,
    first_frame: int | None = None,
    frame_count: int | None = None,
    bases: Bases | None = None,
    wanted: Callable[[int], bool] | None = None,
    max_in_flight: int = MAX_IN_FLIGHT,
) -> AsyncGenerator[Face, None]:
    """Yield the faces of consecutive frames, in order; one that failed has an `error` and no crop.

    Args:
        engine: a started engine.
        avatar: who is rendered.
        chunks: float32 (640,) each, 16 kHz, -1..1, consecutive; taken no faster than faces are.
        first_chunk: number of the first one; may be negative.
        windowed: each frame hears its own 16 chunks alone, 8 before it and 7 after; see `Model.track`.
        first_frame: the first frame wanted; by default the first that there is: `first_chunk`, or where windowed the first
            whose window is whole.
        frame_count: how many; by default as many as the chunks give: one each, or where windowed one for each whole window.
            With a count, frames that lack chunks at the end are rendered as well.
        bases: the frame of footage on which each is rendered; by default the frame's own number.
        wanted: tells of each frame, once and in order, whether it is to be rendered; it is asked when all chunks that the frame
            hears were taken. A frame that is not wanted costs no model call, and comes with neither crop nor error.
        max_in_flight: frames asked for and not yet taken.

    Raises:
        InvalidAvatar: its networks do not fit.
        InvalidAudio: a chunk has another shape or type, or `first_frame` lies before the first chunk.
        EngineFailure: the engine stopped.
    """
    first = first_frame if first_frame is not None else first_chunk + (WINDOW_CHUNKS_BEFORE if windowed else 0)
    if first < first_chunk:
        raise InvalidAudio(
            f"frame {first} lies before the first chunk, {first_chunk}; send sound from chunk {first} on"
        )
    await asyncio.wrap_future(engine.load(avatar))
    answers = _Answers(first, max_in_flight)
    stream = engine.open(
        avatar,
        answers.put,
        first_chunk=first_chunk,
        windowed=windowed,
        bulk=True,
        on_batch=answers.tell,
        on_stop=answers.stop,
    )
    base_of = _base_of(bases, first)

    def asked(frame: int) -> bool:
        if wanted is None or wanted(frame):
            return True
        answers.put(Face(index=frame, epoch=0))
        answers.tell()
        return False

    async def feed() -> int:
        index = first_chunk
        end = None if frame_count is None else first + frame_count
        async for samples in _each(chunks):
            frame = index - stream.chunks_after
            due = frame >= first
            if due:
                await answers.room()
                due = asked(frame)
            stream.push(
                samples,
                index=index,
                deadline_s=math.inf if due else None,
                epoch=0,
                base=base_of(frame) if due else None,
            )
            index += 1
            if end is not None and frame + 1 >= end:
                return end
        lacking = max(index - stream.chunks_after, first_chunk)
        if windowed and end is None:
            return max(lacking, first)
        last = index if end is None else min(index, end)
        due_frames = [frame for frame in range(max(first, lacking), last) if asked(frame)]
        if due_frames:
            # Those between that are not wanted were answered already, and a second answer is passed over.
            stream.finish(
                index=lacking,
                deadline_s=math.inf,
                epoch=0,
                frames=range(due_frames[0], due_frames[-1] + 1),
                bases=base_of,
            )
        return last

    async for face in _answered(answers, stream, feed):
        yield face


async def features(
    engine: AnyEngine,
    avatar: AnyAvatar,
    frames: Sequence[int],
    *,
    bases: Bases | None = None,
    max_in_flight: int = MAX_IN_FLIGHT,
) -> AsyncGenerator[Face, None]:
    """Yield the faces of frames in any order, with the features that the avatar's package brings; they come as asked for.

    A frame that there is not yields a face with its error (FrameOutOfRange, NoFeatures), the others are not harmed.

    Args:
        engine: a started engine.
        avatar: who is rendered.
        frames: their numbers, from 0; repeats are rendered again.
        bases: the frame of footage on which each is rendered, by its number or its place; by default its own number.
        max_in_flight: frames asked for and not yet taken.

    Raises:
        InvalidAvatar: its networks do not fit.
        EngineFailure: the engine stopped.
    """
    await asyncio.wrap_future(engine.load(avatar))
    answers = _Answers(0, max_in_flight)
    stream = engine.open(avatar, answers.put, bulk=True, on_batch=answers.tell, on_stop=answers.stop)

    async def feed() -> int:
        for place, frame in enumerate(frames):
            await answers.room()
            base = frame if bases is None else bases(frame) if callable(bases) else bases[place]
            stream.request(frame, index=place, deadline_s=math.inf, epoch=0, base=base)
        return len(frames)

    async for face in _answered(answers, stream, feed):
        yield replace(face, index=frames[face.index])


class _Answers:
    """Faces from the engine's threads, handed to the event loop in order. Lives on the loop; `put` may be called anywhere."""

    def __init__(self, first: int, max_in_flight: int) -> None:
        self.end: int | None = None
        self._next = first
        self._room = asyncio.Semaphore(max_in_flight)
        self._loop = asyncio.get_running_loop()
        self._arrived: deque[Face] = deque()
        self._waiting: dict[int, Face] = {}
        self._changed = asyncio.Event()
        self._told = False
        self._stopped = False

    async def room(self) -> None:
        """Wait until one more frame may be asked for."""
        await self._room.acquire()

    def put(self, face: Face) -> None:
        """Take a face; `tell` follows when there are no more for now."""
        self._arrived.append(face)

    def stop(self) -> None:
        """Take the news that nothing will come any more."""
        self._stopped = True
        self.tell()

    def tell(self) -> None:
        """Wake the loop, unless it is about to look anyway."""
        if self._told:
            return
        self._told = True
        try:
            self._loop.call_soon_threadsafe(self.wake)
        except RuntimeError:
            return  # the loop is closed and nobody waits

    def wake(self) -> None:
        """Let `get` look again."""
        self._told = False
        self._changed.set()

    async def get(self, feeder: asyncio.Task[int]) -> Face | None:
        """Return the next face in order; None after the last."""
        while True:
            while self._arrived:
                face = self._arrived.popleft()
                self._waiting[face.index] = face
            if feeder.done() and self.end is None:
                self.end = feeder.result()
            if self.end is not None and self._next >= self.end:
                return None
            ready = self._waiting.pop(self._next, None)
            if ready is not None:
                self._next += 1
                self._room.release()
                return ready
            if self._stopped:
                raise EngineFailure("the engine stopped before all frames were rendered; ask again when it is back")
            self._changed.clear()
            if not self._arrived and not self._stopped and not (feeder.done() and self.end is None):
                await self._changed.wait()


async def _answered(
    answers: _Answers, stream: AnyStream, feed: Callable[[], Coroutine[None, None, int]]
) -> AsyncIterator[Face]:
    feeder = asyncio.create_task(feed(), name="bulk-feed")
    feeder.add_done_callback(lambda _: answers.wake())
    try:
        while (face := await answers.get(feeder)) is not None:
            yield face
    finally:
        stream.close()
        feeder.cancel()
        await asyncio.gather(feeder, return_exceptions=True)


async def _each(chunks: AsyncIterable[Floats] | Iterable[Floats]) -> AsyncIterator[Floats]:
    if isinstance(chunks, AsyncIterable):
        async for samples in chunks:
            yield samples
        return
    for count, samples in enumerate(chunks):
        if count % _CHUNKS_A_TURN == 0:
            await asyncio.sleep(0)
        yield samples


def _base_of(bases: Bases | None, first: int) -> Callable[[int], int]:
    if bases is None:
        return int
    if callable(bases):
        return bases
    return lambda frame: bases[frame - first]
