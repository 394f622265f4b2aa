"""Mouth weights to the mouth's picture by kernel ridge regression onto principal components.

A mouth is compared to the rendered ones by 1 / (1 + squared distance) of their weights, measured by a learned metric
(the rational quadratic kernel: Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, 4.2.1). The
similarities give the strengths of a few principal components (Turk and Pentland, "Eigenfaces for Recognition", 1991),
which are added to the mean picture. Pictures are I420, half the numbers of BGR, since that is what frames are made of.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

STATE = ("metric", "known", "coefficients", "basis", "mean")
"""Names of the buffers and of the ONNX file's initializers."""


class KernelMouth(nn.Module):
    """weights float32 (batch, weights) -> crop uint8 (batch, height * 3 / 2, width) I420, BT.601 with limited range.

    Buffers:
        metric: float32 (weights, features), takes weights to where distance means difference in the picture.
        known: float32 (samples, features), the rendered mouths there.
        coefficients: float32 (samples, components).
        basis: int8 (components, height * 3 / 2 * width); its scale is in the coefficients, the sums are made in float32.
        mean: float32 (height * 3 / 2, width), grey levels.
    """

    metric: torch.Tensor
    known: torch.Tensor
    coefficients: torch.Tensor
    basis: torch.Tensor
    mean: torch.Tensor

    def __init__(self, arrays: Mapping[str, npt.NDArray[np.generic]]) -> None:
        """Take the buffers by name; the sizes are theirs.

        Raises:
            KeyError: one is missing.
            ValueError: their shapes do not fit each other.
        """
        super().__init__()
        for name in STATE:
            self.register_buffer(name, torch.from_numpy(np.array(arrays[name])))
        samples, features = self.known.shape
        components, pixels = self.basis.shape
        fits = self.metric.shape[1:] == (features,) and self.coefficients.shape == (samples, components)
        if not fits or self.mean.ndim != 2 or self.mean.shape[0] % 3 or self.mean.numel() != pixels:
            shapes = {name: tuple(getattr(self, name).shape) for name in STATE}
            raise ValueError(f"the shapes of a kernel mouth do not fit each other: {shapes}")

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[np.generic]]) -> KernelMouth:
        """Return a mouth with these buffers; others, such as an exported graph's constants, are ignored."""
        return cls(arrays)

    def levels(self, weights: torch.Tensor) -> torch.Tensor:
        """Return float32 (batch, height * 3 / 2, width) grey levels, neither rounded nor limited to 0..255.

        Half precision is kept out, also where the caller has switched it on: the coefficients are large and cancel.
        """
        with torch.autocast(weights.device.type, enabled=False):
            features = weights.float() @ self.metric
            distance = ((features[:, None] - self.known) ** 2).sum(-1)
            strengths = (1 / (1 + distance)) @ self.coefficients
            return (strengths @ self.basis.float()).view(-1, *self.mean.shape) + self.mean

    def forward(self, weights: torch.Tensor) -> torch.Tensor:
        """Return the crops, rounded half to even."""
        return self.levels(weights).clamp(0, 255).round().to(torch.uint8)
