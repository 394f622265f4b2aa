"""How a portrait's head turns, tilts and breathes: displacement fields from the depth of the landmarks, fading around the head."""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from webrtc_avatar.avatar.portrait_lips import Floats, grid

CELLS = 64

_BACK = 0.9
"""Depth of the hair and of what is beside the face, in half face widths behind the front's middle."""

_NECK = (1.7, 0.9)
"""The neck's pivot: below the eyes and behind the face's middle, in half face widths."""

_BREATH_PX = 1.2


def head_flow(landmarks: Floats, frame_px: int) -> dict[str, npt.NDArray[np.float16]]:
    """Return the fields `yaw`, `pitch`, `roll` (pixels per degree) and `breath` (pixels), float16 (64, 64, 2).

    Args:
        landmarks: float32 (468, 3) in pixels of the frame.
        frame_px: the frame's width and height.
    """
    step = frame_px // CELLS
    places = grid((0, 0, frame_px, frame_px), step)
    low, high = landmarks[:, :2].min(0), landmarks[:, :2].max(0)
    centre, half = (low + high) / 2, float(high[0] - low[0]) / 2
    offset = (places - centre) / half
    across, down = offset[..., 0], offset[..., 1]
    depth = _depth(landmarks, places, half)
    head = _head(across, down)
    pivot_y, pivot_z = float(centre[1]) + _NECK[0] * half, _NECK[1] * half
    degree = math.radians(1)
    nearer = (pivot_z - depth) * degree
    x, y = places[..., 0] - centre[0], places[..., 1] - pivot_y
    zero = np.zeros_like(x)
    fields = {
        "yaw": np.stack([nearer * head, zero], -1),
        "pitch": np.stack([zero, nearer * head], -1),
        "roll": np.stack([-y * degree * head, x * degree * head], -1),
    }
    body = 1 / (1 + np.exp(-(down - 1.3) / 0.25)) * np.exp(-((across / 2.6) ** 4))
    edge = np.minimum(np.minimum(places[..., 0], frame_px - places[..., 0]) / (0.06 * frame_px), 1)[..., None]
    fields["breath"] = np.stack([zero, -_BREATH_PX * (0.35 * head + 0.65 * body * (1 - 0.5 * head))], -1)
    return {name: (field * edge).astype(np.float16) for name, field in fields.items()}


def _depth(landmarks: Floats, places: Floats, half: float) -> Floats:
    """Return the depth of each cell in pixels, smooth, going back to `_BACK` beside the face."""
    rows, columns = places.shape[:2]
    scale = float(places[0, 1, 0] - places[0, 0, 0])
    total, count = np.zeros((rows, columns), np.float32), np.zeros((rows, columns), np.float32)
    for x, y, z in landmarks:
        cell = (int(np.clip(y / scale, 0, rows - 1)), int(np.clip(x / scale, 0, columns - 1)))
        total[cell] += z
        count[cell] += 1
    spread = max(0.14 * half / scale, 0.8)
    sums, counts = (np.asarray(cv2.GaussianBlur(part, (0, 0), spread), np.float32) for part in (total, count))
    faint = np.float32(0.01)
    depth = (sums + faint * np.float32(_BACK * half)) / (counts + faint)
    return np.asarray(cv2.GaussianBlur(depth, (0, 0), 1.0), np.float32)


def _head(across: Floats, down: Floats) -> Floats:
    """Return 1 on the head, falling smoothly to 0 in what is around it, and down along the neck."""
    radius = np.hypot(across / 1.45, np.where(down < 0, down / 1.75, down / 1.5))
    t = np.clip((radius - 0.75) / 0.75, 0, 1)
    return np.asarray(1 - t * t * (3 - 2 * t), np.float32)
