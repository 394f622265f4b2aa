"""One caller's sound on its way into the engine: a ring of features, from which windows are views."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import numpy as np
import numpy.typing as npt

from webrtc_avatar.audio.mel import MEL_BANDS, MEL_ROWS_BEFORE, MEL_ROWS_PER_CHUNK, MEL_WINDOW, SILENT_MEL, MelStream
from webrtc_avatar.engine.model import Model
from webrtc_avatar.engine.request import Face

_CAPACITY_CHUNKS = 64


class StreamState:
    """Owned by the engine's thread; only `epoch` and `closed` are written by the caller's.

    Attributes:
        model_key: requests with the same key share a batch.
        model: what renders this stream.
        on_face: takes each answer, on the engine's thread.
        chunks_after: chunks that a frame's window needs after its own.
        epoch: the epoch that counts; requests of another are stale.
        closed: nothing is wanted any more.
    """

    def __init__(
        self, *, model_key: Hashable, model: Model, on_face: Callable[[Face], None], chunks_after: int
    ) -> None:
        self.model_key = model_key
        self.model = model
        self.on_face = on_face
        self.chunks_after = chunks_after
        self.epoch = 0
        self.closed = False
        self._ring_epoch = 0
        self._restart()

    def _restart(self) -> None:
        self._mel = MelStream()
        # The rows before the first chunk are those of silence, as if the stream had always been there.
        self._rows = np.empty((_CAPACITY_CHUNKS * MEL_ROWS_PER_CHUNK + MEL_WINDOW, MEL_BANDS), np.float32)
        self._rows[:MEL_ROWS_BEFORE] = SILENT_MEL
        self._row_count = MEL_ROWS_BEFORE
        self._chunk_count = 0

    def is_stale(self, epoch: int) -> bool:
        """Say whether work of `epoch` is for nobody."""
        return self.closed or epoch != self.epoch

    def add(self, samples: npt.NDArray[np.float32], epoch: int) -> npt.NDArray[np.float32] | None:
        """Take the next chunk, float32 (640,), and return the newest rows (64, 80), which show the newest complete frame.

        Returns None while a new epoch has fewer than `chunks_after` + 1 chunks.
        """
        if epoch != self._ring_epoch:
            self._ring_epoch = epoch
            self._restart()
        rows = self._mel.push(samples)
        if self._row_count + len(rows) > len(self._rows):
            keep = MEL_WINDOW + MEL_ROWS_PER_CHUNK
            # A new array, so that windows that still wait in the batcher keep their rows.
            fresh = np.empty_like(self._rows)
            fresh[:keep] = self._rows[self._row_count - keep : self._row_count]
            self._rows, self._row_count = fresh, keep
        self._rows[self._row_count : self._row_count + len(rows)] = rows
        self._row_count += len(rows)
        self._chunk_count += 1
        if self._chunk_count <= self.chunks_after:
            return None
        return self._rows[self._row_count - MEL_WINDOW : self._row_count]
