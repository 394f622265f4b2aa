"""Pastes crops into I420 frames: a base frame, a place and a crop make a frame, whatever kind of avatar they come from.

An I420 picture of width w and height h is uint8 (h * 3 / 2, w) in memory: all of Y, then U and V at half the size.
Colours are BT.601 with limited range, as OpenCV converts them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from webrtc_avatar.errors import InvalidAvatar

Picture = npt.NDArray[np.uint8]

_OPAQUE = 128


class Planes(NamedTuple):
    """Y (height, width), U and V (height / 2, width / 2), uint8; usually views into one I420 picture."""

    y: Picture
    u: Picture
    v: Picture


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels of a frame; right and bottom are exclusive. All are even, so that chroma fits.

    Raises:
        InvalidAvatar: on odd or negative numbers, or an empty rectangle.
    """

    left: int
    top: int
    right: int
    bottom: int

    def __post_init__(self) -> None:
        sides = (self.left, self.top, self.right, self.bottom)
        if any(side % 2 or side < 0 for side in sides) or self.left >= self.right or self.top >= self.bottom:
            raise InvalidAvatar(
                f"a crop's box is [left, top, right, bottom], even pixels with left < right and top < bottom, since "
                f"chroma has half the resolution; got {list(sides)}; move the sides to even pixels"
            )

    @property
    def width(self) -> int:
        """Pixels."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Pixels."""
        return self.bottom - self.top


@dataclass(frozen=True, slots=True)
class Feather:
    """How much of a crop shows: int16 0..128 for luma (height, width) and chroma (half of both), soft at the edges.

    Chroma's weights are those of every second pixel, as OpenCV takes chroma from there.
    """

    luma: npt.NDArray[np.int16]
    chroma: npt.NDArray[np.int16]


def i420(image: Picture) -> Picture:
    """Convert BGR (height, width, 3), both even, to I420 (height * 3 / 2, width)."""
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420), np.uint8)


def bgr(picture: Picture) -> Picture:
    """Convert I420 (height * 3 / 2, width) to BGR (height, width, 3)."""
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_YUV2BGR_I420), np.uint8)


def planes(picture: Picture) -> Planes:
    """Return views of the planes of a contiguous I420 picture (height * 3 / 2, width)."""
    width = picture.shape[1]
    height = picture.shape[0] * 2 // 3
    flat = picture.reshape(-1)
    luma, chroma = height * width, height * width // 4
    half = (height // 2, width // 2)
    return Planes(
        flat[:luma].reshape(height, width),
        flat[luma : luma + chroma].reshape(half),
        flat[luma + chroma :].reshape(half),
    )


def enlarged(frame: Planes, size: int) -> Picture:
    """Return the picture of a frame scaled to I420 (size * 3 / 2, size); size is even."""
    picture = np.empty((size * 3 // 2, size), np.uint8)
    for plane, target in zip(frame, planes(picture), strict=True):
        cv2.resize(plane, target.shape[::-1], dst=target, interpolation=cv2.INTER_CUBIC)
    return picture


def region(frame: Planes, box: Box) -> Planes:
    """Return views of the part of a frame that a box covers.

    Raises:
        InvalidAvatar: if the box reaches beyond the frame.
    """
    height, width = frame.y.shape
    if box.right > width or box.bottom > height:
        raise InvalidAvatar(f"a crop's box must lie in the frame of {width}x{height} pixels; got {box}")
    half = (slice(box.top // 2, box.bottom // 2), slice(box.left // 2, box.right // 2))
    return Planes(frame.y[box.top : box.bottom, box.left : box.right], frame.u[half], frame.v[half])


@lru_cache(maxsize=64)
def feather(width: int, height: int, feather_px: int) -> Feather:
    """Return the weights of a crop that grow linearly from its edge over `feather_px` pixels (0: a hard edge)."""
    rows, columns = np.arange(height), np.arange(width)
    from_edge = np.minimum.outer(np.minimum(rows, rows[::-1]), np.minimum(columns, columns[::-1]))
    share = np.minimum((from_edge + 0.5) / max(feather_px, 0.5), 1.0)
    luma = np.rint(share * _OPAQUE).astype(np.int16)
    return Feather(luma, np.ascontiguousarray(luma[::2, ::2]))


def paste(frame: Planes, box: Box, crop: Picture, soft: Feather, *, weight: float = 1.0) -> None:
    """Blend a crop into a frame, in place.

    Args:
        frame: the frame's planes.
        box: where the crop goes.
        crop: I420 (box.height * 3 / 2, box.width).
        soft: the crop's weights, of the same size; 128 copies the crop exactly.
        weight: 0..1, how much of the crop shows on the whole.
    """
    if crop.shape != (box.height * 3 // 2, box.width):
        raise InvalidAvatar(
            f"a crop for {box} is I420 uint8 ({box.height * 3 // 2}, {box.width}); got {crop.dtype} {crop.shape}"
        )
    luma, chroma = soft.luma, soft.chroma
    if weight < 1.0:
        scale = round(max(weight, 0.0) * 256)
        luma, chroma = (((part.astype(np.int32) * scale) >> 8).astype(np.int16) for part in (luma, chroma))
    for below, above, alpha in zip(region(frame, box), planes(crop), (luma, chroma, chroma), strict=True):
        step = above.astype(np.int16)
        step -= below
        step *= alpha
        step += _OPAQUE // 2
        step >>= 7
        step += below
        below[...] = step


def put(frame: Planes, box: Box, crop: Picture) -> None:
    """Copy a crop, I420 (box.height * 3 / 2, box.width), into a frame, in place."""
    for below, above in zip(region(frame, box), planes(crop), strict=True):
        below[...] = above


def cut(frame: Planes, box: Box) -> Picture:
    """Return a copy of the part of a frame that a box covers: I420 (box.height * 3 / 2, box.width)."""
    parts = [part.reshape(-1) for part in region(frame, box)]
    return np.concatenate(parts).reshape(-1, box.width)
