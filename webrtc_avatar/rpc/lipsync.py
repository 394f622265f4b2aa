"""Lip-sync for calls, whatever the protocol: checks what is asked, renders it in the engine's batches, yields pictures.

Frames are numbered from 0; frame n of a performance is drawn on frame `Painter.fold(n)` of the footage. Frames from sound hear their own
16 chunks alone, 8 before and 7 after, so a request may be cut anywhere. Source: the seed documents on batched lip-sync inference.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, contextmanager
from typing import TypeVar

from webrtc_avatar.audio.chunk import CHUNKS_BEFORE, WINDOW_CHUNKS
from webrtc_avatar.audio.window import Savings, required_chunks
from webrtc_avatar.avatar.library import Library
from webrtc_avatar.engine import AnyEngine, Face, bulk
from webrtc_avatar.errors import (
    InvalidAudio,
    InvalidRequest,
    NoFeatures,
    ServerDraining,
    ServerFull,
)
from webrtc_avatar.metrics import Metrics
from webrtc_avatar.rpc.casting import Cast, Casting
from webrtc_avatar.rpc.frame import Frame, check_output, draw
from webrtc_avatar.rpc.images import Output
from webrtc_avatar.rpc.pipeline import in_order
from webrtc_avatar.rpc.sound import Encoding, read_chunks
from webrtc_avatar.settings import Settings

log = logging.getLogger(__name__)

Result = TypeVar("Result")

EXTRA_CHUNKS_ALLOWED = 10
"""More chunks than this beyond those needed are worth a warning (seed: "excessive audio chunks")."""

MAX_FRAME_ID = 2**31 - 1


class LipSync:
    """The service behind every protocol. Lives on the event loop.

    Args:
        engine: a started engine.
        library: what is installed.
        settings: limits.
        metrics: where pictures and calls are counted.

    Attributes:
        casting: the avatars.
        engine: see above.
    """

    def __init__(self, *, engine: AnyEngine, library: Library, settings: Settings, metrics: Metrics) -> None:
        self.engine = engine
        self._settings = settings
        self._metrics = metrics
        threads = settings.rpc_threads or _half_the_cores()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="rpc")
        self._ahead = 4 * threads
        self._calls = 0
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._started_s = time.monotonic()
        self.casting = Casting(library, engine, self._pool, settings.watermarks)

    @property
    def draining(self) -> bool:
        """Whether calls are refused because the server goes down."""
        return self._draining

    @property
    def calls(self) -> int:
        """How many calls are under way."""
        return self._calls

    @property
    def uptime_s(self) -> float:
        """Seconds since it was made."""
        return time.monotonic() - self._started_s

    async def drain(self) -> None:
        """Take no calls any more and wait until those under way have ended."""
        self._draining = True
        await self.until_idle()

    async def until_idle(self) -> None:
        """Wait until no call is under way."""
        await self._idle.wait()

    def close(self) -> None:
        """End its threads; calling it twice is fine."""
        self._draining = True
        self._pool.shutdown(cancel_futures=True)

    @contextmanager
    def call(self) -> Iterator[None]:
        """Count a call that renders, while it lasts; every protocol does so around what it calls here.

        Raises:
            ServerDraining: the server is going down.
            ServerFull: as many calls as the settings allow are under way.
        """
        if self._draining:
            raise ServerDraining("the server is shutting down and takes no new calls; try again in a moment")
        if self._calls >= self._settings.rpc_max_calls:
            raise ServerFull(
                f"all {self._settings.rpc_max_calls} calls that may run at once are taken; try again in a moment, or "
                "raise rpc_max_calls on the server"
            )
        self._calls += 1
        self._metrics.lipsync_calls.set(self._calls)
        self._idle.clear()
        try:
            yield
        finally:
            self._calls -= 1
            self._metrics.lipsync_calls.set(self._calls)
            if not self._calls:
                self._idle.set()

    async def inference(self, name: str, frame_id: int, chunks: Sequence[bytes], output: Output) -> Frame:
        """Return one frame, from 16 chunks of float32 or, without any, from the package's own features.

        Raises:
            InvalidRequest, InvalidAudio, UnknownAvatar, InvalidAvatar: see `batch_with_audio`.
            NoFeatures: there are no chunks, and the package brings no features.
            FrameOutOfRange: those features have no such frame.
            EngineFailure: it could not be rendered.
        """
        cast = await self.casting.get(name)
        check_output(cast, output)
        fold = cast.painter.fold
        if chunks:
            if len(chunks) != WINDOW_CHUNKS:
                raise InvalidAudio(
                    f"one frame hears exactly {WINDOW_CHUNKS} chunks of 40 ms (8 before, its own, 7 after); got {len(chunks)}"
                )
            _check_range(frame_id, 1)
            sound, first_chunk = read_chunks(chunks, Encoding.FLOAT32), frame_id - CHUNKS_BEFORE
            faces = bulk.frames(
                self.engine,
                cast.avatar,
                sound,
                first_chunk=first_chunk,
                windowed=True,
                first_frame=frame_id,
                frame_count=1,
                bases=fold,
            )
        else:
            faces = bulk.features(self.engine, cast.avatar, [frame_id], bases=lambda frame: fold(max(frame, 0)))
        async with aclosing(faces):
            face = await anext(faces)
        frame = await self.finish(cast, face, output)
        if frame.error is not None:
            raise frame.error
        return frame

    async def batch(self, name: str, frame_ids: Sequence[int], output: Output) -> AsyncGenerator[Frame, None]:
        """Yield frames in the order of their ids, from the package's own features; one that there is not has an error.

        Raises:
            InvalidRequest: no frame, or too many.
            NoFeatures: the package brings none.
            UnknownAvatar, InvalidAvatar: see `batch_with_audio`.
        """
        self._check_count(len(frame_ids), "frame_ids holds")
        cast = await self.casting.get(name)
        check_output(cast, output)
        fold = cast.painter.fold
        faces = bulk.features(self.engine, cast.avatar, frame_ids, bases=lambda frame: fold(max(frame, 0)))
        async with aclosing(self._pictures(cast, faces, output)) as frames:
            async for frame in frames:
                if isinstance(frame.error, NoFeatures):
                    raise frame.error
                yield frame

    async def batch_with_audio(
        self, name: str, start: int, count: int, chunks: Sequence[bytes], encoding: Encoding, output: Output
    ) -> AsyncGenerator[Frame, None]:
        """Yield `count` consecutive frames from `count` + 15 chunks, which begin 8 chunks before frame `start`.

        Raises:
            InvalidRequest: no frame, too many of them, or numbers that cannot be.
            InvalidAudio: too few chunks, or one that is not 40 ms of sound.
            UnknownAvatar: no avatar of that name is installed.
            InvalidAvatar: its package or its networks are broken.
            NoBlendshapes: they are asked for, and the avatar's model yields none.
        """
        self._check_count(count, "frame_count is")
        _check_range(start, count)
        needed = required_chunks(count)
        if len(chunks) < needed:
            raise InvalidAudio(
                f"insufficient audio chunks: {count} frames need {needed} (frame_count + 15: the chunks {start - 8} to "
                f"{start + count + 6}), got {len(chunks)}; repeat the first and the last chunk past the sound's ends"
            )
        if len(chunks) > needed + EXTRA_CHUNKS_ALLOWED:
            log.warning("%d chunks for %d frames, which need %d: the rest is ignored", len(chunks), count, needed)
        cast = await self.casting.get(name)
        check_output(cast, output)
        started_s = time.monotonic()
        sound = (await self.in_thread(read_chunks, chunks, encoding))[:needed]
        faces = bulk.frames(
            self.engine,
            cast.avatar,
            sound,
            first_chunk=start - CHUNKS_BEFORE,
            windowed=True,
            first_frame=start,
            frame_count=count,
            bases=cast.painter.fold,
        )
        del sound
        async with aclosing(self._pictures(cast, faces, output)) as frames:
            async for frame in frames:
                yield frame
        savings = Savings(count)
        log.info(
            "batch with audio model=%s frames=%d chunks=%d instead_of=%d saved_percent=%.1f ms=%.0f",
            *(name, count, savings.chunks, savings.redundant_chunks, 100 * savings.share),
            1000 * (time.monotonic() - started_s),
        )

    async def finish(self, cast: Cast, face: Face, output: Output) -> Frame:
        """Return the picture of a face, drawn and encoded on a thread."""
        cast.counts.add(face)
        frame = await self.in_thread(draw, cast, face, output)
        if frame.error is None:
            self._metrics.stage_run.labels("compose_call").observe(frame.composite_ms / 1000)
        return frame

    async def in_thread(self, work: Callable[..., Result], *arguments: object) -> Result:
        """Return what `work` returns, from one of the service's threads."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)

    def _check_count(self, count: int, what: str) -> None:
        most = self._settings.rpc_max_frames
        if not 1 <= count <= most:
            raise InvalidRequest(
                f"{what} {count}; a request is for 1 to {most} frames: cut longer ones, 250 frames each is a good length"
            )

    def _pictures(self, cast: Cast, faces: AsyncGenerator[Face, None], output: Output) -> AsyncGenerator[Frame, None]:
        return in_order(faces, lambda face: self.finish(cast, face, output), ahead=self._ahead)


def _half_the_cores() -> int:
    return min(max((os.cpu_count() or 1) // 2, 1), 16)


def _check_range(start: int, count: int) -> None:
    if not 0 <= start <= MAX_FRAME_ID - count:
        raise InvalidRequest(
            f"frames are numbered from 0 to {MAX_FRAME_ID}; got {start} as the first of {count} "
            "(frame 0 hears the chunks -8 to 7: repeat the first chunk for those before the sound)"
        )
