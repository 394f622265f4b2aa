"""The sweater's collar: where the neck opens and the roll around it (MakeHuman axes)."""

import numpy as np


def neck_loop(points: np.ndarray, faces, *, lowest_y: float) -> list[int]:
    """Vertex indices around the neck opening, in order, from the front."""
    uses: dict[tuple[int, int], int] = {}
    for face in faces:
        for a, b in zip(face, face[1:] + face[:1], strict=True):
            edge = (min(a, b), max(a, b))
            uses[edge] = uses.get(edge, 0) + 1
    neighbours: dict[int, list[int]] = {}
    for (a, b), count in uses.items():
        if count == 1 and points[a][1] > lowest_y and abs(points[a][0]) < 1.2 and abs(points[b][0]) < 1.2:
            neighbours.setdefault(a, []).append(b)
            neighbours.setdefault(b, []).append(a)
    loop = [max(neighbours, key=lambda vertex: points[vertex][2])]
    while following := [vertex for vertex in neighbours[loop[-1]] if vertex not in loop]:
        loop.append(following[0])
    return loop


def collar(loop: np.ndarray, ring: int = 12):
    """A tube along the loop: points and faces."""
    count, centre = len(loop), loop.mean(0)
    points, faces = [], []
    for i in range(count):
        tangent = loop[(i + 1) % count] - loop[i - 1]
        tangent /= np.linalg.norm(tangent)
        outward = loop[i] - centre
        outward -= tangent * (outward @ tangent)
        outward /= np.linalg.norm(outward)
        upward = np.cross(tangent, outward)
        upward *= np.sign(upward[1])
        for k in range(ring):
            angle = 2 * np.pi * k / ring
            rise = 0.085 * np.sin(angle) + 0.05
            points.append(loop[i] + outward * (0.045 * np.cos(angle) - 0.02) + upward * rise)
    for i in range(count):
        a, b = i * ring, (i + 1) % count * ring
        faces += [[a + k, a + (k + 1) % ring, b + (k + 1) % ring, b + k] for k in range(ring)]
    return np.array(points), faces
