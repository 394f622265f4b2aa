"""What kind of fault a failed model call was, told by its class and its words: runtimes have no common base class for it."""

from __future__ import annotations

import gc
import re
import sys
from enum import Enum

_MEMORY_CLASSES = ("OutOfMemoryError", "MemoryError", "_ArrayMemoryError")
_MEMORY_WORDS = re.compile(
    r"out of memory|failed to allocate|bad_alloc|cannot allocate memory|not enough memory|CUBLAS_STATUS_ALLOC_FAILED|"
    r"CUDNN_STATUS_ALLOC_FAILED|MPS backend out of memory|BFCArena|AllocateRawInternal",
    re.IGNORECASE,
)
_DEVICE_CLASSES = ("AcceleratorError",)
_DEVICE_WORDS = re.compile(
    r"CUDA error|CUDA failure|CUDNN failure|CUBLAS failure|cudaError|device-side assert|illegal memory access|"
    r"unspecified launch failure|device is (?:lost|busy or unavailable)|GPU has fallen off|uncorrectable ECC",
    re.IGNORECASE,
)


class Fault(Enum):
    """What to do about it: a smaller batch, another device, or each frame alone."""

    MEMORY = "memory"
    DEVICE = "device"
    FRAME = "frame"


def fault_of(error: BaseException) -> Fault:
    """Return the kind of fault that `error` is, or that it was raised from."""
    cause: BaseException | None = error
    for _ in range(4):
        if cause is None:
            break
        names = {kind.__name__ for kind in type(cause).__mro__}
        text = str(cause)
        if names.intersection(_MEMORY_CLASSES) or _MEMORY_WORDS.search(text):
            return Fault.MEMORY
        if names.intersection(_DEVICE_CLASSES) or _DEVICE_WORDS.search(text):
            return Fault.DEVICE
        cause = cause.__cause__
    return Fault.FRAME


def free_memory() -> None:
    """Give back what allocators keep for later, after a call that did not fit."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
