"""Which requests go together, and when. Knows neither processes nor clocks: it is told the time."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, Protocol, TypeVar

from webrtc_avatar.speech.batching.options import BatchOptions


class Waiting(Protocol):
    """What waits.

    Attributes:
        key: requests with equal keys may share a batch.
        length: characters of its text.
        live: somebody listens in real time: it goes before all that nobody waits for, and never waits for company.
        alone: its batch failed, so it goes alone, and at once.
        queued_s: since when it waits, on the caller's clock.
    """

    key: Hashable
    length: int
    live: bool
    alone: bool
    queued_s: float


Job = TypeVar("Job", bound=Waiting)


class Backlog(Generic[Job]):
    """The queue. For one thread."""

    def __init__(self, options: BatchOptions) -> None:
        self._options = options
        self._jobs: list[Job] = []

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._jobs)

    def add(self, job: Job) -> None:
        """Append a request, or one whose batch failed."""
        self._jobs.append(job)

    def remove(self, job: Job) -> bool:
        """Forget a request; false if it does not wait any more."""
        if job not in self._jobs:
            return False
        self._jobs.remove(job)
        return True

    def drop_all(self) -> list[Job]:
        """Forget all, and return them."""
        jobs, self._jobs = self._jobs, []
        return jobs

    def take(self, now_s: float, *, live_only: bool = False) -> list[Job]:
        """Return the next batch and forget it; empty if none is due.

        Args:
            now_s: the time.
            live_only: leave all that nobody waits for in real time.
        """
        for batch in self._candidates(live_only):
            if self._due_s(batch) <= now_s:
                taken = set(map(id, batch))
                self._jobs = [job for job in self._jobs if id(job) not in taken]
                return batch
        return []

    def next_due_s(self, *, live_only: bool = False) -> float | None:
        """Return when `take` has something; None while nothing waits."""
        return min((self._due_s(batch) for batch in self._candidates(live_only)), default=None)

    def _candidates(self, live_only: bool) -> list[list[Job]]:
        """Return one batch for each key, those of live requests first, then by age."""
        batches: list[list[Job]] = []
        for matches in (_is_live, _is_not_live)[: 1 if live_only else 2]:
            jobs = [job for job in self._jobs if matches(job)]
            batches += [[job] for job in jobs if job.alone or not self._options.batching]
            if self._options.batching:
                together = [job for job in jobs if not job.alone]
                keys = dict.fromkeys(job.key for job in together)
                batches += [self._gather([job for job in together if job.key == key]) for key in keys]
        return batches

    def _gather(self, jobs: list[Job]) -> list[Job]:
        """Return the oldest requests that fit into one batch; the first fits always."""
        batch, length = jobs[:1], jobs[0].length
        for job in jobs[1:]:
            if len(batch) == self._options.max_batch_size or length + job.length > self._options.max_text_length:
                break
            batch.append(job)
            length += job.length
        return batch

    def _due_s(self, batch: list[Job]) -> float:
        first = batch[0]
        if first.live or first.alone or not self._options.batching or self._is_full(batch):
            return first.queued_s
        return first.queued_s + self._options.timeout_ms / 1000

    def _is_full(self, batch: list[Job]) -> bool:
        """Whether no further request of its kind fits, one that waits already included."""
        if len(batch) >= self._options.max_batch_size:
            return True
        length = sum(job.length for job in batch)
        if length >= self._options.max_text_length:
            return True
        key, taken = batch[0].key, set(map(id, batch))
        return any(job.key == key and not job.live and not job.alone and id(job) not in taken for job in self._jobs)


def _is_live(job: Waiting) -> bool:
    return job.live


def _is_not_live(job: Waiting) -> bool:
    return not job.live
