"""How requests for speech are grouped. Source: the seed document on batching, whose names and defaults these are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Preset = Literal["default", "throughput", "latency"]


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """Limits of batches and of the processes that speak them.

    Attributes:
        batching: group compatible requests; false: each goes alone, and at once.
        max_batch_size: most requests in one batch, 1 to 64.
        timeout_ms: how long the oldest request of a batch that is not full waits for company.
        max_text_length: most characters of a batch; a longer request goes alone.
        workers: processes that speak.
        answer_timeout_s: a process that says nothing for so long while it has work hangs, and is replaced.
        memory_mb: a process that holds more is replaced.
    """

    batching: bool = True
    max_batch_size: int = 4
    timeout_ms: int = 500
    max_text_length: int = 2000
    workers: int = 2
    answer_timeout_s: float = 30.0
    memory_mb: int = 1024


def preset(name: Preset) -> BatchOptions:
    """Return the options of a preset: `throughput` for long productions, `latency` for conversations."""
    plain = BatchOptions()
    if name == "throughput":
        return replace(plain, max_batch_size=6, timeout_ms=1000, max_text_length=3000, workers=4)
    if name == "latency":
        return replace(plain, max_batch_size=2, timeout_ms=200, max_text_length=1000)
    return plain
