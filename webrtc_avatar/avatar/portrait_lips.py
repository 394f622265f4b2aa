"""Where a photographed mouth is, and how each mouth weight moves the skin around it.

All is measured in half mouths: u runs from -1 at the mouth's left corner in the picture to 1 at its right one, each half of a turned
face on its own; depth is the distance from the line between the lips, negative above it. Two fields follow from the weights, one
for what is above the line and one for what is below: they agree beyond the corners, and part between them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
Picture = npt.NDArray[np.uint8]

INNER_UPPER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
INNER_LOWER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
_OUTER_UPPER, _OUTER_LOWER = 0, 17
_NOSE_BASE, _CHIN = 2, 152
_CORNERS = (61, 291)
_EYE_OUTERS = (33, 263)

_RELAXED_SHARE = 0.63
"""A relaxed mouth's width over the distance of the eyes' outer corners; a broad smile's is 0.75."""

_MOST_BROAD = 1.35

JAW_DROP = 0.8
"""Half mouths that the lower lip sinks at jawOpen 1."""

_PARTING = 0.93
"""Lips part so far from the middle; further out they stay together, as the corners of a mouth do."""

_LINE_REACH = 0.2

WEIGHTS = (
    "jawOpen", "pucker", "funnel", "round", "stretch", "smile",
    "press", "rollLower", "upperUp", "lowerDown", "tongueUp", "tongueOut",
)  # fmt: skip
"""The weights that the shipped ear hears, in its order; the tongue's move no skin."""


@dataclass(frozen=True, slots=True, eq=False)
class Lips:
    """A mouth's geometry in a picture.

    Attributes:
        centre: float32 (2,), pixels: half-way between the corners.
        across: float32 (2,), unit vector from the left to the right corner in the picture.
        half_px: half the mouth's width in pixels.
        halves: the left and the right half's width in half mouths; unequal where the face is turned.
        line: float32 (n, 2): places on the line between the closed lips, u and half mouths below `centre`, u ascending from -1 to 1.
        gap: half mouths between the lips in the middle.
        upper: thickness of the upper lip in the middle, in half mouths.
        lower: of the lower lip.
        nose: from the line to the nose's base, in half mouths.
        chin: from the line to the chin's tip, in half mouths.
        broad: the mouth's width over that of a relaxed one, 1 to 1.35: a smile, which opening or rounding lips give up.
    """

    centre: Floats
    across: Floats
    half_px: float
    halves: tuple[float, float]
    line: Floats
    gap: float
    upper: float
    lower: float
    nose: float
    chin: float
    broad: float

    def coordinates(self, points: Floats) -> tuple[Floats, Floats, Floats]:
        """Return u, half mouths below `centre`, and depth below the line of points (..., 2) in pixels."""
        offset = (points - self.centre) / np.float32(self.half_px)
        x = offset @ self.across
        y = offset @ np.array([-self.across[1], self.across[0]], np.float32)
        middle = (self.halves[0] - self.halves[1]) / 2
        right = x > middle
        u = np.where(right, (x - middle) / self.halves[1], (x - middle) / self.halves[0]).astype(np.float32)
        depth = y - np.interp(u, self.line[:, 0], self.line[:, 1]).astype(np.float32)
        return u, y.astype(np.float32), depth


