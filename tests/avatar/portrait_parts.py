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


def glasses(photo: np.ndarray, *, dark: bool = False) -> np.ndarray:
    """Return the photo's face with glasses: a black frame, and black lenses where they are dark."""
    landmarks = find_face(photo).landmarks[:, :2]
    drawn, colour = photo.copy(), (22, 20, 20)
    across = landmarks[263] - landmarks[33]
    apart = float(np.linalg.norm(across))
    across, angle = across / apart, math.degrees(math.atan2(across[1], across[0]))
    thick, axes = max(round(0.035 * apart), 2), (round(0.27 * apart), round(0.21 * apart))
    rims = []
    for corners, side, cheek in (((33, 133), -1, 234), ((362, 263), 1, 454)):
        centre = landmarks[list(corners)].mean(0)
        place = (round(float(centre[0])), round(float(centre[1])))
        cv2.ellipse(drawn, place, axes, angle, 0, 360, colour, -1 if dark else thick, cv2.LINE_AA)
        rim = centre + side * 0.27 * apart * across
        cv2.line(drawn, np.rint(rim).astype(int), np.rint(landmarks[cheek]).astype(int), colour, thick, cv2.LINE_AA)
        rims.append(np.rint(centre - side * 0.27 * apart * across).astype(int))
    cv2.line(drawn, *rims, colour, thick, cv2.LINE_AA)
    return drawn


_JAW = (132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361, 425, 426, 2, 206, 205)
_LIPS = (61, 40, 37, 0, 267, 270, 291, 321, 314, 17, 84, 91)


def bearded(photo: np.ndarray) -> np.ndarray:
    """Return the photo's face with a full beard of dark noise, the lips free."""
    landmarks = np.rint(find_face(photo).landmarks[:, :2]).astype(np.int32)
    width = float(np.ptp(landmarks[:, 0]))
    mask = cv2.fillPoly(np.zeros(photo.shape[:2], np.uint8), [landmarks[list(_JAW)]], 255)
    cv2.fillPoly(mask, [landmarks[list(_LIPS)]], 0)
    cv2.polylines(mask, [landmarks[list(_LIPS)]], True, 0, max(round(width / 25), 2))
    share = 0.88 * cv2.GaussianBlur(mask, (0, 0), width / 90)[..., None] / 255
    hair = np.random.default_rng(0).normal(45, 18, photo.shape[:2]).clip(10, 110)
    hair = cv2.GaussianBlur(hair, (0, 0), 0.7)[..., None] * (0.8, 0.9, 1.1)
    return np.rint(photo + share * (hair - photo)).clip(0, 255).astype(np.uint8)


def cmyk_jpeg(photo: np.ndarray) -> bytes:
    """Return a baseline JPEG of four inverted channels, as Adobe writes CMYK: one flat colour for each 8x8 pixels of the photo enlarged."""
    key = 255 - photo.max(-1, keepdims=True).astype(float)
    inks = (255 - key - photo[..., ::-1]) / np.maximum(255 - key, 1) * 255
    levels = np.rint(255 - np.concatenate([inks, key], -1)).astype(int) - 128
    height, width = photo.shape[:2]
    bits: list[str] = []
    before = np.zeros(4, int)
    for pixel in levels.reshape(-1, 4):
        for step in pixel - before:
            size = int(abs(step)).bit_length()
            # Codes of equal length: 4 bits for the size of the DC difference; one bit ends the block.
            bits.append(
                f"{size:04b}" + (f"{step if step > 0 else step + (1 << size) - 1:0{size}b}" if size else "") + "0"
            )
        before = pixel
    stream = "".join(bits)
    stream += "1" * (-len(stream) % 8)
    scan = int(stream, 2).to_bytes(len(stream) // 8, "big").replace(b"\xff", b"\xff\x00")

    def segment(marker: int, body: bytes) -> bytes:
        return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body

    quantised = segment(0xDB, bytes([0] + [8] * 64))
    frame = segment(
        0xC0,
        bytes([8]) + (8 * height).to_bytes(2, "big") + (8 * width).to_bytes(2, "big")
        + bytes([4]) + b"".join(bytes([number, 0x11, 0]) for number in range(1, 5)),
    )  # fmt: skip
    sizes = segment(0xC4, bytes([0x00, 0, 0, 0, 12]) + bytes(12) + bytes(range(12)))
    ends = segment(0xC4, bytes([0x10, 1]) + bytes(15) + b"\0")
    start = segment(0xDA, bytes([4]) + b"".join(bytes([number, 0]) for number in range(1, 5)) + bytes([0, 63, 0]))
    adobe = segment(0xEE, b"Adobe" + bytes([0, 100, 0, 0, 0, 0, 0]))
    return b"\xff\xd8" + adobe + quantised + frame + sizes + ends + start + scan + b"\xff\xd9"


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
        corner = np.rint(there[corners, :2]).astype(np.int32)
        left, top, width, height = cv2.boundingRect(corner)
        if left < 0 or top < 0 or left + width > px or top + height > px:
            continue
        place[:, 2] -= left, top
        mask = cv2.fillConvexPoly(np.zeros((height, width), np.uint8), corner - np.array([left, top], np.int32), 255)
        piece = cv2.warpAffine(photo, place, (width, height))
        picture[top : top + height, left : left + width][mask > 0] = piece[mask > 0]
    return picture
