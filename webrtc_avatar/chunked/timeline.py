"""What a chunked session says from frame to frame: the sound that was fed, and silence where nobody feeds for too long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import numpy as np

from webrtc_avatar.audio.buffer import AudioChunkBuffer, BufferedChunk, Floats
from webrtc_avatar.audio.chunk import CHUNK_S, CHUNK_SAMPLES, SOUND_SAMPLES
from webrtc_avatar.render.sound import Moment

_IDLE_MOMENTS = 5
"""Silent moments are made so many at a time."""


class Timeline:
    """Moments of 40 ms, as fast as they are taken while there is sound, at the pace of the clock without. Lives on the event loop.

    Args:
        buffer: what is fed.
        patience_s: by so much the stream may fall behind the clock before silence fills it. Players keep more than that in hand.
        most_s: the stream ends when it is so long.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        buffer: AudioChunkBuffer,
        *,
        patience_s: float,
        most_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._buffer, self._clock = buffer, clock
        self._patience_s, self._most = patience_s, round(most_s / CHUNK_S)
        self._fed = asyncio.Event()
        self._origin_s = clock() + patience_s
        self._count = 0
        self._samples, self._sound = np.zeros(0, np.float32), np.zeros(0, np.float32)

    def notice(self) -> None:
        """Look at the buffer again: something was added, or it has ended."""
        if not self._count:
            self._origin_s = min(self._origin_s, self._clock())
        self._fed.set()

    async def moments(self) -> AsyncIterator[Moment]:
        """Yield all moments, up to the buffer's end."""
        while self._count < self._most:
            self._fed.clear()
            finished = self._buffer.is_finished
            late = self._late_s() >= 0
            if late:
                self._buffer.drain()
            if (chunk := self._buffer.take(whole=not (finished or late))) is not None:
                group = self._cut(chunk)
            elif finished or (late and len(self._samples)):
                group = self._rest()
                if not group:
                    return
            elif late:
                silence = Moment(np.zeros(CHUNK_SAMPLES, np.float32), np.zeros((SOUND_SAMPLES, 1), np.float32))
                group = [silence] * _IDLE_MOMENTS
            else:
                await self._wait()
                continue
            for moment in group:
                self._count += 1
                yield moment
            await asyncio.sleep(0)

    def _late_s(self) -> float:
        """Return by how much the stream's end has fallen behind what is allowed."""
        return self._clock() - self._origin_s - self._patience_s - self._count * CHUNK_S

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(max(-self._late_s(), 0.001)):
                await self._fed.wait()
        except TimeoutError:
            pass

    def _cut(self, chunk: BufferedChunk) -> list[Moment]:
        self._samples = np.concatenate((self._samples, chunk.spoken))
        self._sound = np.concatenate((self._sound, chunk.sound))
        count = len(self._samples) // CHUNK_SAMPLES
        cut = [self._moment(n) for n in range(count)]
        self._samples, self._sound = self._samples[count * CHUNK_SAMPLES :], self._sound[count * SOUND_SAMPLES :]
        return cut

    def _moment(self, place: int) -> Moment:
        return Moment(
            self._samples[place * CHUNK_SAMPLES : (place + 1) * CHUNK_SAMPLES],
            self._sound[place * SOUND_SAMPLES : (place + 1) * SOUND_SAMPLES, None],
        )

    def _rest(self) -> list[Moment]:
        if not len(self._samples):
            return []
        self._samples, self._sound = _padded(self._samples, CHUNK_SAMPLES), _padded(self._sound, SOUND_SAMPLES)
        group = [self._moment(0)]
        self._samples, self._sound = np.zeros(0, np.float32), np.zeros(0, np.float32)
        return group


def _padded(samples: Floats, count: int) -> Floats:
    return np.pad(samples, (0, count - len(samples)))
