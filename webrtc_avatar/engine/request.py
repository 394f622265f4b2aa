"""What goes into the engine and what comes out: requests with deadlines, faces with their frame's index."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from webrtc_avatar.errors import AvatarServerError

if TYPE_CHECKING:
    from webrtc_avatar.engine.stream import StreamState


@dataclass(frozen=True, slots=True)
class Face:
    """The engine's answer to one request.

    Attributes:
        index: the frame's index, the one of the chunk it belongs to.
        epoch: the epoch of the request; stale ones are not for showing.
        crop: the mouth, I420 uint8 (height * 3 / 2, width), or None where nothing was rendered.
        weights: float32 (weights,), the mouth's pose, or None.
        late: the deadline had passed before the model ran, so nothing was rendered.
        error: why the frame failed, alone as well as in its batch.
    """

    index: int
    epoch: int
    crop: npt.NDArray[np.uint8] | None = None
    weights: npt.NDArray[np.float32] | None = None
    late: bool = False
    error: AvatarServerError | None = None


@dataclass(order=True, slots=True)
class Request:
    """One frame that waits for its turn; ordered by deadline, then by arrival.

    Attributes:
        deadline_s: `time.monotonic()` by which the face must be there.
        sequence: order of arrival, which breaks ties.
        submitted_s: `time.monotonic()` of its arrival.
        window: float32 (rows, bands), the features of its window.
    """

    deadline_s: float
    sequence: int
    submitted_s: float = field(compare=False)
    stream: StreamState = field(compare=False)
    index: int = field(compare=False)
    epoch: int = field(compare=False)
    window: npt.NDArray[np.float32] = field(compare=False)
