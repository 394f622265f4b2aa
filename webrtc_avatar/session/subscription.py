"""What a session gives out: ticks, each a picture and its 40 ms of sound, and the face as blendshapes for who asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_DEPTH = 4


@dataclass(frozen=True, slots=True, eq=False)
class Blendshapes:
    """The face of one tick for clients that draw a head of their own.

    Attributes:
        index: the tick's.
        time_s: media time of the tick, seconds since the session's origin: the clock of the picture's and the sound's pts.
        values: float32 (52,), 0..1, in the order of `avatar.arkit.ARKIT_NAMES`.
        head_deg: float32 (3,): pitch (down), yaw and roll (to the right, as seen in the picture), degrees.
    """

    index: int
    time_s: float
    values: npt.NDArray[np.float32]
    head_deg: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Tick:
    """One 25th of a second, ready to leave.

    Attributes:
        index: number of the chunk it plays, counted from the session's origin; pts of sound and picture follow from it. It
            skips what an overloaded machine had to drop, so media time never falls behind the sender's clock.
        sound: int16 (1920,), mono, 48 kHz.
        frame: uint8 (768, 512) for a 512x512 I420 picture: Y, then U and V.
        due_s: `time.monotonic()` at which both leave.
        blendshapes: the face of `frame` as blendshapes, if a subscriber asked for them and the avatar's model yields them.
    """

    index: int
    sound: npt.NDArray[np.int16]
    frame: npt.NDArray[np.uint8]
    due_s: float
    blendshapes: Blendshapes | None = None


class Subscription:
    """An async iterator of ticks for one consumer; one that is too slow loses the oldest.

    Attributes:
        blendshapes: this consumer wants them.
        dropped: ticks that it was too slow for.
    """

    def __init__(self, on_close: Callable[[Subscription], None], *, blendshapes: bool = False) -> None:
        self.blendshapes = blendshapes
        self._on_close = on_close
        self._queue: asyncio.Queue[Tick | None] = asyncio.Queue()
        self._closed = False
        self.dropped = 0

    def put(self, tick: Tick) -> None:
        """Hand over a tick without waiting."""
        if self._closed:
            return
        if self._queue.qsize() >= _DEPTH:
            self._queue.get_nowait()
            self.dropped += 1
        self._queue.put_nowait(tick)

    def close(self) -> None:
        """End the iteration; twice is fine."""
        if not self._closed:
            self._closed = True
            self._queue.put_nowait(None)
            self._on_close(self)

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Tick:
        if self._closed:
            raise StopAsyncIteration
        tick = await self._queue.get()
        if tick is None:
            raise StopAsyncIteration
        return tick
