"""Which frames go into the next model call: earliest deadline first, one model a batch, nothing stale, nothing late.

Pure bookkeeping without threads or clocks of its own: the executor asks, with the time in hand.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from dataclasses import dataclass, field

from webrtc_avatar.engine.request import Request


@dataclass(slots=True)
class Batch:
    """Requests for one model call, and those that are not worth one any more."""

    model: Hashable | None = None
    requests: list[Request] = field(default_factory=list)
    late: list[Request] = field(default_factory=list)


class Batcher:
    """Requests of all streams, grouped by model."""

    def __init__(self, *, max_batch_size: int, max_wait_s: float) -> None:
        """Take the limits: frames in a batch, and how long a frame may wait for company."""
        self._max_batch_size = max_batch_size
        self._max_wait_s = max_wait_s
        self._queues: dict[Hashable, list[Request]] = {}
        self._run_s: dict[Hashable, float] = {}

    def __len__(self) -> int:
        """Return the number of waiting requests."""
        return sum(len(queue) for queue in self._queues.values())

    def add(self, request: Request) -> None:
        """Queue a request under its source's model."""
        heapq.heappush(self._queues.setdefault(request.source.model_key, []), request)

    def record_run(self, model: Hashable, run_s: float) -> None:
        """Remember how long a call of `model` takes: an average that rises at once and falls slowly."""
        known = self._run_s.get(model, run_s)
        self._run_s[model] = run_s if run_s > known else known + 0.1 * (run_s - known)

    def next_start_s(self, now_s: float) -> float | None:
        """Return when the next batch should start, or None with nothing to do.

        A batch starts when it is full, when its oldest request has waited long enough for company, or when its earliest
        deadline allows no more waiting.
        """
        starts = [self._start_s(model, queue, now_s) for model, queue in self._queues.items() if queue]
        return min(starts, default=None)

    def _start_s(self, model: Hashable, queue: list[Request], now_s: float) -> float:
        if len(queue) >= self._max_batch_size:
            return now_s
        waited = min(request.submitted_s for request in queue) + self._max_wait_s
        return min(waited, queue[0].deadline_s - 2 * self._run_s.get(model, 0.0))

    def take(self, now_s: float) -> Batch:
        """Remove and return the most urgent batch; stale requests vanish, late ones come back apart.

        Stale: of an epoch or a source that is over. Late: the deadline has passed.
        """
        batch = Batch()
        for model in list(self._queues):
            queue = [request for request in self._queues[model] if not request.source.is_stale(request.epoch)]
            batch.late += [request for request in queue if request.deadline_s < now_s]
            queue = [request for request in queue if request.deadline_s >= now_s]
            heapq.heapify(queue)
            if queue:
                self._queues[model] = queue
            else:
                del self._queues[model]
        if self._queues:
            model = min(self._queues, key=lambda key: self._queues[key][0])
            queue = self._queues[model]
            batch.model = model
            batch.requests = [heapq.heappop(queue) for _ in range(min(len(queue), self._max_batch_size))]
            if not queue:
                del self._queues[model]
        return batch

    def forget(self, model: Hashable) -> None:
        """Drop what is known of a model that is no longer loaded."""
        self._queues.pop(model, None)
        self._run_s.pop(model, None)
