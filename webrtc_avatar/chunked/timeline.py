"""What a chunked session says from frame to frame: the sound that was fed, and silence where nobody feeds for too long.

The film begins with the first feed, or when somebody watches. From then on it has a clock. While sound comes, the film may fall
behind that by the patience before silence fills it. Once nobody has fed for so long, silence keeps it ahead of the clock by the
lead, which is how much of a film players were given when they began: thus they do not run dry.
"""

from __future__ import annotations

import asyncio
import math
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
        patience_s: pieces of sound that come within so much of each other are one speech, into which no silence is put.
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
        self._changed = asyncio.Event()
        self._origin_s: float | None = None
        self._fed_s = -math.inf
        self._lead_s = 0.0
        self._idle = False
        self._count = 0
        self._samples, self._sound = np.zeros(0, np.float32), np.zeros(0, np.float32)

    def begin(self, lead_s: float) -> None:
        """Let the clock run, if it does not, and keep the film ahead of it by what players have been given by now."""
        if self._origin_s is None:
            self._origin_s = self._clock()
        self._lead_s = max(self._lead_s, lead_s - self.clock_s)
        self._changed.set()

    def notice(self, *, fed: bool) -> None:
        """Look at the buffer again: something was added, or it has ended."""
        self._fed_s = self._clock() if fed else self._fed_s
        self.begin(0.0)

    @property
    def clock_s(self) -> float:
        """Seconds since the film's beginning."""
        return 0.0 if self._origin_s is None else self._clock() - self._origin_s

    @property
    def idle_s(self) -> float:
        """The place in the film that is written now, if nobody feeds."""
        return self.clock_s + self._lead_s

    async def moments(self) -> AsyncIterator[Moment]:
        """Yield all moments, up to the buffer's end."""
        while self._count < self._most:
            self._changed.clear()
            finished = self._buffer.is_finished
            promised = self._buffer.is_promised
            late = not promised and self._late_s() >= 0
            if late:
                self._buffer.drain()
            if (chunk := self._buffer.take(whole=not (finished or late))) is not None:
                group, self._idle = self._cut(chunk), False
            elif finished or (late and len(self._samples)):
                group = self._rest()
                if not group:
                    return
            elif late:
                silence = Moment(np.zeros(CHUNK_SAMPLES, np.float32), np.zeros((SOUND_SAMPLES, 1), np.float32))
                group, self._idle = [silence] * _IDLE_MOMENTS, True
            else:
                await self._wait(for_sound=promised)
                continue
            for moment in group:
                self._count += 1
                yield moment
            await asyncio.sleep(0)

    def _late_s(self) -> float:
        """Return for how long silence has been due; below 0, when it will be."""
        if self._origin_s is None:
            return -math.inf
        written_s = self._count * CHUNK_S
        too_slow_s = self.clock_s - written_s - self._patience_s
        behind_s = self.idle_s - written_s
        if self._idle:
            return behind_s
        return max(too_slow_s, min(behind_s, self._clock() - self._fed_s - self._patience_s))

    async def _wait(self, *, for_sound: bool) -> None:
        late_s = -math.inf if for_sound else self._late_s()
        try:
            async with asyncio.timeout(None if late_s == -math.inf else max(-late_s, 0.001)):
                await self._changed.wait()
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
