"""Procedural teeth and gums that line the mouth of the base mesh (MakeHuman axes)."""

from dataclasses import dataclass

import numpy as np

_RING, _LAYERS, _GUM_STEPS, _GUM_RING = 14, 10, 41, 16


@dataclass
class DentalArch:
    """Teeth and gum of one jaw: points (n, 3) and faces as vertex indices."""

    teeth: np.ndarray
    teeth_faces: list[list[int]]
    gum: np.ndarray
    gum_faces: list[list[int]]


def dental_arch(helper: np.ndarray, *, upper: bool) -> DentalArch:
    """Build seven teeth a side and a gum along the arch that the base mesh's helper teeth (count, 3) describe."""
    up = 1 if upper else -1
    if upper:
        widths, heights = (
            [0.088, 0.068, 0.078, 0.072, 0.068, 0.10, 0.10],
            [0.105, 0.092, 0.102, 0.088, 0.080, 0.072, 0.07],
        )
    else:
        widths, heights = (
            [0.056, 0.060, 0.070, 0.072, 0.072, 0.11, 0.11],
            [0.088, 0.090, 0.098, 0.088, 0.080, 0.075, 0.07],
        )
    front = helper[np.abs(helper[:, 0]) < 0.02]
    edge_y = front[:, 1].min() - 0.030 if upper else front[:, 1].max() - 0.035
    front_z = front[:, 2].max() - (0.012 if upper else 0.057)
    half_width = np.abs(helper[:, 0]).max() - (0 if upper else 0.02)
    curve = _ArchCurve(half_width, front_z, helper[:, 2].min())

    teeth, teeth_faces = [], []
    for side in (-1, 1):
        distance = 0.0
        for width, height in zip(widths, heights, strict=True):
            position, tangent, normal = curve.frame(distance + width / 2)
            distance += width
            centre = np.array([position[0], edge_y + up * (height * 0.62 - (0.006 if upper else 0.004)), position[1]])
            tooth = _tooth(width, height, tangent, normal, up) + centre
            tooth[:, 0] *= side
            teeth_faces += _grid_faces(len(teeth), _LAYERS, flip=side < 0)
            teeth += list(tooth)

    gum, gum_faces = [], []
    for share in np.linspace(-1, 1, _GUM_STEPS):
        position, _, normal = curve.frame(abs(share) * sum(widths), mirrored=share < 0)
        x = position[0] * np.sign(share)
        angle = 2 * np.pi * np.arange(_GUM_RING) / _GUM_RING
        ring = np.array([x, edge_y + up * 0.185, position[1]]) + normal * (0.058 * np.cos(angle) - 0.012)[:, None]
        ring[:, 1] += 0.098 * np.sin(angle)
        gum += list(ring)
    for i in range(_GUM_STEPS - 1):
        for k in range(_GUM_RING):
            j = (k + 1) % _GUM_RING
            a, b = i * _GUM_RING, (i + 1) * _GUM_RING
            gum_faces.append([a + k, a + j, b + j, b + k])
    return DentalArch(np.array(teeth), teeth_faces, np.array(gum), gum_faces)


class _ArchCurve:
    """The arch seen from above, by arc length from the middle; positions are (x, z)."""

    def __init__(self, half_width: float, front_z: float, back_z: float):
        self._x = np.linspace(0, half_width, 400)
        self._z = front_z - (front_z - back_z) * (self._x / half_width) ** 2.3
        self._length = np.concatenate([[0], np.cumsum(np.hypot(np.diff(self._x), np.diff(self._z)))])

    def frame(self, length: float, *, mirrored: bool = False):
        x, z = np.interp(length, self._length, self._x), np.interp(length, self._length, self._z)
        next_x, next_z = (np.interp(length + 0.01, self._length, axis) for axis in (self._x, self._z))
        sign = -1 if mirrored else 1
        tangent = np.array([sign * next_x - sign * x, 0, next_z - z])
        tangent /= np.linalg.norm(tangent) + 1e-9
        normal = np.array([-tangent[2], 0, tangent[0]])
        return (x, z), tangent, normal if normal[2] >= 0 else -normal


def _tooth(width, height, tangent, normal, up) -> np.ndarray:
    """A rounded box (superellipsoid) that narrows towards the gum: points layer by layer."""

    def power(value, exponent):
        return np.sign(value) * np.abs(value) ** exponent

    layer = np.linspace(-np.pi / 2, np.pi / 2, _LAYERS)[:, None]
    ring = np.linspace(0, 2 * np.pi, _RING, endpoint=False)[None]
    across = width * 0.585 * power(np.cos(layer), 0.70) * power(np.cos(ring), 0.6)
    depth = 0.040 * power(np.cos(layer), 0.7) * power(np.sin(ring), 0.7)
    along = height * 0.62 * power(np.sin(layer), 0.6) + 0 * ring
    across = across * (1 - 0.14 * np.maximum(0, along * up / (height * 0.62)))
    points = across[..., None] * tangent + depth[..., None] * normal
    points[..., 1] += along
    return points.reshape(-1, 3)


def _grid_faces(first: int, layers: int, *, flip: bool) -> list[list[int]]:
    faces = []
    for i in range(layers - 1):
        for j in range(_RING):
            k = (j + 1) % _RING
            a, b = first + i * _RING, first + (i + 1) * _RING
            face = [a + j, a + k, b + k, b + j]
            faces.append(face[::-1] if flip else face)
    return faces
