"""The model of drawn avatars: log-mel window to mouth weights ("ear"), weights to mouth crop ("mouth")."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from webrtc_avatar.audio.chunk import CHUNK_SAMPLES
from webrtc_avatar.audio.mel import MEL_BANDS, MEL_ROWS_BEFORE, MEL_ROWS_PER_CHUNK, MEL_WINDOW, SILENT_MEL, MelStream
from webrtc_avatar.avatar.package import Avatar
from webrtc_avatar.engine.model import (
    WINDOW_CHUNKS_AFTER,
    WINDOW_CHUNKS_BEFORE,
    Crops,
    Floats,
    Job,
    Rendered,
)
from webrtc_avatar.engine.runtime import Network, Runtime
from webrtc_avatar.errors import InvalidAvatar, NoFeatures

_CAPACITY_CHUNKS = 64


class VisemeTrack:
    """A ring of log-mel rows; a context is a view of the 64 rows that show the newest complete frame, float32 (64, 80).

    Args:
        lookahead: chunks after a frame's own that the ear hears.
        windowed: see `Model.track`.
    """

    def __init__(self, lookahead: int, *, windowed: bool) -> None:
        self.chunks_after = WINDOW_CHUNKS_AFTER if windowed else lookahead
        self._skipped_rows = MEL_ROWS_PER_CHUNK * (self.chunks_after - lookahead)
        # Of a frame's window, the rows whose samples reach back beyond the chunks before it.
        first_row = MEL_ROWS_BEFORE - MEL_ROWS_PER_CHUNK * (lookahead + WINDOW_CHUNKS_BEFORE) + 2
        self._unheard_rows = max(first_row, 0) if windowed else 0
        self._mel = MelStream()
        # The rows before the first chunk are those of silence, as if the track had always been there.
        self._rows = np.empty((_CAPACITY_CHUNKS * MEL_ROWS_PER_CHUNK + 2 * MEL_WINDOW, MEL_BANDS), np.float32)
        self._rows[:MEL_ROWS_BEFORE] = SILENT_MEL
        self._row_count = MEL_ROWS_BEFORE
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
        window = self._rows[end - MEL_WINDOW : end]
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
        return VisemeTrack(self.chunks_after, windowed=windowed)

    def features(self, frame: int) -> Any:
        """Raise NoFeatures: drawn avatars bring no features of their own."""
        raise NoFeatures(
            f"avatar {self._name!r} brings no features of its own, so frame {frame} needs sound: send audio_chunks, "
            "or choose an avatar that was imported with its features"
        )

    def render(self, jobs: Sequence[Job]) -> list[Rendered]:
        """Return the mouths of jobs; see `Model.render`."""
        windows = np.empty((len(jobs), MEL_WINDOW, MEL_BANDS), np.float32)
        for window, job in zip(windows, jobs, strict=True):  # np.stack takes four times as long
            window[:] = job.context
        weights = self.encode_audio(windows)
        return [Rendered(crop, pose) for crop, pose in zip(self.draw(weights), weights, strict=True)]

    def bare(self, jobs: Sequence[Job]) -> Callable[[], object]:
        """Return what runs the networks of these jobs and nothing else, for a bench to compare with."""
        windows = np.stack([job.context for job in jobs])
        return lambda: self.draw(self.encode_audio(windows))

    def encode_audio(self, windows: Floats) -> Floats:
        """Return mouth weights (batch, weights) of log-mel windows (batch, 64, 80), for the package's look-ahead."""
        weights = _output(self._ear, {"mel": windows}, "weights", self._name)
        heard = np.ascontiguousarray(weights[:, self.chunks_after])
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
        if heard.ndim != 3 or heard.shape[1] <= self.chunks_after or heard.shape[2] != self._weight_count:
            raise InvalidAvatar(
                f"avatar {self._name!r}: ear gives weights of shape {heard.shape[1:]} (look-aheads, weights); avatar.toml "
                f"has {self._weight_count} weights and chunks_after = {self.chunks_after}; export the network again or "
                f"correct [model] weights and chunks_after"
            )
        crop = self.draw(self.encode_audio(silence))
        if crop.shape[1:] != self._crop_shape or crop.dtype != np.uint8:
            raise InvalidAvatar(
                f"avatar {self._name!r}: mouth gives {crop.dtype} {crop.shape[1:]}, the mouth's box needs I420 uint8 "
                f"{self._crop_shape}; export the network again or correct [mouth] box"
            )


def _output(network: Network, inputs: dict[str, Floats], name: str, avatar: str) -> npt.NDArray[Any]:
    outputs = network(inputs)
    if name not in outputs:
        raise InvalidAvatar(
            f"avatar {avatar!r}: the network has outputs {sorted(outputs)}, needed is {name!r}; export it again"
        )
    return outputs[name]
