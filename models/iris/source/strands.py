"""Brow, lash and head hair of the avatar as strands: arrays (strand, point, 3) in MakeHuman axes.

All random draws come from one generator, in the order brows, lashes, hair, so that every build gives the same head.
"""

import numpy as np
from head_mesh import HeadMesh
from scipy.spatial import cKDTree

# Vertices along the eyelid's edge and along the tips of the base mesh's own lash strip; the other eye's lie 125 higher.
_UPPER_LID = [14772, 14785, 14773, 14774, 14775, 14794, 14795, 14791, 14790, 14789, 14788, 14787]
_UPPER_TIPS = [14805, 14808, 14807, 14806, 14809, 14816, 14817, 14815, 14814, 14813, 14812, 14811]
_LOWER_LID = [14770, 14776, 14777, 14778, 14779, 14780, 14781, 14782, 14783, 14784]
_LOWER_TIPS = [14832, 14833, 14834, 14835, 14836, 14837, 14838, 14839, 14840, 14841]
_OTHER_EYE = 125


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / (np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-9)


def head_triangles(mesh: HeadMesh, lowest_y: float = 5.9) -> np.ndarray:
    """Return the skin's triangles above `lowest_y` as vertex indices (count, 3)."""
    triangles = []
    for index in np.flatnonzero(mesh.groups == "body"):
        face = mesh.faces[index]
        if mesh.neutral[face].mean(0)[1] > lowest_y:
            triangles.append(face[:3])
            if len(face) == 4:
                triangles.append([face[0], face[2], face[3]])
    return np.array(triangles)


def sample_surface(vertices, triangles, count: int, rng):
    """Draw points evenly over the surface; return (triangle index, barycentric weights, unit normals, points)."""
    a, b, c = (vertices[triangles[:, corner]] for corner in range(3))
    normals = np.cross(b - a, c - a)
    area = np.linalg.norm(normals, axis=1)
    chosen = rng.choice(len(triangles), count, p=area / area.sum())
    uv = rng.random((count, 2))
    outside = uv.sum(1) > 1
    uv[outside] = 1 - uv[outside]
    weights = np.stack([1 - uv.sum(1), uv[:, 0], uv[:, 1]], 1)
    normals = normals[chosen] / (np.linalg.norm(normals[chosen], axis=1, keepdims=True) + 1e-12)
    points = (vertices[triangles[chosen]] * weights[..., None]).sum(1)
    return chosen, weights, normals, points


class Brows:
    """Brow hairs bound to the skin's triangles: a softly raised inner end, a low arch, a thin tail."""

    def __init__(self, mesh: HeadMesh, triangles: np.ndarray, eye_centre: np.ndarray, rng):
        centres = mesh.neutral[triangles].mean(1)
        above_eye = centres[:, 1] - eye_centre[1]
        front = (centres[:, 2] > 1.0) & (np.abs(centres[:, 0]) < 0.75) & (above_eye > 0.08) & (above_eye < 0.45)
        triangles = triangles[front]
        chosen, weights, normals, roots = sample_surface(mesh.neutral, triangles, 60000, rng)

        along = (np.abs(roots[:, 0]) - 0.13) / (0.60 - 0.13)  # 0 at the inner end, 1 at the tail
        arch = 0.058 * np.sin(np.clip(along, 0, 1) * np.pi * 0.80)
        centre_y = eye_centre[1] + 0.240 + arch - 0.002 * along
        half_width = 0.024 * (1 - 0.72 * np.clip(along - 0.1, 0, 1) ** 1.1) * np.clip(along * 3.4 + 0.34, 0, 1)
        ragged = half_width * (0.85 + 0.3 * rng.random(len(roots)))
        inside = np.flatnonzero((along > 0) & (along < 1) & (np.abs(roots[:, 1] - centre_y) < ragged))
        kept = rng.permutation(inside)[:900]

        self._triangles, self._weights = triangles[chosen[kept]], weights[kept]
        roots, normals, along, centre_y = roots[kept], normals[kept], along[kept], centre_y[kept]
        outward = np.sign(roots[:, 0])
        upward = np.clip(1.0 - 1.4 * along, -0.35, 1.0) - (roots[:, 1] - centre_y) / 0.045 * 0.35
        direction = np.stack([outward * (0.55 + 0.6 * along), upward * 0.8, np.zeros(len(along))], 1)
        direction += rng.normal(0, 0.12, (len(along), 3))
        direction -= normals * (direction * normals).sum(1, keepdims=True)
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        length = (
            (0.065 + 0.03 * rng.random(len(along))) * (1 - 0.3 * along) * (0.62 + 0.38 * np.clip(along / 0.25, 0, 1))
        )

        s = np.linspace(0, 1, 5)
        lift = 0.012 * np.sin(s * np.pi * 0.8) + 0.002
        self._offsets = direction[:, None] * (length[:, None] * s)[..., None] + normals[:, None] * lift[None, :, None]
        self._offsets[:, :, 2] -= np.abs(self._offsets[:, :, 0]) ** 2 * 0.35

    def points(self, vertices: np.ndarray) -> np.ndarray:
        """Return the strands (strand, point, 3) for the vertices of a pose."""
        roots = (vertices[self._triangles] * self._weights[..., None]).sum(1)
        return roots[:, None] + self._offsets


