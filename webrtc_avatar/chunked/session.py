"""One chunked session: what is fed becomes faces, faces become frames, frames become segments."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from contextlib import aclosing
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from webrtc_avatar.audio.buffer import AudioChunkBuffer
from webrtc_avatar.audio.chunk import CHUNK_SAMPLES, Samples
from webrtc_avatar.avatar.package import AnyAvatar
from webrtc_avatar.chunked.intake import Intake
from webrtc_avatar.chunked.options import ChunkedOptions
from webrtc_avatar.chunked.timeline import Timeline
from webrtc_avatar.chunked.watching import Watching
from webrtc_avatar.engine import AnyEngine, bulk
from webrtc_avatar.engine.request import Face
from webrtc_avatar.errors import AvatarServerError, InvalidAudio, SessionFinished
from webrtc_avatar.log import session_context
from webrtc_avatar.media.hls import PLAYLIST, HlsWriter
from webrtc_avatar.metrics import Metrics
from webrtc_avatar.render.performance import Performance
from webrtc_avatar.render.sound import Moment
from webrtc_avatar.settings import Settings

log = logging.getLogger(__name__)

_TOGETHER = 8
"""Frames that a thread draws and encodes at a time."""
_WAITING = 24
_MARGIN_S = 1.0
"""Pieces of sound that come within a chunk's duration and this much of each other are one speech."""


class Status(StrEnum):
    """How far a session is."""

    WAITING = "waiting_for_audio"
    PROCESSING = "processing"
    COMPLETE = "complete"
    ERROR = "error"


