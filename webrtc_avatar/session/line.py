"""What a session is about to say: sound that was made before it is due, in chunks, with the mouth and the events that go with it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from webrtc_avatar.audio.chunk import CHUNK_S, SOUND_SAMPLES, Chunk, Sound
from webrtc_avatar.audio.chunker import Chunker
from webrtc_avatar.speech.mouth import Alphabet, MouthCurves
from webrtc_avatar.speech.voice import Phoneme

Event = Mapping[str, Any]
Weights = npt.NDArray[np.float32]

_AHEAD_S = 15.0
"""More than this does not wait: a long text is made while it is said."""
_FADE_SAMPLES = 240
"""What is cut off ends within 5 ms, without a click."""


class Timed(NamedTuple):
    """An event and when it is due, in seconds from the beginning of the sound that it comes with."""

    at_s: float
    event: Event


@dataclass(frozen=True, slots=True)
class Spoken:
    """40 ms of the line.

    Attributes:
        chunk: the sound.
        weights: the mouth, float32 (12,) in the order of `speech.visemes.WEIGHTS`, where it is known; None: the sound says it.
        events: for the moment when it plays.
    """

    chunk: Chunk
    weights: Weights | None = None
    events: tuple[Event, ...] = ()


class SpeechLine:
    """Sound goes in at one end as fast as it is made, and leaves at the other with the session's clock.

    Lives on the event loop. While it is open nothing else is heard, in pauses neither.
    """

    def __init__(self) -> None:
        self._ready: deque[Spoken] = deque()
        self._room = asyncio.Event()
        self._room.set()
        self._open = False
        self._chunker: Chunker | None = None
        self._curves = MouthCurves()
        self._events: list[tuple[float, Event]] = []
        self._late: list[Event] = []
        self._rate_hz, self._knows_mouth = 0, False
        self._taken = self._cut = 0

    @property
    def is_busy(self) -> bool:
        """Whether something is being said, or about to be."""
        return self._open or bool(self._ready)

    @property
    def waiting_s(self) -> float:
        """Seconds of sound that wait."""
        return len(self._ready) * CHUNK_S

    def open(self) -> None:
        """Expect sound; whatever else drives the session is silent until `close` and the end of what was put."""
        self._open = True

    def put(
        self,
        samples: npt.NDArray[np.float32],
        rate_hz: int,
        *,
        phonemes: Sequence[Phoneme] = (),
        alphabet: Alphabet | None = None,
        timed: Sequence[Timed] = (),
    ) -> None:
        """Append sound, without a gap to what is there.

        Args:
            samples: float32 (n,), mono, -1..1.
            rate_hz: samples a second, 8000 to 192000.
            phonemes: when which is formed, relative to the first of `samples`.
            alphabet: of the phonemes; None: the mouth follows the sound.
            timed: events, relative likewise.

        Raises:
            InvalidAudio: the rate is out of its range, or the samples have another shape.
        """
        if rate_hz != self._rate_hz or (alphabet is not None) != self._knows_mouth:
            self._finish_chunk()
            self._rate_hz, self._knows_mouth = rate_hz, alphabet is not None
            self._chunker = Chunker(rate_hz=rate_hz)
        assert self._chunker is not None
        at_s = self._taken / rate_hz
        if alphabet is not None:
            self._curves.add(phonemes, alphabet, at_s=at_s)
        self._events += [(at_s + event.at_s, event.event) for event in timed]
        self._taken += len(samples)
        self._append(self._chunker.push(samples, arrived_s=0.0))

    def mark(self, event: Event) -> None:
        """Have an event told when all is said that was put so far."""
        if self._chunker is None:
            self._add_late([event])
        else:
            self._events.append((self._taken / self._rate_hz, event))

    def close(self) -> None:
        """Nothing follows: let the end of the sound out."""
        self._finish_chunk()
        self._open = False

    def clear(self) -> None:
        """Forget all that waits."""
        self._ready.clear()
        self._late.clear()
        self._start_anew()
        self._open = False
        self._room.set()

    def take(self) -> Spoken | None:
        """Return the next 40 ms; None while there are none."""
        if not self._ready:
            return None
        spoken = self._ready.popleft()
        if self.waiting_s < _AHEAD_S:
            self._room.set()
        return spoken

    def take_late(self) -> tuple[Event, ...]:
        """Return the events that are due once everything was taken."""
        late, self._late = tuple(self._late), []
        return late

    async def room(self) -> None:
        """Wait until there is room for more sound."""
        await self._room.wait()

    def _start_anew(self) -> None:
        self._chunker, self._curves, self._events = None, MouthCurves(), []
        self._rate_hz, self._knows_mouth = 0, False
        self._taken = self._cut = 0

    def _finish_chunk(self) -> None:
        """Fill up the last 40 ms with silence, and begin a new count."""
        chunker = self._chunker
        if chunker is not None:
            self._append(chunker.flush(arrived_s=0.0))
            self._add_late([event for _, event in self._events])
        self._start_anew()

    def _add_late(self, events: list[Event]) -> None:
        """What is due after the last sample that waits is due with its chunk, or, if all was taken, with the next one."""
        if self._ready:
            self._ready[-1] = replace(self._ready[-1], events=(*self._ready[-1].events, *events))
        else:
            self._late += events

    def _append(self, chunks: list[Chunk]) -> None:
        if not chunks:
            return
        rows = self._curves.rows(self._cut, len(chunks)) if self._knows_mouth else None
        for place, chunk in enumerate(chunks):
            self._cut += 1
            due = [event for at_s, event in self._events if at_s < self._cut * CHUNK_S]
            self._events = [timed for timed in self._events if timed[0] >= self._cut * CHUNK_S]
            self._ready.append(Spoken(chunk, None if rows is None else rows[place], tuple(due)))
        if self.waiting_s >= _AHEAD_S:
            self._room.clear()


def faded(sound: Sound) -> Sound:
    """Return a chunk's sound that dies away within 5 ms: what was cut off must not click. int16 (1920,)."""
    fall = np.zeros(SOUND_SAMPLES, np.float32)
    fall[:_FADE_SAMPLES] = np.linspace(1, 0, _FADE_SAMPLES, endpoint=False)
    return np.asarray(np.rint(sound * fall), np.int16)