class Lashes:
    """Lashes that follow the eyelids' edges."""

    def __init__(self, rng):
        self._rows = []
        for offset in (0, _OTHER_EYE):
            for lid, tips, count, length, curl in (
                (_UPPER_LID, _UPPER_TIPS, 70, 1.10, 0.55),
                (_LOWER_LID, _LOWER_TIPS, 34, 0.42, 0.2),
            ):
                root = np.sort(rng.random(count)) * (len(lid) - 1.001)
                tip = np.clip(root + rng.normal(0, 0.35, count), 0, len(lid) - 1.001)
                lengths = length * (0.75 + 0.4 * rng.random(count)) * np.clip(np.minimum(root, 99) / 2.5, 0.45, 1)
                self._rows.append((np.array(lid) + offset, np.array(tips) + offset, root, tip, lengths, curl))

    def points(self, vertices: np.ndarray) -> np.ndarray:
        """Return the strands (strand, point, 3) for the vertices of a pose."""
        s = np.linspace(0, 1, 6)
        strands = []
        for lid, tips, root, tip, lengths, curl in self._rows:
            start = _along(vertices[lid], root)
            direction = (_along(vertices[tips], tip) - start) * lengths[:, None]
            points = start[:, None] + direction[:, None] * s[None, :, None]
            upwards = 1 if curl > 0.3 else -1
            points[:, :, 1] += upwards * (np.linalg.norm(direction, axis=1, keepdims=True) * s**2 * curl * 0.6)
            strands.append(points)
        return np.concatenate(strands)


def _along(polyline: np.ndarray, position: np.ndarray) -> np.ndarray:
    index = position.astype(int)
    share = (position - index)[:, None]
    return polyline[index] * (1 - share) + polyline[index + 1] * share