def measure(landmarks: Floats, *, upper_share: float = 0.45) -> tuple[Lips, Floats, Floats]:
    """Measure a mouth.

    Args:
        landmarks: float32 (468, 2 or more), pixels.
        upper_share: how far below the upper lip's edge, towards the lower lip's, the lips meet when they close.

    Returns:
        The lips, and the upper and the lower lip's inner edges, float32 (11, 2) each: u and half mouths below the centre.
    """
    points = landmarks[:, :2]
    left, right = points[list(_CORNERS)]
    centre = ((left + right) / 2).astype(np.float32)
    half_px = float(np.linalg.norm(right - left)) / 2
    across = ((right - left) / (2 * half_px)).astype(np.float32)
    down = np.array([-across[1], across[0]], np.float32)
    lip_middle = float((points[13] + points[14] - 2 * centre) @ across) / (2 * half_px)
    lip_middle = min(max(lip_middle, -0.45), 0.45)
    halves = (1 + lip_middle, 1 - lip_middle)

    def edge(numbers: tuple[int, ...]) -> Floats:
        offset = (points[list(numbers)] - centre) / half_px
        x, y = offset @ across - lip_middle, offset @ down
        u = np.where(x > 0, x / halves[1], x / halves[0])
        return np.stack([u, y], -1).astype(np.float32)

    above, below = edge(INNER_UPPER), edge(INNER_LOWER)
    places = np.linspace(-1, 1, 41, dtype=np.float32)
    top = np.interp(places, above[:, 0], above[:, 1])
    bottom = np.maximum(np.interp(places, below[:, 0], below[:, 1]), top)
    line = np.stack([places, top + upper_share * (bottom - top)], -1).astype(np.float32)
    middle = float(np.interp(0, line[:, 0], line[:, 1]))

    def height(number: int) -> float:
        return float((points[number] - centre) @ down) / half_px

    lips = Lips(
        centre, across, half_px, halves, line,
        gap=float(bottom[20] - top[20]),
        upper=max(float(top[20]) - height(_OUTER_UPPER), 0.1),
        lower=max(height(_OUTER_LOWER) - float(bottom[20]), 0.12),
        nose=max(middle - height(_NOSE_BASE), 0.35),
        chin=max(height(_CHIN) - middle, 0.8),
        broad=min(max(2 * half_px / (_RELAXED_SHARE * _eyes_px(points)), 1.0), _MOST_BROAD),
    )  # fmt: skip
    return lips, np.stack([places, top], -1).astype(np.float32), np.stack([places, bottom], -1).astype(np.float32)


def widened(above: Floats, below: Floats) -> tuple[Floats, Floats]:
    """Return the inner edges of an open mouth moved outward, since the landmarks leave some of the interior outside.

    Args:
        above: float32 (n, 2): u and half mouths below the centre, of the upper lip.
        below: of the lower lip.
    """
    u = np.abs(above[:, 0])
    inside = np.clip((1.02 - u) / 0.06, 0, 1) * _rise(float((below - above)[:, 1].max()), 0.1, 0.22)
    corner = _rise(u, 0.35, 0.8)
    moved = above.copy(), below.copy()
    moved[0][:, 1] -= inside * (0.02 + 0.06 * corner)
    moved[1][:, 1] += inside * (0.05 - 0.02 * corner)
    return moved


def _eyes_px(points: Floats) -> float:
    left, right = points[list(_EYE_OUTERS)]
    return max(float(np.linalg.norm(right - left)), 1.0)


def grid(box: tuple[int, int, int, int], step: int) -> Floats:
    """Return the centres of a box's cells of `step` pixels, float32 (rows, columns, 2)."""
    left, top, right, bottom = box
    x = np.arange(left, right, step, dtype=np.float32) + (step - 1) / 2
    y = np.arange(top, bottom, step, dtype=np.float32) + (step - 1) / 2
    return np.stack(np.meshgrid(x, y), -1).astype(np.float32)


def closing(lips: Lips, above: Floats, below: Floats, points: Floats) -> tuple[Floats, Floats]:
    """Return how far, in pixels (..., 2), what is above and what is below moves when the lips of an open mouth close."""
    u, y, _ = lips.coordinates(points)
    line = np.interp(u, lips.line[:, 0], lips.line[:, 1])
    moves = []
    for edge, reach in ((above, lips.nose), (below, lips.chin)):
        start = np.interp(u, edge[:, 0], edge[:, 1])
        away = np.abs(y - start) * (np.sign(y - start) == (-1 if edge is above else 1))
        inside = np.abs(u) < 1
        moves.append(_vector(lips, 0 * u, np.where(inside, line - start, 0) * _fade(away, 0.1, reach)))
    return moves[0], moves[1]


