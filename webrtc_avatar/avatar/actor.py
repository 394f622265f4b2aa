"""Draws an avatar's frames: the plate, living eyes, the mouth that the model made, and a head that sways and breathes.

The order is eyes, mouth, warp: crops fit the still plate. Costs about a millisecond for 512x512 on one thread, nearly all of it
in OpenCV, which releases the interpreter's lock meanwhile. OpenCV starts a thread per core unless told otherwise: a process that draws calls
`cv2.setNumThreads(1)` when it starts.
"""

from __future__ import annotations

import numpy as np

from webrtc_avatar.avatar.compose import Picture, Planes, enlarged, paste, planes, put
from webrtc_avatar.avatar.cue import QUIET, Cue
from webrtc_avatar.avatar.idle import Pose
from webrtc_avatar.avatar.life import Life
from webrtc_avatar.avatar.package import Avatar
from webrtc_avatar.avatar.stage import stage_of
from webrtc_avatar.avatar.style import DEFAULT_STYLE, Style
from webrtc_avatar.avatar.warp import Warp
from webrtc_avatar.errors import EngineFailure

FADE_IN_FRAMES = 2
"""From the resting mouth to the model's."""

FADE_OUT_FRAMES = 5
"""From the model's last mouth to the resting one."""


class Actor:
    """One session's face. One call at a time, from any thread.

    Args:
        avatar: the loaded package.
        seed: decides blinks, glances and sway; equal seeds and equal calls draw equal frames.
        style: how the face is held.
        frame_px: width and height of the frames, even; none: the avatar's own.

    Attributes:
        style: may be set at any time, from any thread.
        pose: what the face does in the frame that was drawn last.

    Raises:
        InvalidAvatar: if the avatar's flow is unusable.
    """

    def __init__(self, avatar: Avatar, *, seed: int, style: Style = DEFAULT_STYLE, frame_px: int | None = None) -> None:
        self._stage = stage_of(avatar)
        self._life = Life(seed, style)
        self._still = self._stage.plate.copy()
        self._frame_px = frame_px or avatar.frame_size
        self._warp = self._warp_of(avatar) if avatar.flow else None
        self._eyes: Picture | None = None
        self._mouth: Picture | None = None
        self._rest: Picture | None = None
        self._mouth_share = 0.0
        self._tick: int | None = None
        self.style = style
        self.pose: Pose | None = None

    @property
    def mouth_share(self) -> float:
        """How much of the model's mouth is in the frame that was drawn last, 0..1; the rest is the resting mouth."""
        return self._mouth_share

    def draw(self, tick: int, crop: Picture | None, cue: Cue = QUIET) -> Picture:
        """Draw the frame of a tick.

        Args:
            tick: frames of 1/25 s since the session's origin; ticks may be skipped.
            crop: the mouth, I420 uint8 of the mouth box's size, not to be changed later; or None for the resting mouth.
            cue: what the face reacts to.

        Returns:
            A new I420 picture, uint8 (frame_px * 3 / 2, frame_px).

        Raises:
            EngineFailure: if the crop does not have the mouth box's size.
        """
        ticks = 1 if self._tick is None else max(tick - self._tick, 1)
        mouth_before, eyes_before = self._mouth, self._eyes
        self._show_mouth(ticks, crop)
        if cue.cut:
            self._mouth, self._mouth_share = None, 0.0
        self._tick = tick
        self.pose = pose = self._life.pose(tick, cue, self.style)
        self._eyes = eyes = self._stage.eyes(pose.look)
        rest_before, self._rest = self._rest, self._stage.resting_mouth(pose.smile)
        still = self._compose(eyes)
        if self._warp is None:
            return self._still.copy() if self._frame_px == still.y.shape[0] else enlarged(still, self._frame_px)
        if eyes is not eyes_before:
            self._warp.refresh(still, self._stage.eye_box)
        if self._mouth is not None or mouth_before is not None or self._rest is not rest_before:
            self._warp.refresh(still, self._stage.mouth_box)
        frame = np.empty((self._frame_px * 3 // 2, self._frame_px), np.uint8)
        self._warp.move(still, planes(frame), pose.yaw, pose.pitch, pose.roll, pose.breath)
        return frame

    def _warp_of(self, avatar: Avatar) -> Warp:
        still = planes(self._still)
        if self._frame_px == avatar.frame_size:
            return Warp(avatar.flow, still)
        return Warp(avatar.flow, still, frame_px=self._frame_px, detail=self._stage.detail)

    def _compose(self, eyes: Picture) -> Planes:
        """Paste eyes and mouth on the plate, and return the still picture's planes."""
        stage = self._stage
        np.copyto(self._still, stage.plate)
        still = planes(self._still)
        put(still, stage.eye_box, eyes)
        if self._rest is not None and self._mouth_share < 1:
            put(still, stage.mouth_box, self._rest)
        if self._mouth is not None:
            paste(still, stage.mouth_box, self._mouth, stage.mouth_feather, weight=self._mouth_share)
        return still

    def _show_mouth(self, ticks: int, crop: Picture | None) -> None:
        if crop is None:
            self._mouth_share = max(self._mouth_share - ticks / FADE_OUT_FRAMES, 0.0)
            if self._mouth_share == 0.0:
                self._mouth = None
            return
        box = self._stage.mouth_box
        if crop.shape != (box.height * 3 // 2, box.width) or crop.dtype != np.uint8:
            raise EngineFailure(
                f"a mouth for {box} is I420 uint8 ({box.height * 3 // 2}, {box.width}); got {crop.dtype} {crop.shape}; "
                f"the avatar's mouth network and its mouth box do not fit each other"
            )
        self._mouth = crop
        self._mouth_share = min(self._mouth_share + ticks / FADE_IN_FRAMES, 1.0)
