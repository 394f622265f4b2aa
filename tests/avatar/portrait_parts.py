"""Faces to test portraits with: iris' own plate, and an astronaut's portrait by NASA, which is in the public domain."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np

from webrtc_avatar.avatar.face_finder import find_face

IRIS = Path(__file__).parents[2] / "models" / "iris"
ASTRONAUT = Path(__file__).parent / "photos" / "astronaut.jpg"
"""Eileen Collins, NASA 1999, as scikit-image's `data.astronaut()` shows her: 512x512, a smile that shows teeth."""


def iris_photo() -> np.ndarray:
    return cv2.imread(str(IRIS / "plate_1024.webp"))


def astronaut_photo() -> np.ndarray:
    return cv2.imread(str(ASTRONAUT))


def turned(photo: np.ndarray, yaw_deg: float, *, px: int = 400) -> np.ndarray:
    """Return the photo's face turned in space about its vertical axis, triangle by triangle, far ones first, on grey."""
    landmarks = find_face(photo).landmarks
    middle = np.append(landmarks[:, :2].mean(0), 0)
    scale = 0.55 * px / float(np.ptp(landmarks[:, 1]))
    angle = math.radians(yaw_deg)
    turn = np.array([[math.cos(angle), 0, -math.sin(angle)], [0, 1, 0], [math.sin(angle), 0, math.cos(angle)]])
    there = (landmarks - middle) @ turn.T * scale + (px / 2, px / 2, 0)
    subdivision = cv2.Subdiv2D((0, 0, photo.shape[1], photo.shape[0]))
    numbers = {}
    for number, (x, y) in enumerate(landmarks[:, :2]):
        subdivision.insert((float(x), float(y)))
        numbers[round(float(x), 2), round(float(y), 2)] = number
    triangles = []
    for corners in subdivision.getTriangleList().reshape(-1, 3, 2):
        found = [numbers.get((round(float(x), 2), round(float(y), 2))) for x, y in corners]
        if None not in found:
            triangles.append(found)
    picture = np.full((px, px, 3), 128, np.uint8)
    for corners in sorted(triangles, key=lambda corners: -there[corners, 2].mean()):
        place = cv2.getAffineTransform(landmarks[corners, :2].astype(np.float32), there[corners, :2].astype(np.float32))
        mask = np.zeros((px, px), np.uint8)
        cv2.fillConvexPoly(mask, np.rint(there[corners, :2]).astype(np.int32), 255)
        cv2.warpAffine(photo, place, (px, px), dst=(piece := np.empty_like(picture)))
        picture[mask > 0] = piece[mask > 0]
    return picture
