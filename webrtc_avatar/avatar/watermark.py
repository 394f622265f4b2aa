"""A visible mark in a corner of every picture: a line of text on a dark label, or a PNG of one's own.

It is prepared once for each size of frames and burned in as the last step of a composition, in whichever layout the picture has: that
costs some hundredths of a millisecond. A label is 7 % of the picture's height.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from webrtc_avatar.avatar.compose import Box, Feather, Picture, i420, paste, planes
from webrtc_avatar.avatar.painter import Layout
from webrtc_avatar.errors import InvalidSettings

if TYPE_CHECKING:
    from webrtc_avatar.avatar.package import AnyAvatar

Place = Literal["top_left", "top_right", "bottom_left", "bottom_right"]
MAX_CHARS = 80

_OPAQUE = 128
_MARGIN = 0.025
"""Of the shorter side, between the mark and the picture's edges."""
_LETTERS = 0.037
"""Of the shorter side: the font's size."""
_WIDEST = 0.9
"""Of the picture's width; longer text gets smaller letters."""
_IMAGE_WIDTH, _IMAGE_HEIGHT = 0.3, 0.12
"""Of the picture: a PNG is fitted into so much."""
_FINE = 4
"""Letters are drawn so many times as large and scaled down."""
_LABEL = 0.6
"""How dark the label behind the letters is, 0..1."""
_MOST_PNG_BYTES, _MOST_PNG_PX = 4 * 1024 * 1024, 4096