def basis(lips: Lips, box: tuple[int, int, int, int], step: int) -> Floats:
    """Return where each weight moves the skin, float32 (2, 12, rows, columns, 2): above and below the line, pixels per unit."""
    points = grid(box, step)
    u, _, depth = lips.coordinates(points)
    rim = _rim(points, box)
    up, down = np.maximum(-depth, 0), np.maximum(depth, 0)
    between = np.maximum(1 - (u / _PARTING) ** 2, 0)
    part, round_part, jaw_part = between**0.6, between**0.5, between**0.8
    middle = np.exp(-((u / 0.75) ** 2)) * np.sqrt(between)
    side = np.exp(-((np.maximum(np.abs(u) - 1.0, 0) / 0.75) ** 2))
    near = np.exp(-((depth / 0.85) ** 2))
    up_fade, down_fade = _fade(up, 0.0, lips.nose), _fade(down, 0.1, 0.8 * lips.chin)
    upper_edge, lower_edge = _bump(up / lips.upper), _bump(down / lips.lower)
    zero = np.zeros_like(u)
    # Cheeks beside the nose follow less: the folds there would be drawn together.
    beside = np.where(depth < 0, np.exp(-((depth / 0.6) ** 2)), near)
    sides = np.clip(u, -1, 1) * beside * np.exp(-((np.maximum(np.abs(u) - 1.0, 0) / 0.6) ** 2))

    jaw = _rise(depth, -1.0 * lips.nose, 0.6 * lips.chin) * _fade(down, lips.chin, 1.9 * lips.chin) * 0.8
    jaw *= np.exp(-((np.maximum(np.abs(u) - 0.9, 0) / 0.9) ** 2))
    # Lips that part give up what the photo's smile bends and widens.
    relaxed = _straightening(lips, u) * near * side
    narrow = 1 - 1 / lips.broad
    moves: dict[str, tuple[Floats, Floats]] = {
        "jawOpen": (
            _vector(lips, (-0.22 - 1.3 * narrow) * sides, JAW_DROP * jaw * (1 - 0.95 * part * up_fade) + 1.2 * relaxed),
            _vector(
                lips, (-0.22 - 1.3 * narrow) * sides,
                JAW_DROP * (jaw + (1 - jaw) * jaw_part * _fade(down, 0.3, lips.chin)) + 1.2 * relaxed,
            ),
        ),
        "pucker": _both(
            lips, -0.34 * sides,
            -0.10 * middle * upper_edge + 0.02 * part + 0.5 * relaxed,
            0.04 * middle * lower_edge - 0.02 * part + 0.5 * relaxed,
        ),
        "funnel": _both(
            lips, -0.14 * sides,
            -0.10 * part * up_fade - 0.07 * middle * upper_edge + 0.3 * relaxed,
            0.13 * part * down_fade + 0.08 * middle * lower_edge + 0.3 * relaxed,
        ),
        "round": _both(
            lips, -0.18 * sides,
            -0.13 * round_part * up_fade + 0.4 * relaxed,
            0.02 * round_part * down_fade + 0.4 * relaxed,
        ),
        "stretch": _both(lips, 0.13 * sides, 0.03 * side * near, 0.03 * side * near),
        "smile": _both(
            lips, 0.13 * sides,
            -0.16 * near * side * u**2 / (0.3 + u**2) + 0.02 * part,
            -0.16 * near * side * u**2 / (0.3 + u**2) + 0.02 * part,
        ),
        "press": _both(lips, 0.02 * sides, 0.35 * lips.upper * middle * upper_edge, -0.30 * lips.lower * middle * lower_edge),
        "rollLower": _both(
            lips, zero, zero, -0.55 * lips.lower * middle * lower_edge - 0.11 * part * down_fade
        ),
        "upperUp": _both(lips, zero, -0.17 * part * up_fade, zero),
        "lowerDown": _both(lips, zero, zero, 0.20 * part * down_fade),
        "tongueUp": _both(lips, zero, zero, zero),
        "tongueOut": _both(lips, zero, zero, zero),
    }  # fmt: skip
    fields = np.stack([np.stack([moves[name][layer] for name in WEIGHTS]) for layer in (0, 1)])
    return np.asarray(fields * rim[..., None], np.float32)


