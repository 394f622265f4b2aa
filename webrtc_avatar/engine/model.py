"""A loaded avatar model: windows of features in, mouth crops out, on one runtime.

The contract of every model: `spec` (in the avatar's package), `encode_audio(windows) -> features` and
`render(features) -> crops`, both batched. Crops are I420, as frames are: a model whose network gives another colour space
converts in its adapter here.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from webrtc_avatar.audio.mel import MEL_BANDS, MEL_WINDOW, SILENT_MEL
from webrtc_avatar.avatar.package import Avatar
from webrtc_avatar.engine.runtime import Network, Runtime
from webrtc_avatar.errors import InvalidAvatar

Floats = npt.NDArray[np.float32]
Crops = npt.NDArray[np.uint8]


class Model(Protocol):
    """What the executor calls; everything is batched and runs on the engine's thread."""

    def encode_audio(self, windows: Floats) -> Floats:
        """Return features (batch, n) of feature windows (batch, rows, bands)."""

    def render(self, features: Floats) -> Crops:
        """Return crops uint8 (batch, height * 3 / 2, width) I420 of features (batch, n)."""


class VisemeModel:
    """Log-mel window to mouth weights ("ear"), weights to mouth crop ("mouth")."""

    def __init__(self, avatar: Avatar, runtime: Runtime) -> None:
        """Load both networks and check their shapes against the package by one call each.

        Raises:
            InvalidAvatar: a network is unreadable, or its inputs or outputs are not what the package says.
        """
        spec = avatar.model
        self._weight_count = len(spec.weights)
        self._lookahead = spec.chunks_after
        left, top, right, bottom = avatar.mouth_box
        self._crop_shape = ((bottom - top) * 3 // 2, right - left)
        self._name = avatar.name
        self._ear = runtime.load(spec.ear, "speech_tcn")
        self._mouth = runtime.load(spec.mouth, "kernel_mouth")
        self._check()

    def _check(self) -> None:
        try:
            self._check_shapes()
        except InvalidAvatar:
            raise
        except Exception as error:  # what a network that is another one raises depends on the runtime
            raise InvalidAvatar(
                f"avatar {self._name!r}: its networks do not run: {str(error).splitlines()[0]}; "
                "check that [model] ear and mouth name the right files"
            ) from error

    def _check_shapes(self) -> None:
        silence = np.full((1, MEL_WINDOW, MEL_BANDS), SILENT_MEL, np.float32)
        heard = _output(self._ear, {"mel": silence}, "weights", self._name)
        if heard.ndim != 3 or heard.shape[1] <= self._lookahead or heard.shape[2] != self._weight_count:
            raise InvalidAvatar(
                f"avatar {self._name!r}: ear gives weights of shape {heard.shape[1:]} (look-aheads, weights); avatar.toml "
                f"has {self._weight_count} weights and chunks_after = {self._lookahead}; export the network again or correct "
                f"[model] weights and chunks_after"
            )
        weights = self.encode_audio(silence)
        crop = self.render(weights)
        if crop.shape[1:] != self._crop_shape or crop.dtype != np.uint8:
            raise InvalidAvatar(
                f"avatar {self._name!r}: mouth gives {crop.dtype} {crop.shape[1:]}, the mouth's box needs I420 uint8 "
                f"{self._crop_shape}; export the network again or correct [mouth] box"
            )

    def encode_audio(self, windows: Floats) -> Floats:
        """Return mouth weights (batch, weights) of log-mel windows (batch, 64, 80), for the package's look-ahead."""
        weights = _output(self._ear, {"mel": windows}, "weights", self._name)
        return np.ascontiguousarray(weights[:, self._lookahead])

    def render(self, features: Floats) -> Crops:
        """Return mouth crops (batch, height * 3 / 2, width) of mouth weights (batch, weights)."""
        return _output(self._mouth, {"weights": features}, "crop", self._name)


def _output(network: Network, inputs: dict[str, Floats], name: str, avatar: str) -> npt.NDArray[Any]:
    outputs = network(inputs)
    if name not in outputs:
        raise InvalidAvatar(
            f"avatar {avatar!r}: the network has outputs {sorted(outputs)}, needed is {name!r}; export it again"
        )
    return outputs[name]
