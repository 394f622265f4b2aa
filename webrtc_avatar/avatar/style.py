"""How a face is held: which way head and eyes turn, and whether it lives. Life goes on around it, within what looks right."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from webrtc_avatar.errors import InvalidRequest

POSE_LIMITS_DEG = (4.0, 3.5, 5.0)
"""Pitch, yaw and roll of a style are clamped to these either way."""

MOST_MOTION = 3.0

_FREE_DEG = (4.2, 3.6, 4.6)
_BEYOND = 0.25
"""Style and life together turn the head freely on an ellipsoid of these half axes, and no further than a quarter beyond it: there the
picture's ears, hair and neck begin to look stretched."""

_ABSURD = 1e6
"""Beyond it a number is a mistake rather than a wish."""


@dataclass(frozen=True, slots=True)
class Style:
    """How a face is held. Values beyond the limits are clamped to them.

    Attributes:
        pose: pitch (down), yaw and roll (to the right, as seen in the picture) in degrees.
        gaze: x (right, as seen in the picture) and y (up), -1..1.
        alive: false for a still head and open eyes: only the mouth moves.
        motion: how far sway, nods and brows go around the way that the face is held, 0 to 3; 1 is plain.
    """

    pose: tuple[float, float, float] = (0.0, 0.0, 0.0)
    gaze: tuple[float, float] = (0.0, 0.0)
    alive: bool = True
    motion: float = 1.0

    def __post_init__(self) -> None:
        pitch, yaw, roll = (
            min(max(angle, -limit), limit) for angle, limit in zip(self.pose, POSE_LIMITS_DEG, strict=True)
        )
        x, y = (min(max(share, -1.0), 1.0) for share in self.gaze)
        object.__setattr__(self, "pose", (pitch, yaw, roll))
        object.__setattr__(self, "gaze", (x, y))
        object.__setattr__(self, "motion", min(max(self.motion, 0.0), MOST_MOTION))

    def to_json(self) -> dict[str, list[float]]:
        """Return the fields of requests and messages, as they are in force."""
        return {"pose_style": list(self.pose), "gaze_style": list(self.gaze)}


DEFAULT_STYLE = Style()
"""Facing the viewer, alive."""


def within_reach(pitch: float, yaw: float, roll: float) -> tuple[float, float, float]:
    """Return angles in degrees, drawn in smoothly where together they would turn the picture further than looks right."""
    far = math.hypot(*(angle / free for angle, free in zip((pitch, yaw, roll), _FREE_DEG, strict=True)))
    if far <= 1:
        return pitch, yaw, roll
    scale = (1 + _BEYOND * math.tanh((far - 1) / _BEYOND)) / far
    return scale * pitch, scale * yaw, scale * roll


def read_style(fields: Mapping[str, Any], base: Style) -> Style:
    """Return `base` with what a request or a message says about `pose_style` and `gaze_style`; null or nothing keeps it.

    Raises:
        InvalidRequest: one of them is not a list of so many finite numbers.
    """
    pose, gaze = base.pose, base.gaze
    if fields.get("pose_style") is not None:
        pitch, yaw, roll = _numbers(fields["pose_style"], "pose_style", "[pitch, yaw, roll] in degrees", 3)
        pose = (pitch, yaw, roll)
    if fields.get("gaze_style") is not None:
        x, y = _numbers(fields["gaze_style"], "gaze_style", "[x, y], each from -1 to 1", 2)
        gaze = (x, y)
    return replace(base, pose=pose, gaze=gaze)


def _numbers(value: object, name: str, expected: str, count: int) -> tuple[float, ...]:
    if (
        not isinstance(value, list | tuple)
        or len(value) != count
        or any(isinstance(number, bool) or not isinstance(number, int | float) for number in value)
        or not all(abs(number) <= _ABSURD for number in value)
    ):
        raise InvalidRequest(f'"{name}" is {expected}, finite numbers; got {value!r:.80}')
    return tuple(float(number) for number in value)
