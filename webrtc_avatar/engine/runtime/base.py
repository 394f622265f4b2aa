"""The interface of every runtime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

Arrays = Mapping[str, npt.NDArray[Any]]
Precision = Literal["float32", "float16", "bfloat16"]


DEFAULT_BASE_CACHE_MB = 512


class Network(Protocol):
    """A loaded network. Called from one thread at a time."""

    def __call__(self, inputs: Mapping[str, npt.NDArray[np.float32]]) -> Arrays:
        """Return the outputs by name; the first axis of everything is the batch."""


class Runtime(Protocol):
    """Loads networks onto one device.

    Attributes:
        name: for logs and metrics: the library, a colon, the device; such as `onnxruntime:cpu`, `torch:cuda:0`.
        device: the device in torch's words: `cpu`, `cuda:N` or `mps`.
        precision: of matrix products and convolutions.
        base_cache_mb: what one model may keep there of its footage.
    """

    name: str
    device: str
    precision: Precision
    base_cache_mb: int

    def load(self, path: Path, architecture: str) -> Network:
        """Load an `.onnx` file; `architecture` names the torch module with the same weights.

        Raises:
            InvalidAvatar: the file is not a network of that architecture.
        """
