"""SyncTalk_2D's landmarks: which square of a frame is the face."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from webrtc_avatar.avatar.footage_frames import Size
from webrtc_avatar.errors import CannotImport

POINTS = 110
MAX_BYTES = 64 * 1024
_FURTHEST_PX = 1_000_000
_SMALLEST_PX = 8

Box = npt.NDArray[np.int32]


def face_box(text: bytes, frame: Size, where: str) -> Box:
    """Return the box of a face, int32 (4,): x0, y0, x1, y1, cut where it leaves the frame to the right or below.

    It is a square as wide as from point 1 to point 31 that begins at the height of point 52, as the original cuts it. Left of or
    above the frame the original reads nonsense, so that is an error here.

    Args:
        text: a `.lms` file: 110 lines "x y" in pixels of the frame.
        frame: its width and height.
        where: the file, for messages.

    Raises:
        CannotImport: there are not 110 points, one is no number, or the box is empty or begins outside of the frame.
    """
    points = _points(text, where)
    left, right, top = points[1][0], points[31][0], points[52][1]
    bottom = top + right - left
    box = np.array([left, top, min(right, frame[0]), min(bottom, frame[1])], np.int32)
    if left < 0 or top < 0:
        raise CannotImport(
            f"{where}: the face begins at ({left}, {top}), outside of the picture, where the original cannot cut it either; "
            "leave such frames out of the footage, with their landmarks"
        )
    if min(box[2] - box[0], box[3] - box[1]) < _SMALLEST_PX:
        raise CannotImport(
            f"{where}: points 1, 31 and 52 make the box x {left} to {right}, y {top} to {bottom} in a picture of "
            f"{frame[0]}x{frame[1]}, expected at least {_SMALLEST_PX} pixels of it inside; make the landmarks again"
        )
    return box


def _points(text: bytes, where: str) -> list[tuple[int, int]]:
    lines = [line.split() for line in text.splitlines() if line.strip()]
    if len(lines) != POINTS:
        raise CannotImport(f"{where} has {len(lines)} points, expected {POINTS} lines 'x y'; make the landmarks again")
    points = []
    for number, line in enumerate(lines):
        try:
            x, y = (float(value) for value in line)
        except ValueError as error:
            raise CannotImport(f"{where}, point {number}: expected 'x y'; make the landmarks again") from error
        if not (math.isfinite(x) and math.isfinite(y) and max(abs(x), abs(y)) < _FURTHEST_PX):
            raise CannotImport(f"{where}, point {number} is ({x}, {y}), which is no place; make the landmarks again")
        points.append((int(np.float32(x)), int(np.float32(y))))
    return points
