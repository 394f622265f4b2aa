"""From a photo to the plate of a portrait: a square around the face, at twice the frame's size, the lips closed."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from webrtc_avatar.avatar.portrait_lips import Floats, Lips, Picture, closing, darkest_line, grid, measure, widened

FRAME_PX = 512
FACE_SHARE = 0.42
"""Of the frame's width, as far as the photo reaches."""

_LARGEST_SHARE = 0.62
_FACE_HEIGHT = 0.53
"""Where in the frame the face's middle is, from its top."""

_OPEN_GAP = 0.13
"""Half mouths; lips further apart are closed, nearer ones taken as closed."""

_BEYOND_PX = 24.0

_ROUNDS = 8


@dataclass(frozen=True, slots=True, eq=False)
class Plate:
    """A photo made ready.

    Attributes:
        fine: uint8 (1024, 1024, 3) BGR.
        still: uint8 (512, 512, 3) BGR, the mean of each four pixels of `fine`.
        landmarks: float32 (468, 3) in pixels of `still`, as the photo had them.
        lips: the closed mouth in pixels of `still`.
        was_open: the photo shows an open mouth, which was closed.
        opened: uint8 (512, 512, 3) BGR: `still` with the mouth as the photo shows it; none where it is closed there.
        edges: of that mouth, the upper and the lower lip's inner edges, as `measure` gives them.
    """

    fine: Picture
    still: Picture
    landmarks: Floats
    lips: Lips
    was_open: bool
    opened: Picture | None
    edges: tuple[Floats, Floats]


def make_plate(photo: Picture, landmarks: Floats) -> Plate:
    """Cut the square around a face and close its lips.

    Args:
        photo: uint8 (height, width, 3) BGR.
        landmarks: float32 (468, 3) in its pixels.
    """
    place = _place(photo.shape[1], photo.shape[0], landmarks)
    scale = float(place[0, 0])
    if scale < 1:
        photo = np.asarray(cv2.GaussianBlur(photo, (0, 0), 0.4 / scale), np.uint8)
    size = (2 * FRAME_PX, 2 * FRAME_PX)
    fine = np.asarray(
        cv2.warpAffine(photo, place, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE), np.uint8
    )
    fine = _softened(fine, place, photo.shape[1], photo.shape[0])
    moved = landmarks.copy()
    moved[:, :2] = moved[:, :2] * scale + place[:, 2]
    moved[:, 2] *= scale
    lips, above, below = measure(moved)
    was_open = lips.gap > _OPEN_GAP
    opened = None
    if was_open:
        opened = _halved(fine)
        fine = _closed(fine, lips, *widened(above, below))
    moved[:, :2] = (moved[:, :2] + 0.5) / 2 - 0.5
    moved[:, 2] /= 2
    lips = measure(moved)[0]
    if not was_open:
        lips = darkest_line(np.asarray(cv2.cvtColor(fine, cv2.COLOR_BGR2GRAY), np.uint8), lips, 2.0)
    return Plate(fine, _halved(fine), moved.astype(np.float32), lips, was_open, opened, (above, below))


def _halved(fine: Picture) -> Picture:
    return np.asarray(cv2.resize(fine, (FRAME_PX, FRAME_PX), interpolation=cv2.INTER_AREA), np.uint8)


def _place(width: int, height: int, landmarks: Floats) -> Floats:
    low, high = landmarks[:, :2].min(0), landmarks[:, :2].max(0)
    face_px = max(float(high[0] - low[0]), 0.85 * float(high[1] - low[1]))
    side = min(max(min(width, height), face_px / _LARGEST_SHARE), face_px / FACE_SHARE)
    left = float(low[0] + high[0]) / 2 - side / 2
    top = float(low[1] + high[1]) / 2 - side * _FACE_HEIGHT
    left = min(max(left, 0), width - side) if side <= width else (width - side) / 2
    top = min(max(top, 0), height - side) if side <= height else (height - side) / 2
    scale = 2 * FRAME_PX / side
    return np.array(
        [[scale, 0, 0.5 * scale - 0.5 - left * scale], [0, scale, 0.5 * scale - 0.5 - top * scale]], np.float32
    )


def _softened(fine: Picture, place: Floats, width: int, height: int) -> Picture:
    """Return the picture, blurred where it goes on beyond the photo, so that no streaks show."""
    inside = cv2.warpAffine(np.full((height, width), 255, np.uint8), place, fine.shape[1::-1])
    if inside.min() == 255:
        return fine
    soft = cv2.GaussianBlur(fine, (0, 0), _BEYOND_PX)
    share = cv2.GaussianBlur(cv2.erode(inside, np.ones((9, 9))), (0, 0), 4).astype(np.float32)[..., None] / 255
    return np.asarray(np.rint(soft + share * (fine.astype(np.float32) - soft)), np.uint8)


def _closed(fine: Picture, lips: Lips, above: Floats, below: Floats) -> Picture:
    """Return the picture with the lips closed along their line; all in its pixels."""
    height, width = fine.shape[:2]
    points = grid((0, 0, width, height), 1)
    u, y, _ = lips.coordinates(points)
    edges = [np.interp(u, edge[:, 0], edge[:, 1]) for edge in (above, below)]
    soft = lips.half_px / 2
    masks = [np.clip(0.5 + (edges[0] - y) * soft, 0, 1), np.clip(0.5 + (y - edges[1]) * soft, 0, 1)]
    covers, pictures = [], []
    for mask, move in zip(masks, closing(lips, above, below, points), strict=True):
        back: Floats = -move
        for _ in range(_ROUNDS):
            places = points + back
            there = cv2.remap(move, places[..., 0], places[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            back = np.negative(there, dtype=np.float32)
        places = points + back
        pictures.append(
            cv2.remap(fine, places[..., 0], places[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        )
        covers.append(cv2.remap(mask.astype(np.float32), places[..., 0], places[..., 1], cv2.INTER_LINEAR))
    covers[1] = np.minimum(covers[1], 1 - covers[0])
    joined = np.asarray(cv2.blendLinear(*pictures, *(cover + np.float32(1e-3) for cover in covers)), np.uint8)
    # A faint shadow where the lips meet, as closed lips have.
    line = np.interp(u, lips.line[:, 0], lips.line[:, 1])
    crease = 0.24 * np.exp(-(((y - line) / 0.028) ** 2)) * np.clip((1.02 - np.abs(u)) / 0.06, 0, 1)
    return np.asarray(np.clip(joined * (1 - crease[..., None]), 0, 255), np.uint8)
