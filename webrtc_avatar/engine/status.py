"""Figures of the engine, for operators, health checks and callers who ask."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from webrtc_avatar.engine.request import Request

_RECENT = 512


@dataclass(frozen=True, slots=True)
class Figures:
    """What was done, and how long the newest calls and frames took.

    Attributes:
        batches: model calls that went well.
        frames: frames that they made.
        failures: model calls that failed.
        batch_size: mean frames of the newest calls; 0 without any.
        wait_p50_s: time that half of the newest frames waited at most, from request to call.
        wait_p99_s: the same for 99 %.
        run_p50_s: time that half of the newest calls took at most.
        run_p99_s: the same for 99 %.
    """

    batches: int
    frames: int
    failures: int
    batch_size: float
    wait_p50_s: float
    wait_p99_s: float
    run_p50_s: float
    run_p99_s: float


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """One device's thread.

    Attributes:
        device: such as `onnxruntime:cpu`.
        busy: in a model call.
        healthy: false: its calls failed and it is left alone for a while.
        tally: what it did.
    """

    device: str
    busy: bool
    healthy: bool
    tally: Figures


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """One avatar's model.

    Attributes:
        name: the avatar's.
        kind: the model's.
        devices: where it is.
        memory_bytes: what it holds on all of them.
        streams: open ones.
        queued_live: frames with a deadline that wait.
        queued_bulk: frames without.
        batch_limit: frames in one call at most, on the device that has the most room.
        batch_s: seconds of a call by its frames, as measured on the first device.
    """

    name: str
    kind: str
    devices: tuple[str, ...]
    memory_bytes: int
    streams: int
    queued_live: int
    queued_bulk: int
    batch_limit: int
    batch_s: dict[int, float]


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """The engine as it stands.

    Attributes:
        running: it was started and not closed.
        workers: one a device.
        models: those that are loaded.
        queued_live: frames with a deadline that wait.
        queued_bulk: frames without.
        memory_bytes: what models hold on all devices.
        memory_budget_bytes: what they may hold on each.
        round_trip_s: how long the way to the engine and back takes, where it is on another machine.
    """

    running: bool
    workers: tuple[WorkerStatus, ...]
    models: tuple[ModelStatus, ...]
    queued_live: int
    queued_bulk: int
    memory_bytes: int
    memory_budget_bytes: int
    round_trip_s: float = 0.0

    @property
    def busy(self) -> int:
        """Workers that are in a model call."""
        return sum(worker.busy for worker in self.workers)

    @property
    def frames(self) -> int:
        """Frames rendered since the start."""
        return sum(worker.tally.frames for worker in self.workers)


class Tally:
    """Counts one worker's calls; the executor's lock guards it."""

    def __init__(self) -> None:
        self.failures = 0
        self._batches = 0
        self._frames = 0
        self._sizes: deque[int] = deque(maxlen=_RECENT)
        self._wait_s: deque[float] = deque(maxlen=_RECENT)
        self._run_s: deque[float] = deque(maxlen=_RECENT)

    def add(self, started_s: float, run_s: float, requests: Sequence[Request]) -> None:
        """Take note of a call that went well."""
        self._batches += 1
        self._frames += len(requests)
        self._sizes.append(len(requests))
        self._run_s.append(run_s)
        self._wait_s.extend(started_s - request.submitted_s for request in requests)

    def figures(self) -> Figures:
        """Return what was counted."""
        waits, runs = sorted(self._wait_s), sorted(self._run_s)
        return Figures(
            batches=self._batches,
            frames=self._frames,
            failures=self.failures,
            batch_size=sum(self._sizes) / len(self._sizes) if self._sizes else 0.0,
            wait_p50_s=_quantile(waits, 0.5),
            wait_p99_s=_quantile(waits, 0.99),
            run_p50_s=_quantile(runs, 0.5),
            run_p99_s=_quantile(runs, 0.99),
        )


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
