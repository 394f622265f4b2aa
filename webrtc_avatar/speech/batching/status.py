"""What the processes that speak do, in figures."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class SpeechStatus:
    """The pool at one moment, and since it began.

    Attributes:
        total_workers: processes that there may be; one is there from the beginning, further ones start when they are needed.
        ready_workers: those that have loaded their voices.
        busy_workers: those that are speaking.
        queue_size: requests that wait.
        batching_enabled: whether compatible requests are grouped.
        max_batch_size: most requests in one batch.
        requests: all that came.
        succeeded: those that were said to their end.
        failed: those that were answered with an error.
        given_up: those that their callers gave up.
        batches: batches that processes took, those of one request included.
        mean_batch_size: requests in one of them.
        retried: requests that were said again, because their batch or its process failed.
        workers_replaced: processes that died, hung or grew too large.
    """

    total_workers: int
    ready_workers: int
    busy_workers: int
    queue_size: int
    batching_enabled: bool
    max_batch_size: int
    requests: int = 0
    succeeded: int = 0
    failed: int = 0
    given_up: int = 0
    batches: int = 0
    mean_batch_size: float = 0.0
    retried: int = 0
    workers_replaced: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the fields of a status answer."""
        return asdict(self)


@dataclass(slots=True)
class Counts:
    """What happened so far; see `SpeechStatus`."""

    requests: int = 0
    succeeded: int = 0
    failed: int = 0
    given_up: int = 0
    batches: int = 0
    batched: int = 0
    retried: int = 0
    replaced: int = 0

    def snapshot(self) -> dict[str, Any]:
        """Return them as fields of a status."""
        return {
            "requests": self.requests,
            "succeeded": self.succeeded,
            "failed": self.failed,
            "given_up": self.given_up,
            "batches": self.batches,
            "mean_batch_size": round(self.batched / self.batches, 2) if self.batches else 0.0,
            "retried": self.retried,
            "workers_replaced": self.replaced,
        }
