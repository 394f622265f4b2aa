"""An avatar's pictures made ready for drawing, once for all sessions that show it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary, WeakMethod

import cv2
import numpy as np

from webrtc_avatar.avatar.compose import Box, Feather, Picture, cut, feather, i420, paste, planes
from webrtc_avatar.avatar.idle import Gaze, Look
from webrtc_avatar.avatar.morph import STEPS, border, morphs
from webrtc_avatar.avatar.package import Avatar
from webrtc_avatar.avatar.warp import Detail

_MIXES = 16
_BORDER_PX = 4
"""Brows fade into eyes over so many pixels on either side of the border between them."""


class Stage:
    """The plate and the eyes' crops as I420. Read only, so that any number of threads share it.

    Attributes:
        plate: (frame_size * 3 / 2, frame_size).
        detail: what a finer plate adds to larger frames, or None.
        mouth_box: where the mouth's crop goes.
        mouth_feather: its weights.
        eye_box: where the eyes' crops go.
    """

    def __init__(self, avatar: Avatar) -> None:
        self.plate = i420(avatar.plate)
        self.detail = _detail(self.plate, avatar.fine)
        self.mouth_box, self.eye_box = Box(*avatar.mouth_box), Box(*avatar.eye_box)
        self.mouth_feather = feather(self.mouth_box.width, self.mouth_box.height, avatar.mouth_feather_px)
        self._crops = [crop for crop in avatar.eyes if crop.brow_raise == 0]
        self._pictures = [self._on_plate(crop.image, self.eye_box, avatar.eye_feather_px) for crop in self._crops]
        self._brow_box, self._brow_feather, self._brows = self._raised(avatar)
        self._smiles = self._smiling(avatar)
        # Without circles, so that a stage goes with its avatar.
        self._eyes: Callable[..., Picture] = lru_cache(maxsize=128)(_weakly(self._compose_eyes))
        self._nearest: Callable[..., int] = lru_cache(maxsize=512)(_weakly(self._find_nearest))

    def eyes(self, look: Look) -> Picture:
        """Return the eyes with their surroundings as I420, ready to be copied to `eye_box`; not to be written to."""
        share, squint_before, squint_after = look.arrived, 0.0, 0.0
        if look.squint > 0 and look.arrived >= 1:
            squint_before, squint_after, share = _bracket(self._squints, look.squint)
        came_from = look.gaze if look.arrived >= 1 else look.came_from
        before = self._nearest(look.lid, came_from, squint_before)
        after = self._nearest(look.lid, look.gaze, squint_after)
        if look.arrived < 1:
            (x, y), (to_x, to_y) = came_from, look.gaze
            between = self._nearest(look.lid, (x + share * (to_x - x), y + share * (to_y - y)), 0.0)
            if between not in (before, after):
                before = after = between  # a crop on the way is sharper than a mix, which shows two irises
        mixed = 0 if before == after else round(_MIXES * min(max(share, 0.0), 1.0))
        brow = round(min(max(look.brow_raise, 0.0), 1.0) * STEPS) if self._brows else 0
        return self._eyes(before, after, mixed, brow)

    def resting_mouth(self, smile: float) -> Picture | None:
        """Return the mouth box of the plate with a resting smile of 0 to 1 as I420, ready to be copied; None where it is the plate's."""
        step = round(min(max(smile, 0.0), 1.0) * STEPS)
        return self._smiles[step] if self._smiles and step else None

    def _compose_eyes(self, before: int, after: int, mixed: int, brow: int) -> Picture:
        share = mixed / _MIXES
        picture = self._pictures[after if share >= 1 else before]
        if 0 < share < 1:
            picture = np.asarray(
                cv2.addWeighted(self._pictures[before], 1 - share, self._pictures[after], share, 0), np.uint8
            )
        if brow:
            picture = picture.copy()
            paste(planes(picture), self._brow_box, self._brows[brow], self._brow_feather)
        return picture

    @property
    def _squints(self) -> list[float]:
        return sorted({crop.squint for crop in self._crops})

    def _find_nearest(self, lid: float, gaze: Gaze, squint: float) -> int:
        def unlike(number: int) -> float:
            crop = self._crops[number]
            return (
                10 * (1 - 0.9 * lid) * math.dist(crop.gaze, gaze) + 4 * abs(crop.lid - lid) + abs(crop.squint - squint)
            )

        return min(range(len(self._crops)), key=unlike)

    def _raised(self, avatar: Avatar) -> tuple[Box, Feather, list[Picture]]:
        """Return the part of the eyes' box that holds the brows, its weights, and its pictures by raise."""
        level = sorted(
            (crop for crop in avatar.eyes if (crop.lid, crop.gaze, crop.squint) == (0, (0, 0), 0)),
            key=lambda crop: crop.brow_raise,
        )
        width, height = self.eye_box.width, self.eye_box.height
        if len(level) < 2:
            return Box(0, 0, width, height), feather(width, height, 0), []
        row = border([crop.image for crop in level], [crop.image for crop in self._crops])
        rows = min(row + _BORDER_PX, height) // 2 * 2
        soft = np.clip((rows - np.arange(rows) - 0.5) / (2 * _BORDER_PX), 0, 1)
        luma = np.ascontiguousarray(np.tile(np.rint(128 * soft).astype(np.int16)[:, None], (1, width)))
        box = Box(0, 0, width, rows)
        pictures = [
            cut(planes(self._on_plate(picture, self.eye_box, avatar.eye_feather_px)), box)
            for picture in morphs([(crop.brow_raise, crop.image) for crop in level])
        ]
        return box, Feather(luma, np.ascontiguousarray(luma[::2, ::2])), pictures

    def _smiling(self, avatar: Avatar) -> list[Picture]:
        if avatar.smile is None:
            return []
        left, top, right, bottom = avatar.mouth_box
        rest = np.ascontiguousarray(avatar.plate[top:bottom, left:right])
        return [
            self._on_plate(picture, self.mouth_box, avatar.mouth_feather_px)
            for picture in morphs([(0.0, rest), (1.0, avatar.smile)])
        ]

    def _on_plate(self, crop: Picture, box: Box, feather_px: int) -> Picture:
        frame = self.plate.copy()
        paste(planes(frame), box, i420(crop), feather(box.width, box.height, feather_px))
        picture = cut(planes(frame), box)
        picture.flags.writeable = False
        return picture


def _bracket(levels: Sequence[float], value: float) -> tuple[float, float, float]:
    """Return the levels below and above a value and how far it is from one to the other, 0..1."""
    above = next((level for level in levels if level >= value), levels[-1])
    below = max((level for level in levels if level < above), default=above)
    return below, above, (value - below) / (above - below) if above > below else 1.0


def _detail(plate: Picture, fine: Picture | None) -> Detail | None:
    return None if fine is None else Detail.between(planes(plate).y, planes(i420(fine)).y)


def _weakly(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return what calls a method of an object that is there, since its caller holds it, and does not hold it itself."""
    held = WeakMethod(method)

    def call(*arguments: Any) -> Any:
        found = held()
        assert found is not None
        return found(*arguments)

    return call


_stages: WeakKeyDictionary[Avatar, Stage] = WeakKeyDictionary()
_lock = Lock()


def stage_of(avatar: Avatar) -> Stage:
    """Return the avatar's stage, made at the first call; it lives as long as the avatar."""
    with _lock:
        if avatar not in _stages:
            _stages[avatar] = Stage(avatar)
        return _stages[avatar]
