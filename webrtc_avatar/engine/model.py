"""The contract of every model: sound becomes features on a track, frames on a base become crops, in batches.

A track makes the features of one caller's sound as it arrives, once a chunk and never once a window. `push` gives the context of
the frame that the chunk completes: whatever the model wants to know about its sound, for a later `render`.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Crops = npt.NDArray[np.uint8]

WINDOW_CHUNKS_BEFORE = 8
WINDOW_CHUNKS_AFTER = 7
"""Chunks around a frame's own in the wire contracts: 16 with its own."""


class Job(NamedTuple):
    """One frame to render.

    Attributes:
        context: what the track's `push` or the model's `features` gave, or for models whose crops are made of mouth weights these,
            float32 (weights,).
        base: number of the frame in the footage on which it is rendered, from 0; models fold it into their footage, and those
            without footage do not look at it.
    """

    context: Any
    base: int


class Rendered(NamedTuple):
    """What a job became.

    Attributes:
        crop: uint8, as the avatar's painter takes it: I420 (height * 3 / 2, width) for drawn avatars, BGR (height, width, 3)
            for footage.
        weights: float32 (weights,), the mouth's pose, or None where the model has none.
    """

    crop: Crops
    weights: Floats | None


class Track(Protocol):
    """One caller's sound. Calls do not overlap, and come from the engine's threads.

    Attributes:
        chunks_after: frame n is complete when chunk n + chunks_after is there.
    """

    chunks_after: int

    def push(self, samples: Floats) -> Any | None:
        """Take the next chunk, float32 (640,), and return the context of the frame that it completes; None while too few."""

    def finish(self) -> list[Any]:
        """Return the contexts of the frames that still lack chunks, as the model sees a sound that ends here."""


class Model(Protocol):
    """What the engine calls, on its threads; there is one for each device that holds it.

    A model's `render` is called by one thread at a time. Two copies may render frames of one track at the same time, so what a
    context keeps must be in host memory, and filling it in twice must do no harm. A model may tell what it holds on its device as
    `memory_bytes`; the sizes of its networks' files count otherwise.

    Attributes:
        chunks_before: chunks before a frame's own that reach it.
        chunks_after: chunks after it that a live frame waits for.
    """

    chunks_before: int
    chunks_after: int

    def track(self, *, first_chunk: int = 0, windowed: bool = False) -> Track:
        """Return a new track.

        Args:
            first_chunk: number of the first chunk that will be pushed; may be negative.
            windowed: every frame depends on its own 16 chunks alone (8 before, 7 after, as in the wire contracts), whatever
                else was pushed, so that a request may be cut anywhere. `chunks_after` is 7 then.
        """

    def features(self, frame: int) -> Any:
        """Return the context of a frame from the features that the avatar's package brings.

        Raises:
            NoFeatures: the package brings none.
            FrameOutOfRange: it has no such frame.
        """

    def render(self, jobs: Sequence[Job]) -> Sequence[Rendered]:
        """Return a crop for each job, in order. Contexts that were not needed so far are encoded here, in one batch."""


@runtime_checkable
class SharingModel(Model, Protocol):
    """A model that renders frames of others like it in the same call: those with an equal company on the same device.

    Attributes:
        company: what they have in common; its text is what people see in figures of what they render together.
    """

    company: Hashable

    def render_for(self, models: Sequence[Any], jobs: Sequence[Job]) -> Sequence[Rendered]:
        """Return a crop for each job, in order, each as the model at its place makes it.

        Args:
            models: one a job, of this model's company.
            jobs: as for `render`.
        """
