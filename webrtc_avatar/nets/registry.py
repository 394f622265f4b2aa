"""The models that an avatar package may name, and the networks that they are made of.

Importing this module needs no torch: the ONNX runtime never loads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import nn


@dataclass(frozen=True, slots=True)
class ModelKind:
    """One way from sound to mouth.

    Attributes:
        ear: network that hears: the name under which `network` makes it.
        mouth: network that draws; None: no network does.
        weights: how many mouth weights pass between the two.
        visemes: how many viseme classes the ear tells apart.
    """

    ear: str
    mouth: str | None
    weights: int
    visemes: int


MODEL_KINDS: Mapping[str, ModelKind] = {
    "viseme_kernel": ModelKind(ear="speech_tcn", mouth="kernel_mouth", weights=12, visemes=16),
    "portrait": ModelKind(ear="speech_tcn", mouth=None, weights=12, visemes=16),
}

_NETWORKS: Mapping[str, tuple[str, str]] = {
    "speech_tcn": ("webrtc_avatar.nets.speech_tcn", "SpeechNet"),
    "kernel_mouth": ("webrtc_avatar.nets.kernel_mouth", "KernelMouth"),
}


def network_class(name: str) -> type[nn.Module]:
    """Return the torch module of a network named as in `ModelKind`; needs torch.

    Raises:
        KeyError: there is no network of that name.
    """
    module, attribute = _NETWORKS[name]
    found: type[nn.Module] = getattr(import_module(module), attribute)
    return found


def build(name: str, arrays: Mapping[str, npt.NDArray[np.generic]]) -> nn.Module:
    """Return a network in evaluation mode whose state is `arrays` (ONNX initializers by name); needs torch.

    Each network class has a class method `from_arrays(arrays)`: the sizes follow from the arrays' shapes.

    Raises:
        KeyError: there is no network of that name, or an array is missing.
    """
    module: Any = network_class(name)
    made: nn.Module = module.from_arrays(arrays)
    return made.eval()
