"""The engine's threads, one a device: they alone hear sound and run models. Callers hand work over and never wait."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections import deque
from collections.abc import Sequence

from prometheus_client import Histogram

from webrtc_avatar.engine.batcher import Batch, Batcher
from webrtc_avatar.engine.faults import Fault, fault_of, free_memory
from webrtc_avatar.engine.loaded import Loaded, Place
from webrtc_avatar.engine.model import Rendered, SharingModel
from webrtc_avatar.engine.recovery import EAR, Worker, worth_a_try
from webrtc_avatar.engine.request import Face, Request
from webrtc_avatar.engine.source import Source, Work
from webrtc_avatar.engine.status import WorkerStatus
from webrtc_avatar.errors import AvatarServerError, EngineFailure
from webrtc_avatar.metrics import Metrics

log = logging.getLogger(__name__)

_BITE = 8
"""Chunks of bulk sound that are heard at a turn: about a millisecond's, which a live frame may have to wait."""


class Executor:
    """One queue, and a thread for each device that takes from it what is loaded there."""

    def __init__(self, *, max_wait_s: float, metrics: Metrics, max_batch_size: int = 16) -> None:
        """Take how long a frame may wait for company, and the largest batch."""
        self._changed = threading.Condition(threading.Lock())
        self._batcher = Batcher(max_wait_s=max_wait_s)
        self._live: deque[Source] = deque()
        self._bulk: deque[Source] = deque()
        self._sources: weakref.WeakSet[Source] = weakref.WeakSet()
        self._workers: list[Worker] = []
        self._has_ear = False
        self._max_batch_size = max_batch_size
        self._stopped = False
        self._metrics = metrics
        self._wait = metrics.stage_wait.labels("engine")
        self._run = metrics.stage_run.labels("engine")
        self._sizes: dict[str, Histogram] = {}
        self._outcomes = {name: metrics.frames.labels(name) for name in ("rendered", "failed", "dropped")}

    def start(self, devices: Sequence[str]) -> None:
        """Start a thread for each device; where one is no CPU, another that only hears, so that the device need not wait."""
        self._workers = [Worker(number, name) for number, name in enumerate(devices)]
        self._has_ear = any("cuda" in name or "mps" in name for name in devices)
        if self._has_ear:
            self._workers.append(Worker(EAR, "ear"))
        for worker in self._workers:
            name = "engine" if len(self._workers) == 1 else f"engine-{worker.number if worker.number >= 0 else 'ear'}"
            worker.thread = threading.Thread(target=self._turn, args=(worker,), name=name, daemon=True)
            worker.thread.start()

    @property
    def stopped(self) -> bool:
        """Whether it was closed, or a thread has failed."""
        return self._stopped

    def close(self) -> None:
        """Stop after the work that is under way; what waits is dropped, and its callers are told."""
        sources = self._stop()
        for worker in self._workers:
            if worker.thread is not None and worker.thread is not threading.current_thread():
                worker.thread.join(timeout=10)
        _tell_stopped(sources)

    def _stop(self) -> list[Source]:
        """Let the threads end, and return the callers to tell, the first time."""
        with self._changed:
            if self._stopped:
                return []
            self._stopped = True
            self._changed.notify_all()
            return list(self._sources)

    def open(self, source: Source) -> None:
        """Take note of a caller, so that it is told when the engine stops.

        Raises:
            EngineFailure: it has stopped.
        """
        with self._changed:
            if self._stopped:
                raise EngineFailure("the engine has stopped; open streams while the server is up")
            self._sources.add(source)

    def add(self, source: Source, work: Work) -> None:
        """Let a thread do a piece of a caller's work, in the caller's order."""
        with self._changed:
            source.work.append(work)
            if not source.bulk:
                self._batcher.live_seen(time.monotonic())
            if not source.scheduled:
                source.scheduled = True
                (self._bulk if source.bulk else self._live).append(source)
                self._notify()

    def forget(self, loaded: Loaded) -> None:
        """Drop what waits for a model that goes."""
        with self._changed:
            self._batcher.forget(loaded)

    def lengths(self, loaded: Loaded | None = None) -> tuple[int, int]:
        """Return how many live and bulk frames wait, of one model or of all; with those whose sound was not heard yet."""
        with self._changed:
            live, bulk = self._batcher.lengths(loaded)
            for source in (*self._live, *self._bulk):
                if loaded is None or source.loaded is loaded:
                    live += 0 if source.bulk else len(source.work)
                    bulk += len(source.work) if source.bulk else 0
            return live, bulk

    def workers(self) -> list[WorkerStatus]:
        """Return what each device's thread does and did."""
        with self._changed:
            now_s = time.monotonic()
            return [
                WorkerStatus(
                    device=worker.name,
                    busy=worker.busy,
                    healthy=not self._batcher.is_sick(worker.number, now_s),
                    tally=worker.tally.figures(),
                )
                for worker in self._workers
                if worker.number != EAR
            ]

    def _notify(self) -> None:
        if len(self._workers) == 1:
            self._changed.notify()
        else:
            self._changed.notify_all()  # the one that wakes may be the one whose device does not hold the model

    def _turn(self, worker: Worker) -> None:
        try:
            self._work(worker)
        except Exception:  # a fault of the engine itself: better an end that everybody hears of than silence
            log.exception("the engine's thread failed, the engine stops")
            _tell_stopped(self._stop())

    def _work(self, worker: Worker) -> None:
        rendered = False
        while True:
            with self._changed:
                source, batch = self._next(worker, rendered)
            if source is not None:
                self._hear(source)
                rendered = False
            elif batch is not None:
                self._render(worker, batch)
                rendered = True
            else:
                return
            source = batch = None  # while the thread waits, it keeps nobody's model

    def _next(self, worker: Worker, rendered: bool) -> tuple[Source | None, Batch | None]:
        """Wait for something to do, under the lock: sound of live streams, then in turns bulk sound and model calls."""
        hears = worker.number == EAR or not self._has_ear
        while not self._stopped:
            if hears and self._live:
                return self._live.popleft(), None
            if hears and self._bulk and (rendered or worker.number == EAR or self._lacks_bulk()):
                return self._bulk.popleft(), None
            wake_s = None
            if worker.number != EAR:
                batch = self._batcher.take(time.monotonic(), worker.number)
                if batch.requests or batch.late:
                    return None, batch
                wake_s = batch.wake_s
                if hears and self._bulk:
                    return self._bulk.popleft(), None
            self._changed.wait(None if wake_s is None else max(0.0, wake_s - time.monotonic()))
        return None, None

    def _lacks_bulk(self) -> bool:
        """Say whether bulk sound should be heard first, since no live frame waits and a batch would not be full."""
        live, bulk = self._batcher.lengths()
        return live == 0 and bulk < self._max_batch_size

    def _hear(self, source: Source) -> None:
        requests: list[Request] = []
        for _ in range(_BITE):
            try:
                work = source.work.popleft()
            except IndexError:  # nothing is left, or the stream was closed meanwhile
                break
            try:
                requests += work()
            except Exception:  # one caller's fault must not stop the thread of all
                log.exception("work on the engine's thread failed")
        with self._changed:
            for request in requests:
                self._batcher.add(request)
            if source.work:
                (self._bulk if source.bulk else self._live).append(source)
            else:
                source.scheduled = False
            if len(self._workers) > 1:
                self._notify()

    def _render(self, worker: Worker, batch: Batch) -> None:
        for request in batch.late:
            self._outcomes["dropped"].inc()
            request.source.answer(Face(index=request.index, epoch=request.epoch, late=True))
        requests = batch.requests
        place = batch.place
        if not requests or place is None:  # without a place nobody uses the model any more, or it would not have gone
            return
        worker.busy = True
        started_s = time.monotonic()
        try:
            jobs = [request.job for request in requests]
            if batch.models is None or not isinstance(place.model, SharingModel):
                rendered = place.model.render(jobs)
            else:
                rendered = place.model.render_for(batch.models, jobs)
            if len(rendered) != len(requests):
                raise EngineFailure(
                    f"the model gave {len(rendered)} crops for {len(requests)} requests; its batch axis is not dynamic"
                )
        except Exception as error:  # whatever a model raises, the others' frames must not be lost
            self._after_fault(worker, place, requests, error)
            return
        finally:
            worker.busy = False
        run_s = time.monotonic() - started_s
        with self._changed:
            place.capacity.record(len(requests), run_s)
            worker.is_well()
            worker.tally.add(started_s, run_s, requests)
        self._deliver(requests, rendered, started_s, run_s)
        self._run.observe(run_s)
        name = requests[0].source.loaded.label
        if name not in self._sizes:
            self._sizes[name] = self._metrics.batch_size.labels(name)
        self._sizes[name].observe(len(requests))

    def _deliver(self, requests: list[Request], rendered: Sequence[Rendered], started_s: float, run_s: float) -> None:
        """Give every source its faces of a call, together: waking whoever waits for them costs more than making them."""
        by_source: dict[Source, list[Face]] = {}
        for request, made in zip(requests, rendered, strict=True):
            wait_s = started_s - request.submitted_s
            self._wait.observe(wait_s)
            by_source.setdefault(request.source, []).append(
                Face(
                    index=request.index,
                    epoch=request.epoch,
                    crop=made.crop,
                    weights=made.weights,
                    batch_size=len(requests),
                    wait_s=wait_s,
                    run_s=run_s,
                )
            )
        for source, faces in by_source.items():
            source.answer(*faces)
        self._outcomes["rendered"].inc(len(requests))

    def _after_fault(self, worker: Worker, place: Place, requests: list[Request], error: Exception) -> None:
        """Put back what may still succeed, and answer what cannot."""
        fault = fault_of(error)
        if fault is Fault.MEMORY:
            error.__traceback__ = None  # it holds what the call had allocated
            free_memory()
        with self._changed:
            worker.tally.failures += 1
            for request in requests:
                request.tries += 1
            again = worth_a_try(self._batcher, worker, place, requests, error)
            self._batcher.put_back(again)
            failed = [request for request in requests if request not in again and not request.aside]
            self._notify()
        self._tell(fault, requests, error)
        for request in failed:
            self._outcomes["failed"].inc()
            log.error("frame %d failed alone as well: %s", request.index, error)
            request.source.answer(_failed(request, error))

    def _tell(self, fault: Fault, requests: list[Request], error: Exception) -> None:
        if fault is Fault.MEMORY:
            self._metrics.out_of_memory.inc()
            log.warning("a batch of %d does not fit into memory, smaller ones follow: %s", len(requests), error)
        elif len(requests) > 1:
            self._metrics.batches_retried.inc()
            log.warning("a batch of %d failed and is retried one by one: %s", len(requests), error)


def _tell_stopped(sources: list[Source]) -> None:
    for source in sources:
        if source.on_stop is not None and not source.closed:
            source.on_stop()


def _failed(request: Request, error: Exception) -> Face:
    failure = error if isinstance(error, AvatarServerError) else EngineFailure(f"frame {request.index} failed: {error}")
    return Face(index=request.index, epoch=request.epoch, error=failure)
