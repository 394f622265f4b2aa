"""Turns a rendered head's position pass into the small displacement fields that `avatar.warp` sways it by.

usage: python -m webrtc_avatar.training.flow IRIS_DIR flow.npz

For every pixel the position pass tells which point of the head it shows. Turning that point about the neck by a small angle and
projecting it again gives a displacement in pixels per degree. The head's displacement is continued into the background
as a membrane (Laplace's equation) that is fixed at the frame's edge: a smooth studio wall may be stretched, so
nothing has to be cut out and put back. Reads `position.npz`, `camera.json`, `matte.png`, `segments.png`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import splu

Floats = npt.NDArray[np.float64]

CELL_PX = 8
"""Edge of a field's cell. The fields are smooth: finer cells change no pixel by more than a few hundredths."""

NECK_START = 0.25
"""Where turning starts: units below the neck's pivot."""

NECK_LENGTH = 0.75
"""Units over which turning grows to full."""

BLUR_PX = 3.0
"""Softens the steps in depth between hair, face and neck."""

STEP_DEG = 0.5
"""The fields are slopes between minus and plus this angle."""

COVERED = 0.02
"""Coverage from which a pixel belongs to the head: stray hair moves with it."""

RISE_PX = 1.8
"""How far a full breath lifts the shoulders."""

HEAD_RISE_PX = 0.7
"""How far a full breath lifts the head."""

WIDEN_PX = 0.7
"""How far a full breath widens each shoulder."""

REST_PX = 60
"""Height above the lower edge over which breathing grows from nothing: pixels below the frame are unknown."""


def project(points: Floats, camera: dict[str, Any]) -> Floats:
    """Return where world points (..., 3) are seen: (..., 2) pixels, x right and y down."""
    to_camera = np.linalg.inv(np.array(camera["camera_to_world"]))
    seen = points @ to_camera[:3, :3].T + to_camera[:3, 3]
    x, y = (camera["focal_px"] * seen[..., axis] / -seen[..., 2] for axis in (0, 1))
    centre = camera["frame_px"] / 2
    return np.stack([centre + x, centre - y], -1)


def turning(position: Floats, camera: dict[str, Any], *, yaw: float, pitch: float, roll: float) -> Floats:
    """Return where each pixel's surface moves when the head turns about the neck, exactly.

    Args:
        position: (height, width, 3) world points.
        camera: `camera.json`.
        yaw: degrees, towards the image's right.
        pitch: degrees, down.
        roll: degrees, tilting to the image's right.

    Returns:
        (height, width, 2) pixels; nothing on the shoulders.
    """
    pivot = np.array(camera["neck_pivot"])
    share = np.clip((position[..., 2] - pivot[2] + NECK_START) / NECK_LENGTH, 0, 1)
    share = (share * share * (3 - 2 * share))[..., None]
    turned = (position - pivot) @ _rotation(yaw, pitch, roll).T + pivot
    moved = position * (1 - share) + turned * share
    return project(moved, camera) - project(position, camera)


def breathing(coverage: Floats, clothes: npt.NDArray[np.bool_]) -> Floats:
    """Return where pixels move at a full breath in: shoulders up and out, the head a little up.

    Args:
        coverage: (height, width) 0..1 of head and shoulders.
        clothes: (height, width), true on clothes.
    """
    height, width = coverage.shape
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    chest = gaussian_filter(clothes.astype(np.float64), 12.0) / np.maximum(
        gaussian_filter((coverage > 0.5).astype(np.float64), 12.0), 1e-3
    )
    chest = np.clip(chest, 0, 1)
    known = np.clip((height - 0.5 - rows) / REST_PX, 0, 1)
    known = known * known * (3 - 2 * known)
    up = -(HEAD_RISE_PX + (RISE_PX - HEAD_RISE_PX) * chest) * known
    across = WIDEN_PX * chest * known * np.clip((columns - width / 2) / (width / 2), -1, 1)
    return np.stack([across, up], -1)


