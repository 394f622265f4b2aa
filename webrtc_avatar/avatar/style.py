"""How a face is held: which way head and eyes turn, and whether it lives. Life goes on around it, within what looks right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from webrtc_avatar.errors import InvalidRequest

POSE_LIMITS_DEG = (4.0, 3.5, 5.0)
"""Pitch, yaw and roll of a style are clamped to these either way."""

TOTAL_LIMITS_DEG = (6.0, 5.0, 6.5)
"""Style and life together never turn the head further: beyond, the picture's ears and hair are seen to stretch."""

_ABSURD = 1e6
"""Beyond it a number is a mistake rather than a wish."""


@dataclass(frozen=True, slots=True)
class Style:
    """How a face is held. Values beyond the limits are clamped to them.

    Attributes:
        pose: pitch (down), yaw and roll (to the right, as seen in the picture) in degrees.
        gaze: x (right, as seen in the picture) and y (up), -1..1.
        alive: false for a still head and open eyes: only the mouth moves.
    """

    pose: tuple[float, float, float] = (0.0, 0.0, 0.0)
    gaze: tuple[float, float] = (0.0, 0.0)
    alive: bool = True

    def __post_init__(self) -> None:
        pitch, yaw, roll = (
            min(max(angle, -limit), limit) for angle, limit in zip(self.pose, POSE_LIMITS_DEG, strict=True)
        )
        x, y = (min(max(share, -1.0), 1.0) for share in self.gaze)
        object.__setattr__(self, "pose", (pitch, yaw, roll))
        object.__setattr__(self, "gaze", (x, y))

    def to_json(self) -> dict[str, list[float]]:
        """Return the fields of requests and messages, as they are in force."""
        return {"pose_style": list(self.pose), "gaze_style": list(self.gaze)}


DEFAULT_STYLE = Style()
"""Facing the viewer, alive."""


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
    return Style(pose=pose, gaze=gaze, alive=base.alive)


def _numbers(value: object, name: str, expected: str, count: int) -> tuple[float, ...]:
    if (
        not isinstance(value, list | tuple)
        or len(value) != count
        or any(isinstance(number, bool) or not isinstance(number, int | float) for number in value)
        or not all(abs(number) <= _ABSURD for number in value)
    ):
        raise InvalidRequest(f'"{name}" is {expected}, finite numbers; got {value!r:.80}')
    return tuple(float(number) for number in value)