class _Overlay(NamedTuple):
    """A mark made ready for frames of one size: where it goes, its pixels in both layouts, and its weights 0..128."""

    box: Box
    crop: Picture
    soft: Feather
    bgr: npt.NDArray[np.int16]
    weights: npt.NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Watermark:
    """One mark. Any number of threads share it.

    Attributes:
        mark: a text of at most 80 characters, or the path of a PNG, which ends in .png.
        place: the corner.
        opacity: 0 invisible to 1.
    """

    mark: str
    place: Place = "bottom_right"
    opacity: float = 0.8

    def check(self) -> None:
        """Find out whether it can be drawn.

        Raises:
            InvalidSettings: it is empty or too long, or the PNG cannot be read.
        """
        if self._is_image:
            _read_png(self.mark)
        elif not self.mark.strip() or len(self.mark) > MAX_CHARS or not self.mark.isprintable():
            raise InvalidSettings(
                f"a watermark is one line of 1 to {MAX_CHARS} characters, or the path of a .png; got {self.mark[:100]!r}"
            )
        elif not hasattr(cv2, "FontFace") and not self.mark.isascii():
            raise InvalidSettings(
                f"OpenCV {cv2.__version__} draws ASCII alone; got {self.mark!r}: install opencv-python-headless 5, or give a .png"
            )

    def burn(self, picture: Picture, layout: Layout) -> Picture:
        """Return a copy of a picture with the mark in it.

        Args:
            picture: see `Layout`.
            layout: of the picture.

        Raises:
            InvalidSettings: see `check`.
        """
        marked = picture.copy()
        if layout == "i420":
            box, crop, soft, _, _ = _overlay(self, picture.shape[1], picture.shape[0] * 2 // 3)
            paste(planes(marked), box, crop, soft)
            return marked
        box, _, _, above, weights = _overlay(self, picture.shape[1], picture.shape[0])
        below = marked[box.top : box.bottom, box.left : box.right]
        below[...] = below + (((above - below) * weights + _OPAQUE // 2) >> 7)
        return marked

    @property
    def _is_image(self) -> bool:
        return self.mark.lower().endswith(".png")


@dataclass(frozen=True, slots=True)
class Watermarks:
    """Which avatar's pictures are marked with what.

    Attributes:
        everybody: the mark of all avatars, or None.
        portraits: the mark of avatars that were made from a photo; None: as everybody's.
    """

    everybody: Watermark | None = None
    portraits: Watermark | None = None

    @property
    def any(self) -> bool:
        """Whether pictures of some avatar are marked."""
        return bool(self.everybody or self.portraits)

    def of(self, avatar: AnyAvatar) -> Watermark | None:
        """Return an avatar's mark, or None."""
        return (self.portraits if avatar.model.kind == "portrait" else None) or self.everybody


NO_WATERMARKS = Watermarks()


@lru_cache(maxsize=32)
def _overlay(watermark: Watermark, width: int, height: int) -> _Overlay:
    rgba = _image(watermark, width, height) if watermark._is_image else _label(watermark.mark, width, height)
    rgba = np.pad(rgba, ((0, rgba.shape[0] % 2), (0, rgba.shape[1] % 2), (0, 0)))
    high, wide = rgba.shape[:2]
    margin = round(min(width, height) * _MARGIN / 2) * 2
    left = margin if "left" in watermark.place else (width - wide - margin) // 2 * 2
    top = margin if "top" in watermark.place else (height - high - margin) // 2 * 2
    left, top = max(left, 0), max(top, 0)
    colour = np.ascontiguousarray(rgba[..., :3])
    weights = np.rint(rgba[..., 3] * (watermark.opacity * _OPAQUE / 255)).astype(np.int16)
    coarse = np.rint(weights.reshape(high // 2, 2, wide // 2, 2).mean((1, 3))).astype(np.int16)
    box = Box(left, top, left + wide, top + high)
    crop = _crop(colour, rgba[..., 3])
    return _Overlay(box, crop, Feather(weights, coarse), colour.astype(np.int16), weights[..., None])


def _crop(colour: Picture, alpha: Picture) -> Picture:
    """Return I420 whose chroma is that of each four pixels, weighted, so that edges have no seam of another colour."""
    high, wide = alpha.shape
    cells = (high // 2, 2, wide // 2, 2)
    weights = alpha.reshape(*cells, 1).astype(np.float32) + 1e-3
    mean = (colour.reshape(*cells, 3) * weights).sum((1, 3)) / weights.sum((1, 3))
    crop = i420(np.rint(mean).astype(np.uint8).repeat(2, 0).repeat(2, 1))
    planes(crop).y[...] = planes(i420(colour)).y
    return crop


def _label(text: str, width: int, height: int) -> Picture:
    """Return white letters on a dark label, BGRA."""
    size = min(width, height) * _LETTERS
    letters = _letters(text, size)
    widest = width * _WIDEST - 2 * size
    if letters.shape[1] > widest:
        size *= widest / letters.shape[1]
        letters = _letters(text, size)
    across, down = round(0.5 * size), round(0.32 * size)
    seen = np.pad(letters, ((down, down), (across, across))).astype(np.float32) / 255
    alpha = seen + (1 - seen) * _LABEL * _rounded(seen.shape, 0.4 * size)
    white = 255 * seen / np.maximum(alpha, 1e-6)
    return np.dstack([np.rint(white)] * 3 + [np.rint(255 * alpha)]).astype(np.uint8)


def _letters(text: str, size: float) -> Picture:
    """Return how much each pixel is covered by letters, 0..255; as high for any text of a size."""
    fine = _FINE * size
    canvas = np.zeros((round(1.5 * fine), round((len(text) + 2) * 1.5 * fine)), np.uint8)
    origin = (round(fine / 2), round(1.1 * fine))
    if hasattr(cv2, "FontFace"):
        cv2.putText(canvas, text, origin, (255, 255, 255), cv2.FontFace("sans"), round(fine), weight=500)
    else:
        put: Any = cv2.putText
        put(canvas, text, origin, cv2.FONT_HERSHEY_DUPLEX, fine / 30, 255, round(fine / 14), cv2.LINE_AA)
    columns = np.flatnonzero(canvas.any(0))
    first, last = (columns[0], columns[-1] + 1) if len(columns) else (0, 1)
    drawn = canvas[round(0.3 * fine) : round(1.4 * fine), first:last]
    target = (max(round(drawn.shape[1] / _FINE), 1), max(round(drawn.shape[0] / _FINE), 1))
    return np.asarray(cv2.resize(drawn, target, interpolation=cv2.INTER_AREA), np.uint8)


def _rounded(shape: tuple[int, ...], radius: float) -> npt.NDArray[np.float32]:
    """Return a rectangle with round corners, 0..1."""
    high, wide = shape
    down = np.maximum(np.abs(np.arange(high) - (high - 1) / 2) - (high / 2 - radius), 0)
    across = np.maximum(np.abs(np.arange(wide) - (wide - 1) / 2) - (wide / 2 - radius), 0)
    return np.asarray(np.clip(radius + 0.5 - np.hypot(down[:, None], across[None]), 0, 1), np.float32)


def _image(watermark: Watermark, width: int, height: int) -> Picture:
    """Return the PNG fitted to a frame, BGRA. Scaled with its colours weighted, or what is transparent would shine through edges."""
    png = _read_png(watermark.mark).astype(np.float32)
    scale = min(width * _IMAGE_WIDTH / png.shape[1], height * _IMAGE_HEIGHT / png.shape[0])
    target = (max(round(png.shape[1] * scale), 1), max(round(png.shape[0] * scale), 1))
    png[..., :3] *= png[..., 3:] / 255
    scaled = cv2.resize(png, target, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    alpha = np.maximum(scaled[..., 3:], 1)
    return np.clip(np.rint(np.dstack([scaled[..., :3] * 255 / alpha, scaled[..., 3:]])), 0, 255).astype(np.uint8)


def _read_png(path: str) -> Picture:
    try:
        with Path(path).open("rb") as file:
            data = file.read(_MOST_PNG_BYTES + 1)
    except (OSError, ValueError) as error:
        raise InvalidSettings(f"the watermark {path!r} cannot be read ({error}); check its path") from error
    wanted = f"expected a PNG of at most {_MOST_PNG_BYTES // 1024 // 1024} MiB and {_MOST_PNG_PX} pixels a side"
    width, height = (int.from_bytes(data[place : place + 4], "big") for place in (16, 20))
    if not data.startswith(b"\x89PNG") or len(data) > _MOST_PNG_BYTES or not 0 < max(width, height) <= _MOST_PNG_PX:
        raise InvalidSettings(f"the watermark {path!r} is not one that can be used; {wanted}")
    png = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if png is None or png.dtype != np.uint8:
        raise InvalidSettings(f"the watermark {path!r} does not decode; {wanted}, 8 bits a channel")
    if png.ndim == 2:
        png = cv2.cvtColor(png, cv2.COLOR_GRAY2BGRA)
    elif png.shape[2] == 3:
        png = cv2.cvtColor(png, cv2.COLOR_BGR2BGRA)
    return np.asarray(png, np.uint8)