class Hair:
    """A side-parted bob, grown strand by strand from the scalp under gravity, kept off the head and the face.

    `points` are the strands, `thickness` one factor a strand; the hair does not move with the face.
    """

    POINTS_PER_STRAND = 26
    PARTING_X = 0.22
    STEP = 0.085

    def __init__(self, mesh: HeadMesh, triangles: np.ndarray, eye_centre: np.ndarray, rng, strand_count: int = 28000):
        self._eye_y = eye_centre[1]
        self._centre = np.array([0, self._eye_y + 0.30, 0.35])
        _, _, scalp_normals, scalp = sample_surface(mesh.neutral, triangles, 60000, rng)
        scalp_tree = cKDTree(scalp)

        centres = mesh.neutral[triangles].mean(1)
        ears = (np.abs(centres[:, 0]) > 0.76) & (centres[:, 1] < self._eye_y + 0.2)
        hairy = triangles[(self._above_hairline(centres) > -0.06) & ~ears]
        _, _, normals, roots = sample_surface(mesh.neutral, hairy, int(strand_count * 1.15), rng)
        density = np.clip((self._above_hairline(roots) + 0.06) / 0.20, 0, 1) ** 1.5
        kept = rng.random(len(roots)) < density
        roots, normals = roots[kept][:strand_count], normals[kept][:strand_count]

        side = np.where(roots[:, 0] + rng.normal(0, 0.022, len(roots)) > self.PARTING_X, 1.0, -1.0)
        points = self._grow(
            roots, normals, side, scalp=scalp, scalp_normals=scalp_normals, scalp_tree=scalp_tree, rng=rng
        )
        self.points = self._clump(points, roots, side, rng)
        near_hairline = np.clip(0.45 + self._above_hairline(roots) / 0.18, 0.45, 1)
        self.thickness = near_hairline * (0.8 + 0.4 * rng.random(len(roots)))

    def scalp_shade(self, vertices: np.ndarray) -> np.ndarray:
        """Return how much of each skin vertex lies under hair, 0..1."""
        ears = (np.abs(vertices[:, 0]) > 0.78) & (vertices[:, 1] < self._eye_y + 0.2)
        return np.clip((self._above_hairline(vertices) - 0.02) / 0.12, 0, 1) * ~ears

    def _above_hairline(self, points: np.ndarray) -> np.ndarray:
        heading = np.abs(np.arctan2(points[:, 0] - self._centre[0], points[:, 2] - self._centre[2]))
        headings = np.radians([0, 20, 38, 55, 68, 80, 92, 108, 125, 150, 180])
        heights = np.array([0.71, 0.70, 0.64, 0.47, 0.28, 0.00, 0.22, -0.05, -0.40, -0.52, -0.55])
        return points[:, 1] - np.interp(heading, headings, self._eye_y + heights)

    def _grow(self, roots, normals, side, *, scalp, scalp_normals, scalp_tree, rng) -> np.ndarray:
        count, eye_y = len(roots), self._eye_y
        flat = np.zeros(count)
        sideways = np.stack([side, flat + 0.25, flat - 0.55], 1)
        backwards = np.stack([roots[:, 0] * 1.2, flat - 0.5, flat - 0.8], 1)
        back_share = np.clip((0.4 - roots[:, 2]) / 0.8, 0, 1)[:, None]
        direction = sideways * (1 - back_share) + backwards * back_share
        direction -= normals * (direction * normals).sum(1, keepdims=True)
        direction = _unit(direction) + normals * 0.35
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)

        layer = rng.random(count)
        clearance = 0.03 + 0.13 * layer**0.7
        lowest_y = eye_y - 0.98 + rng.normal(0, 0.03, count) + 0.18 * np.clip((0.3 - roots[:, 2]) / 0.7, 0, 1)
        points = np.zeros((count, self.POINTS_PER_STRAND, 3))
        points[:, 0] = roots
        tip = roots.copy()
        gravity = np.array([0, -1, 0.0])
        for i in range(1, self.POINTS_PER_STRAND):
            outward = np.sign(tip[:, 0])
            direction = direction + gravity * (0.16 + 0.10 * i / self.POINTS_PER_STRAND)
            over_face = np.clip((tip[:, 2] - 0.55) / 0.5, 0, 1) * (tip[:, 1] < eye_y + 0.75)
            direction[:, 2] -= over_face * 0.26
            direction[:, 0] += outward * over_face * 0.06
            wide = np.clip((np.abs(tip[:, 0]) - 0.72) / 0.25, 0, 1)
            direction[:, 0] -= outward * wide * np.clip((eye_y + 0.15 - tip[:, 1]) / 0.3, 0, 1) * 0.30
            direction /= np.linalg.norm(direction, axis=1, keepdims=True)
            tip = tip + direction * self.STEP

            distance, nearest = scalp_tree.query(tip)
            height = ((tip - scalp[nearest]) * scalp_normals[nearest]).sum(1)
            wanted = np.minimum(clearance * np.clip(i / 5, 0, 1) + 0.01, 0.17)
            push = np.clip(wanted - height, 0, 0.2) * (distance < 0.35)
            tip = tip + scalp_normals[nearest] * push[:, None]

            below_jaw = np.clip((eye_y - 0.55 - tip[:, 1]) / 0.4, 0, 1)
            direction[:, 0] -= np.sign(tip[:, 0]) * below_jaw * 0.10
            previous = points[:, i - 1]
            ended = (tip[:, 1] < lowest_y)[:, None]
            tip = np.where(ended, previous + (tip - previous) * 0.02, tip)
            direction = np.where(ended, direction, _unit(tip - previous))
            points[:, i] = tip
        return points

    def _clump(self, points, roots, side, rng) -> np.ndarray:
        count = len(points)
        along = np.linspace(0, 1, self.POINTS_PER_STRAND)
        leaders = rng.choice(count, max(200, count // 28), replace=False)
        _, leader = cKDTree(np.c_[roots[leaders], side[leaders] * 3]).query(np.c_[roots, side * 3])
        pull = (0.75 * along**1.2)[None, :, None] * (0.5 + 0.5 * rng.random(count))[:, None, None]
        points = points * (1 - pull) + points[leaders][leader] * pull
        phase = rng.random((count, 3)) * 6.28
        points += (0.012 * along)[None, :, None] * np.sin(along[None, :, None] * 9 + phase[:, None, :])
        stray = rng.random(count) < 0.02
        points[stray] += (along**1.5)[None, :, None] * rng.normal(0, 0.03, (stray.sum(), 1, 3))
        return points
