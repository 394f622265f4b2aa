"""Requests for speech in, pieces out: a queue, processes that speak its batches, and what is done when one fails.

A batch that fails is said again request by request; a process that dies, hangs or grows is replaced, and what it had is said again
by another one, each request alone. A request that loses two processes is at fault itself. So none is lost, none is answered twice,
and each gets its own sound or its own error.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from webrtc_avatar.errors import AvatarServerError, ServerDraining, ServerFull, SpeechFailure
from webrtc_avatar.metrics import Metrics
from webrtc_avatar.settings import Settings
from webrtc_avatar.speech.batching import wire
from webrtc_avatar.speech.batching.backlog import Backlog
from webrtc_avatar.speech.batching.job import Job
from webrtc_avatar.speech.batching.options import BatchOptions
from webrtc_avatar.speech.batching.process import WorkerLost, WorkerProcess
from webrtc_avatar.speech.batching.status import Counts, SpeechStatus
from webrtc_avatar.speech.voice import Piece, Utterance

log = logging.getLogger(__name__)

_MOST_LOST = 2
_LIVE_FOR_S = 60.0
"""So long after a live request one process is kept free for the next one."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 10.0
_HELP_AFTER_S = 0.1
"""A batch that is due and that nobody has taken by then starts one more process."""


class SpeechPool:
    """The queue and its processes. Lives on the event loop.

    The first process starts with the first request, or with `warm`; each further one when there is more to say than the others can.

    Args:
        options: see `BatchOptions`.
        factories: `module:attribute` of each engine of voices, by its name.
        settings: handed to the engines.
        metrics: counts what happens.
        warm: voices that a process loads before it takes work.
    """

    def __init__(
        self,
        options: BatchOptions,
        factories: Mapping[str, str],
        settings: Settings,
        metrics: Metrics,
        *,
        warm: Sequence[str] = (),
    ) -> None:
        self.options = options
        self._factories, self._settings = dict(factories), _plain(settings)
        self._most_waiting = settings.speech_max_queue
        self._metrics, self._warm = metrics, tuple(warm)
        self._backlog: Backlog[Job] = Backlog(options)
        self._changed = asyncio.Event()
        self._ready: set[int] = set()
        self._busy: dict[int, tuple[WorkerProcess, list[Job]]] = {}
        self._places: list[asyncio.Task[None]] = []
        self._help: asyncio.TimerHandle | None = None
        self._closing = False
        self._live_s = float("-inf")
        self._counts = Counts()

    def warm(self, processes: int = 1) -> None:
        """Start so many processes, as far as they are not there and the options allow."""
        for _ in range(len(self._places), min(processes, self.options.workers)):
            self._start_another()

    def say(self, utterance: Utterance, *, live: bool = False) -> AsyncGenerator[Piece]:
        """Queue an utterance, and return its pieces as they come; closing the iterator gives it up.

        Args:
            utterance: checked by `voice.check`.
            live: somebody listens in real time; see `Waiting`.

        Raises:
            ServerFull: as many as the settings allow are waiting.
            ServerDraining: the server shuts down.
            AvatarServerError: from the iterator: whatever was wrong with this utterance.
        """
        if self._closing:
            raise ServerDraining("the server is shutting down and says nothing new; try again in a moment")
        if len(self._backlog) >= self._most_waiting:
            raise ServerFull(
                f"{len(self._backlog)} requests for speech are waiting already; try again in a few seconds, "
                "or raise speech_max_queue on the server"
            )
        self.warm()
        job = Job(utterance, live=live, queued_s=time.monotonic())
        if live:
            self._live_s = job.queued_s
        self._counts.requests += 1
        self._queue(job)
        return job.pieces(self._forget)

    def status(self) -> SpeechStatus:
        """Return what the pool does now and what it did so far."""
        return SpeechStatus(
            total_workers=self.options.workers,
            ready_workers=len(self._ready),
            busy_workers=len(self._busy),
            queue_size=len(self._backlog),
            batching_enabled=self.options.batching,
            max_batch_size=self.options.max_batch_size,
            **self._counts.snapshot(),
        )

    def pids(self) -> list[int]:
        """Return the numbers of the processes that are speaking."""
        return [worker.pid for worker, _ in self._busy.values() if worker.pid is not None]

    async def aclose(self) -> None:
        """End the processes; what waits is answered. Calling it twice is fine."""
        self._closing = True
        if self._help is not None:
            self._help.cancel()
        for task in self._places:
            task.cancel()
        await asyncio.gather(*self._places, return_exceptions=True)
        for job in self._backlog.drop_all():
            job.fail(ServerDraining("the server shut down before this was said; send it again"))
        self._note_queue()

    def _queue(self, job: Job) -> None:
        self._backlog.add(job)
        self._wake()
        self._look_for_help()

    def _start_another(self) -> None:
        place = len(self._places)
        if place < self.options.workers and not self._closing:
            self._places.append(asyncio.create_task(self._serve(place), name=f"speech-{place}"))

    def _look_for_help(self) -> None:
        """See in a moment whether a batch that is due has found a process."""
        if self._help is None and len(self._places) < self.options.workers and not self._closing:
            self._help = asyncio.get_running_loop().call_later(_HELP_AFTER_S, self._call_for_help)

    def _call_for_help(self) -> None:
        self._help = None
        due_s = self._backlog.next_due_s()
        if due_s is None:
            return
        all_are_ready = len(self._ready) == len(self._places)
        if all_are_ready and due_s <= time.monotonic() - _HELP_AFTER_S:
            self._start_another()
        self._look_for_help()

    def _wake(self) -> None:
        self._note_queue()
        self._changed.set()
        self._changed = asyncio.Event()

    def _note_queue(self) -> None:
        self._metrics.speech_queue.set(len(self._backlog))

    def _forget(self, job: Job) -> None:
        """Note that nobody wants a request any more, if it is not over."""
        if job.over:
            return
        job.over = True
        self._counts.given_up += 1
        self._metrics.speech_requests.labels("given_up").inc()
        if self._backlog.remove(job):
            self._wake()
            return
        for worker, batch in self._busy.values():
            if job in batch and all(each.over for each in batch):
                worker.give_up()

    async def _serve(self, place: int) -> None:
        """Keep one process, a new one whenever it is lost."""
        pause_s = _FIRST_PAUSE_S
        for number in itertools.count():
            worker = WorkerProcess(
                factories=self._factories,
                settings=self._settings,
                warm=self._warm,
                answer_timeout_s=self.options.answer_timeout_s,
                memory_bytes=self.options.memory_mb << 20,
            )
            if number:
                self._counts.replaced += 1
                self._metrics.speech_workers_replaced.inc()
            try:
                await worker.start()
                self._ready.add(place)
                while True:
                    await self._speak(place, worker, await self._next_for(worker, place))
                    pause_s = _FIRST_PAUSE_S
            except WorkerLost as lost:
                log.warning("%s; another one is started", lost)
                if place not in self._ready:
                    self._give_up_waiting(str(lost))
            finally:
                self._ready.discard(place)
                await worker.aclose()
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _give_up_waiting(self, why: str) -> None:
        """Answer what waits when no process can be started."""
        if self._ready:
            return
        for job in self._backlog.drop_all():
            self._fail(job, SpeechFailure(f"no process that speaks could be started ({why}); see the server's log"))
        self._note_queue()

    async def _next_for(self, worker: WorkerProcess, place: int) -> list[Job]:
        """Return the next batch, unless the process ends first."""
        batch = asyncio.create_task(self._next(place))
        ended = asyncio.create_task(worker.ended())
        try:
            await asyncio.wait({batch, ended}, return_when=asyncio.FIRST_COMPLETED)
            if batch.done():
                return batch.result()
            raise WorkerLost(ended.result())
        finally:
            # A batch is taken and returned without a pause between, so that none is lost here.
            batch.cancel()
            ended.cancel()
            await asyncio.gather(batch, ended, return_exceptions=True)

    async def _next(self, place: int) -> list[Job]:
        while True:
            now_s = time.monotonic()
            # While there are conversations, long productions leave one process to them.
            live_only = place == 0 and self.options.workers > 1 and now_s - self._live_s < _LIVE_FOR_S
            batch = self._backlog.take(now_s, live_only=live_only)
            if batch:
                self._note_queue()
                for job in batch:
                    self._metrics.speech_wait.observe(now_s - job.queued_s)
                return batch
            due_s = self._backlog.next_due_s(live_only=live_only)
            ends_s = self._live_s + _LIVE_FOR_S if live_only else None
            until_s = min((time_s for time_s in (due_s, ends_s) if time_s is not None), default=None)
            try:
                async with asyncio.timeout(None if until_s is None else max(until_s - now_s, 0.001)):
                    await self._changed.wait()
            except TimeoutError:
                pass

    async def _speak(self, place: int, worker: WorkerProcess, batch: list[Job]) -> None:
        self._busy[place] = worker, batch
        self._counts.batches += 1
        self._counts.batched += len(batch)
        self._metrics.speech_batch_size.observe(len(batch))
        started_s = time.monotonic()
        try:
            unbroken = True
            async for message in worker.run([job.utterance for job in batch]):
                unbroken = self._take(batch, message) and unbroken
            for job in batch if unbroken else ():
                self._fail(job, SpeechFailure("the voice ended before the text did; try another one"))
        except WorkerLost as lost:
            self._retry(batch, str(lost))
            raise
        except asyncio.CancelledError:
            for job in batch:
                self._fail(job, ServerDraining("the server shut down while this was said; send it again"))
            raise
        finally:
            del self._busy[place]
            self._metrics.speech_run.observe(time.monotonic() - started_s)

    def _take(self, batch: list[Job], message: wire.Message) -> bool:
        """Hand on what a process says; false if it gave the batch up."""
        fields = message.fields
        if fields["op"] == "broken":
            self._break(batch, wire.error_of(fields))
            return False
        index = fields["index"]
        if not 0 <= index < len(batch):
            return True
        job = batch[index]
        if fields["op"] == "failure":
            self._fail(job, wire.error_of(fields))
        elif not job.over:
            job.deliver(wire.piece_of(message))
            if job.over:
                self._counts.succeeded += 1
                self._metrics.speech_requests.labels("succeeded").inc()
        return True

    def _break(self, batch: list[Job], error: AvatarServerError) -> None:
        """A voice failed at a batch as a whole: say each alone, or answer the one that was alone."""
        if len(batch) == 1:
            self._fail(batch[0], error)
            return
        log.warning("a batch of %d requests failed, each is said alone now: %s", len(batch), error.message)
        self._say_again([job for job in batch if not job.over])

    def _retry(self, batch: list[Job], why: str) -> None:
        """A process is lost: what it had goes to another one."""
        for job in batch:
            job.lost += 1
            if job.lost >= _MOST_LOST:
                self._fail(job, SpeechFailure(f"{why}, for the second time over this text; send another text"))
        self._say_again([job for job in batch if not job.over])

    def _say_again(self, jobs: list[Job]) -> None:
        self._counts.retried += len(jobs)
        self._metrics.speech_retries.inc(len(jobs))
        for job in jobs:
            job.say_again()
            self._queue(job)

    def _fail(self, job: Job, error: AvatarServerError) -> None:
        if not job.over:
            self._counts.failed += 1
            self._metrics.speech_requests.labels("failed").inc()
        job.fail(error)


def _plain(settings: Settings) -> dict[str, Any]:
    """Return settings as JSON, secrets included: they go to the server's own processes alone."""

    def tell(value: object) -> object:
        if isinstance(value, SecretStr):
            return value.get_secret_value()
        if isinstance(value, Path):
            return str(value)
        raise TypeError(f"a setting of type {type(value).__name__} has no JSON form")

    plain: dict[str, Any] = json.loads(json.dumps(settings.model_dump(), default=tell))
    return plain
