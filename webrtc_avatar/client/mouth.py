"""How far the mouth is open in a decoded frame: the height of the lips, measured by their colour.

Lips are redder than the skin around them, and that shows in `V - U` of a frame. The height between the tenth and the
ninetieth percentile of the red rows grows when the jaw or the lips open; a head that sways moves both ends alike, so
the height stays. On the 690 labelled crops of the avatar "iris" it correlates 0.91 with the weight `jawOpen`.
"""

from __future__ import annotations

import av
import numpy as np
import numpy.typing as npt

MOUTH_BOX = (144, 248, 368, 408)
"""Left, top, right, bottom of the mouth in a 512 frame, in pixels, right and bottom exclusive."""

_FRAME_SIZE = 512
_COLUMNS = (0.34, 0.66)
_ROWS = (0.22, 0.90)
_REDDER = 9.0
_LOW, _HIGH = 0.10, 0.90

Plane = npt.NDArray[np.uint8]


def chroma_planes(frame: av.VideoFrame) -> tuple[Plane, Plane]:
    """Return the U and V planes, uint8 (height // 2, width // 2), of a yuv420p frame without copying the luma."""
    planes = []
    for plane in (frame.planes[1], frame.planes[2]):
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
        planes.append(rows[:, : plane.width])
    return planes[0], planes[1]


def opening(u: Plane, v: Plane, *, box: tuple[int, int, int, int] = MOUTH_BOX) -> float:
    """Return the height of the lips in pixels of a 512 frame.

    Args:
        u: uint8 (h, w), chroma plane of the whole frame (half its size).
        v: uint8 (h, w), the other chroma plane.
        box: left, top, right, bottom of the mouth in a 512 frame.

    Returns:
        The height; 0.0 where no lips are seen.
    """
    scale_x, scale_y = u.shape[1] / _FRAME_SIZE, u.shape[0] / _FRAME_SIZE
    left, top, right, bottom = box
    x0, x1 = (round((left + (right - left) * part) * scale_x) for part in _COLUMNS)
    y0, y1 = (round((top + (bottom - top) * part) * scale_y) for part in _ROWS)
    redness = v[y0:y1, x0:x1].astype(np.float32) - u[y0:y1, x0:x1]
    if redness.size == 0:
        return 0.0
    rows = np.clip(redness - (np.median(redness) + _REDDER), 0, None).sum(1)
    mass = np.concatenate(([0.0], np.cumsum(rows)))
    if mass[-1] < 1.0:
        return 0.0
    edges = np.interp([_LOW * mass[-1], _HIGH * mass[-1]], mass, np.arange(mass.size))
    return float((edges[1] - edges[0]) / scale_y)
