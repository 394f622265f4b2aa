"""Pictures of an avatar at any frame, in any order: for calls that are not a session.

A painter keeps no state between calls, and any number of threads share one. Sessions draw with an actor, which does.
"""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from webrtc_avatar.avatar.idle import Pose

Picture = npt.NDArray[np.uint8]
Bounds = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels of the frame; right and bottom exclusive."""
Layout = Literal["bgr", "i420"]
"""`bgr`: uint8 (height, width, 3). `i420`: uint8 (height * 3 / 2, width), BT.601, limited range."""


class Painter(Protocol):
    """What every kind of avatar has.

    Attributes:
        width: pixels of a frame, even.
        height: pixels of a frame, even.
        frame_count: frames of footage, or of the idle loop where there is none.
        layout: of the pictures that `paint` and `plain` return.
        video_types: what `footage` knows; the first is `full_body`, the whole frame.
    """

    width: int
    height: int
    frame_count: int
    layout: Layout
    video_types: tuple[str, ...]

    def fold(self, frame: int) -> int:
        """Return the frame of footage, 0 to frame_count - 1, that frame 0, 1, 2, … of a performance is drawn on: to and fro."""

    def paint(self, base: int, crop: Picture | None) -> Picture:
        """Return frame `base` of the footage with a model's crop (see `Rendered.crop`) in it; None: as it is."""

    def bounds(self, base: int) -> Bounds:
        """Return where the face is in frame `base`: outside, `paint` changes nothing."""

    def pose(self, base: int) -> Pose | None:
        """Return what head and eyes do in frame `base`, where it is drawn; None of footage, which nobody posed."""

    def footage(self, base: int, video_type: str) -> Picture:
        """Return one frame of one of `video_types`, BGR.

        Raises:
            FrameOutOfRange: there is no such frame.
            InvalidRequest: there is no such video.
        """
