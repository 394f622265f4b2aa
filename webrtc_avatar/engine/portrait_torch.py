"""Draws the mouths of a whole batch on a device, as `avatar.portrait_mouth` draws one on the CPU: one sampling call for all portraits.

Every portrait is laid out on a canvas of the same size as others, so that their photos stack, and each frame takes the one it belongs to. A
frame's numbers do not depend on those beside it: the same mouth is the same picture, alone and in any company.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812

from webrtc_avatar.avatar.portrait_lips import JAW_DROP, WEIGHTS, Floats, Picture
from webrtc_avatar.avatar.portrait_mouth import INVERSION_ROUNDS, STEP_PX, MouthArt

_NUMBERS = {name: number for number, name in enumerate(WEIGHTS)}

_CANVAS = (256, 320)
_INNER = (128, 128)
_GRAIN_PX = 64
"""Least height and width of canvases, and by how much they grow for larger mouths."""

_SHADE_REACH_PX = 24
_SHADE = 0.08
"""Half mouths that the upper lip's shadow is soft."""


class TorchMouth:
    """One portrait's mouth on a device.

    Args:
        art: of the mouth.
        fine: uint8 (2 * height, 2 * width, 3) BGR: the box cut from the plate of twice the size.
        device: in torch's words.

    Attributes:
        memory_bytes: what it holds there.
    """

    def __init__(self, art: MouthArt, fine: Picture, device: str) -> None:
        self.device = torch.device(device)
        self.height, self.width = fine.shape[0] // 2, fine.shape[1] // 2
        left, first, right, last = (int(side) for side in art.inner)
        self.inner = _size(last - first, right - left, _INNER)
        self.canvas = _size(max(self.height, first + self.inner[0]), max(self.width, left + self.inner[1]), _CANVAS)
        rows, columns = self.canvas[0] // STEP_PX, self.canvas[1] // STEP_PX
        fields = _padded(art.fields, rows, columns, axes=(2, 3))
        self.fields = self._tensor(fields.transpose(1, 0, 2, 3, 4).reshape(len(WEIGHTS), -1))
        sources = np.stack([np.dstack([fine, art.above]), np.dstack([fine, 255 - art.above])])
        sources = _padded(sources, 2 * self.canvas[0], 2 * self.canvas[1], axes=(1, 2))
        self.sources = self._planes(sources)
        self.cavity = self._layer(art.cavity, mode="edge")
        self.upper_teeth = self._layer(art.upper_teeth)
        self.moving = torch.stack([self._layer(art.tongue), self._layer(art.lower_teeth)])
        self.inside = self._layer(np.ones((last - first, right - left, 1), np.float32))
        self.place = torch.tensor([first, left], device=self.device)
        self.down = self._tensor(art.axis[:2])
        self.half = float(art.axis[2])
        steps = torch.arange(-_SHADE_REACH_PX, _SHADE_REACH_PX + 1, device=self.device)
        kernel = torch.exp(-0.5 * (steps / (_SHADE * self.half)) ** 2)
        self.kernel = kernel / kernel.sum()
        tensors = (self.fields, self.sources, self.cavity, self.upper_teeth, self.moving, self.inside)
        self.memory_bytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def _layer(self, picture: npt.NDArray[Any], mode: str = "constant") -> torch.Tensor:
        return self._planes(_padded(picture, *self.inner, axes=(0, 1), mode=mode)[None])[0]

    def _tensor(self, array: npt.NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(np.array(array, np.float32, order="C")).to(self.device)

    def _planes(self, pictures: npt.NDArray[Any]) -> torch.Tensor:
        return self._tensor(pictures.transpose(0, 3, 1, 2))


@torch.inference_mode()
def draw_mouths(mouths: Sequence[TorchMouth], weights: Floats) -> list[Picture]:
    """Return a mouth's box, BGR uint8 (height, width, 3), for each frame.

    Args:
        mouths: whose each frame is, all on one device; those of one size are sampled by one call.
        weights: float32 (frames, 12).
    """
    pictures: list[Any] = [None] * len(mouths)
    sizes: dict[tuple[tuple[int, int], ...], list[int]] = {}
    for number, mouth in enumerate(mouths):
        sizes.setdefault((mouth.canvas, mouth.inner), []).append(number)
    for numbers in sizes.values():
        drawn = _Batch([mouths[number] for number in numbers]).draw(weights[numbers])
        for number, picture in zip(numbers, drawn, strict=True):
            pictures[number] = picture[: mouths[number].height, : mouths[number].width]
    return pictures


class _Batch:
    """Frames whose mouths have canvases of one size."""

    def __init__(self, mouths: list[TorchMouth]) -> None:
        self._mouths = mouths
        self._alike = all(mouth is mouths[0] for mouth in mouths)
        self._device = mouths[0].device
        self._height, self._width = mouths[0].canvas

    def draw(self, weights: Floats) -> npt.NDArray[np.uint8]:
        """Return the canvases, BGR uint8 (frames, height, width, 3)."""
        amounts = torch.from_numpy(np.ascontiguousarray(weights, np.float32)).to(self._device)
        rows, columns = self._height // STEP_PX, self._width // STEP_PX
        flow = (amounts[:, :, None] * self._each("fields")).sum(1)
        upper, lower = self._sampled(flow.reshape(-1, 2, rows, columns, 2).transpose(0, 1))
        top = upper[:, 3:] / 255
        bottom = torch.minimum(lower[:, 3:] / 255, 1 - top)
        skin = (top * upper[:, :3] + bottom * lower[:, :3]) / (top + bottom + 1e-5)
        part = self._part()
        inner_top, inner_bottom = top[part].movedim(-1, 1), bottom[part].movedim(-1, 1)
        inside = self._interior(amounts) * (1 - 0.6 * self._shade(inner_top))
        cover = torch.where(self._each("inside") > 0, (1.25 * (inner_top + inner_bottom)).clamp(max=1), 1.0)
        seen = skin[part].movedim(-1, 1)
        skin[part] = (inside + cover * (seen - inside)).movedim(1, -1)
        pictures: npt.NDArray[np.uint8] = (skin + 0.5).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        return pictures

    def _each(self, name: str) -> torch.Tensor:
        """Return what the frames' portraits have of a name, (frames or 1, ...)."""
        if self._alike:
            first: torch.Tensor = getattr(self._mouths[0], name)
            return first[None]
        return torch.stack([getattr(mouth, name) for mouth in self._mouths])

    def _number(self, name: str) -> torch.Tensor:
        values = [getattr(mouth, name) for mouth in self._mouths]
        return torch.tensor(values, device=self._device, dtype=torch.float32)[:, None, None, None]

    def _part(self) -> tuple[Any, ...]:
        """Return where the interiors are in canvases (frames, channels, height, width)."""
        height, width = self._mouths[0].inner
        places = self._each("place").expand(len(self._mouths), -1)
        rows = places[:, :1] + torch.arange(height, device=self._device)
        columns = places[:, 1:] + torch.arange(width, device=self._device)
        frames = torch.arange(len(self._mouths), device=self._device)[:, None, None]
        return frames, slice(None), rows[:, :, None], columns[:, None, :]

    def _sampled(self, flow: torch.Tensor) -> torch.Tensor:
        """Return the plates moved by fields (2, frames, rows, columns, 2): (2, frames, 4, height, width)."""
        count, rows, columns = flow.shape[1:4]
        planes = flow.reshape(-1, rows, columns, 2).permute(0, 3, 1, 2)
        back = -planes
        cells = _places(rows, columns, self._device)
        for _ in range(INVERSION_ROUNDS):
            back = -_sample(planes, cells + back.permute(0, 2, 3, 1) / STEP_PX, "border")
        back = F.interpolate(back, scale_factor=STEP_PX, mode="bilinear", align_corners=False).permute(0, 2, 3, 1)
        places = 2 * _places(self._height, self._width, self._device) + 0.5 + 2 * back
        if self._alike:
            # The frames go into the grid's rows, so that no photo is copied for them.
            places = places.reshape(2, count * self._height, self._width, 2)
            moved = _sample(self._mouths[0].sources, places, "border")
            return moved.reshape(2, 4, count, self._height, self._width).transpose(1, 2)
        sources = self._each("sources").transpose(0, 1).reshape(2 * count, 4, 2 * self._height, 2 * self._width)
        return _sample(sources, places, "border").reshape(2, count, 4, self._height, self._width)

    def _interior(self, amounts: torch.Tensor) -> torch.Tensor:
        """Return what is behind the lips, (frames, 3, h, w)."""
        count, (height, width) = len(amounts), self._mouths[0].inner
        weight = {name: amounts[:, number, None, None, None] for name, number in _NUMBERS.items()}
        half = self._number("half")
        jaw = JAW_DROP * weight["jawOpen"] * half
        lift = (0.45 * weight["tongueUp"] + 0.40 * weight["tongueOut"]) * half
        shifts = torch.stack([0.72 * jaw - lift, 0.95 * jaw])
        down = self._each("down").expand(count, 2)[None, :, None, None, :]
        places = (_places(height, width, self._device) - shifts * down).reshape(2 * count, height, width, 2)
        layers = self._each("moving").expand(count, -1, -1, -1, -1).transpose(0, 1).reshape(2 * count, 4, height, width)
        tongue, lower_teeth = _sample(layers, places, "zeros").reshape(2, count, 4, height, width)
        seen = 1 - (0.75 * (weight["pucker"] + weight["round"])).clamp(0, 1)
        out = (weight["tongueOut"] > weight["tongueUp"]).float()
        picture = self._each("cavity").expand(count, -1, -1, -1)
        upper_teeth = self._each("upper_teeth")
        for layer, share in ((tongue, 1 - out), (lower_teeth, 1.0), (upper_teeth, seen), (tongue, out)):
            picture = picture + share * layer[:, 3:] / 255 * (layer[:, :3] - picture)
        return picture

    def _shade(self, plane: torch.Tensor) -> torch.Tensor:
        """Return planes (frames, 1, h, w) blurred, each by its own kernel."""
        reach = _SHADE_REACH_PX
        kernel = self._each("kernel")[:, None, None, None, :]
        for axis, pad in ((2, (0, 0, reach, reach)), (3, (reach, reach, 0, 0))):
            padded = F.pad(plane, pad, mode="reflect")
            plane = (padded.unfold(axis, 2 * reach + 1, 1) * kernel).sum(-1)
        return plane


def _size(height: int, width: int, least: tuple[int, int]) -> tuple[int, int]:
    sizes = (max(-(-side // _GRAIN_PX) * _GRAIN_PX, small) for side, small in zip((height, width), least, strict=True))
    rows, columns = sizes
    return rows, columns


def _padded(
    array: npt.NDArray[Any], height: int, width: int, *, axes: tuple[int, int], mode: str = "edge"
) -> npt.NDArray[Any]:
    """Return an array that was continued at its end to a height and a width."""
    pads = [(0, 0)] * array.ndim
    for axis, size in zip(axes, (height, width), strict=True):
        pads[axis] = (0, size - array.shape[axis])
    padded: npt.NDArray[Any] = np.pad(array, pads, mode=mode)  # type: ignore[call-overload]
    return padded


def _places(height: int, width: int, device: torch.device) -> torch.Tensor:
    """Return each pixel's own place, (height, width, 2)."""
    y, x = torch.meshgrid(torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij")
    return torch.stack([x, y], -1).float()


def _sample(planes: torch.Tensor, places: torch.Tensor, beyond: str) -> torch.Tensor:
    """Return planes (n, c, h, w) at places (n, rows, columns, 2) in pixels."""
    size = torch.tensor(planes.shape[:1:-1], device=planes.device)
    return F.grid_sample(planes, (2 * places + 1) / size - 1, padding_mode=beyond, align_corners=False)
