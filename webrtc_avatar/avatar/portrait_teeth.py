"""The teeth that a photo of an open mouth shows, taken over into what is behind the lips."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from webrtc_avatar.avatar.portrait_lips import Floats, Picture, grid
from webrtc_avatar.avatar.portrait_plate import Plate

Box = tuple[int, int, int, int]

_DARKEST, _BRIGHT = 0.50, 0.70
"""Shares of the brightest tooth's luma between which a pixel of the mouth becomes tooth."""

_PALEST, _RED = 0.24, 0.36
"""Shares of red beyond green between which it becomes lip, gum or tongue."""

_LEAST_SHARE = 0.3
"""Of the middle of the opening; photos that show less of teeth show them too badly."""

_LEAST_GAP = 0.15
"""Half mouths between the lips."""

_LEAST_ROWS = 3
_LIP_ROWS = 2
"""Of a tooth's pixels, those that the upper lip's edge still shines through."""

_LEAST_LUMA = 0.6
"""Of the face's; darker teeth are in the mouth's shadow, and would look like gaps in another mouth."""


@dataclass(frozen=True, slots=True, eq=False)
class SeenTeeth:
    """Upper teeth as a photo shows them.

    Attributes:
        picture: float32 (h, w, 3) BGR; what the upper lip hides goes on with the colour of what it does not.
        share: float32 (h, w), 0..1: how much of each pixel is tooth.
        known: float32 (h, w), 0..1: where the photo says so, and not the painted row.
        colour: float32 (3,) BGR, of a tooth in the middle.
    """

    picture: Floats
    share: Floats
    known: Floats
    colour: Floats

    def over(self, painted: Picture) -> Picture:
        """Return the layer, uint8 (h, w, 4) BGRA, of these teeth and of painted ones where the photo shows none."""
        known = self.known[..., None]
        below = painted.astype(np.float32)
        alpha = 255 * self.share[..., None] * known + (1 - known) * below[..., 3:]
        colour = known * self.picture + (1 - known) * below[..., :3]
        return np.asarray(np.rint(np.concatenate([colour, alpha], -1)), np.uint8)


def seen_teeth(plate: Plate, box: Box) -> SeenTeeth | None:
    """Return the upper teeth that a photo shows, or none.

    Args:
        plate: the photo made ready.
        box: left, top, right, bottom in pixels of its `still`; what is returned has its size.
    """
    if plate.opened is None or plate.lips.gap < _LEAST_GAP:
        return None
    left, top, right, bottom = box
    u, y, _ = plate.lips.coordinates(grid(box, 1))
    first, last = (np.interp(u, edge[:, 0], edge[:, 1]).astype(np.float32) for edge in plate.edges)
    inside = (y > first) & (y < last) & (np.abs(u) < 0.95)
    middle = inside & (np.abs(u) < 0.55)
    picture = plate.opened[top:bottom, left:right].astype(np.float32)
    luma = picture @ np.array((0.114, 0.587, 0.299), np.float32)
    if middle.sum() < 20:
        return None
    brightest = float(np.quantile(luma[middle], 0.9))
    face = float(np.median(plate.still.astype(np.float32)[top:bottom, left:right] @ np.array((0.114, 0.587, 0.299))))
    red = (picture[..., 2] - picture[..., 1]) / np.maximum(picture[..., 2], 1)
    tooth = _step(luma / max(brightest, 1), _DARKEST, _BRIGHT) * (1 - _step(red, _PALEST, _RED))
    if float((tooth[middle] > 0.5).mean()) < _LEAST_SHARE or brightest < _LEAST_LUMA * face:
        return None
    colour = np.median(picture[middle & (tooth > 0.8) & (luma > 0.75 * brightest)], 0).astype(np.float32)
    soft = np.clip(0.5 + (last - y) * plate.lips.half_px, 0, 1)
    tooth = np.where((y > first) & (np.abs(u) < 0.95), tooth * soft, 0)
    return _row(picture, tooth.astype(np.float32), y, last, colour)


def _row(picture: Floats, tooth: Floats, y: Floats, last: Floats, colour: Floats) -> SeenTeeth | None:
    """Return the upper row: from where a column's first tooth begins down to where it ends."""
    rows = np.arange(len(tooth))[:, None]
    is_tooth = tooth > 0.6
    # Narrow columns of teeth are the lip's gleam.
    column = cv2.morphologyEx(
        (is_tooth.sum(0) >= _LEAST_ROWS).astype(np.uint8)[None], cv2.MORPH_OPEN, np.ones((1, _LEAST_ROWS), np.uint8)
    )[0]
    if not column.any():
        return None
    places, every = np.flatnonzero(column), np.arange(len(column))
    # Beside the last teeth the row goes on as it ends, and fades into the painted one.
    nearest = places[np.abs(every[:, None] - places[None]).argmin(1)]
    tooth, picture = tooth[:, nearest], picture[:, nearest]
    begins = is_tooth.argmax(0)[nearest] + _LIP_ROWS
    after = rows >= begins
    share = np.minimum.accumulate(np.where(after, np.maximum(tooth, (rows == begins)), 1.0), 0)
    share = cv2.GaussianBlur(share.astype(np.float32), (0, 0), 0.6)
    source = np.broadcast_to(np.clip(np.maximum(rows, begins), 0, len(tooth) - 1), tooth.shape)
    shown = np.take_along_axis(picture, source[..., None], 0)
    # What the upper lip hides is more even.
    even = cv2.GaussianBlur(shown, (0, 0), 1.5)
    away = _step(begins - rows, 0.0, 6.0)[..., None]
    shown = shown + away * (0.5 * (even + colour) - shown)
    known = np.broadcast_to(cv2.GaussianBlur(column.astype(np.float32)[None], (0, 0), 2.0), tooth.shape)
    deep = _step(y - last, -0.75, -0.6)
    return SeenTeeth(shown.astype(np.float32), (share * deep).astype(np.float32), known * (y < last + 0.1), colour)


def _step(value: Floats, start: float, end: float) -> Floats:
    t = np.clip((value - start) / (end - start), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)
