"""Moves a still picture of a head a little: turning, tilting, breathing.

The movement is a sum of displacement fields, pixels per unit (degree, or breath), that say where the surface at each pixel goes (made
by `training.flow`). They are added and inverted at low resolution, which costs next to nothing, and only
then enlarged to the maps of `cv2.remap`. Over the few degrees that fields are meant for this is within half a
pixel of turning the head in space.

Bilinear sampling blurs most half-way between pixels, so a slowly moving picture would go soft and sharp in waves. Luma is therefore
sampled from a sharpened picture of twice the size, kept up to date where crops change it: a third of
the waves at the same cost, where bicubic sampling takes three times as long.

Frames may be drawn larger than the still picture, up to that doubled size. A plate that was made at the doubled size then lends its detail
wherever the still picture shows the plate: all but moving lips and lids. How much it lends falls smoothly with the difference to the plate, so that
no edge in sharpness shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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

DETAIL_LEVELS = (2.0, 8.0)
"""Difference to the plate near a pixel, in grey levels, up to which its detail is lent in full, and from which not at all.

A crop's own rendering noise stays below the first, a lip that has moved is above the second.
"""

_SHARPENING_PX = 1.0
_MARGIN_PX = 6
_LIKENESS_PX = 5
_RELATIVE = cv2.INTER_LINEAR | cv2.WARP_RELATIVE_MAP
_NONE: Any = None
"""No second map. The stubs of OpenCV ask for an array, but 5.0 reads beyond an empty one where maps are relative."""

Fields = Mapping[str, npt.NDArray[np.float16]]


@dataclass(frozen=True, slots=True, eq=False)
class Detail:
    """What a plate of twice the size shows beyond the plate. Read only, so that any number of threads share it.

    Attributes:
        plate: luma of the plate, uint8 (size, size).
        levels: float32 (2 * size, 2 * size), grey levels to be added to the doubled plate.
    """

    plate: Picture
    levels: npt.NDArray[np.float32]

    @classmethod
    def between(cls, plate: Picture, fine: Picture) -> Detail:
        """Return the detail of luma `fine` (2 * size, 2 * size) beyond luma `plate` (size, size)."""
        return cls(plate, fine.astype(np.float32) - _doubled(plate))


class Warp:
    """Warps frames of one size by one avatar's fields. Holds the still luma and scratch memory: one thread at a time.

    Args:
        fields: one (cells, cells, 2) array for each of `FIELDS`: pixels right and down per degree, or at a full breath.
        still: the frame that the first movement starts from; square.
        frame_px: width and height of the moved pictures, even; none: as the still picture.
        detail: what a finer plate adds to moved pictures; none: they have the still picture's own.

    Raises:
        InvalidAvatar: if a field is missing or has another shape.
    """

    def __init__(
        self,
        fields: Fields,
        still: Planes,
        *,
        frame_px: int | None = None,
        detail: Detail | None = None,
    ) -> None:
        still_px = still.y.shape[0]
        shapes = {name: fields[name].shape if name in fields else None for name in FIELDS}
        cells = (shapes[FIELDS[0]] or (0,))[0]
        if cells < 2 or still_px % cells or any(shape != (cells, cells, 2) for shape in shapes.values()):
            raise InvalidAvatar(
                f"a flow holds the fields {', '.join(FIELDS)}, each (n, n, 2) with n dividing {still_px}; got {shapes}; "
                f"make it anew with webrtc_avatar.training.flow"
            )
        self._basis = np.stack([fields[name].astype(np.float32).ravel() for name in FIELDS])
        self._cells = cells
        self._cell_px = still_px / cells
        self._detail = detail
        self._double = np.empty((2 * still_px, 2 * still_px), np.uint8)
        self.refresh(still, Box(0, 0, still_px, still_px))
        frame_px = frame_px or still_px
        places = (np.arange(frame_px, dtype=np.float32) + 0.5) * np.float32(2 * still_px / frame_px) - np.float32(0.5)
        self._identity = np.stack(np.meshgrid(places, places), -1)
        self._luma = np.empty((frame_px, frame_px, 2), np.float32)
        self._chroma = np.empty((still_px // 2, still_px // 2, 2), np.float32)
        self._moved_chroma = None if frame_px == still_px else np.empty_like(still.u)

    def refresh(self, still: Planes, box: Box) -> None:
        """Take over the still picture's luma where a box covers it."""
        wider = (
            slice(max(box.top - _MARGIN_PX, 0), box.bottom + _MARGIN_PX),
            slice(max(box.left - _MARGIN_PX, 0), box.right + _MARGIN_PX),
        )
        inner = (
            slice(2 * (box.top - wider[0].start), 2 * (box.bottom - wider[0].start)),
            slice(2 * (box.left - wider[1].start), 2 * (box.right - wider[1].start)),
        )
        target = self._double[2 * box.top : 2 * box.bottom, 2 * box.left : 2 * box.right]
        doubled = _doubled(still.y[wider])[inner]
        if self._detail is None:
            target[...] = doubled
            return
        share = _likeness(still.y[wider], self._detail.plate[wider])[inner]
        lent = self._detail.levels[2 * box.top : 2 * box.bottom, 2 * box.left : 2 * box.right] * share
        target[...] = cv2.add(doubled, lent, dtype=cv2.CV_8U)

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
            target: planes of a frame, contiguous, not overlapping the still picture.
            amounts: yaw, pitch, roll in degrees; breath 0..1.
        """
        back = self.displacement(*amounts)
        cv2.resize(back * 0.5, self._chroma.shape[1::-1], dst=self._chroma)
        cv2.resize(back * 2.0, self._luma.shape[1::-1], dst=self._luma)
        cv2.add(self._luma, self._identity, dst=self._luma)
        cv2.remap(self._double, self._luma, _NONE, cv2.INTER_LINEAR, dst=target.y, borderMode=cv2.BORDER_REPLICATE)
        for plane, out in ((still.u, target.u), (still.v, target.v)):
            moved = out if self._moved_chroma is None else self._moved_chroma
            cv2.remap(plane, self._chroma, _NONE, _RELATIVE, dst=moved, borderMode=cv2.BORDER_REPLICATE)
            if moved is not out:
                cv2.resize(moved, out.shape[::-1], dst=out)


def _doubled(luma: Picture) -> Picture:
    """Return luma (height, width), sharpened, at twice the size."""
    soft = cv2.GaussianBlur(luma, (0, 0), _SHARPENING_PX)
    sharp = cv2.addWeighted(luma, 1 + SHARPENING, soft, -SHARPENING, 0)
    return np.asarray(cv2.resize(sharp, (0, 0), fx=2, fy=2, interpolation=cv2.INTER_CUBIC), np.uint8)


def _likeness(luma: Picture, plate: Picture) -> npt.NDArray[np.float32]:
    """Return how much a picture (height, width) is like the plate, 0..1, at twice the size."""
    size = (_LIKENESS_PX, _LIKENESS_PX)
    difference = cv2.blur(cv2.absdiff(luma, plate), size)
    share = cv2.blur(cv2.LUT(cv2.dilate(difference, np.ones(size, np.uint8)), _SHARE_OF_DIFFERENCE), size)
    return np.asarray(cv2.resize(share, (0, 0), fx=2, fy=2), np.float32)


def _falling(start: float, end: float) -> npt.NDArray[np.float32]:
    """Return for each grey level 0..255 the share that falls from 1 at `start` to 0 at `end`."""
    share: npt.NDArray[np.float32] = np.clip((end - np.arange(256)) / (end - start), 0, 1).astype(np.float32)
    return share


_SHARE_OF_DIFFERENCE = _falling(*DETAIL_LEVELS)
