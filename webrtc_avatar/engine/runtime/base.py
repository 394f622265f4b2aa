"""The interface of every runtime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Arrays = Mapping[str, npt.NDArray[Any]]


class Network(Protocol):
    """A loaded network. Called from one thread, the engine's."""

    def __call__(self, inputs: Mapping[str, npt.NDArray[np.float32]]) -> Arrays:
        """Return the outputs by name; the first axis of everything is the batch."""


class Runtime(Protocol):
    """Loads networks onto one device.

    Attributes:
        name: for logs and metrics, such as `onnxruntime:cpu`.
    """

    name: str

    def load(self, path: Path, architecture: str) -> Network:
        """Load an `.onnx` file; `architecture` names the torch module with the same weights.

        Raises:
            InvalidAvatar: the file is not a network of that architecture.
        """
