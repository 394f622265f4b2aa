"""The model of drawn avatars: log-mel window to mouth weights ("ear"), weights to mouth crop ("mouth")."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from webrtc_avatar.audio.chunk import CHUNK_SAMPLES
from webrtc_avatar.audio.mel import (
    MEL_BANDS,
    MEL_HOP_SAMPLES,
    MEL_REACH_SAMPLES,
    MEL_ROWS_BEFORE,
    MEL_ROWS_PER_CHUNK,
    MEL_WINDOW,
    SILENT_MEL,
    MelStream,
)
from webrtc_avatar.avatar.package import Avatar
from webrtc_avatar.engine.model import (
    WINDOW_CHUNKS_AFTER,
    WINDOW_CHUNKS_BEFORE,
    Crops,
    Floats,
    Job,
    Rendered,
)
from webrtc_avatar.engine.refinement import LOOKAHEADS, Refinement
from webrtc_avatar.engine.runtime import Network, Runtime
from webrtc_avatar.errors import InvalidAvatar, NoFeatures

_CAPACITY_CHUNKS = 64


class VisemeTrack:
    """A ring of log-mel rows; a context is a view of the rows that show the newest complete frame, float32 (64 or more, 80).

    Args:
        lookahead: chunks after a frame's own that the ear hears.
        windowed: see `Model.track`.
        ends: first and last row, counted from a frame's last one, that are the newest of a window of the ear; none: the last one
            of the look-ahead. A context is all of these windows: 64 rows and as many more as lie between the two.
    """

    def __init__(self, lookahead: int, *, windowed: bool, ends: tuple[int, int] | None = None) -> None:
        first, last = ends or (MEL_ROWS_PER_CHUNK * lookahead, MEL_ROWS_PER_CHUNK * lookahead)
        self.chunks_after = WINDOW_CHUNKS_AFTER if windowed else lookahead
        self._context_rows = MEL_WINDOW + last - first
        self._skipped_rows = MEL_ROWS_PER_CHUNK * self.chunks_after - last
        # Of a frame's context, the rows whose samples reach back beyond the chunks before it.
        first_row = MEL_ROWS_BEFORE - first - MEL_ROWS_PER_CHUNK * WINDOW_CHUNKS_BEFORE + 2
        self._unheard_rows = max(first_row, 0) if windowed else 0
        self._mel = MelStream()
        # The rows before the first chunk are those of silence, as if the track had always been there.
        self._rows = np.empty((_CAPACITY_CHUNKS * MEL_ROWS_PER_CHUNK + 2 * MEL_WINDOW, MEL_BANDS), np.float32)
        self._row_count = MEL_ROWS_BEFORE - min(first, 0)
        self._rows[: self._row_count] = SILENT_MEL
        self._chunk_count = 0

    def push(self, samples: Floats) -> Floats | None:
        """Take the next chunk; see `Track.push`."""
        rows = self._mel.push(samples)
        if self._row_count + len(rows) > len(self._rows):
            keep = 2 * MEL_WINDOW
            # A new array, so that windows that still wait in the batcher keep their rows.
            fresh = np.empty_like(self._rows)
            fresh[:keep] = self._rows[self._row_count - keep : self._row_count]
            self._rows, self._row_count = fresh, keep
        self._rows[self._row_count : self._row_count + len(rows)] = rows
        self._row_count += len(rows)
        self._chunk_count += 1
        if self._chunk_count <= self.chunks_after:
            return None
        end = self._row_count - self._skipped_rows
        window = self._rows[end - self._context_rows : end]
        if self._unheard_rows:
            window = window.copy()
            window[: self._unheard_rows] = SILENT_MEL
        return window

    def finish(self) -> list[Any]:
        """Return the contexts of the last frames, with silence behind them."""
        silence = np.zeros(CHUNK_SAMPLES, np.float32)
        contexts = [self.push(silence) for _ in range(self.chunks_after)]
        return [context for context in contexts if context is not None]


_MOST_WEIGHT = 1.15
"""Further no weight is carried by a model's strength."""


