"""Where the faces of a video package are: `cache/crop_rectangles.json`, in any of the ways to write a rectangle."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from webrtc_avatar.avatar.footage_frames import Size
from webrtc_avatar.errors import CannotImport

Boxes = npt.NDArray[np.int32]

_LISTS = ("rectangles", "crop_rectangles", "rects", "boxes", "bounds", "frames")
_ENTRIES = ("rect", "rectangle", "crop_rectangle", "bounds", "bbox", "box", "crop")
_CORNERS = (
    ("x1", "y1", "x2", "y2"),
    ("x0", "y0", "x1", "y1"),
    ("xmin", "ymin", "xmax", "ymax"),
    ("left", "top", "right", "bottom"),
)
_SIZES = (("x", "y", "width", "height"), ("x", "y", "w", "h"), ("left", "top", "width", "height"))
_SMALLEST_PX = 8
_FURTHEST_PX = 2**30


def read_boxes(content: Any, *, count: int, frame: Size, where: str) -> Boxes:
    """Return the boxes of all frames, int32 (count, 4): x0, y0, x1, y1, cut where they leave the frame to the right or below.

    Understood are a list with an entry a frame, or an object whose keys are the frames' numbers (as the seeds write it:
    `{"0": {"rect": [x0, y0, x1, y1], …}, …}`), either of them also below a key such as `rectangles`. An entry is
    [x0, y0, x1, y1], an object with corners (`x1 y1 x2 y2`, `xmin …`, `left …`) or with a corner and a size (`x y width height`),
    or an object that holds one of these as `rect`, `bounds` or `bbox`. Four numbers are corners.

    Args:
        content: what the JSON file says.
        count: frames of the footage.
        frame: their width and height.
        where: the file, for messages.

    Raises:
        CannotImport: a frame has no rectangle, or one that is none, is empty or begins outside of the frame.
    """
    entries = _entries(content, count, where)
    boxes = np.empty((count, 4), np.int32)
    for number, entry in enumerate(entries):
        x0, y0, x1, y1 = (
            _pixel(value, f"{where}, frame {number}") for value in _corners(entry, f"{where}, frame {number}")
        )
        if x0 < 0 or y0 < 0:
            raise CannotImport(
                f"{where}: the rectangle of frame {number} begins at ({x0}, {y0}), outside of the picture; move it inside"
            )
        boxes[number] = x0, y0, min(x1, frame[0]), min(y1, frame[1])
        if min(boxes[number, 2] - x0, boxes[number, 3] - y0) < _SMALLEST_PX:
            raise CannotImport(
                f"{where}: the rectangle of frame {number} is x {x0} to {x1}, y {y0} to {y1} in a picture of "
                f"{frame[0]}x{frame[1]}; expected corners x0, y0, x1, y1 with at least {_SMALLEST_PX} pixels inside"
            )
    return boxes


def _entries(content: Any, count: int, where: str) -> list[Any]:
    if isinstance(content, dict):
        for key in _LISTS:
            if isinstance(content.get(key), list | dict):
                return _entries(content[key], count, where)
        numbered = {
            int(key): value for key, value in content.items() if key.isascii() and key.isdigit() and len(key) < 9
        }
        missing = [number for number in range(count) if number not in numbered]
        if missing or len(numbered) != count:
            raise CannotImport(
                f"{where} has rectangles of {len(numbered)} frames for {count} frames of footage"
                + (f", and none of frame {missing[0]}" if missing else "")
                + "; expected one a frame, with keys from '0' on"
            )
        return [numbered[number] for number in range(count)]
    if not isinstance(content, list) or len(content) != count:
        found = f"{len(content)} rectangles" if isinstance(content, list) else f"a {type(content).__name__}"
        raise CannotImport(f"{where} holds {found} for {count} frames of footage; expected one rectangle a frame")
    return content


def _corners(entry: Any, where: str) -> list[Any]:
    if isinstance(entry, list) and len(entry) == 4:
        return entry
    if isinstance(entry, dict):
        for key in _ENTRIES:
            if key in entry:
                return _corners(entry[key], where)
        for names in _CORNERS:
            if all(name in entry for name in names):
                return [entry[name] for name in names]
        for names in _SIZES:
            if all(name in entry for name in names):
                x, y, width, height = (_pixel(entry[name], where) for name in names)
                return [x, y, x + width, y + height]
    raise CannotImport(f"{where} has no rectangle that is understood; write {{'rect': [x0, y0, x1, y1]}} in pixels")


def _pixel(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _FURTHEST_PX:
        raise CannotImport(f"{where}: {str(value)[:40]!r} is no number of pixels; write whole numbers")
    return int(value)
