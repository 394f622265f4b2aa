"""What goes into the engine and what comes out: requests with deadlines, faces with their frame's index."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from webrtc_avatar.engine.model import Job
from webrtc_avatar.errors import AvatarServerError

if TYPE_CHECKING:
    from webrtc_avatar.engine.source import Source


@dataclass(frozen=True, slots=True)
class Face:
    """The engine's answer to one request.

    Attributes:
        index: the frame's index, the one of the chunk it belongs to.
        epoch: the epoch of the request; stale ones are not for showing.
        crop: the face, uint8, as `Rendered.crop`; None where nothing was rendered.
        weights: float32 (weights,), the mouth's pose, or None.
        late: the deadline had passed before the model ran, so nothing was rendered.
        error: why the frame failed, alone as well as in its batch.
        batch_size: frames in the model call that made it; 0 where none did.
        wait_s: time between the request and that call.
        run_s: time that the call took.
    """

    index: int
    epoch: int
    crop: npt.NDArray[np.uint8] | None = None
    weights: npt.NDArray[np.float32] | None = None
    late: bool = False
    error: AvatarServerError | None = None
    batch_size: int = 0
    wait_s: float = 0.0
    run_s: float = 0.0


@dataclass(eq=False, slots=True)
class Request:
    """One frame that waits for its turn; ordered by deadline, then by arrival.

    Attributes:
        deadline_s: `time.monotonic()` by which the face must be there; infinite for bulk work, which takes what is left.
        submitted_s: `time.monotonic()` of its arrival.
        source: who asked.
        index: the frame's index, for the answer.
        epoch: the caller's epoch.
        job: what the model renders.
        sequence: order of arrival, which breaks ties; the batcher counts.
        alone: it was in a batch that failed, so it shares its next call with nobody.
        aside: it waits for one device alone, where it has not failed.
        tries: failed calls that it was in.
        refused: numbers of the devices on which it failed alone.
    """

    deadline_s: float
    submitted_s: float
    source: Source
    index: int
    epoch: int
    job: Job
    sequence: int = 0
    alone: bool = False
    aside: bool = False
    tries: int = 0
    refused: frozenset[int] = frozenset()

    def __lt__(self, other: Request) -> bool:
        if self.deadline_s == other.deadline_s:
            return self.sequence < other.sequence
        return self.deadline_s < other.deadline_s

    @property
    def is_bulk(self) -> bool:
        """Whether nobody waits for it in real time."""
        return self.deadline_s == math.inf

    @property
    def is_stale(self) -> bool:
        """Whether nobody wants it any more."""
        return self.source.is_stale(self.epoch)
