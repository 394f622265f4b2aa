"""The ear: the log-mel rows heard so far to the mouth of a frame some chunks ago.

A causal temporal convolutional network (Bai, Kolter and Koltun, "An Empirical Evaluation of Generic Convolutional and
Recurrent Networks for Sequence Modeling", 2018). From the newest row and the 63 before it, it tells the viseme of each row
from the one to come (delay -1) to the fourteenth back (delay 14), all at once. Look-ahead is therefore a matter of which
answers are read: with L chunks of look-ahead the newest row is 4 n + 4 L + 2, and chunk n's four rows have the delays
4 L - 1 to 4 L + 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

MEL_BANDS = 80
WINDOW_ROWS = 64
VISEMES = 16
WEIGHTS = 12
LOOKAHEADS = 4
"""Chunks of look-ahead that the network answers for: 0 to 3."""
ROWS_PER_CHUNK = 4
EARLIEST_DELAY = -1
DELAYS = LOOKAHEADS * ROWS_PER_CHUNK
"""Delays from `EARLIEST_DELAY` to 14 rows."""

JAW = 0
ENTRY_ROWS = 4
DILATIONS = (2, 4, 8, 16)
"""Of the layers of kernel 3, each at twice the last one's spacing, so that for one answer they are convolutions of stride 2."""
LOUDNESS_BANDS = (8, 56)
"""Bands (about 0.25 to 3.3 kHz) whose level scales the jaw."""
LOUDNESS_ROWS = 12
"""Rows of that level: the newest ones of look-ahead 0, and those around the chunk where more is heard."""
LOUDNESS_MIDDLE, LOUDNESS_SLOPE = -2.0, 0.06
"""Level of ordinary speech at ordinary gain, and the jaw's change per unit: +-0.25 at about +-18 dB."""
JAW_RANGE = (0.75, 1.25)


class SpeechNet(nn.Module):
    """(batch, 64, 80) log-mel rows -> mouth weights (batch, 4, 12), viseme probabilities (batch, 4, 16) by look-ahead."""

    mean: torch.Tensor
    deviation: torch.Tensor
    vectors: torch.Tensor

    def __init__(self, channels: int = 160, hidden: int = 256) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(MEL_BANDS))
        self.register_buffer("deviation", torch.ones(MEL_BANDS))
        self.register_buffer("vectors", torch.zeros(VISEMES, WEIGHTS))
        self.entry = nn.Conv1d(MEL_BANDS, channels, ENTRY_ROWS)
        self.layers = nn.ModuleList(nn.Conv1d(channels, channels, 3) for _ in DILATIONS)
        self.head = nn.Conv1d(channels, hidden, 1)
        self.exit = nn.Conv1d(hidden, DELAYS * VISEMES, 1)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> SpeechNet:
        """Return the network of a state dict (numpy arrays or tensors); its width follows from the shapes.

        Raises:
            KeyError: an array is missing.
            RuntimeError: an array is of another shape, or too many.
        """
        net = cls(channels=int(arrays["entry.weight"].shape[0]), hidden=int(arrays["head.weight"].shape[0]))
        net.load_state_dict({name: torch.as_tensor(array) for name, array in arrays.items()})
        return net.eval()

    def forward(self, mel: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (weights, visemes) of float32 (batch, 64, 80) raw log-mel rows, the newest last."""
        visemes = torch.softmax(self.answers(mel), 3).mean(2)
        weights = visemes @ self.vectors
        jaw = weights[..., JAW : JAW + 1] * jaw_scale(mel)
        return torch.cat([jaw, weights[..., JAW + 1 :]], 2), visemes

    def answers(self, mel: torch.Tensor) -> torch.Tensor:
        """Return logits (batch, 4 look-aheads, 4 rows, 16) of windows (batch, 64, 80)."""
        hidden = torch.relu(nn.functional.conv1d(self._normal(mel), self.entry.weight, self.entry.bias, stride=2))
        for layer in self.layers:
            assert isinstance(layer, nn.Conv1d)
            changed = torch.relu(nn.functional.conv1d(hidden, layer.weight, layer.bias, stride=2))
            hidden = hidden[..., 2::2] + changed
        logits: torch.Tensor = self.exit(torch.relu(self.head(hidden)))
        return logits.view(len(mel), LOOKAHEADS, ROWS_PER_CHUNK, VISEMES)

    def _normal(self, mel: torch.Tensor) -> torch.Tensor:
        return ((mel - self.mean) / self.deviation).transpose(1, 2)


def loudness_rows(lookahead: int) -> slice:
    """Return which of the window's rows tell how loud a chunk is: its own and those around it, as far as heard."""
    own_last = WINDOW_ROWS - 1 - ROWS_PER_CHUNK * lookahead + 1
    last = min(WINDOW_ROWS, own_last + ROWS_PER_CHUNK)
    return slice(last - LOUDNESS_ROWS, last)


def jaw_scale(mel: torch.Tensor) -> torch.Tensor:
    """Return how much wider or narrower the jaw opens for a chunk's loudness: (batch, 4, 1), 0.75 to 1.25."""
    heard = mel[..., slice(*LOUDNESS_BANDS)]
    levels = [heard[:, loudness_rows(lookahead)].mean((1, 2)) for lookahead in range(LOOKAHEADS)]
    level = torch.stack(levels, 1).unsqueeze(2)
    return (1.0 + LOUDNESS_SLOPE * (level - LOUDNESS_MIDDLE)).clamp(*JAW_RANGE)
