"""torch, for CUDA and MPS with reduced precision; on a CPU in full precision, where ONNX Runtime is the faster choice.

Weights come from the `.onnx` file's initializers, whose names are those of the module's `state_dict`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import numpy_helper

from webrtc_avatar.engine.runtime.base import DEFAULT_BASE_CACHE_MB, Arrays, Network, Precision
from webrtc_avatar.errors import InvalidAvatar
from webrtc_avatar.nets.registry import build


class TorchNetwork:
    """One module on one device."""

    def __init__(
        self,
        module: torch.nn.Module,
        device: torch.device,
        precision: torch.dtype,
        *,
        outputs: list[str],
        inputs: list[str],
    ) -> None:
        self._module = module
        self._device = device
        self._precision = precision
        self._inputs = inputs
        self._outputs = outputs

    @torch.inference_mode()
    def __call__(self, inputs: Mapping[str, npt.NDArray[np.float32]]) -> Arrays:
        """Return the outputs by name, back in host memory."""
        tensors = [torch.from_numpy(np.ascontiguousarray(inputs[name])).to(self._device) for name in self._inputs]
        # Matrix products and convolutions in reduced precision, distances, exponentials and softmax in full: within 1e-3.
        reduced = self._precision != torch.float32
        with torch.autocast(self._device.type, dtype=self._precision if reduced else torch.float16, enabled=reduced):
            results = self._module(*tensors)
        if isinstance(results, torch.Tensor):
            results = (results,)
        arrays = [tensor.float() if tensor.is_floating_point() else tensor for tensor in results]
        return {name: array.cpu().numpy() for name, array in zip(self._outputs, arrays, strict=True)}


class TorchRuntime:
    """torch on `cpu`, `cuda:N` or `mps`."""

    base_cache_mb = DEFAULT_BASE_CACHE_MB

    def __init__(self, device: str, *, threads: int, precision: Precision | None = None) -> None:
        """Take the device's name in torch's words, the number of threads on a CPU, and the precision.

        Without one it is float32 on a CPU and float16 elsewhere.
        """
        self._device = torch.device(device)
        self.device = device
        self.precision: Precision = precision or ("float32" if self._device.type == "cpu" else "float16")
        self.name = f"torch:{device}"
        if self._device.type == "cpu":
            torch.set_num_threads(threads)

    def load(self, path: Path, architecture: str) -> Network:
        """Build the module `architecture` and fill it from the file; see `Runtime.load`."""
        try:
            graph: Any = onnx.load_model_from_string(path.read_bytes()).graph
            # Copies, because torch wants arrays that it could write to.
            arrays = {entry.name: numpy_helper.to_array(entry).copy() for entry in graph.initializer}
            module = build(architecture, arrays)
        except Exception as error:  # protobuf, torch and the module each have their own
            raise InvalidAvatar(
                f"{path.name} does not hold the weights of a {architecture}: {str(error).splitlines()[0]}; export it again"
            ) from error
        outputs = [output.name for output in graph.output]
        inputs = [entry.name for entry in graph.input]
        precision: torch.dtype = getattr(torch, self.precision)
        return TorchNetwork(module.to(self._device).eval(), self._device, precision, outputs=outputs, inputs=inputs)
