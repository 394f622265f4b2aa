"""Engines on other machines behind the interface of the one in this process: streams go to the least busy that is well."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from webrtc_avatar.engine.fingerprint import content_fingerprint
from webrtc_avatar.engine.remote_connection import Connection, RemoteModel
from webrtc_avatar.engine.remote_stream import Caller, RemoteStream
from webrtc_avatar.engine.request import Face
from webrtc_avatar.engine.status import EngineStatus, ModelStatus
from webrtc_avatar.errors import AvatarServerError, EngineFailure, EngineLost
from webrtc_avatar.metrics import Metrics
from webrtc_avatar.rpc.engine_wire import models_of, workers_of
from webrtc_avatar.settings import Settings

if TYPE_CHECKING:
    from webrtc_avatar.avatar.package import AnyAvatar

log = logging.getLogger(__name__)

_AT_START_S = 15.0
"""How long the first answer of any engine may take: both sides may have been started together."""
_LATER_S = 3.0
"""How long somebody new waits for an engine while none is well."""


class RemoteEngine:
    """See the module, and `Engine`. Any thread may call it; what it does happens on one event loop.

    That is the loop on which it was started, or, where none runs, one on a thread of its own.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        """Take the settings: `engines`, `engine_token`, `engine_tls_ca`."""
        self._settings = settings
        self._metrics = metrics
        self._connections: list[Connection] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._thread_id = 0
        self._running = False
        self._answered = False
        self._changed: set[asyncio.Event] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._callers: set[Caller] = set()
        self._lock = threading.Lock()
        self._fingerprints: dict[str, bytes] = {}
        self._loads: dict[str, tuple[AnyAvatar, Future[RemoteModel]]] = {}
        self._models: dict[str, RemoteModel] = {}
        self._wait = metrics.stage_wait.labels("engine")
        self._run = metrics.stage_run.labels("engine")
        metrics.engine_queue.labels("live").set_function(lambda: self.status().queued_live)
        metrics.engine_queue.labels("bulk").set_function(lambda: self.status().queued_bulk)
        metrics.engine_busy.set_function(lambda: self.status().busy)
        metrics.engine_healthy.set_function(lambda: sum(worker.healthy for worker in self.status().workers))
        metrics.model_memory.set_function(lambda: self.status().memory_bytes)

    @property
    def runtime_name(self) -> str:
        """Which engines there are, and what runs the networks on those that are well."""
        names = (f"{one.address} {one.status.runtime_name if one.is_up else 'lost'}" for one in self._connections)
        return ", ".join(names)

    def start(self) -> None:
        """Connect to all engines; see the class for where that happens.

        Raises:
            InvalidSettings: the certificates cannot be read.
        """
        try:
            self._loop = asyncio.get_running_loop()
            self._thread_id = threading.get_ident()
        except RuntimeError:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name="engines", daemon=True)
            self._thread.start()
            asyncio.run_coroutine_threadsafe(self._connect_there(), self._loop).result()
        else:
            self._connect()
        self._running = True

    def close(self) -> None:
        """End all streams and tell those who wait; calling it twice is fine."""
        if not self._running or self._loop is None:
            return
        self._running = False
        if self._thread is None:
            self._keep(self._loop.create_task(self._close(), name="engines-close"))
            return
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.close()

    def load(self, avatar: AnyAvatar) -> Future[Any]:
        """Return the future of a `Reach`: done once any engine has loaded an avatar.

        It raises AvatarMismatch where no engine holds the same package, UnknownAvatar where none has one of that name,
        Unauthorized where the token is another, EngineLost where none answers, and what `Engine.load` raises elsewhere.
        """
        with self._lock:
            known = self._loads.get(avatar.name)
            if known is not None and known[0] is avatar and self._serves(avatar.name, known[1]):
                return known[1]
            future: Future[RemoteModel] = Future()
            future.set_running_or_notify_cancel()  # a caller that goes away must not cancel it for those beside it
            self._loads[avatar.name] = (avatar, future)
        if self._loop is None:
            future.set_exception(EngineFailure("the engine was not started; call start() first"))
        else:
            self.post(self._begin_load, avatar, future)
        return future

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
    ) -> RemoteStream:
        """Return a stream of an avatar whose `load` is done; see `Engine.open`. Faces come on the loop's thread.

        Raises:
            EngineFailure: `load` was not called or has not finished, or the engine has stopped.
        """
        model = self._models.get(avatar.name)
        if model is None:
            raise EngineFailure(f"avatar {avatar.name!r} is not loaded; wait for load() before open()")
        if not self._running:
            raise EngineFailure("the engine has stopped; open streams while the server is up")
        caller = Caller(
            self,
            avatar.name,
            self._fingerprints[avatar.name],
            model,
            on_face=on_face,
            on_batch=on_batch,
            on_stop=on_stop,
            first_chunk=first_chunk,
            windowed=windowed,
            bulk=bulk,
        )
        self._callers.add(caller)
        return RemoteStream(caller)

    def submit(
        self,
        avatar: AnyAvatar,
        frames: Sequence[int],
        on_face: Callable[[Face], None],
        *,
        deadline_s: float = math.inf,
        bases: Sequence[int] | None = None,
    ) -> RemoteStream:
        """Ask for frames in any order, with the features that the avatar's package brings; see `Engine.submit`."""
        stream = self.open(avatar, on_face, bulk=deadline_s == math.inf)
        for place, frame in enumerate(frames):
            base = frame if bases is None else bases[place]
            stream.request(frame, index=place, deadline_s=deadline_s, epoch=0, base=base)
        return stream

    def unload(self, avatar: AnyAvatar) -> None:
        """Ask for an avatar no more; the engines let its model go when they need the room. See `Engine.unload`."""
        with self._lock:
            known = self._loads.get(avatar.name)
            if known is not None and known[1].done():
                del self._loads[avatar.name]
        if self._loop is not None:
            self.post(self._forget_model, avatar.name)

    def status(self) -> EngineStatus:
        """Return how the engines that are well stood when they were asked last: about a second ago."""
        here = [one for one in list(self._connections) if one.is_up]
        return EngineStatus(
            running=self._running,
            workers=tuple(worker for one in here for worker in workers_of(one.status, f"{one.address} ")),
            models=_merged(model for one in here for model in models_of(one.status, f"{one.address} ")),
            queued_live=sum(one.status.queued_live for one in here),
            queued_bulk=sum(one.status.queued_bulk for one in here),
            memory_bytes=sum(one.status.memory_bytes for one in here),
            memory_budget_bytes=sum(one.status.memory_budget_bytes for one in here),
            round_trip_s=max((one.round_trip_s for one in here), default=0.0),
        )

    def post(self, work: Callable[..., None], *arguments: object) -> None:
        """Do something on the loop: now where this is its thread, else soon."""
        assert self._loop is not None
        if threading.get_ident() == self._thread_id:
            work(*arguments)
            return
        try:
            self._loop.call_soon_threadsafe(work, *arguments)
        except RuntimeError:
            return  # the loop is closed, and with it every stream

    def choose(self, name: str) -> Connection | None:
        """Return the least busy engine that is well and has loaded an avatar, or None."""
        fit = [one for one in self._connections if one.takes_streams and name in one.models]
        return min(fit, key=lambda one: one.load, default=None)

    def no_engine(self, name: str) -> AvatarServerError:
        """Return why no engine renders an avatar now."""
        for one in self._connections:
            if one.is_up and (refusal := one.refusal(name)) is not None:
                return refusal
        if any(one.is_up for one in self._connections):
            return EngineLost(f"no engine takes streams of avatar {name!r} now; try again in a moment")
        faults = "; ".join(one.fault.message for one in self._connections)
        return EngineLost(f"no engine is well now: {faults}")

    def when_ready(self, name: str, patience_s: float, callback: Callable[[AvatarServerError | None], None]) -> None:
        """Call back when an engine may render an avatar, or with the reason when none did in time."""

        async def wait() -> None:
            try:
                await self._ready(name, patience_s)
            except AvatarServerError as error:
                callback(error)
            else:
                callback(None)

        assert self._loop is not None
        self._keep(self._loop.create_task(wait(), name="engines-wait"))

    def count(self, face: Face) -> None:
        """Count a face."""
        outcome = "rendered" if face.crop is not None else "dropped" if face.late else "failed"
        self._metrics.frames.labels(outcome).inc()
        if face.batch_size:
            self._wait.observe(face.wait_s)
            self._run.observe(face.run_s)

    def forget(self, caller: Caller) -> None:
        """Take the news that a stream is closed."""
        self._callers.discard(caller)

    def _forget_model(self, name: str) -> None:
        if name in self._loads or any(caller.name == name for caller in self._callers):
            return
        self._fingerprints.pop(name, None)
        self._models.pop(name, None)
        for one in self._connections:
            one.models.pop(name, None)

    def _serves(self, name: str, future: Future[RemoteModel]) -> bool:
        if not future.done():
            return True
        return not future.cancelled() and future.exception() is None and self.choose(name) is not None

    def _begin_load(self, avatar: AnyAvatar, future: Future[RemoteModel]) -> None:
        assert self._loop is not None
        self._keep(self._loop.create_task(self._load(avatar, future), name=f"engines-load-{avatar.name}"))

    async def _load(self, avatar: AnyAvatar, future: Future[RemoteModel]) -> None:
        name = avatar.name
        try:
            fingerprint = await asyncio.to_thread(content_fingerprint, avatar)
            if self._fingerprints.get(name) != fingerprint:
                self._fingerprints[name] = fingerprint
                self._models.pop(name, None)
                for one in self._connections:
                    one.models.pop(name, None)
            for one in self._connections:
                one.want(name)
            await self._ready(name, _LATER_S if self._answered else _AT_START_S)
            connection = self.choose(name)
            found = connection.models[name] if connection is not None else None
            if found is None:
                raise self.no_engine(name)
            # One object as long as the same package serves, so that callers can tell.
            model = self._models.setdefault(name, found)
        except BaseException as error:
            if not future.done():
                future.set_exception(
                    error if isinstance(error, Exception) else EngineLost("the server is going down; try again later")
                )
            if not isinstance(error, Exception):
                raise
            return
        if not future.done():
            future.set_result(model)

    async def _ready(self, name: str, patience_s: float) -> None:
        """Wait until an engine may render an avatar.

        Raises:
            AvatarServerError: none will, or did not in time.
        """
        changed = asyncio.Event()
        self._changed.add(changed)
        give_up_s = time.monotonic() + patience_s
        try:
            while self.choose(name) is None:
                refusals = [one.refusal(name) for one in self._connections]
                if all(refusals):
                    raise next(refusal for refusal in refusals if refusal is not None)
                left_s = give_up_s - time.monotonic()
                if left_s <= 0 and not any(one.is_loading(name) for one in self._connections):
                    raise self.no_engine(name)
                changed.clear()
                try:
                    # An engine that refused a stream a moment ago is not announced when it takes one again.
                    await asyncio.wait_for(changed.wait(), min(max(left_s, 0.1), 0.5))
                except TimeoutError:
                    continue
        finally:
            self._changed.discard(changed)

    def _on_change(self) -> None:
        self._answered = self._answered or any(one.is_up for one in self._connections)
        for event in self._changed:
            event.set()

    async def _connect_there(self) -> None:
        self._thread_id = threading.get_ident()
        self._connect()

    def _connect(self) -> None:
        self._connections = [
            Connection(address, self._settings, wanted=self._fingerprints, on_change=self._on_change)
            for address in self._settings.engines
        ]

    async def _close(self) -> None:
        for caller in list(self._callers):
            if caller.on_stop is not None and not caller.closed:
                caller.on_stop()
            caller.leave()
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(one.aclose() for one in self._connections))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _merged(models: Iterable[ModelStatus]) -> tuple[ModelStatus, ...]:
    """Return one status an avatar, however many engines have it; its measured costs are those of the slowest."""
    merged: dict[str, ModelStatus] = {}
    for model in models:
        known = merged.get(model.name)
        if known is None:
            merged[model.name] = model
            continue
        merged[model.name] = replace(
            known,
            devices=known.devices + model.devices,
            memory_bytes=known.memory_bytes + model.memory_bytes,
            streams=known.streams + model.streams,
            queued_live=known.queued_live + model.queued_live,
            queued_bulk=known.queued_bulk + model.queued_bulk,
            batch_limit=max(known.batch_limit, model.batch_limit),
            batch_s=max(known.batch_s, model.batch_s, key=lambda costs: costs.get(1, 0.0)),
        )
    return tuple(merged[name] for name in sorted(merged))
