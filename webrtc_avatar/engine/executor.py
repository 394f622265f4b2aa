"""The thread that owns a device: it alone computes features and runs models."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from webrtc_avatar.engine.batcher import Batch, Batcher
from webrtc_avatar.engine.model import Job
from webrtc_avatar.engine.request import Face, Request
from webrtc_avatar.errors import AvatarServerError, EngineFailure
from webrtc_avatar.metrics import Metrics

if TYPE_CHECKING:
    from webrtc_avatar.engine.source import Source

log = logging.getLogger(__name__)

_MAX_WAIT_S = 0.004
"""How long a frame waits for company when its deadline would allow more. On two cores, 10 ms made the batches of four
sessions larger (1.8 frames against 1.3) but the networks hardly cheaper (2.2 ms a frame against 2.4), and frames later
(p99 of their lateness 32 ms against 14), in one run each of 30 s and 60 s."""


class Executor:
    """Runs everything that touches a device, in one thread. Callers hand work over and never wait."""

    def __init__(self, *, max_batch_size: int, metrics: Metrics) -> None:
        self._batcher = Batcher(max_batch_size=max_batch_size, max_wait_s=_MAX_WAIT_S)
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._metrics = metrics
        self._sequence = 0
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Stop after the work that is under way; waiting requests are dropped."""
        if self._thread.is_alive():
            self._inbox.put(None)
            self._thread.join(timeout=10)

    def call(self, work: Callable[[], None]) -> None:
        """Run `work` on the engine's thread, soon and in order."""
        self._inbox.put(work)

    def add_chunk(
        self,
        source: Source,
        samples: np.ndarray,
        *,
        index: int,
        deadline_s: float | None,
        epoch: int,
        base: int | None,
    ) -> None:
        """Take a chunk on the engine's thread; with a deadline, the frame that it completes is queued."""
        if source.is_stale(epoch):
            return
        context = source.add(samples, epoch)
        if deadline_s is None or context is None:
            return
        frame = index - source.chunks_after
        self._queue(source, context, frame=frame, base=base, deadline_s=deadline_s, epoch=epoch)

    def finish(
        self,
        source: Source,
        *,
        index: int,
        deadline_s: float,
        epoch: int,
        frames: range | None,
        bases: Callable[[int], int] | None,
    ) -> None:
        """Queue the frames that still lack chunks, on the engine's thread; `index` is the first of them."""
        if source.is_stale(epoch):
            return
        for frame, context in enumerate(source.finish(), start=index):
            if frames is None or frame in frames:
                base = None if bases is None else bases(frame)
                self._queue(source, context, frame=frame, base=base, deadline_s=deadline_s, epoch=epoch)

    def request(self, source: Source, frame: int, *, index: int, deadline_s: float, epoch: int, base: int) -> None:
        """Queue a frame with the package's features, on the engine's thread."""
        if source.is_stale(epoch):
            return
        try:
            context = source.model.features(frame)
        except AvatarServerError as error:
            source.on_face(Face(index=index, epoch=epoch, error=error))
            return
        self._queue(source, context, frame=index, base=base, deadline_s=deadline_s, epoch=epoch)

    def _queue(
        self, source: Source, context: object, *, frame: int, base: int | None, deadline_s: float, epoch: int
    ) -> None:
        self._sequence += 1
        self._batcher.add(
            Request(
                deadline_s=deadline_s,
                sequence=self._sequence,
                submitted_s=time.monotonic(),
                source=source,
                index=frame,
                epoch=epoch,
                job=Job(context, frame if base is None else base),
            )
        )

    def _run(self) -> None:
        while True:
            start_s = self._batcher.next_start_s(time.monotonic())
            timeout_s = None if start_s is None else start_s - time.monotonic()
            if timeout_s is None or timeout_s > 0:
                try:
                    work = self._inbox.get(timeout=timeout_s)
                except queue.Empty:
                    work = _nothing
                if work is None:
                    return
                self._do(work)
                if not self._drain():
                    return
            else:
                if not self._drain():
                    return
                self._render(self._batcher.take(time.monotonic()))

    def _drain(self) -> bool:
        """Do what is in the inbox by now; False when asked to stop."""
        while True:
            try:
                work = self._inbox.get_nowait()
            except queue.Empty:
                return True
            if work is None:
                return False
            self._do(work)

    def _do(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:  # one caller's fault must not stop the thread of all
            log.exception("work on the engine's thread failed")

    def _render(self, batch: Batch) -> None:
        for request in batch.late:
            self._metrics.frames.labels("dropped").inc()
            _deliver(request, Face(index=request.index, epoch=request.epoch, late=True))
        if not batch.requests:
            return
        started_s = time.monotonic()
        for request in batch.requests:
            self._metrics.stage_wait.labels("engine").observe(started_s - request.submitted_s)
        try:
            faces = _render_together(batch.requests)
        except Exception as error:  # whatever a model raises, the others' frames must not be lost
            faces = self._render_one_by_one(batch.requests, error)
        run_s = time.monotonic() - started_s
        self._batcher.record_run(batch.model, run_s)
        self._metrics.stage_run.labels("engine").observe(run_s)
        self._metrics.batch_size.labels(str(batch.model)).observe(len(batch.requests))
        for request, face in zip(batch.requests, faces, strict=True):
            self._metrics.frames.labels("failed" if face.error else "rendered").inc()
            _deliver(request, face)

    def _render_one_by_one(self, requests: list[Request], error: Exception) -> list[Face]:
        if len(requests) == 1:
            return [_failed(requests[0], error)]
        self._metrics.batches_retried.inc()
        log.warning("a batch of %d failed and is retried one by one: %s", len(requests), error)
        faces = []
        for request in requests:
            try:
                faces += _render_together([request])
            except Exception as alone:
                faces.append(_failed(request, alone))
        return faces


def _nothing() -> None:
    """Stand in for work when only the clock woke the thread."""


def _render_together(requests: list[Request]) -> list[Face]:
    started_s = time.monotonic()
    rendered = requests[0].source.model.render([request.job for request in requests])
    run_s = time.monotonic() - started_s
    if len(rendered) != len(requests):
        raise EngineFailure(
            f"the model gave {len(rendered)} crops for {len(requests)} requests; its batch axis is not dynamic"
        )
    return [
        Face(
            index=request.index,
            epoch=request.epoch,
            crop=made.crop,
            weights=made.weights,
            batch_size=len(requests),
            wait_s=started_s - request.submitted_s,
            run_s=run_s,
        )
        for request, made in zip(requests, rendered, strict=True)
    ]


def _failed(request: Request, error: Exception) -> Face:
    failure = error if isinstance(error, EngineFailure) else EngineFailure(f"frame {request.index} failed: {error}")
    log.error("frame %d failed alone as well: %s", request.index, error)
    return Face(index=request.index, epoch=request.epoch, error=failure)


def _deliver(request: Request, face: Face) -> None:
    if request.source.is_stale(request.epoch):
        return
    try:
        request.source.on_face(face)
    except Exception:  # a receiver that went away must not stop the thread of all
        log.exception("a face could not be delivered")
