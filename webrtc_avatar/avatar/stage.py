"""An avatar's pictures made ready for drawing, once for all sessions that show it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from threading import Lock
from weakref import WeakKeyDictionary

import cv2
import numpy as np

from webrtc_avatar.avatar.compose import Box, Picture, cut, feather, i420, paste, planes
from webrtc_avatar.avatar.idle import Gaze, Look
from webrtc_avatar.avatar.package import Avatar, EyeCrop


class Stage:
    """The plate and the eyes' crops as I420. Read only, so that any number of threads share it.

    Attributes:
        plate: (frame_size * 3 / 2, frame_size).
        mouth_box: where the mouth's crop goes.
        mouth_feather: its weights.
        eye_box: where the eyes' crops go.
    """

    def __init__(self, avatar: Avatar) -> None:
        self.plate = i420(avatar.plate)
        self.mouth_box, self.eye_box = Box(*avatar.mouth_box), Box(*avatar.eye_box)
        self.mouth_feather = feather(self.mouth_box.width, self.mouth_box.height, avatar.mouth_feather_px)
        self._crops = avatar.eyes
        self._pictures = [self._on_plate(crop, avatar.eye_feather_px) for crop in avatar.eyes]
        self._brows = sorted({crop.brow_raise for crop in avatar.eyes})
        self._squints = sorted({crop.squint for crop in avatar.eyes})

    def eyes(self, look: Look) -> Picture:
        """Return the eyes with their surroundings as I420, ready to be copied to `eye_box`; not to be written to."""
        share = look.arrived
        low_brow = high_brow = low_squint = high_squint = 0.0
        if look.brow_raise > 0:
            low_brow, high_brow, share = _bracket(self._brows, look.brow_raise)
        elif look.squint > 0:
            low_squint, high_squint, share = _bracket(self._squints, look.squint)
        before = self._nearest(look.lid, look.came_from, low_brow, low_squint)
        after = self._nearest(look.lid, look.gaze, high_brow, high_squint)
        if before == after or share >= 1:
            return self._pictures[after]
        if share <= 0:
            return self._pictures[before]
        mixed = cv2.addWeighted(self._pictures[before], 1 - share, self._pictures[after], share, 0)
        return np.asarray(mixed, np.uint8)

    def _nearest(self, lid: float, gaze: Gaze, brow_raise: float, squint: float) -> int:
        def unlike(number: int) -> float:
            crop = self._crops[number]
            return (
                10 * (1 - 0.9 * lid) * math.dist(crop.gaze, gaze)
                + 4 * abs(crop.lid - lid)
                + 12 * abs(crop.brow_raise - brow_raise)
                + abs(crop.squint - squint)
            )

        return min(range(len(self._crops)), key=unlike)

    def _on_plate(self, crop: EyeCrop, feather_px: int) -> Picture:
        frame = self.plate.copy()
        paste(
            planes(frame), self.eye_box, i420(crop.image), feather(self.eye_box.width, self.eye_box.height, feather_px)
        )
        picture = cut(planes(frame), self.eye_box)
        picture.flags.writeable = False
        return picture


def _bracket(levels: Sequence[float], value: float) -> tuple[float, float, float]:
    """Return the levels below and above a value and how far it is from one to the other, 0..1."""
    above = next((level for level in levels if level >= value), levels[-1])
    below = max((level for level in levels if level < above), default=above)
    return below, above, (value - below) / (above - below) if above > below else 1.0


_stages: WeakKeyDictionary[Avatar, Stage] = WeakKeyDictionary()
_lock = Lock()


def stage_of(avatar: Avatar) -> Stage:
    """Return the avatar's stage, made at the first call; it lives as long as the avatar."""
    with _lock:
        if avatar not in _stages:
            _stages[avatar] = Stage(avatar)
        return _stages[avatar]
