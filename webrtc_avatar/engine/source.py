"""One caller in the engine: whose frames they are, on which model, and whether anybody still wants them."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
import numpy.typing as npt

from webrtc_avatar.engine.model import Model, Track
from webrtc_avatar.engine.request import Face


class Source:
    """Owned by the engine's thread; only `epoch` and `closed` are written by the caller's.

    Attributes:
        model_key: requests with the same key share a batch.
        model: what renders its frames.
        on_face: takes each answer, on the engine's thread.
        chunks_after: chunks that a frame's window needs after its own.
        epoch: the epoch that counts; requests of another are stale.
        closed: nothing is wanted any more.
    """

    def __init__(
        self,
        *,
        model_key: Hashable,
        model: Model,
        on_face: Callable[[Face], None],
        first_chunk: int = 0,
        windowed: bool = False,
    ) -> None:
        self.model_key = model_key
        self.model = model
        self.on_face = on_face
        self.epoch = 0
        self.closed = False
        self._first_chunk = first_chunk
        self._windowed = windowed
        self._track_epoch = 0
        self._track: Track = model.track(first_chunk=first_chunk, windowed=windowed)
        self.chunks_after = self._track.chunks_after

    def is_stale(self, epoch: int) -> bool:
        """Say whether work of `epoch` is for nobody."""
        return self.closed or epoch != self.epoch

    def add(self, samples: npt.NDArray[np.float32], epoch: int) -> Any | None:
        """Take the next chunk, float32 (640,), and return the context of the frame that it completes.

        Returns None while a new epoch has fewer than `chunks_after` + 1 chunks.
        """
        if epoch != self._track_epoch:
            self._track_epoch = epoch
            self._track = self.model.track(first_chunk=self._first_chunk, windowed=self._windowed)
        return self._track.push(samples)

    def finish(self) -> list[Any]:
        """Return the contexts of the frames that still lack chunks, as the model sees a sound that ends here."""
        return self._track.finish()