def fill(flow: Floats, known: npt.NDArray[np.bool_], fixed: npt.NDArray[np.bool_]) -> Floats:
    """Continue a flow beyond `known` as a membrane that rests on it, and is zero on `fixed`.

    Args:
        flow: (height, width, 2).
        known: (height, width), where the flow counts.
        fixed: (height, width), where it shall be zero.
    """
    height, width = known.shape
    values = np.where((known & ~fixed)[..., None], flow, 0.0)
    free = ~(known | fixed)
    number = np.full((height, width), -1)
    number[free] = np.arange(free.sum())
    entries, weights, right = [], np.zeros(int(free.sum())), np.zeros((int(free.sum()), 2))
    ys, xs = np.nonzero(free)
    for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        y, x = ys + dy, xs + dx
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        here, y, x = number[ys, xs][inside], y[inside], x[inside]
        weights[here] += 1
        there = number[y, x]
        entries.append(np.stack([here[there >= 0], there[there >= 0]]))
        right[here[there < 0]] += values[y[there < 0], x[there < 0]]
    row, column = np.concatenate(entries, 1)
    diagonal = np.arange(len(weights))
    matrix = coo_matrix(
        (np.concatenate([weights, -np.ones(len(row))]), (np.r_[diagonal, row], np.r_[diagonal, column]))
    ).tocsc()
    values[free] = splu(matrix).solve(right)
    return values


def fields(iris: Path) -> dict[str, npt.NDArray[np.float16]]:
    """Return the fields of a folder of renders, as `fields_of` does."""
    camera = json.loads((iris / "camera.json").read_text())
    with np.load(iris / "position.npz", allow_pickle=False) as passes:
        position = passes["position"].astype(np.float64)
    clothes = _grey(iris / "segments.png") == camera["segments"]["clothes"]
    return fields_of(position, camera, _grey(iris / "matte.png") / 255.0, np.asarray(clothes))


def fields_of(
    position: Floats, camera: dict[str, Any], coverage: Floats, clothes: npt.NDArray[np.bool_]
) -> dict[str, npt.NDArray[np.float16]]:
    """Return yaw, pitch, roll (pixels per degree) and breath (pixels at a full breath in): (cells, cells, 2) each.

    Args:
        position: (height, width, 3) world points.
        camera: `camera.json`.
        coverage: (height, width) 0..1 of head and shoulders.
        clothes: (height, width), true on clothes.
    """
    known = np.asarray(coverage > COVERED)
    ceiling = np.zeros_like(known)
    ceiling[0] = True
    edges = ceiling.copy()
    edges[:, [0, -1]] = True
    flows = {}
    for name in ("yaw", "pitch", "roll"):
        ahead, behind = (
            turning(position, camera, **{**dict.fromkeys(("yaw", "pitch", "roll"), 0.0), name: angle})
            for angle in (STEP_DEG, -STEP_DEG)
        )
        flows[name] = fill((ahead - behind) / (2 * STEP_DEG), known, edges)
    flows["breath"] = fill(breathing(coverage, clothes), known, ceiling)
    return {name: _shrunk(flow) for name, flow in flows.items()}


def _grey(path: Path) -> Floats:
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise FileNotFoundError(f"{path} is missing or no picture; expected a folder as render_plates.py leaves it")
    return image.astype(np.float64)


def _shrunk(flow: Floats) -> npt.NDArray[np.float16]:
    soft = np.stack([gaussian_filter(flow[..., axis], BLUR_PX, mode="nearest") for axis in (0, 1)], -1)
    size = (flow.shape[1] // CELL_PX, flow.shape[0] // CELL_PX)
    return cv2.resize(soft, size, interpolation=cv2.INTER_AREA).astype(np.float16)


def _rotation(yaw: float, pitch: float, roll: float) -> Floats:
    a, b, c = np.radians([yaw, pitch, roll])
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    about_y = np.array([[np.cos(c), 0, np.sin(c)], [0, 1, 0], [-np.sin(c), 0, np.cos(c)]])
    return np.asarray(about_z @ about_x @ about_y)


def main() -> None:
    """Write the fields of one rendered head."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("iris", type=Path)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    np.savez_compressed(arguments.output, allow_pickle=False, **fields(arguments.iris))


if __name__ == "__main__":
    main()
