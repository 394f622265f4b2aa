"""ONNX Runtime on a CPU, with its threads counted and not spinning."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from webrtc_avatar.engine.runtime.base import Arrays, Network
from webrtc_avatar.errors import InvalidAvatar


class OnnxNetwork:
    """One inference session."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self._outputs = [output.name for output in session.get_outputs()]

    def __call__(self, inputs: Mapping[str, npt.NDArray[np.float32]]) -> Arrays:
        """Return the outputs by name."""
        return dict(zip(self._outputs, self._session.run(self._outputs, dict(inputs)), strict=True))


class OnnxRuntime:
    """ONNX Runtime's CPU provider."""

    name = "onnxruntime:cpu"

    def __init__(self, *, threads: int) -> None:
        """Take the number of threads of one model call."""
        self._options = onnxruntime.SessionOptions()
        self._options.intra_op_num_threads = threads
        self._options.inter_op_num_threads = 1
        self._options.log_severity_level = 3
        # The arena keeps the memory of the largest batch there ever was, and without it a call takes no longer.
        self._options.enable_cpu_mem_arena = False
        # A spinning thread eats the core that the encoder needs between two calls.
        self._options.add_session_config_entry("session.intra_op.allow_spinning", "0")

    def load(self, path: Path, architecture: str) -> Network:
        """Load an `.onnx` file; see `Runtime.load`."""
        try:
            session: Any = onnxruntime.InferenceSession(
                path.read_bytes(), self._options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime raises a class a fault, without a common base
            raise InvalidAvatar(
                f"{path.name} is not a network that ONNX Runtime can run: {str(error).splitlines()[0]}; export it again"
            ) from error
        return OnnxNetwork(session)