class VisemeModel:
    """Both networks of a drawn avatar on one runtime."""

    def __init__(self, avatar: Avatar, runtime: Runtime) -> None:
        """Load both networks and check their shapes against the package by one call each.

        Raises:
            InvalidAvatar: a network is unreadable, or its inputs or outputs are not what the package says.
        """
        spec = avatar.model
        self.chunks_before, self.chunks_after = spec.chunks_before, spec.chunks_after
        self._lookahead = spec.chunks_after
        self._refinement = Refinement(spec.evaluations, spec.weights) if spec.evaluations > 1 else None
        if self._refinement is not None:
            self.chunks_after = self._refinement.chunks_after
            self.chunks_before = max(self.chunks_before, _chunks_before(self._refinement.first_end))
        self._strength = spec.strength
        self._weight_count = len(spec.weights)
        left, top, right, bottom = avatar.mouth_box
        self._crop_shape = ((bottom - top) * 3 // 2, right - left)
        self._name = avatar.name
        self._ear = runtime.load(spec.ear, "speech_tcn")
        self._draw = self._drawer(avatar, runtime)
        self._check()

    def track(self, *, first_chunk: int = 0, windowed: bool = False) -> VisemeTrack:
        """Return a new track; the number of its first chunk makes no difference."""
        refinement = self._refinement
        ends = None if refinement is None else (refinement.first_end, refinement.last_end)
        return VisemeTrack(self.chunks_after, windowed=windowed, ends=ends)

    def features(self, frame: int) -> Any:
        """Raise NoFeatures: drawn avatars bring no features of their own."""
        raise NoFeatures(
            f"avatar {self._name!r} brings no features of its own, so frame {frame} needs sound: send audio_chunks, "
            "or choose an avatar that was imported with its features"
        )

    def render(self, jobs: Sequence[Job]) -> list[Rendered]:
        """Return the mouths of jobs; see `Model.render`."""
        weights = self._stronger(self.mouths(jobs))
        return [Rendered(crop, pose) for crop, pose in zip(self.draw(weights), weights, strict=True)]

    def bare(self, jobs: Sequence[Job]) -> Callable[[], object]:
        """Return what runs the networks of these jobs and nothing else, for a bench to compare with."""
        contexts = np.stack([job.context for job in jobs])
        return lambda: self.draw(self.encode_audio(contexts))

    def mouths(self, jobs: Sequence[Job]) -> Floats:
        """Return mouth weights (jobs, weights): those that the ear hears, or where a context is weights, those."""
        weights = np.empty((len(jobs), self._weight_count), np.float32)
        unheard = []
        for place, job in enumerate(jobs):
            if job.context.ndim == 1:
                weights[place] = job.context
            else:
                unheard.append(place)
        if unheard:
            contexts = np.empty((len(unheard), *jobs[unheard[0]].context.shape), np.float32)
            for context, place in zip(contexts, unheard, strict=True):  # np.stack takes four times as long
                context[:] = jobs[place].context
            weights[unheard] = self._hear(contexts) if self._refinement is None else self._refine(contexts)
        return weights

    def encode_audio(self, contexts: Floats) -> Floats:
        """Return mouth weights (batch, weights) of contexts (batch, 64, 80), or of the longer ones of refined motion."""
        return self._stronger(self._hear(contexts) if self._refinement is None else self._refine(contexts))

    def _hear(self, windows: Floats) -> Floats:
        """Return weights for the package's look-ahead, all in one call."""
        weights = _output(self._ear, {"mel": windows}, "weights", self._name)
        return np.ascontiguousarray(weights[:, self._lookahead])

    def _refine(self, contexts: Floats) -> Floats:
        """Return refined weights, a call of the ear for each frame: a frame's last bits must not depend on those beside it."""
        assert self._refinement is not None
        mouths = []
        for rows in contexts:
            windows = self._refinement.windows(rows)
            mouths.append(self._refinement.mouth(_output(self._ear, {"mel": windows}, "weights", self._name)))
        return np.stack(mouths)

    def _stronger(self, heard: Floats) -> Floats:
        """Return weights carried further from rest, or less far, by the model's strength."""
        if self._strength == 1.0:
            return heard
        # What is beyond a weight's range tears a mouth.
        most = np.maximum(heard, np.float32(_MOST_WEIGHT))
        return np.asarray(np.minimum(np.float32(self._strength) * heard, most), np.float32)

    def draw(self, weights: Floats) -> Crops:
        """Return mouth crops (batch, height * 3 / 2, width) of mouth weights (batch, weights)."""
        return self._draw(weights)

    def _drawer(self, avatar: Avatar, runtime: Runtime) -> Callable[[Floats], Crops]:
        """Return what draws mouths; see `draw`."""
        mouth = runtime.load(avatar.model.mouth, "kernel_mouth")
        return lambda weights: _output(mouth, {"weights": weights}, "crop", avatar.name)

    def _check(self) -> None:
        try:
            self._check_shapes()
        except InvalidAvatar:
            raise
        except Exception as error:  # what a network that is another one raises depends on the runtime
            raise InvalidAvatar(
                f"avatar {self._name!r}: its networks do not run: {str(error).splitlines()[0]}; "
                "check that [model] ear and mouth name the right files"
            ) from error

    def _check_shapes(self) -> None:
        silence = np.full((1, MEL_WINDOW, MEL_BANDS), SILENT_MEL, np.float32)
        heard = _output(self._ear, {"mel": silence}, "weights", self._name)
        if heard.ndim != 3 or heard.shape[1] <= self._lookahead or heard.shape[2] != self._weight_count:
            raise InvalidAvatar(
                f"avatar {self._name!r}: ear gives weights of shape {heard.shape[1:]} (look-aheads, weights); avatar.toml "
                f"has {self._weight_count} weights and chunks_after = {self._lookahead}; export the network again or "
                f"correct [model] weights and chunks_after"
            )
        if self._refinement is not None and heard.shape[1] != LOOKAHEADS:
            raise InvalidAvatar(
                f"avatar {self._name!r}: ear answers for {heard.shape[1]} look-aheads, refined motion needs {LOOKAHEADS}; "
                "export the network again"
            )
        crop = self.draw(self._hear(silence))
        if crop.shape[1:] != self._crop_shape or crop.dtype != np.uint8:
            raise InvalidAvatar(
                f"avatar {self._name!r}: mouth gives {crop.dtype} {crop.shape[1:]}, the mouth's box needs I420 uint8 "
                f"{self._crop_shape}; export the network again or correct [mouth] box"
            )


def _chunks_before(first_end: int) -> int:
    """Return how many chunks before a frame's own reach it, where the earliest window ends so many rows after the frame's last one."""
    samples = MEL_HOP_SAMPLES * (MEL_ROWS_BEFORE - first_end) + MEL_REACH_SAMPLES
    return -(-samples // CHUNK_SAMPLES)


def _output(network: Network, inputs: dict[str, Floats], name: str, avatar: str) -> npt.NDArray[Any]:
    outputs = network(inputs)
    if name not in outputs:
        raise InvalidAvatar(
            f"avatar {avatar!r}: the network has outputs {sorted(outputs)}, needed is {name!r}; export it again"
        )
    return outputs[name]
