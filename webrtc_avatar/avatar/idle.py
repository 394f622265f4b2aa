"""What a living face does by itself: blinks, glances, raised brows, a swaying head, breath.

Everything is a function of the seed, the tick (1/25 s) and how lively the face is, so ticks may be skipped and two runs agree to
the bit. Events are drawn a minute at a time from the seed. Blinks: intervals log-normal, 2 to 6 s, 160 to 200 ms long;
gaze mostly on the viewer; breath about 14 a minute.
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
_SACCADE = 2


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
    """A face at one tick: yaw (to the image's right), pitch (down), roll (to the right) in degrees, breath 0..1 in, resting smile 0..1."""

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


@dataclass(frozen=True, slots=True)
class _Posture:
    yaw: float
    pitch: float
    roll: float
    ticks: float


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
        self._drift = [_Waves(random, 0.05, 0.24) for _ in range(3)]
        self._speech = [_Waves(random, 0.35, 0.85) for _ in range(3)]
        self._pace = _Waves(random, 0.02, 0.05)

    def pose(self, tick: int, liveliness: float = 0.0) -> Pose:
        """Return what the face does at a tick.

        Args:
            tick: frames of 1/25 s, from any origin.
            liveliness: 0 resting to 1 speaking; the caller lets it change slowly.
        """
        seconds = tick / FRAME_RATE_HZ
        start, to, since = self._postures.latest(tick)
        done = _smooth((tick - start) / to.ticks)
        posture = (
            since.yaw + (to.yaw - since.yaw) * done,
            since.pitch + (to.pitch - since.pitch) * done,
            since.roll + (to.roll - since.roll) * done,
        )
        calm = 0.8 + 0.2 * liveliness
        yaw, pitch, roll = (
            calm * (0.6 * target + 0.22 * drift.at(seconds)) + 0.18 * liveliness * speech.at(seconds)
            for target, drift, speech in zip(posture, self._drift, self._speech, strict=True)
        )
        phase = 2 * math.pi * _BREATH_HZ * seconds + 0.9 * self._pace.at(seconds)
        breath = 0.5 - 0.5 * math.cos(phase + 0.35 * math.sin(phase))
        return Pose(YAW_DEG * yaw, PITCH_DEG * pitch, ROLL_DEG * roll, breath, self._look(tick, liveliness))

    def _look(self, tick: int, liveliness: float) -> Look:
        start, lids, _ = self._blinks.latest(tick)
        lid = lids[tick - start] if tick - start < len(lids) else 0.0
        start, glance, _ = self._glances.latest(tick)
        elapsed = tick - start
        if glance.blinks and elapsed < len(_BLINKS[0]):
            lid = max(lid, _BLINKS[0][elapsed])
        if glance.gaze == VIEWER:
            strength = _smooth(elapsed / _BROW_IN) * (1 - _smooth((elapsed - glance.ticks) / _BROW_OUT))
            strength *= 0.6 + 0.4 * liveliness
            return Look(lid=lid, brow_raise=strength * glance.brow_raise, squint=strength * glance.squint)
        away = min(max(elapsed / _SACCADE, 0.0), 1.0)
        back = min(max((elapsed - glance.ticks) / _SACCADE, 0.0), 1.0)
        if back > 0:
            return Look(lid=lid, came_from=glance.gaze, arrived=back)
        return Look(lid=lid, gaze=glance.gaze, arrived=away)


class _Waves:
    """Band-limited noise within -1..1: sines at random places of a band."""

    def __init__(self, random: Random, low_hz: float, high_hz: float) -> None:
        self._sines = [
            (2 * math.pi * random.uniform(low_hz, high_hz), random.uniform(0, 2 * math.pi)) for _ in range(3)
        ]

    def at(self, seconds: float) -> float:
        return sum(math.sin(speed * seconds + phase) for speed, phase in self._sines) / len(self._sines)


def _smooth(share: float) -> float:
    """The minimum-jerk path from 0 to 1 (Flash and Hogan, 1985)."""
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
        )
    gazes: tuple[Gaze, ...] = ((-1.0, 0.0), (1.0, 0.0), (0.0, -1.0), (0.0, 1.0))
    return _Glance(
        gaze=random.choices(gazes, (3, 3, 3, 1))[0],
        brow_raise=0.0,
        squint=0.0,
        ticks=round(FRAME_RATE_HZ * random.uniform(0.4, 1.2)),
        blinks=random.random() < 0.4,
    )


def _posture(random: Random) -> _Posture:
    yaw, pitch, roll = (random.uniform(-1, 1) for _ in range(3))
    return _Posture(yaw, pitch, roll, ticks=FRAME_RATE_HZ * random.uniform(0.9, 1.8))
