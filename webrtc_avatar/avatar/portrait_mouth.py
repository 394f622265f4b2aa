"""Draws the mouth of a portrait: the photo's own skin, parted along the lips, before a mouth's interior.

The fields of all mouth weights are added and inverted at a quarter of the resolution, as `avatar.warp` does; the photo is then sampled
twice, once with what is above the lips' line and once with what is below. Where neither covers, teeth, tongue and dark show.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from webrtc_avatar.avatar.portrait_lips import JAW_DROP, WEIGHTS, Floats, Picture

STEP_PX = 4
"""Pixels of the frame per cell of the fields."""

INVERSION_ROUNDS = 3
_JAW, _TONGUE_UP, _TONGUE_OUT, _PUCKER, _ROUND = (
    WEIGHTS.index(name) for name in ("jawOpen", "tongueUp", "tongueOut", "pucker", "round")
)
_RELATIVE = cv2.INTER_LINEAR | cv2.WARP_RELATIVE_MAP
_NONE: Any = None


@dataclass(frozen=True, slots=True, eq=False)
class MouthArt:
    """What is drawn with. All pictures of the interior have the size of `inner`.

    Attributes:
        fields: float16 (2, 12, rows, columns, 2): pixels per unit of each weight, above and below the lips' line.
        above: uint8 (2 * height, 2 * width) of the mouth's box: 255 above the lips' line, 0 below.
        inner: left, top, right, bottom within the box, pixels: where the interior can show.
        cavity: uint8 (h, w, 3) BGR.
        upper_teeth: uint8 (h, w, 4) BGRA.
        lower_teeth: uint8 (h, w, 4) BGRA, moves with the jaw.
        tongue: uint8 (h, w, 4) BGRA, moves with the jaw and by itself.
        axis: float32 (4,): the direction down along the face, x and y; half the mouth's width in pixels; 0.
    """

    fields: npt.NDArray[np.float16]
    above: Picture
    inner: npt.NDArray[np.int32]
    cavity: Picture
    upper_teeth: Picture
    lower_teeth: Picture
    tongue: Picture
    axis: Floats

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return the parts by name, for an .npz file."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


class MouthPainter:
    """Draws one portrait's mouth. Reads only what it was given: any number of threads may draw.

    Args:
        art: of the mouth.
        fine: uint8 (2 * height, 2 * width, 3) BGR: the box cut from the plate of twice the size.

    Attributes:
        memory_bytes: what it holds.
    """

    def __init__(self, art: MouthArt, fine: Picture) -> None:
        self._art = art
        _, weights, self._rows, self._columns, _ = art.fields.shape
        self._fields = np.ascontiguousarray(art.fields.transpose(1, 0, 2, 3, 4).reshape(weights, -1), np.float32)
        self._size = (fine.shape[1] // 2, fine.shape[0] // 2)
        self._upper = np.dstack([fine, art.above])
        self._lower = np.dstack([fine, 255 - art.above])
        x = (np.arange(self._size[0], dtype=np.float32) + 0.5) * 2 - 0.5
        y = (np.arange(self._size[1], dtype=np.float32) + 0.5) * 2 - 0.5
        self._identity = np.stack(np.meshgrid(x, y), -1)
        held: list[npt.NDArray[Any]] = [self._fields, self._upper, self._lower, self._identity, *art.arrays().values()]
        self.memory_bytes = sum(array.nbytes for array in held)

    def draw(self, weights: Floats) -> Picture:
        """Return the mouth's box as BGR uint8 (height, width, 3) at weights float32 (12,)."""
        moved = (weights @ self._fields).reshape(2, self._rows, self._columns, 2)
        upper = self._sampled(self._upper, moved[0])
        lower = self._sampled(self._lower, moved[1])
        top = upper[..., 3].astype(np.float32) * np.float32(1 / 255)
        bottom = np.minimum(lower[..., 3].astype(np.float32) * np.float32(1 / 255), 1 - top)
        skin = np.asarray(cv2.blendLinear(upper[..., :3].copy(), lower[..., :3].copy(), top, bottom), np.uint8)
        left, first, right, last = self._art.inner
        part = (slice(first, last), slice(left, right))
        cover = np.minimum(1.25 * (top[part] + bottom[part]), 1)
        if cover.min() < 0.99:
            shade = cv2.GaussianBlur(top[part], (0, 0), 0.08 * float(self._art.axis[2]))
            inside = self._interior(weights) * (1 - 0.6 * shade[..., None])
            skin[part] = inside + cover[..., None] * (skin[part] - inside) + 0.5
        return skin

    def _sampled(self, source: Picture, flow: Floats) -> Picture:
        back = np.negative(flow)
        for _ in range(INVERSION_ROUNDS):
            back *= np.float32(1 / STEP_PX)
            back = np.negative(cv2.remap(flow, back, _NONE, _RELATIVE, borderMode=cv2.BORDER_REPLICATE))
        places = cv2.resize(back, (self._columns * STEP_PX, self._rows * STEP_PX))[: self._size[1], : self._size[0]]
        places = cv2.scaleAdd(np.ascontiguousarray(places), 2.0, self._identity)
        return np.asarray(cv2.remap(source, places, _NONE, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8)

    def _interior(self, weights: Floats) -> Floats:
        art = self._art
        half = float(art.axis[2])
        jaw = JAW_DROP * float(weights[_JAW]) * half
        picture = art.cavity.astype(np.float32)
        lift = (0.45 * float(weights[_TONGUE_UP]) + 0.40 * float(weights[_TONGUE_OUT])) * half
        tongue = self._shifted(art.tongue, 0.72 * jaw - lift)
        if weights[_TONGUE_OUT] <= weights[_TONGUE_UP]:
            _over(picture, tongue)
        _over(picture, self._shifted(art.lower_teeth, 0.95 * jaw))
        # Rounded lips come forward, before the teeth.
        seen = 1 - min(max(0.75 * float(weights[_PUCKER] + weights[_ROUND]), 0.0), 1.0)
        _over(picture, art.upper_teeth, seen)
        if weights[_TONGUE_OUT] > weights[_TONGUE_UP]:
            _over(picture, tongue)
        return picture

    def _shifted(self, layer: Picture, amount_px: float) -> Picture:
        x, y = amount_px * self._art.axis[0], amount_px * self._art.axis[1]
        place = np.array([[1, 0, x], [0, 1, y]], np.float32)
        return np.asarray(cv2.warpAffine(layer, place, layer.shape[1::-1]), np.uint8)


def _over(picture: Floats, layer: Picture, seen: float = 1.0) -> None:
    share = layer[..., 3:].astype(np.float32) * np.float32(seen / 255)
    picture += share * (layer[..., :3] - picture)
