"""Plays footage in a session: to and fro while nobody speaks, with the model's face in it while somebody does."""

from __future__ import annotations

import math

import cv2
import numpy as np

from webrtc_avatar.avatar.compose import Picture, i420
from webrtc_avatar.avatar.cue import QUIET, Cue
from webrtc_avatar.avatar.footage import FootageAvatar
from webrtc_avatar.avatar.footage_frames import Size
from webrtc_avatar.avatar.footage_painter import check_face, put_face
from webrtc_avatar.avatar.idle import Pose
from webrtc_avatar.avatar.style import DEFAULT_STYLE, Style

HOLD_FRAMES = 12
"""A late face holds the picture for so long at most; then the footage goes on with the mouth that was filmed."""

FADE_IN_FRAMES = 2
"""From the mouth that was filmed to the network's."""

FADE_OUT_FRAMES = 3
"""From the network's last mouth to the one that was filmed."""


_LEAST_SHARE = 0.01


class FootageActor:
    """One session's footage. One call at a time, from any thread.

    Args:
        avatar: the loaded package.
        style: taken for the sake of the session; footage moves as it was filmed.
        frame_px: frames have the square of this as pixels at most, larger footage is scaled down; none: as it was filmed.

    Attributes:
        style: as given, or as set since.
        pose: None: what head and eyes do in footage is not known.
        size: width and height of the frames, even.

    Raises:
        InvalidAvatar: the first frame cannot be decoded.
    """

    pose: Pose | None = None

    def __init__(self, avatar: FootageAvatar, *, style: Style = DEFAULT_STYLE, frame_px: int | None = None) -> None:
        self._avatar = avatar
        self.style = style
        self.size = fitted(avatar.width, avatar.height, frame_px)
        self._crop: Picture | None = None
        self._face: Picture | None = None
        self._share = 0.0
        self._shown: Picture | None = None
        self._tick: int | None = None
        self._held = 0
        avatar.frame(0, self.size)

    @property
    def mouth_share(self) -> float:
        """How much of the network's face is in the frame that was drawn last, 0..1; the rest was filmed."""
        return self._share

    def draw(self, tick: int, crop: Picture | None, cue: Cue = QUIET) -> Picture:
        """Draw the frame of a tick.

        Args:
            tick: frames of 1/25 s since the session's origin; ticks may be skipped.
            crop: the face that was made for this tick, BGR uint8 (crop_px, crop_px, 3); the one of the call before: this tick's
                is late, and the whole picture is held, as a face fits no other frame; None: nobody speaks.
            cue: what a drawn face would react to.

        Returns:
            An I420 picture, uint8 (height * 3 / 2, width), not to be written to.

        Raises:
            EngineFailure: the crop does not have the size of the network's.
            InvalidAvatar: the frame cannot be decoded.
        """
        if crop is not None:
            check_face(self._avatar, crop)
        ticks = 1 if self._tick is None else max(tick - self._tick, 1)
        late = crop is not None and crop is self._crop
        self._tick, self._crop = tick, crop
        self._held = self._held + 1 if late else 0
        if late and self._shown is not None and self._held <= HOLD_FRAMES:
            return self._shown
        if crop is not None and not late:
            self._face, self._share = crop, min(self._share + ticks / FADE_IN_FRAMES, 1.0)
        else:
            share = self._share - ticks / FADE_OUT_FRAMES
            self._share = share if share > _LEAST_SHARE and not cue.cut else 0.0
        self._shown = i420(self._compose(self._avatar.fold(tick)))
        return self._shown

    def _compose(self, base: int) -> Picture:
        """Return a frame with the network's face in it, as far as it shows."""
        frame = self._avatar.frame(base, self.size)
        if self._share == 0.0 or self._face is None:
            self._face = None
            return frame
        picture, face = frame.copy(), self._face
        if self._share < 1.0:
            filmed = np.asarray(self._avatar.faces[base])
            face = np.asarray(cv2.addWeighted(face, self._share, filmed, 1 - self._share, 0), np.uint8)
        if self.size == (self._avatar.width, self._avatar.height):
            put_face(picture, self._avatar, base, face)
        else:
            self._put_scaled(picture, base, face)
        return picture

    def _put_scaled(self, picture: Picture, base: int, crop: Picture) -> None:
        """Put a face where its box lies in the smaller frame: mostly between pixels, so that it does not tremble."""
        x_scale, y_scale = self.size[0] / self._avatar.width, self.size[1] / self._avatar.height
        x0, y0, x1, y1 = self._avatar.boxes[base] * (x_scale, y_scale, x_scale, y_scale)
        width, height = min(math.ceil(x1 - x0), crop.shape[1]), min(math.ceil(y1 - y0), crop.shape[0])
        face = cv2.resize(crop, (width, height), interpolation=cv2.INTER_AREA)
        left, top = math.ceil(x0), math.ceil(y0)
        right, bottom = min(math.floor(x1), self.size[0]), min(math.floor(y1), self.size[1])
        to_x, to_y = (x1 - x0) / width, (y1 - y0) / height
        # Pixel n of the frame shows what is around n + 0.5, in the face's own pixels.
        back = np.array(
            [[1 / to_x, 0, (left + 0.5 - x0) / to_x - 0.5], [0, 1 / to_y, (top + 0.5 - y0) / to_y - 0.5]], np.float64
        )
        picture[top:bottom, left:right] = cv2.warpAffine(
            face,
            back,
            (right - left, bottom - top),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )


def fitted(width: int, height: int, frame_px: int | None) -> Size:
    """Return the largest even size of about the same shape with at most `frame_px` * `frame_px` pixels, never a larger one."""
    if frame_px is None or width * height <= frame_px * frame_px:
        return width, height
    scale = frame_px / math.sqrt(width * height)
    return max(2, int(width * scale) // 2 * 2), max(2, int(height * scale) // 2 * 2)
