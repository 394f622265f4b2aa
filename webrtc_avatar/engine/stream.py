"""One caller's hand on the engine."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from webrtc_avatar.audio.chunk import CHUNK_SAMPLES
from webrtc_avatar.engine.executor import Executor
from webrtc_avatar.engine.model import Floats
from webrtc_avatar.engine.source import Source
from webrtc_avatar.errors import InvalidAudio


class Stream:
    """One caller's consecutive chunks; faces come back through `on_face`, on one of the engine's threads.

    No method waits. A stream that is forgotten gets its answers, and then gives its model free as if it were closed.
    """

    def __init__(self, executor: Executor, source: Source, *, on_close: Callable[[], None] | None = None) -> None:
        self._executor = executor
        self._source = source
        self._release = weakref.finalize(source, on_close or _nothing)
        self._release.atexit = False

    @property
    def chunks_after(self) -> int:
        """Chunks of look-ahead: frame n is rendered when chunk n + chunks_after is pushed."""
        return self._source.chunks_after

    def push(
        self,
        samples: Floats,
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
        hear = partial(self._source.hear, samples, index=index, deadline_s=deadline_s, epoch=epoch, base=base)
        self._executor.add(self._source, hear)

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
        finish = partial(
            self._source.finish, index=index, deadline_s=deadline_s, epoch=epoch, frames=frames, bases=bases
        )
        self._executor.add(self._source, finish)

    takes_weights = True
    """Whether `show` can be called, for avatars whose model has weights."""

    def show(self, weights: Floats, *, index: int, deadline_s: float, epoch: int) -> None:
        """Ask for a frame with a mouth that is known, whatever was pushed: no sound needs to be heard for it.

        Args:
            weights: float32 (weights,), in the order of the avatar's model. It must not change afterwards.
            index: the number under which it is answered.
            deadline_s: as for `push`.
            epoch: the caller's epoch.
        """
        show = partial(self._source.show, weights, index=index, deadline_s=deadline_s, epoch=epoch)
        self._executor.add(self._source, show)

    def request(self, frame: int, *, index: int, deadline_s: float, epoch: int, base: int) -> None:
        """Ask for a frame with the features that the avatar's package brings, whatever was pushed.

        Args:
            frame: its number in those features, from 0; one that there is not is answered with its error.
            index: the number under which it is answered.
            deadline_s: as for `push`.
            epoch: the caller's epoch.
            base: number of the frame of footage to render it on.
        """
        look_up = partial(self._source.look_up, frame, index=index, deadline_s=deadline_s, epoch=epoch, base=base)
        self._executor.add(self._source, look_up)

    def request_all(self, asked: Sequence[tuple[int, int, int]], *, deadline_s: float, epoch: int) -> None:
        """Ask for several frames as `request` does: frame, index and base of each."""
        look_up = partial(self._source.look_up_all, asked, deadline_s=deadline_s, epoch=epoch)
        self._executor.add(self._source, look_up)

    def reset(self, epoch: int) -> None:
        """Begin a new epoch: whatever waits is stale from now on."""
        self._source.epoch = epoch

    def close(self) -> None:
        """Drop what waits; nothing is delivered any more, and the model may go. Calling it twice is fine."""
        self._source.closed = True
        self._source.work.clear()
        self._release()


def _nothing() -> None:
    """Stand in where nobody counts."""
