"""Which runtime a server uses. torch is imported only where it was asked for or a GPU is there."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path

from webrtc_avatar.engine.runtime.base import Runtime
from webrtc_avatar.errors import EngineFailure
from webrtc_avatar.settings import Settings

log = logging.getLogger(__name__)


def open_runtime(settings: Settings) -> Runtime:
    """Return the runtime that the settings ask for.

    `auto` takes torch on CUDA where a GPU and torch are there, else ONNX Runtime on the CPU.

    Raises:
        EngineFailure: the settings ask for a device or a library that is not there.
    """
    if settings.runtime == "onnx" or (settings.runtime == "auto" and settings.device == "cpu"):
        return _onnx(settings)
    device = settings.device
    if device == "auto":
        device = "cuda:0" if _cuda_available() else "cpu"
    if device == "cpu" and settings.runtime == "auto":
        return _onnx(settings)
    return _torch(device, settings)


def _onnx(settings: Settings) -> Runtime:
    from webrtc_avatar.engine.runtime.onnx import OnnxRuntime

    if settings.device.startswith("cuda"):
        raise EngineFailure("runtime onnx runs on the CPU only; set device to cpu, or runtime to torch for CUDA")
    return OnnxRuntime(threads=settings.engine_threads)


def _torch(device: str, settings: Settings) -> Runtime:
    if importlib.util.find_spec("torch") is None:
        raise EngineFailure(
            f"device {device} needs torch, which is not installed; install the extra: pip install 'webrtc-avatar[torch]'"
        )
    if device.startswith("cuda") and not _cuda_available():
        raise EngineFailure(f"device {device}: torch sees no CUDA device; set device to cpu, or mend the driver")
    from webrtc_avatar.engine.runtime.torch import TorchRuntime

    return TorchRuntime(device, threads=settings.engine_threads)


def _cuda_available() -> bool:
    if not any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/dxg")):
        return False  # importing torch takes seconds: not for a machine that has no GPU
    if importlib.util.find_spec("torch") is None:
        log.warning(
            "a GPU is here but torch is not: networks run on the CPU; pip install 'webrtc-avatar[torch]' changes that"
        )
        return False
    import torch

    return bool(torch.cuda.is_available())
