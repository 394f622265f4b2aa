"""Pictures of a portrait's eyes: lids that close, eyes that look elsewhere, brows that rise, all from the photo's own pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from webrtc_avatar.avatar.portrait_lips import Floats, Picture, grid

Box = tuple[int, int, int, int]

_NONE: Any = None

LIDS = (0.0, 0.15, 0.3, 0.45, 0.6, 0.8, 1.0)
GAZES = tuple((x, y) for x in (-1.0, -0.5, 0.0, 0.5, 1.0) for y in (-1.0, -0.5, 0.0, 0.5, 1.0))
BROWS = (0.5, 1.0)

_UPPER = ((33, 246, 161, 160, 159, 158, 157, 173, 133), (362, 398, 384, 385, 386, 387, 388, 466, 263))
_LOWER = ((33, 7, 163, 144, 145, 153, 154, 155, 133), (362, 382, 381, 380, 374, 373, 390, 249, 263))
_BROWS = ((70, 63, 105, 66, 107), (336, 296, 334, 293, 300))
_MEETING = 0.82
"""How far down the eye the lids meet."""

_GAZE = (0.11, 0.055)
"""Share of an eye's width that the iris moves at a gaze of 1."""

_LOWER_LID = 0.17
"""Half eyes that the lower lid's edge is below its landmarks, so that nothing of the eye shows when lids have closed."""

_RIM = 0.1
"""The same at the eye's corners."""

_WIDER = 1.1
"""The eye's corners are beyond their landmarks."""

_FRAMED_REACH = 0.7
"""Half eyes above its edge that a lid's skin stretches at most behind glasses, whose frames are further up."""

_CHEEKS = (50, 280)
_BRIDGE = (8, 5)
_COVERED = 0.55
"""Of the cheeks' brightness."""

_FRAMES = 0.35
_BAR_ROWS = 3
"""A bar differs from the bridge's skin by such a share, over so many of 48 rows."""

_BROW_RISE = 0.10
"""Share of an eye's width that brows rise."""


@dataclass(frozen=True, slots=True)
class EyeState:
    """What both eyes do in a picture; as `EyeCrop`."""

    lid: float
    gaze: tuple[float, float]
    brow_raise: float


def states() -> list[EyeState]:
    """Return what pictures a package has."""
    looks = [EyeState(0.0, gaze, 0.0) for gaze in GAZES]
    looks += [EyeState(lid, (0.0, 0.0), 0.0) for lid in LIDS if lid > 0]
    return looks + [EyeState(0.0, (0.0, 0.0), rise) for rise in BROWS]


def eye_pictures(fine: Picture, landmarks: Floats, box: Box, *, covered: bool = False) -> list[Picture]:
    """Return the eyes' box in each of `states()`, uint8 BGR.

    Args:
        fine: uint8 (2 * height, 2 * width, 3) BGR, the plate of twice the size.
        landmarks: float32 (468, 2 or more) in pixels of the plate.
        box: left, top, right, bottom in pixels of the plate.
        covered: the eyes are not to be seen, so all pictures are the same.
    """
    left, top, right, bottom = box
    places = grid((2 * left, 2 * top, 2 * right, 2 * bottom), 1) / 2 - np.float32(0.25)
    framed = has_frames(fine, landmarks)
    eyes = [_Eye(landmarks[:, :2], places, side, framed=framed) for side in (0, 1)]
    rim = _rim(places, box)
    if covered:
        return [_picture(fine, places, eyes, EyeState(0.0, (0.0, 0.0), 0.0), rim)] * len(states())
    return [
        _picture(fine, places, eyes, replace(state, brow_raise=0.0) if framed else state, rim) for state in states()
    ]


