"""What executes networks: ONNX Runtime on a CPU, torch on CUDA and MPS, behind one small interface.

Both read the same `.onnx` file: the torch runtime takes its weights from it by name, so a model ships once.
"""

from webrtc_avatar.engine.runtime.base import Network, Precision, Runtime
from webrtc_avatar.engine.runtime.choice import open_runtime, open_runtimes

__all__ = ["Network", "Precision", "Runtime", "open_runtime", "open_runtimes"]
