"""ONNX Runtime on a CPU, with its threads counted and not spinning; and its CUDA and TensorRT providers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from webrtc_avatar.engine.runtime.base import DEFAULT_BASE_CACHE_MB, Arrays, Network, Precision
from webrtc_avatar.errors import InvalidAvatar

_LARGE = ("synctalk2d_image", "synctalk2d_face", "onnx_generator")


class OnnxNetwork:
    """One inference session.

    Attributes:
        inputs: shapes by name; numbers, or names of what may be any number.
    """

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self.inputs = {entry.name: list(entry.shape) for entry in session.get_inputs()}
        self._outputs = [output.name for output in session.get_outputs()]

    def __call__(self, inputs: Mapping[str, npt.NDArray[np.float32]]) -> Arrays:
        """Return the outputs by name."""
        return dict(zip(self._outputs, self._session.run(self._outputs, dict(inputs)), strict=True))


class OnnxRuntime:
    """One of ONNX Runtime's providers on one device."""

    base_cache_mb = DEFAULT_BASE_CACHE_MB

    def __init__(
        self,
        *,
        threads: int,
        device: str = "cpu",
        provider: str = "CPUExecutionProvider",
        precision: Precision = "float32",
    ) -> None:
        """Take the number of threads of one model call on a CPU, and what runs it elsewhere.

        Args:
            threads: threads of one model call on a CPU.
            device: `cpu` or `cuda:N`.
            provider: the execution provider, one that is installed.
            precision: of the TensorRT provider; the others compute in the network's own.
        """
        self.device = device
        self.precision: Precision = precision
        self.name = f"{'tensorrt' if provider.startswith('Tensorrt') else 'onnxruntime'}:{device}"
        self._providers = _providers(provider, device, precision)
        self._threads = threads

    def load(self, path: Path, architecture: str) -> Network:
        """Load an `.onnx` file; see `Runtime.load`."""
        try:
            session: Any = onnxruntime.InferenceSession(
                path.read_bytes(), self._options(architecture), providers=self._providers
            )
        except Exception as error:  # ONNX Runtime raises a class a fault, without a common base
            raise InvalidAvatar(
                f"{path.name} is not a network that ONNX Runtime can run: {str(error).splitlines()[0]}; export it again"
            ) from error
        return OnnxNetwork(session)

    def _options(self, architecture: str) -> onnxruntime.SessionOptions:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # The arena keeps the memory of the largest batch there ever was, and small networks take no longer without it. Those
        # with maps of many megabytes take up to twice as long, for the system hands over memory anew, page by page.
        options.enable_cpu_mem_arena = architecture in _LARGE
        # A spinning thread eats the core that the encoder needs between two calls.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return options


def _providers(provider: str, device: str, precision: Precision) -> list[str | tuple[str, dict[str, object]]]:
    """Return the providers in order of preference; what the first cannot run falls to the next."""
    cpu = "CPUExecutionProvider"
    if provider == cpu:
        return [cpu]
    number = int(device.partition(":")[2] or 0)
    cuda: tuple[str, dict[str, object]] = ("CUDAExecutionProvider", {"device_id": number})
    if provider == cuda[0]:
        return [cuda, cpu]
    options: dict[str, object] = {
        "device_id": number,
        "trt_fp16_enable": precision == "float16",
        "trt_bf16_enable": precision == "bfloat16",
    }
    return [(provider, options), cuda, cpu]
