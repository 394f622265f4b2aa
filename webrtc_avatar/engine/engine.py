"""The engine: avatars in, streams out. Nothing in it awaits, nothing outside it touches a tensor."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING

from webrtc_avatar.engine.executor import Executor
from webrtc_avatar.engine.model import Model
from webrtc_avatar.engine.request import Face
from webrtc_avatar.engine.residency import Residency
from webrtc_avatar.engine.runtime import Runtime, open_runtimes
from webrtc_avatar.engine.source import Source
from webrtc_avatar.engine.status import EngineStatus, ModelStatus
from webrtc_avatar.engine.stream import Stream
from webrtc_avatar.metrics import Metrics
from webrtc_avatar.settings import Settings

if TYPE_CHECKING:
    from webrtc_avatar.avatar.package import AnyAvatar

log = logging.getLogger(__name__)

_ASKED_AT_ONCE = 4
"""Frames whose features are looked up before a thread sees to something else."""


class Engine:
    """All models on all devices. Thread-safe: every method may be called from any thread."""

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        *,
        runtime: Runtime | None = None,
        runtimes: Sequence[Runtime] | None = None,
    ) -> None:
        """Take the settings; `runtime`, or `runtimes` for several devices, overrides what they would choose."""
        self._settings = settings
        self._runtimes = runtimes if runtimes is not None else None if runtime is None else [runtime]
        self._executor = Executor(
            max_wait_s=settings.max_wait_ms / 1000, metrics=metrics, max_batch_size=settings.max_batch_size
        )
        self._residency = Residency(
            budget_bytes=settings.model_memory_mb * 1_000_000,
            max_batch_size=settings.max_batch_size,
            on_evict=self._executor.forget,
        )
        self._running = False
        metrics.engine_queue.labels("live").set_function(lambda: self._executor.lengths()[0])
        metrics.engine_queue.labels("bulk").set_function(lambda: self._executor.lengths()[1])
        metrics.engine_busy.set_function(lambda: sum(worker.busy for worker in self._executor.workers()))
        metrics.engine_healthy.set_function(lambda: sum(worker.healthy for worker in self._executor.workers()))
        metrics.model_memory.set_function(self._residency.memory_bytes)

    @property
    def runtime_name(self) -> str:
        """What runs the networks, such as `onnxruntime:cpu`; several with commas; empty before `start`."""
        return ",".join(runtime.name for runtime in self._runtimes or ())

    def start(self) -> None:
        """Choose the runtimes and start a thread for each.

        Raises:
            EngineFailure: the settings ask for a device that is not there.
        """
        if self._runtimes is None:
            self._runtimes = open_runtimes(self._settings)
        self._residency.start(self._runtimes)
        self._executor.start([runtime.name for runtime in self._runtimes])
        self._running = True
        log.info("engine ready runtime=%s threads=%d", self.runtime_name, self._settings.engine_threads)

    def close(self) -> None:
        """Stop the threads, and tell those who wait; calling it twice is fine."""
        self._running = False
        self._executor.close()

    def load(self, avatar: AnyAvatar) -> Future[Model]:
        """Load and warm up an avatar's model, once however often it is asked for, and again where it had to make room.

        This takes a thread of its own, so that the frames of those already in do not wait. The future is done when the
        first device has it; the others follow as far as their memory goes. It raises InvalidAvatar for networks that do not
        fit, ModelMemoryFull where models in use leave no room, and AvatarInUse where the package was changed since it was
        loaded and streams of the old one are open; a later call tries again.
        """
        return self._residency.load(avatar)

    def unload(self, avatar: AnyAvatar) -> None:
        """Let an avatar's model and its memory go, as soon as nobody uses it: streams that are open go on to their end.

        Loading the avatar again takes this back. One that is not loaded is no fault.
        """
        self._residency.unload(avatar)

    def open(
        self,
        avatar: AnyAvatar,
        on_face: Callable[[Face], None],
        *,
        first_chunk: int = 0,
        windowed: bool = False,
        bulk: bool = False,
        on_batch: Callable[[], None] | None = None,
        on_stop: Callable[[], None] | None = None,
    ) -> Stream:
        """Return a stream of an avatar whose `load` is done; its model stays until it is closed.

        Args:
            avatar: who is rendered.
            on_face: takes each face, on one of the engine's threads. With several devices, faces may overtake one another.
            first_chunk: number of the first chunk that will be pushed.
            windowed: see `Model.track`.
            bulk: nobody listens in real time, so its sound as well as its frames wait for those of live streams.
            on_batch: called after the faces of one model call were given: the moment to wake whoever waits for several.
            on_stop: called when the engine stops: no face comes any more.

        Raises:
            EngineFailure: `load` was not called or has not finished, or the engine has stopped.
        """
        loaded = self._residency.acquire(avatar)
        try:
            source = Source(
                loaded=loaded,
                on_face=on_face,
                first_chunk=first_chunk,
                windowed=windowed,
                bulk=bulk,
                on_batch=on_batch,
                on_stop=on_stop,
            )
            self._executor.open(source)
        except BaseException:
            self._residency.release(loaded)
            raise
        return Stream(self._executor, source, on_close=partial(self._residency.release, loaded))

    def submit(
        self,
        avatar: AnyAvatar,
        frames: Sequence[int],
        on_face: Callable[[Face], None],
        *,
        deadline_s: float = math.inf,
        bases: Sequence[int] | None = None,
    ) -> Stream:
        """Ask for frames in any order, with the features that the avatar's package brings.

        Args:
            avatar: who is rendered; its `load` is done.
            frames: their numbers, from 0; one that there is not is answered with its error.
            on_face: takes each answer; its `index` is the frame's place in `frames`.
            deadline_s: as for `Stream.push`.
            bases: the frame of footage for each; by default its own number.

        Returns:
            A stream whose `close` drops what waits.

        Raises:
            EngineFailure: see `open`.
        """
        stream = self.open(avatar, on_face, bulk=deadline_s == math.inf)
        asked = list(zip(frames, range(len(frames)), frames if bases is None else bases, strict=True))
        for first in range(0, len(asked), _ASKED_AT_ONCE):
            stream.request_all(asked[first : first + _ASKED_AT_ONCE], deadline_s=deadline_s, epoch=0)
        return stream

    def status(self) -> EngineStatus:
        """Return how the engine stands."""
        names = [runtime.name for runtime in self._runtimes or ()]
        models = []
        for loaded in self._residency.models():
            places = loaded.places
            queued_live, queued_bulk = self._executor.lengths(loaded)
            models.append(
                ModelStatus(
                    name=loaded.name,
                    kind=loaded.kind,
                    devices=tuple(names[number] for number in sorted(places)),
                    memory_bytes=sum(place.memory_bytes for place in places.values()),
                    streams=loaded.users,
                    queued_live=queued_live,
                    queued_bulk=queued_bulk,
                    batch_limit=max((place.capacity.limit for place in places.values()), default=0),
                    batch_s=places[min(places)].capacity.curve() if places else {},
                )
            )
        queued_live, queued_bulk = self._executor.lengths()
        return EngineStatus(
            running=self._running and not self._executor.stopped,
            workers=tuple(self._executor.workers()),
            models=tuple(models),
            queued_live=queued_live,
            queued_bulk=queued_bulk,
            memory_bytes=self._residency.memory_bytes(),
            memory_budget_bytes=self._residency.budget_bytes,
        )
