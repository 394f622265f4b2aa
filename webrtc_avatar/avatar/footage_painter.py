"""Pictures of footage with a face in it, as SyncTalk_2D's own scripts put it back: no blending, no feathering."""

from __future__ import annotations

import cv2
import numpy as np

from webrtc_avatar.avatar.footage import BORDER_PX, INTERPOLATION, FootageAvatar
from webrtc_avatar.avatar.idle import Pose
from webrtc_avatar.avatar.painter import Bounds, Layout, Picture
from webrtc_avatar.errors import EngineFailure, InvalidRequest

_MASK = {168: (5, 5, 155, 150), 328: (5, 5, 315, 310)}
"""Left, top, right, bottom of what the network does not see of the inner face."""


class FootagePainter:
    """See `Painter`."""

    layout: Layout = "bgr"

    def __init__(self, avatar: FootageAvatar) -> None:
        self._avatar = avatar
        self.width, self.height, self.frame_count = avatar.width, avatar.height, avatar.frame_count
        crop_px, inner_px = avatar.model.crop_px, avatar.model.inner_px
        self.video_types: tuple[str, ...] = ("full_body", f"crops_{crop_px}", f"rois_{inner_px}", "model_inputs")

    def fold(self, frame: int) -> int:
        """Return the frame of footage for a frame of a performance; see `Painter.fold`."""
        return self._avatar.fold(frame)

    def paint(self, base: int, crop: Picture | None) -> Picture:
        """Return a frame, uint8 (height, width, 3) BGR, with a crop (crop_px, crop_px, 3) in its box; see `Painter.paint`.

        Raises:
            FrameOutOfRange: the footage has no such frame.
            EngineFailure: the crop does not have the size of the network's.
        """
        frame = self._avatar.frame(base)
        if crop is None:
            return frame
        picture = frame.copy()
        put_face(picture, self._avatar, base, crop)
        return picture

    def bounds(self, base: int) -> Bounds:
        """Return the face's box in a frame; see `Painter.bounds`."""
        self._avatar.frames.check(base)
        x0, y0, x1, y1 = (int(edge) for edge in self._avatar.boxes[base])
        return x0, y0, min(x1, self.width), min(y1, self.height)

    def pose(self, base: int) -> Pose | None:
        """Return None; see `Painter.pose`."""
        return None

    def footage(self, base: int, video_type: str) -> Picture:
        """Return a whole frame, the crop, what the network draws anew (`rois`), or that as it sees it; see `Painter.footage`."""
        if video_type not in self.video_types:
            raise InvalidRequest(
                f"avatar {self._avatar.name!r} has no video {video_type[:64]!r}; it has {', '.join(self.video_types)}"
            )
        if video_type == "full_body":
            return self._avatar.frame(base)
        self._avatar.frames.check(base)
        face: Picture = self._avatar.faces[base]
        if video_type.startswith("crops"):
            return face
        inner: Picture = face[BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX]
        if video_type == "model_inputs":
            inner = inner.copy()
            left, top, right, bottom = _MASK[len(face)]
            inner[top:bottom, left:right] = 0
        return inner


def put_face(picture: Picture, avatar: FootageAvatar, base: int, crop: Picture) -> None:
    """Resize a crop to the face's box in frame `base` and overwrite it there, in place.

    Raises:
        EngineFailure: the crop does not have the size of the network's.
    """
    check_face(avatar, crop)
    x0, y0, x1, y1 = (int(edge) for edge in avatar.boxes[base])
    face = cv2.resize(crop, (x1 - x0, y1 - y0), interpolation=INTERPOLATION[len(crop)])
    target = picture[y0:y1, x0:x1]
    target[...] = face[: target.shape[0], : target.shape[1]]


def check_face(avatar: FootageAvatar, crop: Picture) -> None:
    """Raise EngineFailure where a crop does not have the size of the network's."""
    size = avatar.model.crop_px
    if crop.shape != (size, size, 3) or crop.dtype != np.uint8:
        raise EngineFailure(
            f"a face of avatar {avatar.name!r} is BGR uint8 ({size}, {size}, 3); got {crop.dtype} {crop.shape}"
        )
