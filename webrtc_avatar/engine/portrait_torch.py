"""Draws the mouths of a whole batch on a device, as `avatar.portrait_mouth` draws one on the CPU: one sampling call for all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812

from webrtc_avatar.avatar.portrait_lips import JAW_DROP, WEIGHTS, Picture
from webrtc_avatar.avatar.portrait_mouth import INVERSION_ROUNDS, STEP_PX, MouthArt
from webrtc_avatar.engine.model import Crops, Floats

_NUMBERS = {name: number for number, name in enumerate(WEIGHTS)}


class TorchMouthPainter:
    """Draws one portrait's mouths.

    Args:
        art: of the mouth.
        fine: uint8 (2 * height, 2 * width, 3) BGR: the box cut from the plate of twice the size.
        device: in torch's words.
    """

    def __init__(self, art: MouthArt, fine: Picture, device: str) -> None:
        self._device = torch.device(device)
        _, weights, self._rows, self._columns, _ = art.fields.shape
        self._fields = self._tensor(art.fields.transpose(1, 0, 2, 3, 4).reshape(weights, -1))
        self._height, self._width = fine.shape[0] // 2, fine.shape[1] // 2
        sources = np.stack([np.dstack([fine, art.above]), np.dstack([fine, 255 - art.above])])
        self._sources = self._planes(sources)
        self._inner = [int(side) for side in art.inner]
        self._cavity = self._planes(art.cavity[None])
        self._upper_teeth = self._planes(art.upper_teeth[None])
        self._moving = self._planes(np.stack([art.tongue, art.lower_teeth]))
        self._down, self._half = (float(art.axis[0]), float(art.axis[1])), float(art.axis[2])
        self._cells = _places(self._rows, self._columns, self._device)
        self._pixels = 2 * _places(self._height, self._width, self._device) + 0.5
        self._inside = _places(art.cavity.shape[0], art.cavity.shape[1], self._device)
        sigma = 0.08 * self._half
        steps = torch.arange(-round(4 * sigma), round(4 * sigma) + 1, device=self._device)
        kernel = torch.exp(-0.5 * (steps / sigma) ** 2)
        self._kernel = kernel / kernel.sum()

    @torch.inference_mode()
    def draw(self, weights: Floats) -> Crops:
        """Return the mouth's boxes as BGR uint8 (batch, height, width, 3) at weights float32 (batch, 12)."""
        amounts = self._tensor(weights)
        flow = (amounts @ self._fields).reshape(-1, 2, self._rows, self._columns, 2).transpose(0, 1)
        upper, lower = self._sampled(flow)
        top = upper[:, 3:] / 255
        bottom = torch.minimum(lower[:, 3:] / 255, 1 - top)
        skin = (top * upper[:, :3] + bottom * lower[:, :3]) / (top + bottom + 1e-5)
        left, first, right, last = self._inner
        part = (slice(None), slice(None), slice(first, last), slice(left, right))
        cover = (1.25 * (top + bottom)[part]).clamp(max=1)
        inside = self._interior(amounts) * (1 - 0.6 * self._blurred(top[part]))
        skin[part] = inside + cover * (skin[part] - inside)
        picture: Crops = (skin + 0.5).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()
        return picture

    def _sampled(self, flow: torch.Tensor) -> torch.Tensor:
        """Return the plate moved by fields (2, batch, rows, columns, 2): (2, batch, 4, height, width)."""
        batch = flow.shape[1]
        planes = flow.reshape(-1, *flow.shape[2:]).permute(0, 3, 1, 2)
        back = -planes
        for _ in range(INVERSION_ROUNDS):
            places = self._cells + back.permute(0, 2, 3, 1) / STEP_PX
            back = -_sample(planes, places, "border")
        back = F.interpolate(back, scale_factor=STEP_PX, mode="bilinear", align_corners=False)
        back = back[..., : self._height, : self._width].permute(0, 2, 3, 1)
        # The batch goes into the grid's rows, so that no picture is copied for it.
        places = (self._pixels + 2 * back).reshape(2, batch * self._height, self._width, 2)
        moved = _sample(self._sources, places, "border")
        return moved.reshape(2, 4, batch, self._height, self._width).transpose(1, 2)

    def _interior(self, amounts: torch.Tensor) -> torch.Tensor:
        """Return what is behind the lips, (batch, 3, h, w)."""
        batch, (height, width) = len(amounts), self._cavity.shape[2:]
        weight = {name: amounts[:, number, None, None, None] for name, number in _NUMBERS.items()}
        jaw = JAW_DROP * weight["jawOpen"] * self._half
        lift = (0.45 * weight["tongueUp"] + 0.40 * weight["tongueOut"]) * self._half
        shifts = torch.stack([0.72 * jaw - lift, 0.95 * jaw])
        places = self._inside - shifts * torch.tensor(self._down, device=self._device)
        moved = _sample(self._moving, places.reshape(2, batch * height, width, 2), "zeros")
        tongue, lower_teeth = moved.reshape(2, 4, batch, height, width).transpose(1, 2)
        seen = 1 - (0.75 * (weight["pucker"] + weight["round"])).clamp(0, 1)
        out = (weight["tongueOut"] > weight["tongueUp"]).float()
        picture = self._cavity.expand(batch, -1, -1, -1)
        for layer, share in ((tongue, 1 - out), (lower_teeth, 1.0), (self._upper_teeth, seen), (tongue, out)):
            picture = picture + share * layer[:, 3:] / 255 * (layer[:, :3] - picture)
        return picture

    def _blurred(self, plane: torch.Tensor) -> torch.Tensor:
        reach = len(self._kernel) // 2
        padded = F.pad(plane, (reach, reach, reach, reach), mode="reflect")
        return F.conv2d(F.conv2d(padded, self._kernel[None, None, None]), self._kernel[None, None, :, None])

    def _tensor(self, array: npt.NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, np.float32)).to(self._device)

    def _planes(self, pictures: Picture) -> torch.Tensor:
        return self._tensor(pictures.transpose(0, 3, 1, 2))


def _places(height: int, width: int, device: torch.device) -> torch.Tensor:
    """Return each pixel's own place, (height, width, 2)."""
    y, x = torch.meshgrid(torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij")
    return torch.stack([x, y], -1).float()


def _sample(planes: torch.Tensor, places: torch.Tensor, beyond: str) -> torch.Tensor:
    """Return planes (n, c, h, w) at places (n, rows, columns, 2) in pixels."""
    size = torch.tensor(planes.shape[:1:-1], device=planes.device)
    return F.grid_sample(planes, (2 * places + 1) / size - 1, padding_mode=beyond, align_corners=False)