class ChunkedSession:
    """Lives on the event loop; `start` sets it to work.

    Args:
        session_id: its name.
        avatar: who speaks.
        options: how.
        folder: of the stream's files, empty.
        engine: a started engine.
        settings: of the server.
        pool: threads that decode, draw and encode.
        metrics: where feeds, frames and failures are counted, and encoders count their time.

    Attributes:
        id: its name.
        folder: of the stream's files.
        options: how it is.
        error: what ended it, for a person.
        active_s: when it was last fed or watched, `time.monotonic()` seconds.
        watching: who watches it.
    """

    def __init__(
        self,
        session_id: str,
        avatar: AnyAvatar,
        options: ChunkedOptions,
        *,
        folder: Path,
        engine: AnyEngine,
        settings: Settings,
        pool: Executor,
        metrics: Metrics | None = None,
    ) -> None:
        self.id, self.folder, self.options = session_id, folder, options
        self._avatar, self._engine, self._settings, self._pool = avatar, engine, settings, pool
        self.error: str | None = None
        self.created_at = time.time()
        self.active_s = self._started_s = time.monotonic()
        self._metrics = metrics or Metrics()
        self._buffer = AudioChunkBuffer(
            session_id,
            options.chunk_duration,
            source_sr=options.audio_sample_rate,
            max_pending_s=settings.chunked_max_pending_s,
        )
        self._intake = Intake(self._buffer, raw_rate_hz=options.audio_sample_rate)
        self._timeline = Timeline(
            self._buffer, patience_s=options.chunk_duration + _MARGIN_S, most_s=settings.chunked_max_duration_s
        )
        self._loop = asyncio.get_running_loop()
        self._hls = HlsWriter(
            folder,
            segment_s=settings.hls_segment_s,
            part_s=settings.hls_part_s,
            on_change=self._written,
        )
        self.watching = Watching(self._hls, self._timeline, settings, metrics=metrics, pool=pool, on_watched=self.touch)
        self._waiting: deque[Moment] = deque()
        self._faces: asyncio.Queue[tuple[Moment, Face] | None] = asyncio.Queue(_WAITING)
        self._feeding = asyncio.Lock()
        self._performance: Performance | None = None
        self._ticks = 0
        self._fed = self._complete = False
        self._work: asyncio.Task[None] | None = None
        self._pouring: asyncio.Task[None] | None = None
        self._thirsty = asyncio.Event()
        self._over = False

    @property
    def status(self) -> Status:
        """How far it is."""
        if self.error is not None:
            return Status.ERROR
        if self._complete:
            return Status.COMPLETE
        return Status.PROCESSING if self._fed else Status.WAITING

    @property
    def playlist_path(self) -> Path:
        """Where the playlist is once there is one."""
        return self.folder / PLAYLIST

    @property
    def frames(self) -> int:
        """Frames written so far."""
        return self._hls.frames

    @property
    def segments(self) -> int:
        """Segments of the film that are whole."""
        return self._hls.playlist.segments

    @property
    def buffer_samples(self) -> int:
        """Samples at 16 kHz that wait."""
        return self._buffer.pending_samples

    def describe(self) -> dict[str, Any]:
        """Return the fields of a status answer."""
        return {
            "session_id": self.id,
            "status": self.status.value,
            "total_frames_generated": self.frames,
            "buffer_samples": self.buffer_samples,
            "error": self.error,
            "created_at": self.created_at,
            "uptime_seconds": round(time.monotonic() - self._started_s, 3),
        }

    def start(self) -> None:
        """Set it to work."""
        with session_context(self.id):
            self._work = asyncio.create_task(self._perform(), name="chunked-session")

    async def feed(self, data: bytes, *, content_type: str, final: bool) -> None:
        """Add a piece of sound; simultaneous calls take their turns.

        Args:
            data: a file of any kind, or nothing together with `final`.
            content_type: as the client says.
            final: nothing follows.

        Raises:
            SessionFinished: the last piece came already, or the session broke.
            InvalidAudio, UnreadableSound, BufferFull: see `Intake.take`; nothing was added.
        """
        self.active_s = time.monotonic()
        try:
            await self._take(data, content_type, final=final)
        except AvatarServerError as error:
            self._metrics.chunked_feeds.labels(error.code).inc()
            raise
        self._metrics.chunked_feeds.labels("taken").inc()
        self._metrics.chunked_bytes.inc(len(data))

    async def _take(self, data: bytes, content_type: str, *, final: bool) -> None:
        async with self._feeding:
            self._check_open()
            if not data and not final:
                raise InvalidAudio("the audio chunk is empty; send a file with sound, or is_final_chunk=true to end")
            await self._whole(partial(self._intake.take, data, content_type, final=final))
            self._fed = self._fed or bool(data)
            self._timeline.notice(fed=bool(data))
            if self._intake.is_behind and (self._pouring is None or self._pouring.done()):
                self._pouring = asyncio.create_task(self._pour(), name="chunked-intake")

    def touch(self) -> None:
        """Note that somebody watches."""
        self.active_s = time.monotonic()

    async def aclose(self) -> None:
        """Stop at once; calling it twice is fine."""
        await self.watching.aclose()
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)

    def _check_open(self) -> None:
        if self.error is not None:
            raise SessionFinished(f"session {self.id!r} broke off ({self.error}); begin another one")
        if self._intake.ended:
            raise SessionFinished(f"session {self.id!r} has had its final chunk; begin another one")
        if self._over:
            raise SessionFinished(
                f"session {self.id!r} is over: it was deleted, or its film is as long as may be "
                f"({self._settings.chunked_max_duration_s:g} s); begin another one"
            )

    async def _pour(self) -> None:
        """Decode the rest of a long feed as its frames are made."""
        while self._intake.is_behind:
            self._thirsty.clear()
            if not self._intake.wants_more:
                await self._thirsty.wait()
            async with self._feeding:
                await self._whole(self._intake.go_on)
            self._timeline.notice(fed=True)

    async def _whole(self, work: Callable[[], object]) -> None:
        """Have a thread do something; who is cancelled meanwhile waits until it is done, so that nothing else begins beside it."""
        done = self._loop.run_in_executor(self._pool, work)
        try:
            await asyncio.shield(done)
        except asyncio.CancelledError:
            await asyncio.gather(done, return_exceptions=True)
            raise

    async def _end_intake(self) -> None:
        """Take nothing more, and end the threads that decode."""
        self._over = True
        if self._pouring is not None:
            self._pouring.cancel()
            await asyncio.gather(self._pouring, return_exceptions=True)
        async with self._feeding:
            await self._loop.run_in_executor(self._pool, self._intake.close)

    def _written(self) -> None:
        self.watching.tell()

    async def _perform(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._make())
                group.create_task(self._show())
            self._complete = True
        except BaseExceptionGroup as failures:
            failure = failures.exceptions[0]
            self.error = failure.message if isinstance(failure, AvatarServerError) else "the server failed; see its log"
            self._metrics.chunked_failures.inc()
            log.error("chunked session failed: %s", failure, exc_info=failure)
        finally:
            # Whoever watches sees an end, also of a session that was cancelled or broke; what a thread still writes comes first.
            await asyncio.shield(self._loop.run_in_executor(self._pool, self._finish))
            await asyncio.shield(self._end_intake())
            self.watching.end()

    def _finish(self) -> None:
        try:
            if self._complete or self.error is not None:
                self._hls.finish()
        except AvatarServerError as error:
            self.error = error.message
        finally:
            self._hls.close()

    async def _make(self) -> None:
        """Have the engine make a face for each moment."""
        chunks_after = (await asyncio.wrap_future(self._engine.load(self._avatar))).chunks_after
        performance = self._performance = await self._loop.run_in_executor(
            self._pool,
            lambda: Performance(
                self._avatar,
                self._settings,
                seed=self.options.seed,
                frame_px=None,
                chunks_after=chunks_after,
                style=self.options.held,
            ),
        )

        async def chunks() -> AsyncIterator[Samples]:
            async for moment in self._timeline.moments():
                performance.hear(moment.samples)
                self._waiting.append(moment)
                if self._intake.wants_more:
                    self._thirsty.set()
                yield moment.samples
            for _ in range(chunks_after):
                performance.hear(np.zeros(CHUNK_SAMPLES, np.float32))

        made = bulk.frames(self._engine, self._avatar, chunks(), wanted=performance.needs_face)
        async with aclosing(made) as faces:
            async for face in faces:
                await self._faces.put((self._waiting.popleft(), face))
        await self._faces.put(None)

    async def _show(self) -> None:
        """Draw and write what there is, a few frames at a time."""
        ended = False
        while not ended:
            group = [await self._faces.get()]
            while len(group) < _TOGETHER and not self._faces.empty():
                group.append(self._faces.get_nowait())
            ended = group[-1] is None
            await self._whole(partial(self._draw, [pair for pair in group if pair is not None]))
            self.watching.tell()

    def _draw(self, group: list[tuple[Moment, Face]]) -> None:
        assert self._performance is not None
        for moment, face in group:
            picture = self._performance.draw(self._ticks, moment.samples, face)
            self._hls.add(picture, moment.sound[:, 0])
            self._ticks += 1
        self._metrics.chunked_frames.inc(len(group))
