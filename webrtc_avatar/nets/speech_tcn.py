"""The ear: a window of log-mel rows to the mouth of one frame.

A temporal convolutional network (Bai, Kolter and Koltun, "An Empirical Evaluation of Generic Convolutional and Recurrent
Networks for Sequence Modeling", 2018) with look-ahead: it tells the viseme of each of the chunk's four rows from 22 rows
before and 7 after it. The four answers are averaged, but closures of the lips lean towards their strongest row: p, b, m, f
and v are often shorter than a frame, and the eye misses them at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

MEL_BANDS = 80
WINDOW_ROWS = 33
ROWS_BEFORE, ROWS_AFTER = 22, 7
"""Rows that the network sees before and after the row whose viseme it tells."""
VISEMES = 16
WEIGHTS = 12

PP, FF = 1, 2
JAW = 0
PEAK_SHARE = 0.25
"""How far a closure leans from its mean over the rows towards its strongest row."""
# (dilation, rows that the skip connection drops on the left, on the right). With the first layer's 3 on the left they add
# up to ROWS_BEFORE and ROWS_AFTER.
LAYERS = ((1, 1, 1), (2, 2, 2), (4, 4, 4), (6, 12, 0))
LOUDNESS_BANDS = (8, 56)
"""Bands (about 0.25 to 3.3 kHz) whose level scales the jaw."""
LOUDNESS_ROWS = (18, 30)
LOUDNESS_MIDDLE, LOUDNESS_SLOPE = -2.0, 0.06
"""Level of ordinary speech at ordinary gain, and the jaw's change per unit: +-0.25 at about +-18 dB."""
JAW_RANGE = (0.75, 1.25)


class SpeechNet(nn.Module):
    """(batch, 33, 80) log-mel rows -> mouth weights (batch, 12) and viseme probabilities (batch, 16)."""

    mean: torch.Tensor
    deviation: torch.Tensor
    vectors: torch.Tensor

    def __init__(self, channels: int = 112) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(MEL_BANDS))
        self.register_buffer("deviation", torch.ones(MEL_BANDS))
        self.register_buffer("vectors", torch.zeros(VISEMES, WEIGHTS))
        self.entry = nn.Conv1d(MEL_BANDS, channels, 4)
        self.layers = nn.ModuleList(nn.Conv1d(channels, channels, 3, dilation=dilation) for dilation, _, _ in LAYERS)
        self.exit = nn.Conv1d(channels, VISEMES, 1)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> SpeechNet:
        """Return the network of a state dict (numpy arrays or tensors); its width follows from the shapes.

        Raises:
            KeyError: an array is missing.
            RuntimeError: an array is of another shape, or too many.
        """
        net = cls(channels=int(arrays["entry.weight"].shape[0]))
        net.load_state_dict({name: torch.as_tensor(array) for name, array in arrays.items()})
        return net.eval()

    def forward(self, mel: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (weights, visemes) of float32 (batch, 33, 80) raw log-mel rows."""
        probabilities = torch.softmax(self.logits(mel), 1)
        visemes = pool(probabilities)
        weights = visemes @ self.vectors
        jaw = weights[:, JAW : JAW + 1] * jaw_scale(mel)
        return torch.cat([jaw, weights[:, JAW + 1 :]], 1), visemes

    def logits(self, mel: torch.Tensor) -> torch.Tensor:
        """Return viseme logits (batch, 16, rows - 29) of (batch, rows, 80) raw log-mel rows, any number of rows."""
        hidden = torch.relu(self.entry(((mel - self.mean) / self.deviation).transpose(1, 2)))
        for layer, (_, left, right) in zip(self.layers, LAYERS, strict=True):
            hidden = hidden[..., left : hidden.shape[-1] - right] + torch.relu(layer(hidden))
        logits: torch.Tensor = self.exit(hidden)
        return logits


def pool(probabilities: torch.Tensor) -> torch.Tensor:
    """Return one distribution (batch, 16) of the rows' (batch, 16, rows): the mean, but lip closures nearer to their strongest.

    The other visemes share what the closures leave.
    """
    mean = probabilities.mean(2)
    peak = probabilities[:, PP : FF + 1].amax(2)
    closures = mean[:, PP : FF + 1] * (1.0 - PEAK_SHARE) + peak * PEAK_SHARE
    closures = closures / closures.sum(1, keepdim=True).clamp(min=1.0)
    rest = torch.cat([mean[:, :PP], mean[:, FF + 1 :]], 1)
    rest = rest * ((1.0 - closures.sum(1, keepdim=True)) / (rest.sum(1, keepdim=True) + 1e-6))
    return torch.cat([rest[:, :PP], closures, rest[:, PP:]], 1)


def jaw_scale(mel: torch.Tensor) -> torch.Tensor:
    """Return how much wider or narrower the jaw opens for the chunk's loudness: (batch, 1), 0.75 to 1.25."""
    level = mel[:, slice(*LOUDNESS_ROWS), slice(*LOUDNESS_BANDS)].mean((1, 2)).unsqueeze(1)
    return (1.0 + LOUDNESS_SLOPE * (level - LOUDNESS_MIDDLE)).clamp(*JAW_RANGE)
