"""Moves a still picture of a head a little: turning, tilting, breathing.

The movement is a sum of displacement fields, pixels per unit (degree, or breath), that say where the surface at each pixel goes (made
by `training.flow`). They are added and inverted at low resolution, which costs next to nothing, and only
then enlarged to the maps of `cv2.remap`. Over the few degrees that fields are meant for this is within half a
pixel of turning the head in space.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from webrtc_avatar.avatar.compose import Planes
from webrtc_avatar.errors import InvalidAvatar

FIELDS = ("yaw", "pitch", "roll", "breath")
"""Names of the fields, in the order of `Warp.move`'s amounts."""

INVERSION_ROUNDS = 2

_BILINEAR = cv2.INTER_LINEAR | cv2.WARP_RELATIVE_MAP
_NONE: Any = None
"""No second map. The stubs of OpenCV ask for an array, but 5.0 reads beyond an empty one where maps are relative."""

Fields = Mapping[str, npt.NDArray[np.float16]]


class Warp:
    """Warps frames of one size by one avatar's fields. Holds scratch memory: one thread at a time.

    Args:
        fields: one (cells, cells, 2) array for each of `FIELDS`: pixels to the right and down per degree, or at a full breath.
        frame_size: width and height of a frame, pixels; a multiple of the number of cells.

    Raises:
        InvalidAvatar: if a field is missing or has another shape.
    """

    def __init__(self, fields: Fields, frame_size: int) -> None:
        shapes = {name: fields[name].shape if name in fields else None for name in FIELDS}
        cells = (shapes[FIELDS[0]] or (0,))[0]
        if cells < 2 or frame_size % cells or any(shape != (cells, cells, 2) for shape in shapes.values()):
            raise InvalidAvatar(
                f"a flow holds the fields {', '.join(FIELDS)}, each (n, n, 2) with n dividing {frame_size}; got {shapes}; "
                f"make it anew with webrtc_avatar.training.flow"
            )
        self._basis = np.stack([fields[name].astype(np.float32).ravel() for name in FIELDS])
        self._cells = cells
        self._frame_size = frame_size
        self._cell_px = frame_size / cells
        self._luma = np.empty((frame_size, frame_size, 2), np.float32)
        self._chroma = np.empty((frame_size // 2, frame_size // 2, 2), np.float32)

    def displacement(self, *amounts: float) -> npt.NDArray[np.float32]:
        """Return from where each cell's centre takes its colour, relative to itself: (cells, cells, 2) pixels."""
        flow = (np.array(amounts, np.float32) @ self._basis).reshape(self._cells, self._cells, 2)
        back: npt.NDArray[np.float32] = -flow
        for _ in range(INVERSION_ROUNDS):
            back *= 1 / self._cell_px
            back = np.negative(
                cv2.remap(flow, back, _NONE, _BILINEAR, borderMode=cv2.BORDER_REPLICATE), dtype=np.float32
            )
        return back

    def move(self, source: Planes, target: Planes, *amounts: float) -> None:
        """Write the moved picture into `target`.

        Args:
            source: the still picture.
            target: planes of the same size, contiguous, not overlapping the source.
            amounts: yaw, pitch, roll in degrees; breath 0..1.
        """
        back = self.displacement(*amounts)
        size, half = self._frame_size, self._frame_size // 2
        cv2.resize(back, (size, size), dst=self._luma)
        back *= 0.5
        cv2.resize(back, (half, half), dst=self._chroma)
        maps = (self._luma, self._chroma, self._chroma)
        for plane, moved, shift in zip(source, target, maps, strict=True):
            cv2.remap(plane, shift, _NONE, _BILINEAR, dst=moved, borderMode=cv2.BORDER_REPLICATE)
