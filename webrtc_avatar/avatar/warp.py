"""Moves a still picture of a head a little: turning, tilting, breathing.

The movement is a sum of displacement fields, pixels per unit (degree, or breath), that say where the surface at each pixel goes (made
by `training.flow`). They are added and inverted at low resolution, which costs next to nothing, and only
then enlarged to the maps of `cv2.remap`. Over the few degrees that fields are meant for this is within half a
pixel of turning the head in space.

Bilinear sampling blurs most half-way between pixels, so a slowly moving picture would go soft and sharp in waves. Luma is therefore
sampled from a sharpened picture of twice the size, kept up to date where crops change it: a third of
the waves at the same cost, where bicubic sampling takes three times as long.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from webrtc_avatar.avatar.compose import Box, Picture, Planes
from webrtc_avatar.errors import InvalidAvatar

FIELDS = ("yaw", "pitch", "roll", "breath")
"""Names of the fields, in the order of `Warp.move`'s amounts."""

INVERSION_ROUNDS = 2

SHARPENING = 0.3
"""Gives back what sampling takes: a moved picture is as sharp as the still one on average."""

_SHARPENING_PX = 1.0
_MARGIN_PX = 6
_RELATIVE = cv2.INTER_LINEAR | cv2.WARP_RELATIVE_MAP
_NONE: Any = None
"""No second map. The stubs of OpenCV ask for an array, but 5.0 reads beyond an empty one where maps are relative."""

Fields = Mapping[str, npt.NDArray[np.float16]]


class Warp:
    """Warps frames of one size by one avatar's fields. Holds the still luma and scratch memory: one thread at a time.

    Args:
        fields: one (cells, cells, 2) array for each of `FIELDS`: pixels right and down per degree, or at a full breath.
        still: the frame that the first movement starts from; square.

    Raises:
        InvalidAvatar: if a field is missing or has another shape.
    """

    def __init__(self, fields: Fields, still: Planes) -> None:
        frame_size = still.y.shape[0]
        shapes = {name: fields[name].shape if name in fields else None for name in FIELDS}
        cells = (shapes[FIELDS[0]] or (0,))[0]
        if cells < 2 or frame_size % cells or any(shape != (cells, cells, 2) for shape in shapes.values()):
            raise InvalidAvatar(
                f"a flow holds the fields {', '.join(FIELDS)}, each (n, n, 2) with n dividing {frame_size}; got {shapes}; "
                f"make it anew with webrtc_avatar.training.flow"
            )
        self._basis = np.stack([fields[name].astype(np.float32).ravel() for name in FIELDS])
        self._cells = cells
        self._cell_px = frame_size / cells
        self._double = np.empty((2 * frame_size, 2 * frame_size), np.uint8)
        self.refresh(still, Box(0, 0, frame_size, frame_size))
        rows, columns = np.mgrid[:frame_size, :frame_size].astype(np.float32)
        self._identity = 2 * np.stack([columns, rows], -1) + np.float32(0.5)
        self._luma = np.empty((frame_size, frame_size, 2), np.float32)
        self._chroma = np.empty((frame_size // 2, frame_size // 2, 2), np.float32)

    def refresh(self, still: Planes, box: Box) -> None:
        """Take over the still picture's luma where a box covers it."""
        left, top = min(box.left, _MARGIN_PX), min(box.top, _MARGIN_PX)
        wider = still.y[box.top - top : box.bottom + _MARGIN_PX, box.left - left : box.right + _MARGIN_PX]
        double = _doubled(wider)[2 * top :, 2 * left :]
        target = self._double[2 * box.top : 2 * box.bottom, 2 * box.left : 2 * box.right]
        target[...] = double[: target.shape[0], : target.shape[1]]

    def displacement(self, *amounts: float) -> npt.NDArray[np.float32]:
        """Return from where each cell's centre takes its colour, relative to itself: (cells, cells, 2) pixels."""
        flow = (np.array(amounts, np.float32) @ self._basis).reshape(self._cells, self._cells, 2)
        back: npt.NDArray[np.float32] = -flow
        for _ in range(INVERSION_ROUNDS):
            back *= 1 / self._cell_px
            there = cv2.remap(flow, back, _NONE, _RELATIVE, borderMode=cv2.BORDER_REPLICATE)
            back = np.negative(there, dtype=np.float32)
        return back

    def move(self, still: Planes, target: Planes, *amounts: float) -> None:
        """Write the moved picture into `target`.

        Args:
            still: the still picture, whose luma `refresh` has taken over wherever it has changed.
            target: planes of the same size, contiguous, not overlapping the still picture.
            amounts: yaw, pitch, roll in degrees; breath 0..1.
        """
        back = self.displacement(*amounts)
        cv2.resize(back * 0.5, self._chroma.shape[1::-1], dst=self._chroma)
        cv2.resize(back * 2.0, self._luma.shape[1::-1], dst=self._luma)
        cv2.add(self._luma, self._identity, dst=self._luma)
        cv2.remap(self._double, self._luma, _NONE, cv2.INTER_LINEAR, dst=target.y, borderMode=cv2.BORDER_REPLICATE)
        for plane, moved in ((still.u, target.u), (still.v, target.v)):
            cv2.remap(plane, self._chroma, _NONE, _RELATIVE, dst=moved, borderMode=cv2.BORDER_REPLICATE)


def _doubled(luma: Picture) -> Picture:
    """Return luma (height, width), sharpened, at twice the size."""
    soft = cv2.GaussianBlur(luma, (0, 0), _SHARPENING_PX)
    sharp = cv2.addWeighted(luma, 1 + SHARPENING, soft, -SHARPENING, 0)
    return np.asarray(cv2.resize(sharp, (0, 0), fx=2, fy=2, interpolation=cv2.INTER_CUBIC), np.uint8)
