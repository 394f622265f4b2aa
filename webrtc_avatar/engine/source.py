"""One caller in the engine: whose frames they are, on which model, and whether anybody still wants them."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from webrtc_avatar.engine.model import Floats, Job, Track
from webrtc_avatar.engine.request import Face, Request
from webrtc_avatar.errors import AvatarServerError, EngineFailure

if TYPE_CHECKING:
    from webrtc_avatar.engine.loaded import Loaded

log = logging.getLogger(__name__)

Work = Callable[[], list[Request]]


class Source:
    """Its methods run on one of the engine's threads at a time; only `epoch` and `closed` are written by the caller's.

    Attributes:
        loaded: the model that renders its frames; those of the same share batches.
        on_face: takes each answer, on an engine's thread.
        on_batch: told that the answers of one model call have been given, or None.
        on_stop: told that the engine has stopped, or None.
        bulk: nobody listens in real time.
        chunks_after: chunks that a frame's window needs after its own.
        epoch: the epoch that counts; requests of another are stale.
        closed: nothing is wanted any more.
        work: sound and questions that wait for a thread; the executor's.
        scheduled: a thread will come for them, or is there; the executor's.
    """

    def __init__(
        self,
        *,
        loaded: Loaded,
        on_face: Callable[[Face], None],
        first_chunk: int = 0,
        windowed: bool = False,
        bulk: bool = False,
        on_batch: Callable[[], None] | None = None,
        on_stop: Callable[[], None] | None = None,
    ) -> None:
        self.loaded = loaded
        self.on_face = on_face
        self.on_batch = on_batch
        self.on_stop = on_stop
        self.bulk = bulk
        self.epoch = 0
        self.closed = False
        self.work: deque[Work] = deque()
        self.scheduled = False
        self._model = loaded.model
        self._first_chunk = first_chunk
        self._windowed = windowed
        self._track_epoch = 0
        self._heard = 0
        self._broken: AvatarServerError | None = None
        self._track: Track = self._new_track()
        self.chunks_after = self._track.chunks_after

    def is_stale(self, epoch: int) -> bool:
        """Say whether work of `epoch` is for nobody."""
        return self.closed or epoch != self.epoch

    def hear(
        self, samples: Floats, *, index: int, deadline_s: float | None, epoch: int, base: int | None
    ) -> list[Request]:
        """Take the next chunk; with a deadline, return the request for the frame that it completes."""
        if self.is_stale(epoch):
            return []
        self._begin(epoch)
        context = None
        self._heard += 1
        if self._broken is None:
            try:
                context = self._track.push(samples)
            except Exception as error:
                self._break(error)
        frame = index - self.chunks_after
        if deadline_s is None or self._heard <= self.chunks_after:
            return []
        if self._broken is not None:
            self.answer(Face(index=frame, epoch=epoch, error=self._broken))
            return []
        if context is None:
            return []
        return [self._request(context, frame, deadline_s=deadline_s, epoch=epoch, base=base)]

    def finish(
        self,
        *,
        index: int,
        deadline_s: float,
        epoch: int,
        frames: range | None,
        bases: Callable[[int], int] | None,
    ) -> list[Request]:
        """Return requests for the frames that still lack chunks, as the model sees a sound that ends here."""
        if self.is_stale(epoch):
            return []
        self._begin(epoch)
        contexts: list[Any] = []
        if self._broken is None:
            try:
                contexts = self._track.finish()
            except Exception as error:
                self._break(error)
        if self._broken is not None:
            for frame in range(index, index + min(self._heard, self.chunks_after)):
                if frames is None or frame in frames:
                    self.answer(Face(index=frame, epoch=epoch, error=self._broken))
        return [
            self._request(
                context, frame, deadline_s=deadline_s, epoch=epoch, base=None if bases is None else bases(frame)
            )
            for frame, context in enumerate(contexts, start=index)
            if frames is None or frame in frames
        ]

    def show(self, weights: Floats, *, index: int, deadline_s: float, epoch: int) -> list[Request]:
        """Return the request for a frame with a mouth that is known."""
        if self.is_stale(epoch):
            return []
        return [self._request(weights, index, deadline_s=deadline_s, epoch=epoch, base=None)]

    def look_up(self, frame: int, *, index: int, deadline_s: float, epoch: int, base: int) -> list[Request]:
        """Return the request for a frame with the package's own features; one that there is not is answered."""
        if self.is_stale(epoch):
            return []
        try:
            context = self._model.features(frame)
        except AvatarServerError as error:
            self.answer(Face(index=index, epoch=epoch, error=error))
            return []
        except Exception as error:  # whatever a model raises, the frame gets its answer
            failure = EngineFailure(f"the features of frame {frame} cannot be read: {error}")
            self.answer(Face(index=index, epoch=epoch, error=failure))
            return []
        return [self._request(context, index, deadline_s=deadline_s, epoch=epoch, base=base)]

    def look_up_all(self, asked: Sequence[tuple[int, int, int]], *, deadline_s: float, epoch: int) -> list[Request]:
        """Return the requests for several frames; see `look_up`.

        Args:
            asked: frame, index and base of each.
            deadline_s: as for `hear`.
            epoch: the caller's epoch.
        """
        return [
            request
            for frame, index, base in asked
            for request in self.look_up(frame, index=index, deadline_s=deadline_s, epoch=epoch, base=base)
        ]

    def answer(self, *faces: Face) -> None:
        """Hand the faces of one model call to the caller, less those that nobody wants any more."""
        try:
            for face in faces:
                if not self.is_stale(face.epoch):
                    self.on_face(face)
            if self.on_batch is not None:
                self.on_batch()
        except Exception:  # a receiver that went away must not stop the thread of all
            log.exception("a face could not be delivered")

    def _request(self, context: object, frame: int, *, deadline_s: float, epoch: int, base: int | None) -> Request:
        return Request(
            deadline_s=deadline_s,
            submitted_s=time.monotonic(),
            source=self,
            index=frame,
            epoch=epoch,
            job=Job(context, frame if base is None else base),
        )

    def _begin(self, epoch: int) -> None:
        """Forget the sound of an older epoch."""
        if epoch != self._track_epoch:
            self._track_epoch = epoch
            self._track = self._new_track()
            self._heard = 0
            self._broken = None

    def _new_track(self) -> Track:
        return self._model.track(first_chunk=self._first_chunk, windowed=self._windowed)

    def _break(self, error: Exception) -> None:
        """Give up the track: after a chunk that it could not take, its frames would be those of other chunks."""
        log.exception("a track failed, its frames fail until the next epoch")
        self._broken = (
            error if isinstance(error, AvatarServerError) else EngineFailure(f"the sound cannot be heard: {error}")
        )