def _straightening(lips: Lips, u: Floats) -> Floats:
    """Return how far down, in half mouths, points on the lips' line move for it to be straight: corners down, the middle up."""
    places, heights = lips.line[:, 0], lips.line[:, 1]
    soft = np.convolve(np.pad(heights, 4, mode="edge"), np.ones(9) / 9, "valid")
    return np.asarray(np.interp(u, places, float(soft.mean()) - soft), np.float32)


def darkest_line(luma: Picture, lips: Lips, scale: float) -> Lips:
    """Return the lips with the line moved to where closed lips look darkest, which landmarks miss by some pixels.

    Args:
        luma: the picture's luma.
        lips: the mouth in pixels of the frame.
        scale: pixels of `luma` per pixel of the frame.
    """
    # A beard misleads the landmarks by more; but a moustache above a thin lip is dark, too.
    up, down = (max(0.07, lips.gap, min(_LINE_REACH, 0.7 * lip)) for lip in (lips.upper, lips.lower))
    shifts = np.linspace(-1, 1, 29, dtype=np.float32)
    shifts = shifts * np.where(shifts < 0, np.float32(up), np.float32(down))
    u, y = lips.line[:, :1], lips.line[:, 1:] + shifts[None]
    middle = (lips.halves[0] - lips.halves[1]) / 2
    x = np.where(u > 0, u * lips.halves[1], u * lips.halves[0]) + middle + 0 * y
    below = np.array([-lips.across[1], lips.across[0]], np.float32)
    places = lips.centre + lips.half_px * (x[..., None] * lips.across + y[..., None] * below)
    places = ((places + 0.5) * scale - 0.5).astype(np.float32)
    soft = cv2.GaussianBlur(luma, (0, 0), max(0.015 * lips.half_px * scale, 0.5))
    dark = cv2.remap(soft, places[..., 0], places[..., 1], cv2.INTER_LINEAR).astype(np.float32)
    cost = dark + 30 * (shifts / max(up, down)) ** 2
    cost[[0, -1]] = 1e4 * np.abs(shifts)
    steps = 5.0 * np.abs(np.arange(29)[:, None] - np.arange(29)[None])
    total, came = [cost[0]], []
    for row in cost[1:]:
        choice = total[-1][None] + steps
        came.append(choice.argmin(1))
        total.append(row + choice.min(1))
    best = [int(total[-1].argmin())]
    for back in reversed(came):
        best.append(int(back[best[-1]]))
    found = shifts[best[::-1]]
    path = np.convolve(np.pad(found, 2, mode="edge"), np.ones(5) / 5, "valid")
    line = np.stack([lips.line[:, 0], lips.line[:, 1] + path], -1).astype(np.float32)
    return replace(lips, line=line)


def _both(lips: Lips, x: Floats, above: Floats, below: Floats) -> tuple[Floats, Floats]:
    return _vector(lips, x, above), _vector(lips, x, below)


def _vector(lips: Lips, x: Floats, y: Floats) -> Floats:
    down = np.array([-lips.across[1], lips.across[0]], np.float32)
    return np.asarray(lips.half_px * (x[..., None] * lips.across + y[..., None] * down), np.float32)


def _rise(value: Floats | float, start: float, end: float) -> Floats:
    t = np.clip((value - start) / (end - start), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def _fade(value: Floats, start: float, end: float) -> Floats:
    return 1 - _rise(value, start, end)


def _bump(value: Floats) -> Floats:
    return np.asarray(value * np.exp(1 - value), np.float32)


def _rim(points: Floats, box: tuple[int, int, int, int]) -> Floats:
    """Return what falls to 0 smoothly at the box's edges."""
    left, top, right, bottom = box
    x = np.minimum(points[..., 0] - left, right - 1 - points[..., 0]) / (right - left)
    y = np.minimum(points[..., 1] - top, bottom - 1 - points[..., 1]) / (bottom - top)
    return _rise(x, 0.03, 0.2) * _rise(y, 0.02, 0.12)
