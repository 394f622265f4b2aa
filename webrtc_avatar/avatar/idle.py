"""What a living face does by itself: blinks, glances, raised brows, a swaying head, breath.

Everything is a function of the seed, the tick (1/25 s), how lively and how attentive the face is, so ticks may be skipped and two
runs agree to the bit. Events are drawn a minute at a time from the seed. Blinks: intervals log-normal, 2 to 6 s, 160 to
200 ms long, and one with each larger turn of the head (Evinger et al., 1994); gaze mostly on the viewer, more so in those
who listen (Argyle and Cook, 1976); breath about 14 a minute. What a face does in answer to sound is in `avatar.life`.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Generic, TypeVar

from webrtc_avatar.audio.chunk import FRAME_RATE_HZ

Gaze = tuple[float, float]
"""Where the eyes look, as seen in the picture: x to the right, y up, -1..1."""

VIEWER: Gaze = (0.0, 0.0)

YAW_DEG, PITCH_DEG, ROLL_DEG = 1.6, 1.0, 0.8
"""The head never turns further."""

_MINUTE = 60 * FRAME_RATE_HZ
_BLINKS = ((0.45, 1.0, 0.75, 0.3), (0.6, 1.0, 0.6, 0.15), (0.3, 0.9, 1.0, 0.6, 0.15))
_BETWEEN_DOUBLE = (0.0, 0.0, 0.0)
_BREATH_HZ = 14 / 60
_BROW_IN, _BROW_OUT = 7, 14
_PLACES: tuple[Gaze, ...] = ((-1.0, 0.0), (1.0, 0.0), (0.0, -1.0), (0.0, 1.0), (-0.7, -0.6), (0.7, -0.6))
"""Where glances go: to the sides, down, seldom up, down to a side."""
_TURN_DEG = 1.0
"""A change of posture by more than this is a larger turn."""
_BLINK_TICKS = 15
_TURN_TAKES_BLINKS = 35
"""Blinks so many ticks before or after one that comes with a turn or a glance are left out."""


@dataclass(frozen=True, slots=True)
class Look:
    """What the eyes and brows do.

    Attributes:
        lid: 0 open to 1 closed.
        gaze: where they look, as seen in the picture.
        came_from: where they looked before.
        arrived: 0 still there to 1 arrived.
        brow_raise: 0 resting to 1 raised.
        squint: 0 none to 1 full.
    """

    lid: float = 0.0
    gaze: Gaze = VIEWER
    came_from: Gaze = VIEWER
    arrived: float = 1.0
    brow_raise: float = 0.0
    squint: float = 0.0


@dataclass(frozen=True, slots=True)
class Pose:
    """A face at one tick.

    Attributes:
        yaw: degrees, to the image's right.
        pitch: degrees, down.
        roll: degrees, to the image's right.
        breath: 0 out to 1 in.
        look: eyes and brows.
        smile: 0 the plate's mouth to 1 the warmest resting smile.
    """

    yaw: float
    pitch: float
    roll: float
    breath: float
    look: Look
    smile: float = 0.0


Event = TypeVar("Event")


class Timeline(Generic[Event]):
    """Random events in order of time, found by tick.

    Args:
        seed: events with the same seed are the same.
        gap: draws the ticks from one event's start to the next's.
        make: draws an event.
    """

    def __init__(self, seed: str, gap: Callable[[Random], float], make: Callable[[Random], Event]) -> None:
        self._seed = seed
        self._gap = gap
        self._make = make
        self._offset = Random(seed).randrange(_MINUTE)
        self._minutes: dict[int, tuple[list[int], list[Event]]] = {}

    def latest(self, tick: int) -> tuple[int, Event, Event]:
        """Return the start of the latest event begun by `tick`, that event, and the one before it."""
        minute = (tick + self._offset) // _MINUTE
        starts, events = self._minute(minute)
        place = bisect_right(starts, tick) - 1
        before = events[place - 1] if place else self._minute(minute - 1)[1][-1]
        return starts[place], events[place], before

    def between(self, first: int, last: int) -> list[tuple[int, Event]]:
        """Return the starts and events that begin from `first` to `last`, both included."""
        minutes = range((first + self._offset) // _MINUTE, (last + self._offset) // _MINUTE + 1)
        return [
            (start, event)
            for minute in minutes
            for start, event in zip(*self._minute(minute), strict=True)
            if first <= start <= last
        ]

    def _minute(self, minute: int) -> tuple[list[int], list[Event]]:
        """Return the starts and events of a minute; gaps are stretched a little so that it begins with an event."""
        if minute not in self._minutes:
            random = Random(f"{self._seed}/{minute}")
            gaps: list[float] = []
            while sum(gaps) < _MINUTE:
                gaps.append(self._gap(random))
            stretch = _MINUTE / sum(gaps)
            first = minute * _MINUTE - self._offset
            starts = [first + round(sum(gaps[:count]) * stretch) for count in range(len(gaps))]
            while len(self._minutes) > 2:
                del self._minutes[next(iter(self._minutes))]
            self._minutes[minute] = starts, [self._make(random) for _ in starts]
        return self._minutes[minute]


@dataclass(frozen=True, slots=True)
class _Glance:
    gaze: Gaze
    brow_raise: float
    squint: float
    ticks: int
    blinks: bool
    pull: float


@dataclass(frozen=True, slots=True)
class _Posture:
    yaw: float
    pitch: float
    roll: float
    ticks: float
    lids: tuple[float, ...]


class Idle:
    """The idle motion of one face.

    Args:
        seed: faces with different seeds move differently.
    """

    def __init__(self, seed: int) -> None:
        self._blinks = Timeline(f"{seed}/blinks", _blink_gap, _blink)
        self._glances = Timeline(f"{seed}/glances", lambda random: FRAME_RATE_HZ * random.uniform(4.0, 9.5), _glance)
        self._postures = Timeline(f"{seed}/postures", lambda random: FRAME_RATE_HZ * random.uniform(2.2, 6.0), _posture)
        random = Random(f"{seed}/waves")
        self._drift = [Waves(random, 0.05, 0.24) for _ in range(3)]
        self._speech = [Waves(random, 0.35, 0.85) for _ in range(3)]
        self._pace = Waves(random, 0.02, 0.05)

    def pose(self, tick: int, liveliness: float = 0.0, attention: float = 0.0) -> Pose:
        """Return what the face does at a tick; its gaze jumps from one place to the next.

        Args:
            tick: frames of 1/25 s, from any origin.
            liveliness: 0 resting to 1 speaking; the caller lets it change slowly.
            attention: 0 none to 1 listening to somebody: a stiller head, fewer glances.
        """
        seconds = tick / FRAME_RATE_HZ
        start, to, since = self._postures.latest(tick)
        done = smooth((tick - start) / to.ticks)
        posture = (
            since.yaw + (to.yaw - since.yaw) * done,
            since.pitch + (to.pitch - since.pitch) * done,
            since.roll + (to.roll - since.roll) * done,
        )
        calm = (0.8 + 0.2 * liveliness) * (1 - 0.6 * attention)
        yaw, pitch, roll = (
            calm * (0.6 * target + 0.22 * drift.at(seconds)) + 0.18 * liveliness * speech.at(seconds)
            for target, drift, speech in zip(posture, self._drift, self._speech, strict=True)
        )
        phase = 2 * math.pi * _BREATH_HZ * seconds + 0.9 * self._pace.at(seconds)
        breath = 0.5 - 0.5 * math.cos(phase + 0.35 * math.sin(phase))
        look = self._look(tick, liveliness, attention)
        return Pose(YAW_DEG * yaw, PITCH_DEG * pitch, ROLL_DEG * roll, breath, look)

    def _look(self, tick: int, liveliness: float, attention: float) -> Look:
        lid = self._lid(tick)
        start, glance, _ = self._glances.latest(tick)
        elapsed = tick - start
        if glance.gaze != VIEWER:
            away = elapsed < glance.ticks and glance.pull > 0.75 * attention
            return Look(lid=lid, gaze=glance.gaze if away else VIEWER)
        strength = smooth(elapsed / _BROW_IN) * (1 - smooth((elapsed - glance.ticks) / _BROW_OUT))
        strength *= 0.6 + 0.4 * liveliness
        return Look(lid=lid, brow_raise=strength * glance.brow_raise, squint=strength * glance.squint)

    def _lid(self, tick: int) -> float:
        """Return how far the eyes are closed: a larger turn or a glance brings its blink, and takes the place of those near it."""
        first = tick - _BLINK_TICKS
        blinks = [(start, posture.lids) for start, posture in self._turns(first, tick)]
        blinks += [
            (start, _BLINKS[0])
            for start, glance in self._glances.between(first, tick)
            if glance.blinks and not self._turns(start - _TURN_TAKES_BLINKS, start + _TURN_TAKES_BLINKS)
        ]
        blinks += [(start, lids) for start, lids in self._blinks.between(first, tick) if not self._taken(start)]
        return max((lids[tick - start] for start, lids in blinks if tick - start < len(lids)), default=0.0)

    def _turns(self, first: int, last: int) -> list[tuple[int, _Posture]]:
        turns = []
        for start, posture in self._postures.between(first, last):
            _, to, since = self._postures.latest(start)
            angles = YAW_DEG * (to.yaw - since.yaw), PITCH_DEG * (to.pitch - since.pitch)
            if 0.6 * math.hypot(*angles) > _TURN_DEG:
                turns.append((start, posture))
        return turns

    def _taken(self, start: int) -> bool:
        first, last = start - _TURN_TAKES_BLINKS, start + _TURN_TAKES_BLINKS
        return any(glance.blinks for _, glance in self._glances.between(first, last)) or bool(self._turns(first, last))


class Waves:
    """Band-limited noise within -1..1: sines at random places of a band."""

    def __init__(self, random: Random, low_hz: float, high_hz: float) -> None:
        self._sines = [
            (2 * math.pi * random.uniform(low_hz, high_hz), random.uniform(0, 2 * math.pi)) for _ in range(3)
        ]

    def at(self, seconds: float) -> float:
        """Return the noise at a time."""
        return sum(math.sin(speed * seconds + phase) for speed, phase in self._sines) / len(self._sines)


def smooth(share: float) -> float:
    """Return the minimum-jerk path from 0 to 1 (Flash and Hogan, 1985)."""
    share = min(max(share, 0.0), 1.0)
    return share**3 * (10 - 15 * share + 6 * share * share)


def _blink_gap(random: Random) -> float:
    return FRAME_RATE_HZ * min(max(random.lognormvariate(math.log(3.9), 0.3), 2.0), 6.0)


def _blink(random: Random) -> tuple[float, ...]:
    lids = random.choice(_BLINKS)
    return lids + _BETWEEN_DOUBLE + random.choice(_BLINKS) if random.random() < 0.1 else lids


def _glance(random: Random) -> _Glance:
    if random.random() < 0.3:
        squints = random.random() < 0.25
        return _Glance(
            gaze=VIEWER,
            brow_raise=0.0 if squints else random.choice((0.5, 0.7, 1.0)),
            squint=0.6 if squints else 0.0,
            ticks=round(FRAME_RATE_HZ * random.uniform(0.7, 1.5)),
            blinks=False,
            pull=1.0,
        )
    (x, y), far = random.choices(_PLACES, (3, 3, 2, 1, 2, 2))[0], random.uniform(0.7, 1.0)
    return _Glance(
        gaze=(far * x, far * y),
        brow_raise=0.0,
        squint=0.0,
        ticks=round(FRAME_RATE_HZ * random.uniform(0.4, 1.2)),
        blinks=random.random() < 0.3,
        pull=random.random(),
    )


def _posture(random: Random) -> _Posture:
    yaw, pitch, roll = (random.uniform(-1, 1) for _ in range(3))
    return _Posture(
        yaw, pitch, roll, ticks=FRAME_RATE_HZ * random.uniform(0.9, 1.8), lids=(0.0, *random.choice(_BLINKS))
    )
