"""The ear while it learns: answers for every row of long crops, with normalization and dropout that are folded away later."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from webrtc_avatar.nets.speech_tcn import DELAYS, DILATIONS, VISEMES, SpeechNet
from webrtc_avatar.speech.visemes import VISEME_NAMES


class NormedEar(SpeechNet):
    """`SpeechNet` with batch normalization and dropout, run over all rows at once."""

    def __init__(self, channels: int = 160, hidden: int = 256, *, dropout: float = 0.1) -> None:
        super().__init__(channels, hidden)
        self.norms = nn.ModuleList(nn.BatchNorm1d(channels) for _ in (0, *DILATIONS))
        self.head_norm = nn.BatchNorm1d(hidden)
        self.dropout = nn.Dropout1d(dropout)

    def logits(self, mel: torch.Tensor) -> torch.Tensor:
        """Return the logits (batch, rows - 63, 16 delays, 16 visemes) of rows (batch, rows, 80)."""
        hidden = torch.relu(self.norms[0](self.entry(self._normal(mel))))
        for layer, norm, dilation in zip(self.layers, list(self.norms)[1:], DILATIONS, strict=True):
            assert isinstance(layer, nn.Conv1d)
            wide = nn.functional.conv1d(hidden, layer.weight, layer.bias, dilation=dilation)
            hidden = hidden[..., 2 * dilation :] + self.dropout(torch.relu(norm(wide)))
        answers = self.exit(self.dropout(torch.relu(self.head_norm(self.head(hidden)))))
        logits: torch.Tensor = answers.transpose(1, 2).unflatten(2, (DELAYS, VISEMES))
        return logits

    @torch.no_grad()
    def folded(self, *, sharpness: float = 1.0, leaning: Mapping[str, float] | None = None) -> SpeechNet:
        """Return the same network with each normalization folded into the layer before it.

        Args:
            sharpness: what the logits are multiplied by.
            leaning: what is then added to a viseme's logit, by name.

        The trained delays run from the earliest on; each look-ahead reads its chunk's rows in order of time, latest delay first.
        """
        own = ("norms.", "head_norm.")
        state = {name: value.clone() for name, value in self.state_dict().items() if not name.startswith(own)}
        layers = ("entry", *(f"layers.{index}" for index in range(len(DILATIONS))), "head")
        for name, norm in zip(layers, (*self.norms, self.head_norm), strict=True):
            assert isinstance(norm, nn.BatchNorm1d)
            assert norm.running_var is not None
            assert norm.running_mean is not None
            scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            state[f"{name}.weight"] *= scale[:, None, None]
            state[f"{name}.bias"] = (state[f"{name}.bias"] - norm.running_mean) * scale + norm.bias
        for name in ("exit.weight", "exit.bias"):
            rows = state[name].unflatten(0, (-1, 4, VISEMES)).flip(1).flatten(0, 2)
            state[name] = rows * sharpness
        for viseme, more in (leaning or {}).items():
            state["exit.bias"][VISEME_NAMES.index(viseme) :: VISEMES] += more
        return SpeechNet.from_arrays(state)
