"""The engine: avatars in, streams out. Nothing in it awaits, nothing outside it touches a tensor."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from webrtc_avatar.audio.chunk import CHUNK_SAMPLES
from webrtc_avatar.engine.executor import Executor
from webrtc_avatar.engine.model import Model
from webrtc_avatar.engine.request import Face
from webrtc_avatar.engine.runtime import Runtime, open_runtime
from webrtc_avatar.engine.source import Source
from webrtc_avatar.engine.viseme import VisemeModel
from webrtc_avatar.errors import EngineFailure, InvalidAudio, InvalidAvatar
from webrtc_avatar.metrics import Metrics
from webrtc_avatar.settings import Settings

if TYPE_CHECKING:
    from webrtc_avatar.avatar.package import AnyAvatar

log = logging.getLogger(__name__)


class ModelFactory(Protocol):
    """Makes the model of an avatar on a runtime."""

    def __call__(self, avatar: Any, runtime: Runtime) -> Model:
        """Return the model; raises InvalidAvatar."""


_MODELS: dict[str, ModelFactory] = {"viseme_kernel": VisemeModel}


class Stream:
    """One caller's consecutive chunks; faces come back through `on_face`, on the engine's thread."""

    def __init__(self, executor: Executor, source: Source) -> None:
        self._executor = executor
        self._source = source

    @property
    def chunks_after(self) -> int:
        """Chunks of look-ahead: frame n is rendered when chunk n + chunks_after is pushed."""
        return self._source.chunks_after

    def push(
        self,
        samples: npt.NDArray[np.float32],
        *,
        index: int,
        deadline_s: float | None,
        epoch: int,
        base: int | None = None,
    ) -> None:
        """Hand over chunk `index`, and ask for frame `index - chunks_after` if there is a deadline.

        Args:
            samples: float32 (640,), 16 kHz, -1..1. It must not change afterwards.
            index: number of the chunk; consecutive within an epoch.
            deadline_s: `time.monotonic()` by which the face must be there; infinite: bulk work, which takes what live frames
                leave; None: context only, no model call.
            epoch: the caller's epoch; a new one forgets the sound before it.
            base: number of the frame of footage to render it on; none: the frame's own.

        Raises:
            InvalidAudio: the chunk has another shape or type.
        """
        if samples.shape != (CHUNK_SAMPLES,) or samples.dtype != np.float32:
            raise InvalidAudio(f"a chunk is float32 ({CHUNK_SAMPLES},) at 16 kHz; got {samples.dtype} {samples.shape}")
        source, executor = self._source, self._executor
        executor.call(
            lambda: executor.add_chunk(source, samples, index=index, deadline_s=deadline_s, epoch=epoch, base=base)
        )

    def finish(
        self,
        *,
        index: int,
        deadline_s: float,
        epoch: int,
        frames: range | None = None,
        bases: Callable[[int], int] | None = None,
    ) -> None:
        """End the sound and ask for the frames that still lack chunks, at most `chunks_after`.

        Args:
            index: the first of those frames.
            deadline_s: as for `push`.
            epoch: the caller's epoch.
            frames: which of them are wanted; none: all.
            bases: the frame of footage of each; none: the frame's own number.
        """
        source, executor = self._source, self._executor
        executor.call(
            lambda: executor.finish(source, index=index, deadline_s=deadline_s, epoch=epoch, frames=frames, bases=bases)
        )

    def request(self, frame: int, *, index: int, deadline_s: float, epoch: int, base: int) -> None:
        """Ask for a frame with the features that the avatar's package brings, whatever was pushed.

        Args:
            frame: its number in those features, from 0; one that there is not is answered with its error.
            index: the number under which it is answered.
            deadline_s: as for `push`.
            epoch: the caller's epoch.
            base: number of the frame of footage to render it on.
        """
        source, executor = self._source, self._executor
        executor.call(
            lambda: executor.request(source, frame, index=index, deadline_s=deadline_s, epoch=epoch, base=base)
        )

    def reset(self, epoch: int) -> None:
        """Begin a new epoch: whatever waits is stale from now on."""
        self._source.epoch = epoch

    def close(self) -> None:
        """Drop what waits; nothing is delivered any more."""
        self._source.closed = True


class Engine:
    """All models on one device. Thread-safe: every method may be called from any thread."""

    def __init__(self, settings: Settings, metrics: Metrics, *, runtime: Runtime | None = None) -> None:
        """Take the settings; `runtime` overrides what they would choose."""
        self._settings = settings
        self._runtime = runtime
        self._executor = Executor(max_batch_size=settings.max_batch_size, metrics=metrics)
        self._lock = threading.Lock()
        self._models: dict[str, Future[Model]] = {}

    @property
    def runtime_name(self) -> str:
        """What runs the networks, such as `onnxruntime:cpu`; empty before `start`."""
        return self._runtime.name if self._runtime else ""

    def start(self) -> None:
        """Choose the runtime and start the engine's thread.

        Raises:
            EngineFailure: the settings ask for a device that is not there.
        """
        if self._runtime is None:
            self._runtime = open_runtime(self._settings)
        self._executor.start()
        log.info("engine ready runtime=%s threads=%d", self._runtime.name, self._settings.engine_threads)

    def close(self) -> None:
        """Stop the thread; calling it twice is fine."""
        self._executor.close()

    def load(self, avatar: AnyAvatar) -> Future[Model]:
        """Load and warm up an avatar's model, once however often it is asked for.

        This takes a thread of its own, so that the frames of those already in do not wait. The future raises InvalidAvatar for networks that do not fit; a later call tries again.
        """
        with self._lock:
            known = self._models.get(avatar.name)
            if known is not None and not (known.done() and known.exception() is not None):
                return known
            future: Future[Model] = Future()
            self._models[avatar.name] = future
        threading.Thread(target=self._load, args=(avatar, future), name=f"load-{avatar.name}", daemon=True).start()
        return future

    def _load(self, avatar: AnyAvatar, future: Future[Model]) -> None:
        try:
            factory = _MODELS.get(avatar.model.kind)
            if factory is None:
                raise InvalidAvatar(
                    f"avatar {avatar.name!r} has a model of kind {avatar.model.kind!r}; known are {sorted(_MODELS)}"
                )
            if self._runtime is None:
                raise EngineFailure("the engine was not started; call start() first")
            future.set_result(factory(avatar, self._runtime))
        except BaseException as error:
            future.set_exception(error)

    def open(
        self,
        avatar: AnyAvatar,
        on_face: Callable[[Face], None],
        *,
        first_chunk: int = 0,
        windowed: bool = False,
        bulk: bool = False,
        on_stop: Callable[[], None] | None = None,
    ) -> Stream:
        """Return a stream of an avatar whose `load` is done.

        Args:
            avatar: who is rendered.
            on_face: takes each face, on the engine's thread.
            first_chunk: number of the first chunk that will be pushed.
            windowed: see `Model.track`.
            bulk: nobody listens in real time, so its sound as well as its frames wait for those of live streams.
            on_stop: called when the engine stops: no face comes any more.

        Raises:
            EngineFailure: `load` was not called or has not finished.
        """
        with self._lock:
            future = self._models.get(avatar.name)
        if future is None or not future.done():
            raise EngineFailure(f"avatar {avatar.name!r} is not loaded; wait for load() before open()")
        source = Source(
            model_key=avatar.name,
            model=future.result(),
            on_face=on_face,
            first_chunk=first_chunk,
            windowed=windowed,
        )
        return Stream(self._executor, source)
