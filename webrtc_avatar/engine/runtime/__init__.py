"""What executes networks: ONNX Runtime on a CPU, torch on CUDA, behind one small interface.

Both read the same `.onnx` file: the torch runtime takes its weights from it by name, so a model ships once.
"""

from webrtc_avatar.engine.runtime.base import Network, Runtime
from webrtc_avatar.engine.runtime.choice import open_runtime

__all__ = ["Network", "Runtime", "open_runtime"]
