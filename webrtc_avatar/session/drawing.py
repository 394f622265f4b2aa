"""Draws the pictures of a session's ticks on media threads."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor

import numpy as np
import numpy.typing as npt

from webrtc_avatar.avatar.casting import AnyActor
from webrtc_avatar.avatar.cue import Cue
from webrtc_avatar.errors import AvatarServerError, EngineFailure
from webrtc_avatar.metrics import Metrics

log = logging.getLogger(__name__)

Picture = npt.NDArray[np.uint8]


class Drawing:
    """The way from a session to the threads that draw, and back."""

    def __init__(self, pool: Executor, metrics: Metrics) -> None:
        """Take the threads, and what tells how long they take."""
        self._pool = pool
        self._wait = metrics.stage_wait.labels("compose")
        self._run = metrics.stage_run.labels("compose")

    async def draw(self, actor: AnyActor, tick: int, crop: Picture | None, cue: Callable[[], Cue]) -> Picture:
        """Return the picture of a tick, I420.

        Args:
            actor: who draws.
            tick: number of the tick.
            crop: the face, as the actor takes it; None while nobody speaks.
            cue: tells on the thread what the face reacts to, which takes a while as well.

        Raises:
            AvatarServerError: whatever was wrong with the picture, a damaged frame of footage for example.
        """
        queued_s = time.monotonic()
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._pool, self._compose, actor, tick, crop, cue, queued_s
            )
        except AvatarServerError:
            raise
        except Exception as error:  # a picture that cannot be drawn must not stop the clock
            log.exception("a picture could not be drawn tick=%d", tick)
            raise EngineFailure(f"the picture of tick {tick} could not be drawn: {error}") from error

    def _compose(
        self, actor: AnyActor, tick: int, crop: Picture | None, cue: Callable[[], Cue], queued_s: float
    ) -> Picture:
        started_s = time.monotonic()
        self._wait.observe(started_s - queued_s)
        frame = actor.draw(tick, crop, cue())
        self._run.observe(time.monotonic() - started_s)
        return frame