def eyes_are_covered(plate: Picture, landmarks: Floats) -> bool:
    """Say whether something dark hides the eyes, such as sunglasses: lids and the white of eyes are as bright as cheeks otherwise.

    Args:
        plate: uint8 (height, width, 3) BGR.
        landmarks: float32 (468, 2 or more) in its pixels.
    """
    luma = np.asarray(cv2.cvtColor(plate, cv2.COLOR_BGR2GRAY), np.float32)
    points = landmarks[:, :2]
    brightest = [float(np.quantile(_disc(luma, *_middle(points, side), 0.7), 0.9)) for side in (0, 1)]
    across = float(np.linalg.norm(points[_UPPER[1][-1]] - points[_UPPER[0][0]]))
    cheeks = [float(np.median(_disc(luma, points[number], 0.1 * across, 1.0))) for number in _CHEEKS]
    return max(brightest) < _COVERED * max(cheeks)


def has_frames(fine: Picture, landmarks: Floats) -> bool:
    """Say whether glasses cross the bridge of the nose: a bar that skin does not have.

    Args:
        fine: uint8 (height, width, 3) BGR, the plate of twice the size.
        landmarks: float32 (468, 2 or more) in pixels of the plate.
    """
    points = 2 * landmarks[:, :2] + np.float32(0.5)
    top, bottom = points[_BRIDGE[0]], points[_BRIDGE[1]]
    across = points[_UPPER[1][0]] - points[_UPPER[0][-1]]
    steps = np.linspace(-0.15, 1, 48, dtype=np.float32)[:, None, None]
    beside = np.linspace(-0.1, 0.1, 9, dtype=np.float32)[None, :, None]
    places = (top + steps * (bottom - top) + beside * across).astype(np.float32)
    luma = cv2.remap(cv2.cvtColor(fine, cv2.COLOR_BGR2GRAY), places, _NONE, cv2.INTER_LINEAR).astype(np.float32)
    rows = np.median(luma, 1)
    usual = float(np.median(rows))
    return bool((np.abs(rows - usual) > _FRAMES * usual).sum() >= _BAR_ROWS)


def _middle(points: Floats, side: int) -> tuple[Floats, float]:
    """Return an eye's middle and half its width."""
    inner, outer = points[_UPPER[side][0]], points[_UPPER[side][-1]]
    return (inner + outer) / 2, float(np.linalg.norm(outer - inner)) / 2


def _disc(luma: Floats, centre: Floats, radius: float, share: float) -> Floats:
    mask = np.zeros(luma.shape, np.uint8)
    cv2.circle(mask, (round(float(centre[0])), round(float(centre[1]))), max(round(share * radius), 1), 255, -1)
    found = luma[mask > 0]
    return found if found.size else luma.reshape(-1)


