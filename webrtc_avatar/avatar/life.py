"""What a face does in answer: nods, brows, saccades, a posture of listening, a smile at rest, and the style that it is held in.

`avatar.idle` says what the face would do alone. Here it answers cues: small nods on some stressed syllables, brows that rise with the
voice's pitch and sink slowly (both go together in speakers: Graf et al., 2002; Guaitella et al., 2009), stillness, a tilt and now
and then a slow nod while somebody else speaks, a warmer mouth a while after speech. Everything is a function of
the seed and of the cues so far. Ticks may be skipped: what moves gently covers the gap in one step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

from webrtc_avatar.audio.chunk import FRAME_RATE_HZ
from webrtc_avatar.avatar.cue import Cue
from webrtc_avatar.avatar.idle import VIEWER, Gaze, Idle, Look, Pose, Timeline, Waves, smooth
from webrtc_avatar.avatar.style import Style, within_reach

LIVELY_S = 0.5
"""Time constant, of each of two in a row, of growing livelier when speech begins and calmer when it ends."""

SACCADE_TICKS = 2

_ATTENTIVE_S = 0.25
_STYLE_S = 0.11
_SMILE_S = 0.3
_SMILE_AFTER_TICKS = 25
_SMILE_ALONE, _SMILE_LISTENING = 0.6, 1.0
_BROW_UP_S, _BROW_DOWN_S = 0.07, 0.45
_BROW_FROM, _BROW_SPAN = 0.15, 0.5
"""Pitch from which brows rise, and over which they rise to full: from 0.9 to 3.9 semitones above the median."""
_BROW_LISTENING = 0.16
_NOD_STRESS = 0.3
_NOD_DEG = (0.5, 1.2)
_NOD_TICKS = (3, 4)
_NOD_PAUSE_TICKS = (11, 26)
_SLOW_NOD_DEG = (1.0, 1.7)
_SLOW_NOD_TICKS = (9, 13)
_TILT_DEG = (1.0, 1.8)
_LEAN_DEG = 0.5
_GAZE_HOLDS = 0.2
"""The eyes stay where they are while they should look less than this further."""
_FULL_GAZE_DEG = (10.0, 8.0)
"""How far eyes turn at a gaze of 1, sideways and up."""
_MEETS_VIEWER = 0.7
"""How much of a turned head the eyes make up for."""
_BLINK = (0.6, 1.0, 0.6, 0.15)
_BLINK_PAUSE_TICKS = 30
_STYLE_TURN_DEG = 2.0


class _Eased:
    """A value that follows its target smoothly, without a corner: two time constants in a row."""

    def __init__(self, value: float, constant_s: float) -> None:
        self._first = self.value = value
        self._constant_ticks = FRAME_RATE_HZ * constant_s

    def step(self, ticks: int, target: float) -> float:
        stay = math.exp(-ticks / self._constant_ticks)
        self._first = target + (self._first - target) * stay
        self.value = self._first + (self.value - self._first) * stay
        return self.value


@dataclass(frozen=True, slots=True)
class _Nod:
    start: int
    pitch: float
    yaw: float
    down_ticks: int
    up_ticks: int

    def at(self, tick: int) -> float:
        """Return how far down it is, 0..1."""
        elapsed = tick - self.start
        return smooth((elapsed + 1) / self.down_ticks) * (1 - smooth((elapsed + 1 - self.down_ticks) / self.up_ticks))


class Life:
    """The motion of one face.

    Args:
        seed: faces with different seeds move differently.
        style: how the face is held at first.
    """

    def __init__(self, seed: int, style: Style) -> None:
        self._seed = seed
        self._idle = Idle(seed)
        self._backchannel = Timeline(
            f"{seed}/backchannel", lambda random: FRAME_RATE_HZ * random.uniform(4.0, 10.0), _slow_nod
        )
        random = Random(f"{seed}/answers")
        self._tilt_deg = random.choice((-1, 1)) * random.uniform(*_TILT_DEG)
        self._expression = Waves(random, 0.05, 0.2)
        self._tick: int | None = None
        self._lively = _Eased(0.0, LIVELY_S)
        self._attention = _Eased(0.0, _ATTENTIVE_S)
        self._smile = _Eased(_SMILE_ALONE, _SMILE_S)
        self._held = [_Eased(angle, _STYLE_S) for angle in style.pose]
        self._style = style
        self._brow = self._pitch = 0.0
        self._speaking = False
        self._silent_since = -(10**9)
        self._nod: _Nod | None = None
        self._next_nod = -(10**9)
        self._blinked = -(10**9)
        self._came_from: Gaze = style.gaze
        self._gaze: Gaze = style.gaze
        self._left_tick = -(10**9)

    def pose(self, tick: int, cue: Cue, style: Style) -> Pose:
        """Return what the face does at a tick; called once a tick, in order, or with gaps."""
        ticks = 1 if self._tick is None else max(tick - self._tick, 1)
        before = tick - ticks
        self._tick = tick
        if not style.alive:
            pitch, yaw, roll = within_reach(*style.pose)
            self._gaze = style.gaze
            return Pose(yaw, pitch, roll, 0.0, Look(gaze=style.gaze, came_from=style.gaze))
        listening = cue.listening and not cue.speaking
        lively = self._lively.step(ticks, 1.0 if cue.speaking else 0.0)
        attention = min(self._attention.step(ticks, 1.0 if listening else 0.0), 1.0)
        alone = self._idle.pose(tick, lively, attention)
        self._start_nod(before, tick, cue, attention)
        self._start_blink(tick, cue, style, alone.look.lid)
        nod_pitch, nod_yaw = self._nodding(tick)
        held_pitch, held_yaw, held_roll = (
            eased.step(ticks, angle) for eased, angle in zip(self._held, style.pose, strict=True)
        )
        pitch, yaw, roll = within_reach(
            held_pitch + style.motion * (alone.pitch + nod_pitch + _LEAN_DEG * attention),
            held_yaw + style.motion * (alone.yaw + nod_yaw),
            held_roll + style.motion * (alone.roll + self._tilt_deg * attention),
        )
        smile = self._smiling(ticks, tick, cue.speaking, listening)
        brow = max(self._raise_brows(ticks, tick, cue), _BROW_LISTENING * attention)
        brow = min(style.motion * max(brow, alone.look.brow_raise), 1.0)
        look = self._look(tick, style, alone.look, brow)
        return Pose(yaw, pitch, roll, alone.breath, look, smile)

    def _start_nod(self, before: int, tick: int, cue: Cue, attention: float) -> None:
        """Begin a nod on some stressed syllables, or a slow one in answer to somebody who speaks."""
        if tick < self._next_nod:
            return
        random = Random(f"{self._seed}/nods/{tick}")
        if cue.speaking and cue.stress > _NOD_STRESS:
            if random.random() < 0.3 + 0.5 * cue.stress:
                size = min(random.uniform(*_NOD_DEG) * (0.6 + 0.6 * cue.stress), _NOD_DEG[1])
                self._nod = _Nod(tick, max(size, _NOD_DEG[0]), random.uniform(-0.25, 0.25), *_NOD_TICKS)
                self._next_nod = tick + random.randint(*_NOD_PAUSE_TICKS)
            else:
                self._next_nod = tick + 4
        elif attention > 0.7:
            start, size, _ = self._backchannel.latest(tick)
            if start > before:
                self._nod = _Nod(tick, size, 0.0, *_SLOW_NOD_TICKS)
                self._next_nod = tick + sum(_SLOW_NOD_TICKS)

    def _nodding(self, tick: int) -> tuple[float, float]:
        if self._nod is None:
            return 0.0, 0.0
        down = self._nod.at(tick)
        return down * self._nod.pitch, down * self._nod.yaw

    def _start_blink(self, tick: int, cue: Cue, style: Style, lid: float) -> None:
        """Blink when the face is turned, and often when it has finished speaking."""
        turned = math.dist(style.pose, self._style.pose) > _STYLE_TURN_DEG
        finished = self._speaking and not cue.speaking and Random(f"{self._seed}/ends/{tick}").random() < 0.6
        self._style = style
        if (turned or finished) and lid == 0 and tick - self._blinked > _BLINK_PAUSE_TICKS:
            self._blinked = tick

    def _smiling(self, ticks: int, tick: int, speaking: bool, listening: bool) -> float:
        if speaking:
            self._silent_since = tick
        self._speaking = speaking
        resting = tick - self._silent_since > _SMILE_AFTER_TICKS
        return self._smile.step(ticks, (_SMILE_LISTENING if listening else _SMILE_ALONE) if resting else 0.0)

    def _look(self, tick: int, style: Style, alone: Look, brow_raise: float) -> Look:
        lid = alone.lid
        if tick - self._blinked < len(_BLINK):
            lid = max(lid, _BLINK[tick - self._blinked])
        self._saccade(tick, _aim(style, alone.gaze))
        return Look(
            lid=lid,
            gaze=self._gaze,
            came_from=self._came_from,
            arrived=min((tick - self._left_tick + 1) / SACCADE_TICKS, 1.0),
            brow_raise=brow_raise,
            squint=alone.squint,
        )

    def _saccade(self, tick: int, target: Gaze) -> None:
        if math.dist(target, self._gaze) > _GAZE_HOLDS or (target == VIEWER and self._gaze != VIEWER):
            self._came_from, self._gaze, self._left_tick = self._gaze, target, tick

    def _raise_brows(self, ticks: int, tick: int, cue: Cue) -> float:
        """Let the brows rise with pitch that stays high for two ticks, and sink slowly."""
        lasting = min(cue.pitch, self._pitch) if cue.speaking else 0.0
        self._pitch = cue.pitch
        expression = 0.65 + 0.35 * self._expression.at(tick / FRAME_RATE_HZ)
        target = expression * smooth((lasting - _BROW_FROM) / _BROW_SPAN)
        constant_s = _BROW_UP_S if target > self._brow else _BROW_DOWN_S
        self._brow = target + (self._brow - target) * math.exp(-ticks / (FRAME_RATE_HZ * constant_s))
        return self._brow


def _aim(style: Style, glance: Gaze) -> Gaze:
    """Return where the eyes look: at the viewer also from a turned head, off by the style and by a glance."""
    pitch, yaw, _ = style.pose
    x = style.gaze[0] + glance[0] - _MEETS_VIEWER * yaw / _FULL_GAZE_DEG[0]
    y = style.gaze[1] + glance[1] + _MEETS_VIEWER * pitch / _FULL_GAZE_DEG[1]
    return min(max(x, -1.0), 1.0), min(max(y, -1.0), 1.0)


def _slow_nod(random: Random) -> float:
    return random.uniform(*_SLOW_NOD_DEG)
