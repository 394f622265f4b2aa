"""Which models are loaded on which devices: each once however often it is asked for, within a budget of memory.

A model goes to every device that has room for it; those nobody uses make room for new ones, least recently used first. What
was asked for a moment ago counts as used, so that there is time to open a stream.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING

from webrtc_avatar.engine.capacity import Capacity
from webrtc_avatar.engine.kinds import factory_of, network_files
from webrtc_avatar.engine.loaded import Fingerprint, Loaded, Place
from webrtc_avatar.engine.model import Model, SharingModel
from webrtc_avatar.engine.runtime import Runtime
from webrtc_avatar.engine.warmup import CPU_BUDGET_S, GPU_BUDGET_S, warm_up
from webrtc_avatar.errors import AvatarInUse, EngineFailure, ModelMemoryFull

if TYPE_CHECKING:
    from webrtc_avatar.avatar.package import AnyAvatar

log = logging.getLogger(__name__)

GRACE_S = 10.0
"""A model that was asked for so recently is not taken away."""


class Residency:
    """The models of an engine. Any thread may call it."""

    def __init__(
        self,
        *,
        budget_bytes: int,
        max_batch_size: int,
        on_evict: Callable[[Loaded], None],
        grace_s: float = GRACE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the limits.

        Args:
            budget_bytes: what models may hold on one device.
            max_batch_size: frames in one call at most.
            on_evict: told of each model that goes.
            grace_s: how long after it was asked for a model counts as used.
            clock: seconds.
        """
        self.budget_bytes = budget_bytes
        self._max_batch_size = max_batch_size
        self._on_evict = on_evict
        self._grace_s = grace_s
        self._clock = clock
        # Reentrant, since a stream that nobody closed is released by the garbage collector, on whatever thread that runs.
        self._lock = threading.RLock()
        self._runtimes: Sequence[Runtime] = ()
        self._loaded: dict[str, Loaded] = {}

    def start(self, runtimes: Sequence[Runtime]) -> None:
        """Take the devices' runtimes; a device's number is its place here."""
        self._runtimes = runtimes

    def load(self, avatar: AnyAvatar) -> Future[Model]:
        """Return the future of an avatar's first copy, and load it if it is not there; see `Engine.load`."""
        with self._lock:
            known = self._loaded.get(avatar.name)
            fresh = known is None or known.avatar is not avatar
        fingerprint = fingerprint_of(avatar) if fresh else ()
        with self._lock:
            known = self._loaded.get(avatar.name)
            if known is not None:
                known.used_s = self._clock()
                known.unwanted = False
                if known.avatar is avatar or known.fingerprint == fingerprint:
                    return known.future
                if known.users or not known.future.done():
                    return _refused(
                        AvatarInUse(
                            f"avatar {avatar.name!r} was loaded from {_folder(known)} and has {known.users} open streams; "
                            "a changed package takes its place when they are closed: try again then, or give it another name"
                        )
                    )
                self._drop(known)
            loaded = Loaded(
                avatar.name,
                kind=avatar.model.kind,
                avatar=avatar,
                fingerprint=fingerprint or fingerprint_of(avatar),
                used_s=self._clock(),
            )
            self._loaded[avatar.name] = loaded
        threading.Thread(target=self._load, args=(loaded, avatar), name=f"load-{avatar.name}", daemon=True).start()
        return loaded.future

    def acquire(self, avatar: AnyAvatar) -> Loaded:
        """Return a loaded model and count a user more.

        Raises:
            EngineFailure: `load` was not called, has not finished, or was so long ago that the model had to go.
        """
        with self._lock:
            loaded = self._loaded.get(avatar.name)
            if loaded is None or not loaded.places:
                raise EngineFailure(f"avatar {avatar.name!r} is not loaded; wait for load() before open()")
            loaded.users += 1
            loaded.used_s = self._clock()
            return loaded

    def release(self, loaded: Loaded) -> None:
        """Count a user less."""
        with self._lock:
            loaded.users -= 1
            loaded.used_s = self._clock()
            self._drop_unwanted(loaded)

    def unload(self, avatar: AnyAvatar) -> None:
        """Let an avatar's model go with its last user; see `Engine.unload`."""
        with self._lock:
            known = self._loaded.get(avatar.name)
            if known is not None:
                known.unwanted = True
                self._drop_unwanted(known)

    def models(self) -> list[Loaded]:
        """Return what is loaded, by name."""
        with self._lock:
            return [loaded for _, loaded in sorted(self._loaded.items()) if loaded.places]

    def memory_bytes(self, device: int | None = None) -> int:
        """Return what models hold on one device, or on all."""
        with self._lock:
            devices = range(len(self._runtimes)) if device is None else [device]
            return sum(self._held(number) for number in devices)

    def _load(self, loaded: Loaded, avatar: AnyAvatar) -> None:
        try:
            if not self._runtimes:
                raise EngineFailure("the engine was not started; call start() first")
            factory = factory_of(avatar.model.kind, avatar.name)
            need_bytes = _weight(avatar)
            devices = self._reserve_first(loaded, need_bytes)
            self._place(loaded, devices[0], factory(avatar, self._runtimes[devices[0]]), need_bytes)
        except BaseException as error:
            with self._lock:
                if self._loaded.get(loaded.name) is loaded:
                    del self._loaded[loaded.name]
            loaded.future.set_exception(error)
            return
        # Whoever waits for it may open a stream in the meantime, or ask for it again.
        model = loaded.model
        loaded.future.set_result(model)
        for device in devices[1:]:
            if not self._reserve_more(loaded, device, need_bytes):
                continue
            try:
                self._place(loaded, device, factory(avatar, self._runtimes[device]), need_bytes)
            except Exception as error:  # the first copy serves; this device is for others
                log.warning("model of %s not loaded device=%s: %s", loaded.name, self._runtimes[device].name, error)
                with self._lock:
                    loaded.reserved.pop(device, None)
        with self._lock:
            self._drop_unwanted(loaded)

    def _place(self, loaded: Loaded, device: int, model: Model, need_bytes: int) -> None:
        runtime = self._runtimes[device]
        company = model.company if isinstance(model, SharingModel) else None
        capacity = Capacity(self._max_batch_size)
        budget_s = GPU_BUDGET_S if "cuda" in runtime.name or "mps" in runtime.name else CPU_BUDGET_S
        warm_up(model, capacity, budget_s=budget_s)
        memory_bytes = int(getattr(model, "memory_bytes", need_bytes))
        with self._lock:
            loaded.reserved.pop(device, None)
            if loaded.evicted:
                return
            loaded.company = company
            capacity = self._capacity_of(company, device) or capacity
            # A new dictionary, since the batcher reads it under a lock of its own.
            loaded.places = {**loaded.places, device: Place(model, capacity, memory_bytes)}
        log.info(
            "model loaded avatar=%s device=%s memory_mb=%.1f call_ms=%s",
            loaded.name,
            runtime.name,
            memory_bytes / 1e6,
            {size: round(run_s * 1e3, 1) for size, run_s in capacity.curve().items()},
        )

    def _capacity_of(self, company: Hashable | None, device: int) -> Capacity | None:
        """Return what a company's calls cost on a device as far as that is known; None: it has nobody there yet."""
        if company is None:
            return None
        others = (other for other in self._loaded.values() if other.company == company and device in other.places)
        return next((other.places[device].capacity for other in others), None)

    def _reserve_first(self, loaded: Loaded, need_bytes: int) -> list[int]:
        """Put memory by on the device with most room, making room if need be; return all devices, that one first."""
        with self._lock:
            devices = sorted(range(len(self._runtimes)), key=self._held)
            for device in devices:
                if self._held(device) + need_bytes <= self.budget_bytes:
                    break
            else:
                device = self._make_room(loaded, devices, need_bytes)
            loaded.reserved[device] = need_bytes
            return [device, *(number for number in devices if number != device)]

    def _reserve_more(self, loaded: Loaded, device: int, need_bytes: int) -> bool:
        """Put memory by for a further copy if there is room for it as things are."""
        with self._lock:
            if loaded.evicted or self._held(device) + need_bytes > self.budget_bytes:
                return False
            loaded.reserved[device] = need_bytes
            return True

    def _make_room(self, loaded: Loaded, devices: list[int], need_bytes: int) -> int:
        """Evict what nobody uses, least recently used first, until a device has room; return that device."""
        now_s = self._clock()
        idle = sorted(
            (
                other
                for other in self._loaded.values()
                if other is not loaded and other.places and not other.users and now_s - other.used_s >= self._grace_s
            ),
            key=lambda other: other.used_s,
        )
        for device in devices:
            freed = sum(other.places[device].memory_bytes for other in idle if device in other.places)
            if self._held(device) - freed + need_bytes <= self.budget_bytes:
                break
        else:
            names = ", ".join(sorted(other.name for other in self._loaded.values() if other.places)) or "none"
            raise ModelMemoryFull(
                f"avatar {loaded.name!r} needs {need_bytes / 1e6:.1f} MB of the {self.budget_bytes / 1e6:.1f} MB for models, of "
                f"which {self._held(devices[0]) / 1e6:.1f} MB are in use (by: {names}); close sessions of theirs, or raise "
                "model_memory_mb"
            )
        for other in idle:
            if self._held(device) + need_bytes <= self.budget_bytes:
                break
            if device in other.places:
                self._drop(other)
        return device

    def _drop_unwanted(self, loaded: Loaded) -> None:
        """Let a model go that nobody uses or wants, under the lock; one that is being loaded goes when it is there."""
        if loaded.unwanted and not loaded.users and not loaded.evicted and loaded.future.done() and not loaded.reserved:
            self._drop(loaded)

    def _drop(self, loaded: Loaded) -> None:
        """Let a model go, under the lock."""
        loaded.evicted = True
        memory_bytes = sum(place.memory_bytes for place in loaded.places.values())
        loaded.places = {}
        if self._loaded.get(loaded.name) is loaded:
            del self._loaded[loaded.name]
        log.info("model unloaded avatar=%s memory_mb=%.1f", loaded.name, memory_bytes / 1e6)
        self._on_evict(loaded)

    def _held(self, device: int) -> int:
        placed = sum(loaded.places[device].memory_bytes for loaded in self._loaded.values() if device in loaded.places)
        return placed + sum(loaded.reserved.get(device, 0) for loaded in self._loaded.values())


def fingerprint_of(avatar: AnyAvatar) -> Fingerprint:
    """Return what tells a package that was changed from the one that was loaded: its networks' paths, sizes and times."""
    marks = []
    for path in sorted({*network_files(avatar.model), avatar.folder / "avatar.toml"}):
        try:
            entry = path.stat()
        except OSError:
            continue  # a file that is missing is told when the model is made
        marks.append((str(path), entry.st_size, entry.st_mtime_ns))
    return tuple(marks)


def _weight(avatar: AnyAvatar) -> int:
    return sum(size for path, size, _ in fingerprint_of(avatar) if not path.endswith(".toml"))


def _folder(loaded: Loaded) -> str:
    return loaded.avatar.folder.name if loaded.avatar is not None else "elsewhere"


def _refused(error: Exception) -> Future[Model]:
    future: Future[Model] = Future()
    future.set_exception(error)
    return future