def _picture(fine: Picture, places: Floats, eyes: list[_Eye], state: EyeState, rim: Floats) -> Picture:
    skin = sum((eye.skin(state.lid, state.brow_raise) for eye in eyes), np.zeros_like(places))
    ball = sum((eye.ball(state.gaze) for eye in eyes), np.zeros_like(places))
    inside = np.maximum(*(eye.opening(state.lid) for eye in eyes))
    pictures = []
    for move in (skin * rim[..., None], ball):
        source = (places + move + np.float32(0.5)) * 2 - np.float32(0.5)
        pictures.append(
            cv2.remap(fine, source, _NONE, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
        )
    mixed = pictures[0] + inside[..., None] * (pictures[1] - pictures[0])
    size = (places.shape[1] // 2, places.shape[0] // 2)
    return np.asarray(np.rint(np.clip(cv2.resize(mixed, size, interpolation=cv2.INTER_AREA), 0, 255)), np.uint8)


class _Eye:
    """One eye in its own axes: x across from -1 to 1 between the corners, y down, in half eyes."""

    def __init__(self, points: Floats, places: Floats, side: int, *, framed: bool) -> None:
        self._framed = framed
        upper, lower = points[list(_UPPER[side])], points[list(_LOWER[side])]
        width = float(np.linalg.norm(upper[-1] - upper[0]))
        self._half = _WIDER * width / 2
        self._across = (upper[-1] - upper[0]) / width
        self._down = np.array([-self._across[1], self._across[0]], np.float32)
        centre = (upper[0] + upper[-1]) / 2
        offset = (places - centre) / self._half
        self.x, self.y = offset @ self._across, offset @ self._down

        def curve(line: Floats) -> Floats:
            flat = (line - centre) / self._half
            places_x = np.linspace(-1, 1, 33)
            fit = np.interp(places_x, flat @ self._across, flat @ self._down)
            fit = np.convolve(np.pad(fit, 2, mode="edge"), np.ones(5) / 5, "valid")
            return np.asarray(np.interp(self.x, places_x, fit), np.float32)

        arch = np.maximum(1 - self.x**2, 0)
        self._upper = curve(upper)
        self._lower = curve(lower) + _LOWER_LID * arch + _RIM
        self._height = float((lower[4] - upper[4]) @ self._down) / self._half
        middle = (upper[4] + lower[4]) / 2
        self._iris = ((middle - centre) @ self._across / self._half, (middle - centre) @ self._down / self._half)
        brow = points[list(_BROWS[side])]
        self._brow = float(np.mean((brow - centre) @ self._down)) / self._half

    def opening(self, lid: float) -> Floats:
        """Return 1 where the eyeball shows, 0 elsewhere, soft at the lids."""
        upper, lower = self._lids(lid)
        soft = self._half / 1.2
        share = np.clip(0.5 + (self.y - upper) * soft, 0, 1) * np.clip(0.5 + (lower - self.y) * soft, 0, 1)
        return np.asarray(share * (np.abs(self.x) < 1) * np.clip((lower - upper) * 12, 0, 1), np.float32)

    def _lids(self, lid: float) -> tuple[Floats, Floats]:
        meeting = self._upper + _MEETING * (self._lower - self._upper)
        return self._upper + lid * (meeting - self._upper), self._lower + lid * (meeting - self._lower)

    def skin(self, lid: float, brow_raise: float) -> Floats:
        """Return from where the skin takes its colour, relative to itself, in pixels."""
        if lid == 0 and brow_raise == 0:
            return np.zeros((*self.x.shape, 2), np.float32)
        upper, lower = self._lids(lid)
        beside = np.exp(-((np.maximum(np.abs(self.x) - 0.95, 0) / 0.35) ** 2))
        reach = max(-self._brow * 0.75, 0.5)
        if self._framed:
            reach = min(reach, _FRAMED_REACH)
        over, under = np.maximum(upper - self.y, 0), np.maximum(self.y - lower, 0)
        sunk, risen = upper - self._upper, lower - self._lower
        # The lid's own skin goes with its edge; that between lid and brow stretches.
        rows = -sunk * _fade(over / (reach + sunk)) * (self.y < (upper + lower) / 2)
        rows += -risen * _fade(under / 0.9) * (self.y >= (upper + lower) / 2)
        rows = rows * beside
        still = self._upper - 0.3
        below = np.clip((self.y - self._brow - 0.05) / np.maximum(still - self._brow - 0.05, 0.15), 0, 1)
        above = np.clip((self._brow - self.y - 0.1) / (0.9 * abs(self._brow)), 0, 1)
        brow = np.exp(-((self.x / 1.3) ** 4)) * _fade(below) * _fade(above)
        rows = rows + 2 * _BROW_RISE * brow_raise * brow
        return np.asarray(self._half * rows[..., None] * self._down, np.float32)

    def ball(self, gaze: tuple[float, float]) -> Floats:
        """Return from where the eyeball takes its colour, relative to itself, in pixels."""
        x, y = 2 * _GAZE[0] * gaze[0], -2 * _GAZE[1] * gaze[1]
        distance = np.hypot(self.x - self._iris[0] - x, 0.6 * (self.y - self._iris[1] - y))
        share = _fade((distance - 0.5 * max(self._height, 0.45)) / 0.6)
        move = -share[..., None] * (x * self._across + y * self._down)
        return np.asarray(self._half * move * (np.abs(self.x) < 1.1)[..., None], np.float32)


def _fade(value: Floats) -> Floats:
    t = np.clip(value, 0, 1)
    return np.asarray(1 - t * t * (3 - 2 * t), np.float32)


def _rim(places: Floats, box: Box) -> Floats:
    left, top, right, bottom = box
    x = np.minimum(places[..., 0] - left, right - 1 - places[..., 0])
    y = np.minimum(places[..., 1] - top, bottom - 1 - places[..., 1])
    return 1 - _fade(np.minimum(x, y) / 10)
