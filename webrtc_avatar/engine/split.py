"""Engines on other machines, and one in this process for avatars that no other machine holds: faces that were uploaded here.

What was uploaded stays on the machine that it was uploaded to. A portrait needs an ear of 2 MB and its mouth is drawn on a CPU in some
milliseconds, so no GPU is missed. The engine here starts with the first such avatar.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from webrtc_avatar.engine.engine import Engine
from webrtc_avatar.engine.interface import AnyEngine, AnyStream
from webrtc_avatar.engine.request import Face
from webrtc_avatar.engine.status import EngineStatus
from webrtc_avatar.errors import EngineFailure
from webrtc_avatar.metrics import Metrics
from webrtc_avatar.settings import Settings

if TYPE_CHECKING:
    from webrtc_avatar.avatar.package import AnyAvatar


class SplitEngine:
    """See the module, and `Engine`. Any thread may call it.

    Args:
        elsewhere: what renders avatars that other machines hold too.
        settings: of the engine here.
        metrics: take the figures of both.
    """

    def __init__(self, elsewhere: AnyEngine, settings: Settings, metrics: Metrics) -> None:
        self._elsewhere, self._settings, self._metrics = elsewhere, settings, metrics
        self._lock = threading.Lock()
        self._here: Engine | None = None
        self._closed = False

    @property
    def runtime_name(self) -> str:
        """What runs the networks elsewhere, and, once it was needed, here."""
        names = [self._elsewhere.runtime_name]
        if self._here is not None:
            names.append(f"here {self._here.runtime_name}")
        return ", ".join(names)

    def start(self) -> None:
        """Connect to the engines elsewhere; the one here starts when it is needed."""
        self._elsewhere.start()

    def close(self) -> None:
        """Stop both; calling it twice is fine."""
        self._elsewhere.close()
        with self._lock:
            self._closed = True
            if self._here is not None:
                self._here.close()

    def load(self, avatar: AnyAvatar) -> Future[Any]:
        """Load an avatar where it is rendered; see `Engine.load`."""
        if not _stays_here(avatar):
            return self._elsewhere.load(avatar)
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        threading.Thread(target=self._load_here, args=(avatar, future), name=f"load-{avatar.name}", daemon=True).start()
        return future

    def unload(self, avatar: AnyAvatar) -> None:
        """Let an avatar's model go with its last user; see `Engine.unload`."""
        if not _stays_here(avatar):
            self._elsewhere.unload(avatar)
        elif self._here is not None:
            self._here.unload(avatar)

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
    ) -> AnyStream:
        """Return a stream of an avatar whose `load` is done; see `Engine.open`."""
        return self._for(avatar).open(
            avatar,
            on_face,
            first_chunk=first_chunk,
            windowed=windowed,
            bulk=bulk,
            on_batch=on_batch,
            on_stop=on_stop,
        )

    def submit(
        self,
        avatar: AnyAvatar,
        frames: Sequence[int],
        on_face: Callable[[Face], None],
        *,
        deadline_s: float = math.inf,
        bases: Sequence[int] | None = None,
    ) -> AnyStream:
        """Ask for frames in any order, with the features that the avatar's package brings; see `Engine.submit`."""
        return self._for(avatar).submit(avatar, frames, on_face, deadline_s=deadline_s, bases=bases)

    def status(self) -> EngineStatus:
        """Return how both stand together."""
        status = self._elsewhere.status()
        if self._here is None:
            return status
        here = self._here.status()
        return replace(
            status,
            # While no engine elsewhere is well, the server is not either: the one here has none of its avatars.
            workers=status.workers + here.workers if status.workers else (),
            models=status.models + here.models,
            queued_live=status.queued_live + here.queued_live,
            queued_bulk=status.queued_bulk + here.queued_bulk,
            memory_bytes=status.memory_bytes + here.memory_bytes,
            memory_budget_bytes=status.memory_budget_bytes + here.memory_budget_bytes,
        )

    def _for(self, avatar: AnyAvatar) -> AnyEngine:
        if not _stays_here(avatar):
            return self._elsewhere
        if self._here is None:
            raise EngineFailure(f"avatar {avatar.name!r} is not loaded; wait for load() before open()")
        return self._here

    def _load_here(self, avatar: AnyAvatar, future: Future[Any]) -> None:
        try:
            loading = self._started().load(avatar)
        except BaseException as error:
            future.set_exception(error)
            return
        loading.add_done_callback(lambda done: _hand_on(done, future))

    def _started(self) -> Engine:
        """Return the engine here, started."""
        with self._lock:
            if self._closed:
                raise EngineFailure("the engine has stopped; load avatars while the server is up")
            if self._here is None:
                here = Engine(self._settings, self._metrics)
                self._tell_of_both()
                here.start()
                self._here = here
            return self._here

    def _tell_of_both(self) -> None:
        """Let the gauges, which the engine here has just taken for its own, tell of both."""
        metrics = self._metrics
        metrics.engine_queue.labels("live").set_function(lambda: self.status().queued_live)
        metrics.engine_queue.labels("bulk").set_function(lambda: self.status().queued_bulk)
        metrics.engine_busy.set_function(lambda: self.status().busy)
        metrics.engine_healthy.set_function(lambda: sum(worker.healthy for worker in self.status().workers))
        metrics.model_memory.set_function(lambda: self.status().memory_bytes)


def _stays_here(avatar: AnyAvatar) -> bool:
    return bool(getattr(avatar.model, "stays_here", False))


def _hand_on(done: Future[Any], future: Future[Any]) -> None:
    error = done.exception()
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(done.result())
