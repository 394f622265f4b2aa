"""Pictures of a drawn avatar at any frame: the idle loop of one minute, with a mouth where there is one.

Frame n shows what a face with the seed 0 does at tick n of its idle life, so equal frames are equal pictures, in any order and on any
thread. The mouth fades with nothing: a crop shows in whole or not at all.
"""

from __future__ import annotations

import math
import threading
from dataclasses import replace

import numpy as np

from webrtc_avatar.avatar.compose import Picture, bgr, paste, planes, put
from webrtc_avatar.avatar.idle import PITCH_DEG, ROLL_DEG, YAW_DEG, Idle, Pose
from webrtc_avatar.avatar.life import SACCADE_TICKS
from webrtc_avatar.avatar.package import Avatar
from webrtc_avatar.avatar.painter import Bounds, Layout
from webrtc_avatar.avatar.stage import Stage, stage_of
from webrtc_avatar.avatar.warp import FIELDS, Warp
from webrtc_avatar.errors import EngineFailure, FrameOutOfRange, InvalidRequest

LOOP_FRAMES = 1_500
"""A minute of idle life, which goes to and fro."""

FULL_BODY = "full_body"

_BLOCK_PX = 16
"""The face's bounds lie on the grid of JPEG's blocks, so that a face that is encoded alone becomes the blocks of the whole frame."""

_BLUR_PX = 4
"""How far the warp's sampling and sharpening spread a pixel, rounded up."""


