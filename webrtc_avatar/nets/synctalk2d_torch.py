"""SyncTalk_2D on torch tensors, for serving: folded, channels last, in one precision, weights on the device once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from webrtc_avatar.nets.synctalk2d_folded import audio_row, face, folded, image_maps, mask
from webrtc_avatar.nets.synctalk2d_shape import BORDER_PX, Arrays, AudioMode, shape_of

Kernel = tuple[torch.Tensor, torch.Tensor | None]


class TorchOperations:
    """What `synctalk2d_folded` asks for, on tensors. A kernel is folded and taken to the device on its first use.

    Args:
        arrays: the network's state.
        device: where it runs.
        dtype: of weights and maps; sums are made in float32 inside a convolution.

    Attributes:
        watched: where a list, each convolution adds whether all its numbers are finite.
    """

    def __init__(self, arrays: Arrays, device: torch.device, dtype: torch.dtype) -> None:
        self._arrays = arrays
        self._device, self._dtype = device, dtype
        self._kernels: dict[tuple[str, int, bool], Kernel] = {}
        self.watched: list[torch.Tensor] | None = None

    def conv(
        self,
        x: torch.Tensor,
        conv: str,
        norm: str | None,
        *,
        stride: tuple[int, int] = (1, 1),
        padding: int = 0,
        inputs: slice | None = None,
        bias: bool = True,
        depthwise: bool = False,
    ) -> torch.Tensor:
        """See `Operations.conv`."""
        key = (conv, (inputs.start or 0) if inputs else -1, bias)
        kernel = self._kernels.get(key)
        if kernel is None:
            kernel = self._kernels[key] = self._kernel(conv, norm, inputs, bias)
        weight, offset = kernel
        y = functional.conv2d(x, weight, offset, stride, padding, groups=len(weight) if depthwise else 1)
        if self.watched is not None:
            self.watched.append(torch.isfinite(y).all())
        return y

    def relu(self, x: torch.Tensor) -> torch.Tensor:
        """Return max(x, 0), in place: nothing uses a convolution's output but its activation."""
        return functional.relu(x, inplace=True)

    def sigmoid(self, x: torch.Tensor) -> torch.Tensor:
        """Return 1 / (1 + exp(-x)) in float32, so that grey levels are cut off and not rounded before."""
        return torch.sigmoid(x.float())

    def add(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return x + y, in x's place: x always comes fresh from a convolution or an enlargement."""
        return x.add_(y)

    def twice(self, x: torch.Tensor) -> torch.Tensor:
        """Return x at twice the height and width."""
        return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)

    def _kernel(self, conv: str, norm: str | None, inputs: slice | None, bias: bool) -> Kernel:
        weight, offset = folded(self._arrays, conv, norm)
        weight = weight if inputs is None else weight[:, inputs]
        placed = torch.from_numpy(np.ascontiguousarray(weight)).to(self._device, self._dtype)
        placed = placed.contiguous(memory_format=torch.channels_last)
        return placed, torch.from_numpy(offset).to(self._device, self._dtype) if bias else None


class FoldedSyncTalk2D:
    """Both networks of an avatar on one device. Kernels are taken there on the first call, so warm it up.

    Args:
        generator: the face network's state.
        encoder: the audio encoder's state; empty: `rows` cannot be called.
        device: where it runs.
        dtype: of weights and maps.
        mode: where the features come from.
    """

    def __init__(
        self, generator: Arrays, encoder: Arrays, device: torch.device, dtype: torch.dtype, mode: AudioMode = "ave"
    ) -> None:
        self.shape = shape_of(generator, mode)
        self._device, self._dtype = device, dtype
        self._generator = TorchOperations(generator, device, dtype)
        self._encoder = TorchOperations(encoder, device, torch.float32)
        self._mask = torch.from_numpy(mask(self.shape.size)).to(device)

    def maps(self, crops: torch.Tensor) -> list[torch.Tensor]:
        """Return what the face needs of crops, uint8 (batch, s + 8, s + 8, 3) BGR on the device, one map a level."""
        size, edge = self.shape.size, BORDER_PX
        inner = crops[:, edge : edge + size, edge : edge + size].permute(0, 3, 1, 2).float() / 255
        image = torch.cat([inner, inner * self._mask], dim=1).to(self._dtype)
        return image_maps(self._generator, self.shape, image.contiguous(memory_format=torch.channels_last))

    def faces(self, maps: Sequence[torch.Tensor], audio: torch.Tensor) -> torch.Tensor:
        """Return uint8 (batch, s, s, 3) BGR on the device, grey levels cut off, of maps and float32 features."""
        features = audio.to(self._dtype).contiguous(memory_format=torch.channels_last)
        levels = face(self._generator, self.shape, maps, features) * 255
        return levels.to(torch.uint8).permute(0, 2, 3, 1).contiguous()

    def overflows(self, crops: torch.Tensor, audio: torch.Tensor) -> bool:
        """Say whether a number on the way to faces is too large for the weights' type; arguments as above."""
        self._generator.watched = []
        try:
            self.faces(self.maps(crops), audio)
            return not all(bool(finite) for finite in self._generator.watched)
        finally:
            self._generator.watched = None

    def rows(self, mel: torch.Tensor) -> torch.Tensor:
        """Return rows of features float32 (batch, 512) of windows of mel float32 (batch, 80, 16)."""
        return audio_row(self._encoder, mel[:, None]).flatten(1)


def to_tensor(array: npt.NDArray[np.generic], device: torch.device) -> torch.Tensor:
    """Return a host array on a device, through pinned memory where that is CUDA."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
