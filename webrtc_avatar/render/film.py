"""Renders a film. Decoding, the engine, drawing and encoding run at the same time, and queues between them keep memory flat."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from webrtc_avatar.audio.chunk import CHUNK_SAMPLES, FRAME_RATE_HZ, Samples
from webrtc_avatar.audio.decode import Piece, SoundFile
from webrtc_avatar.avatar.compose import Picture
from webrtc_avatar.avatar.package import AnyAvatar
from webrtc_avatar.engine import AnyEngine, bulk
from webrtc_avatar.engine.request import Face
from webrtc_avatar.errors import InvalidSettings
from webrtc_avatar.media.marking import Marking
from webrtc_avatar.media.signing import film_signer
from webrtc_avatar.render.mp4 import Mp4
from webrtc_avatar.render.performance import Performance
from webrtc_avatar.render.sound import Moment, film_rate, length_s, moments
from webrtc_avatar.settings import Settings

_TOGETHER = 8
"""Frames that a thread takes at a time; hops between threads cost nothing then."""

_GROUPS_WAITING = 2

Progress = Callable[[int, int | None], None]
"""Is told how many frames are written, and of how many, where the file announces its length."""


@dataclass(frozen=True, slots=True)
class Script:
    """What is filmed.

    Attributes:
        audio: the sound file.
        output: the film, .mp4.
        start_s: skip so much of the sound.
        duration_s: take at most so much of it.
        lead_in_s: silence before it, in which the face is seen at rest.
        lead_out_s: silence behind it.
        seed: decides blinks, glances and sway.
        frame_px: width and height; see `make_actor`.
        crf: the picture's quality; see `Mp4`.
        preset: x264's.
        overwrite: replace a film that is there.
    """

    audio: Path
    output: Path
    start_s: float = 0.0
    duration_s: float | None = None
    lead_in_s: float = 0.0
    lead_out_s: float = 0.0
    seed: int = 0
    frame_px: int | None = None
    crf: int = 17
    preset: str = "veryfast"
    overwrite: bool = False


@dataclass(frozen=True, slots=True)
class Film:
    """What was made.

    Attributes:
        frames: how many, 25 a second.
        failed_frames: of them those whose face could not be made.
        wall_s: how long it took, loading the avatar's networks included.
    """

    frames: int
    failed_frames: int
    wall_s: float

    @property
    def length_s(self) -> float:
        """How long the film is."""
        return self.frames / FRAME_RATE_HZ

    @property
    def speed(self) -> float:
        """Seconds of film for each second of work."""
        return self.length_s / self.wall_s if self.wall_s > 0 else math.inf


async def render(
    avatar: AnyAvatar, script: Script, *, engine: AnyEngine, settings: Settings, progress: Progress | None = None
) -> Film:
    """Render a film.

    Args:
        avatar: who speaks.
        script: what is filmed.
        engine: a started engine.
        settings: the level of silence, how the head is held, what is burned into the picture, and who signs.
        progress: is told of each few frames.

    Raises:
        UnreadableSound: the sound file holds none.
        CannotWrite: the film cannot be written; nothing of it is left.
        InvalidSettings: an odd number of pixels, or a certificate that cannot sign.
        InvalidAvatar: the avatar's pictures or networks cannot be used.
        EngineFailure: the engine stopped.
    """
    if script.frame_px is not None and script.frame_px % 2:
        raise InvalidSettings(f"frames of {script.frame_px} pixels cannot be encoded; give an even number, such as 512")
    signer = film_signer(settings.c2pa_certificate, settings.c2pa_key)
    started_s = time.monotonic()
    cv2.setNumThreads(1)
    with (
        SoundFile(script.audio, start_s=script.start_s, duration_s=script.duration_s) as sound,
        Mp4(
            script.output,
            rate_hz=film_rate(sound.rate_hz),
            channels=sound.channels,
            crf=script.crf,
            preset=script.preset,
            overwrite=script.overwrite,
            marking=Marking(avatar.name),
            signer=signer,
        ) as mp4,
    ):
        chunks_after = (await asyncio.wrap_future(engine.load(avatar))).chunks_after
        performance = Performance(
            avatar, settings, seed=script.seed, frame_px=script.frame_px, chunks_after=chunks_after
        )
        studio = _Studio(
            avatar=avatar,
            script=script,
            sound=sound,
            engine=engine,
            performance=performance,
            mp4=mp4,
            chunks_after=chunks_after,
            progress=progress,
        )
        frames = await studio.film()
    return Film(frames, performance.failed_frames, time.monotonic() - started_s)


class _Studio:
    """The four at work: each has a thread of its own, and the event loop hands on."""

    def __init__(
        self,
        *,
        avatar: AnyAvatar,
        script: Script,
        sound: SoundFile,
        engine: AnyEngine,
        performance: Performance,
        mp4: Mp4,
        chunks_after: int,
        progress: Progress | None,
    ) -> None:
        self._avatar, self._engine = avatar, engine
        self._performance, self._mp4 = performance, mp4
        self._chunks_after, self._progress = chunks_after, progress
        lead = {"lead_in_s": script.lead_in_s, "lead_out_s": script.lead_out_s}
        self._moments = moments(sound, **lead)
        length = length_s(sound, **lead)
        self._announced = None if length is None else math.ceil(length * FRAME_RATE_HZ - 1e-6)
        self._waiting: deque[Moment] = deque()
        self._made: asyncio.Queue[list[tuple[Moment, Face]] | None] = asyncio.Queue(_GROUPS_WAITING)
        self._drawn: asyncio.Queue[list[tuple[Picture, Piece]] | None] = asyncio.Queue(_GROUPS_WAITING)
        self._ticks = self._frames = 0

    async def film(self) -> int:
        """Make the whole film and return its frames."""
        pools = [ThreadPoolExecutor(1, thread_name_prefix=name) for name in ("decode", "draw", "encode")]
        decoding, drawing, encoding = pools
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._make(decoding))
                group.create_task(self._draw(drawing))
                group.create_task(self._encode(encoding))
        except BaseExceptionGroup as failures:
            # They have one cause: the others were cancelled for it.
            raise failures.exceptions[0] from None
        finally:
            # A thread's last few frames end before the film does.
            for pool in pools:
                await asyncio.to_thread(pool.shutdown, cancel_futures=True)
        return self._frames

    async def _chunks(self, pool: ThreadPoolExecutor) -> AsyncIterator[Samples]:
        loop = asyncio.get_running_loop()
        upcoming = loop.run_in_executor(pool, self._next_moments)
        while group := await upcoming:
            upcoming = loop.run_in_executor(pool, self._next_moments)
            for moment in group:
                self._performance.hear(moment.samples)
                self._waiting.append(moment)
                yield moment.samples
        for _ in range(self._chunks_after):
            self._performance.hear(np.zeros(CHUNK_SAMPLES, np.float32))

    def _next_moments(self) -> list[Moment]:
        return list(islice(self._moments, _TOGETHER))

    async def _make(self, pool: ThreadPoolExecutor) -> None:
        group: list[tuple[Moment, Face]] = []
        chunks, needs = self._chunks(pool), self._performance.needs_face
        async with aclosing(bulk.frames(self._engine, self._avatar, chunks, wanted=needs)) as faces:
            async for face in faces:
                group.append((self._waiting.popleft(), face))
                if len(group) == _TOGETHER:
                    await self._made.put(group)
                    group = []
        await self._made.put(group)
        await self._made.put(None)

    async def _draw(self, pool: ThreadPoolExecutor) -> None:
        loop = asyncio.get_running_loop()
        while (group := await self._made.get()) is not None:
            await self._drawn.put(await loop.run_in_executor(pool, self._draw_some, group))
        await self._drawn.put(None)

    def _draw_some(self, group: list[tuple[Moment, Face]]) -> list[tuple[Picture, Piece]]:
        drawn = []
        for moment, face in group:
            drawn.append((self._performance.draw(self._ticks, moment.samples, face), moment.sound))
            self._ticks += 1
        return drawn

    async def _encode(self, pool: ThreadPoolExecutor) -> None:
        loop = asyncio.get_running_loop()
        while (group := await self._drawn.get()) is not None:
            await loop.run_in_executor(pool, self._encode_some, group)
            self._frames += len(group)
            if self._progress is not None:
                self._progress(self._frames, self._announced)

    def _encode_some(self, group: list[tuple[Picture, Piece]]) -> None:
        for picture, sound in group:
            self._mp4.add(picture, sound)
