"""Which runtimes a server uses, one a device. torch is imported only where it was asked for or a GPU is there."""

from __future__ import annotations

import importlib.util
import logging
import re
from pathlib import Path

from webrtc_avatar.engine.runtime.base import Precision, Runtime
from webrtc_avatar.errors import EngineFailure
from webrtc_avatar.settings import Settings

log = logging.getLogger(__name__)

_DEVICE = re.compile(r"cpu|mps|cuda:\d+")
_PROVIDERS = {"onnx": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
"""What runs a network on a CUDA device, by the setting `runtime`."""


def open_runtimes(settings: Settings) -> list[Runtime]:
    """Return a runtime for each device that the settings ask for; the same device twice is two of them.

    With `runtime` auto that is torch on CUDA and MPS, and ONNX Runtime on a CPU.

    Raises:
        EngineFailure: the settings ask for a device, a library or a precision that is not there.
    """
    runtimes = [_open(device, settings) for device in _devices(settings)]
    for runtime in runtimes:
        runtime.base_cache_mb = settings.base_cache_mb
    return runtimes


def open_runtime(settings: Settings) -> Runtime:
    """Return the runtime of the first device; see `open_runtimes`."""
    return open_runtimes(settings)[0]


def _devices(settings: Settings) -> list[str]:
    """Return the devices in torch's words: cpu, cuda:N or mps."""
    names = [name.strip().lower() for name in settings.device.split(",")]
    if names == ["auto"]:
        wants_cpu = settings.runtime == "onnx"
        return ["cuda:0" if not wants_cpu and _cuda_available() else "cpu"]
    devices = ["cuda:0" if name == "cuda" else name for name in names]
    for device in devices:
        if not _DEVICE.fullmatch(device):
            raise EngineFailure(
                f"there is no device {device!r}; set device to auto, cpu, mps, cuda:0 or a list such as cuda:0,cuda:1"
            )
    return devices


def _open(device: str, settings: Settings) -> Runtime:
    if settings.runtime == "tensorrt" and not device.startswith("cuda"):
        raise EngineFailure(f"runtime tensorrt runs on CUDA devices, not on {device}; set device to cuda:0")
    if settings.runtime in _PROVIDERS and device != "cpu":
        return _onnx_on_gpu(device, settings)
    if device == "cpu" and settings.runtime in ("auto", "onnx"):
        from webrtc_avatar.engine.runtime.onnx import OnnxRuntime

        if settings.precision not in ("auto", "float32"):
            raise EngineFailure(
                f"precision {settings.precision}: ONNX Runtime computes in float32 on a CPU; set precision to auto, or "
                "runtime to torch for bfloat16"
            )
        return OnnxRuntime(threads=settings.engine_threads)
    return _torch(device, settings)


def _onnx_on_gpu(device: str, settings: Settings) -> Runtime:
    import onnxruntime

    provider = _PROVIDERS[settings.runtime]
    installed = onnxruntime.get_available_providers()
    if device == "mps":
        raise EngineFailure("runtime onnx does not run on mps; set device to cpu, or runtime to torch")
    if provider not in installed:
        raise EngineFailure(
            f"runtime {settings.runtime} on {device} needs {provider}; the installed onnxruntime {onnxruntime.__version__} "
            f"has {', '.join(installed)}: pip uninstall onnxruntime, pip install onnxruntime-gpu; or set runtime to torch, "
            "or device to cpu"
        )
    precision = _precision(settings, default="float32" if settings.runtime == "onnx" else "float16")
    if settings.runtime == "onnx" and precision != "float32":
        raise EngineFailure(
            f"precision {precision}: the CUDA provider computes in the network's own float32; set precision to auto, or "
            "runtime to tensorrt or torch"
        )
    from webrtc_avatar.engine.runtime.onnx import OnnxRuntime

    return OnnxRuntime(threads=settings.engine_threads, device=device, provider=provider, precision=precision)


def _torch(device: str, settings: Settings) -> Runtime:
    if importlib.util.find_spec("torch") is None:
        raise EngineFailure(
            f"device {device} needs torch, which is not installed; install the extra: pip install 'webrtc-avatar[torch]'"
        )
    if device.startswith("cuda"):
        _check_cuda(device)
    if device == "mps" and not _mps_available():
        raise EngineFailure("device mps: torch sees no Apple GPU; set device to cpu")
    precision = _precision(settings, default="float32" if device == "cpu" else "float16")
    if device == "cpu" and precision == "float16":
        raise EngineFailure("precision float16: a CPU computes in float32 or bfloat16; set precision to one of them")
    from webrtc_avatar.engine.runtime.torch import TorchRuntime

    return TorchRuntime(device, threads=settings.engine_threads, precision=precision)


def _precision(settings: Settings, *, default: Precision) -> Precision:
    return default if settings.precision == "auto" else settings.precision


def _check_cuda(device: str) -> None:
    if not _cuda_available():
        raise EngineFailure(f"device {device}: torch sees no CUDA device; set device to cpu, or mend the driver")
    import torch

    count = torch.cuda.device_count()
    if int(device.removeprefix("cuda:")) >= count:
        raise EngineFailure(f"device {device}: torch sees {count} CUDA devices, cuda:0 to cuda:{count - 1}")


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


def _mps_available() -> bool:
    import torch

    return bool(torch.backends.mps.is_available())