class DrawnPainter:
    """See `Painter`. Frames have the avatar's own size."""

    layout: Layout = "i420"

    def __init__(self, avatar: Avatar) -> None:
        """Prepare an avatar.

        Raises:
            InvalidAvatar: its flow is unusable.
        """
        self._avatar = avatar
        self._stage = stage_of(avatar)
        self._idle = Idle(seed=0)
        self._poses: dict[int, Pose] = {}
        self._lock = threading.Lock()
        self._easels = [_Easel(avatar, self._stage)]
        self._bounds = _reach(avatar)
        self.width = self.height = avatar.frame_size
        self.frame_count = LOOP_FRAMES
        self.video_types: tuple[str, ...] = (FULL_BODY,)

    def fold(self, frame: int) -> int:
        """Return the frame of the loop for a frame of a performance: 0 to 1499, back to 0, and so on."""
        place = frame % (2 * (self.frame_count - 1))
        return min(place, 2 * (self.frame_count - 1) - place)

    def paint(self, base: int, crop: Picture | None) -> Picture:
        """Return frame `base`, I420 uint8 (height * 3 / 2, width), with a mouth in it; see `Painter.paint`.

        Raises:
            FrameOutOfRange: the loop has no such frame.
            EngineFailure: the crop does not have the mouth box's size.
        """
        pose = self.pose(base)
        box = self._stage.mouth_box
        if crop is not None and (crop.shape != (box.height * 3 // 2, box.width) or crop.dtype != np.uint8):
            raise EngineFailure(
                f"a mouth for {box} is I420 uint8 ({box.height * 3 // 2}, {box.width}); got {crop.dtype} {crop.shape}; "
                f"the avatar's mouth network and its mouth box do not fit each other"
            )
        with self._lock:
            easel = self._easels.pop() if self._easels else None
        easel = easel or _Easel(self._avatar, self._stage)
        try:
            return easel.paint(pose, crop)
        finally:
            with self._lock:
                self._easels.append(easel)

    def bounds(self, base: int) -> Bounds:
        """Return where the mouth can be in any frame: all frames share it, and its sides are multiples of 16 pixels."""
        self._check(base)
        return self._bounds

    def footage(self, base: int, video_type: str) -> Picture:
        """Return a frame without a mouth of its own, uint8 (height, width, 3) BGR; see `Painter.footage`."""
        if video_type != FULL_BODY:
            raise InvalidRequest(
                f"avatar {self._avatar.name!r} is drawn and has no video {video_type[:64]!r}; it has {FULL_BODY}"
            )
        return bgr(self.paint(base, None))

    def pose(self, base: int) -> Pose:
        """Return what head and eyes do in frame `base`; see `Painter.pose`."""
        self._check(base)
        with self._lock:
            pose = self._poses.get(base)
            if pose is None:
                pose = self._poses[base] = self._living(base)
            return pose

    def _living(self, base: int) -> Pose:
        """Return the idle pose; where the gaze jumps, it takes the ticks of a saccade."""
        pose = self._idle.pose(base)
        for ticks in range(1, SACCADE_TICKS):
            came_from = self._idle.pose(base - ticks).look.gaze
            if came_from != pose.look.gaze:
                return replace(pose, look=replace(pose.look, came_from=came_from, arrived=ticks / SACCADE_TICKS))
        return pose

    def _check(self, base: int) -> None:
        if not 0 <= base < self.frame_count:
            raise FrameOutOfRange(
                f"avatar {self._avatar.name!r} has the frames 0 to {self.frame_count - 1}; got {base}: later frames of a "
                f"performance are drawn on these, to and fro"
            )


class _Easel:
    """Room to draw one frame: for one thread at a time."""

    def __init__(self, avatar: Avatar, stage: Stage) -> None:
        self._stage = stage
        self._still = stage.plate.copy()
        self._warp = Warp(avatar.flow, planes(self._still)) if avatar.flow else None
        self._eyes: Picture | None = None
        self._mouth: Picture | None = None

    def paint(self, pose: Pose, crop: Picture | None) -> Picture:
        stage, still = self._stage, planes(self._still)
        eyes = stage.eyes(pose.look)
        blinked, spoke = eyes is not self._eyes, crop is not None or self._mouth is not None
        self._eyes, self._mouth = eyes, crop
        np.copyto(self._still, stage.plate)
        put(still, stage.eye_box, eyes)
        # The eyes before the mouth is there: what the warp takes over reaches a little beyond a box, and must not depend on
        # what was painted before.
        if self._warp is not None and blinked:
            self._warp.refresh(still, stage.eye_box)
        if crop is not None:
            paste(still, stage.mouth_box, crop, stage.mouth_feather)
        if self._warp is None:
            return self._still.copy()
        if spoke or blinked:
            self._warp.refresh(still, stage.mouth_box)
        frame = np.empty_like(self._still)
        self._warp.move(still, planes(frame), pose.yaw, pose.pitch, pose.roll, pose.breath)
        return frame


def _reach(avatar: Avatar) -> Bounds:
    """Return the smallest rectangle on the grid of blocks that holds the mouth's crop however the idle head is turned."""
    left, top, right, bottom = avatar.mouth_box
    size = avatar.frame_size
    across = down = 0.0
    if avatar.flow:
        most = np.array([YAW_DEG, PITCH_DEG, ROLL_DEG, 1.0], np.float32)
        fields = np.stack([np.abs(avatar.flow[name].astype(np.float32)) for name in FIELDS])
        shift = np.tensordot(most, fields, 1)
        cell = size / shift.shape[0]
        # What lands in the rectangle may come from a cell beyond the box, but from no further than the largest shift.
        margin = float(shift.max()) + cell
        rows = slice(max(int((top - margin) / cell), 0), math.ceil((bottom + margin) / cell))
        columns = slice(max(int((left - margin) / cell), 0), math.ceil((right + margin) / cell))
        across, down = (float(shift[rows, columns, axis].max()) for axis in (0, 1))
    return (
        _block_below(left - across - _BLUR_PX),
        _block_below(top - down - _BLUR_PX),
        min(_block_above(right + across + _BLUR_PX), size),
        min(_block_above(bottom + down + _BLUR_PX), size),
    )


def _block_below(place: float) -> int:
    return max(math.floor(place / _BLOCK_PX), 0) * _BLOCK_PX


def _block_above(place: float) -> int:
    return math.ceil(place / _BLOCK_PX) * _BLOCK_PX
