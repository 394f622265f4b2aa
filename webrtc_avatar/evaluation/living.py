"""The part of an evaluation that is about life: what the face does besides speaking, over half an hour of its clock."""

from __future__ import annotations

import numpy as np

from webrtc_avatar.audio.chunk import FRAME_RATE_HZ
from webrtc_avatar.avatar.cue import QUIET, Cue
from webrtc_avatar.avatar.life import Life
from webrtc_avatar.avatar.style import Style
from webrtc_avatar.evaluation.gates import Gate, Result

_MINUTES = 30
_SHUT = 0.6


def living(seed: int = 0) -> list[Result]:
    """Return how often a face blinks, how much it looks at the viewer, how far its head strays, and that it can keep still."""
    ticks = range(_MINUTES * 60 * FRAME_RATE_HZ)
    results = []
    for doing, cue in (("resting", QUIET), ("speaking", Cue(speaking=True)), ("listening", Cue(listening=True))):
        life, style = Life(seed, Style()), Style()
        poses = [life.pose(tick, cue, style) for tick in ticks]
        shut = np.array([pose.look.lid > _SHUT for pose in poses])
        blinks = np.flatnonzero(shut[1:] & ~shut[:-1])
        apart_s = float(np.median(np.diff(blinks))) / FRAME_RATE_HZ
        results.append(
            Result("seconds between blinks, median", doing, apart_s, f"{apart_s:.1f}", Gate(least=2, most=6))
        )
        met = float(np.mean([pose.look.gaze == (0.0, 0.0) for pose in poses]))
        results.append(
            Result("time that the gaze meets the viewer", doing, met, f"{100 * met:.0f} %", Gate(least=0.8), scale=100)
        )
        far = max(max(abs(pose.yaw), abs(pose.pitch), abs(pose.roll)) for pose in poses)
        results.append(Result("farthest turn of the head, degrees", doing, far, f"{far:.1f}", Gate(most=4)))
    life, still = Life(seed, Style(alive=False)), Style(alive=False)
    poses = [life.pose(tick, Cue(speaking=True, stress=1.0, pitch=1.0), still) for tick in range(0, 3000)]
    moved = max(max(abs(pose.yaw), abs(pose.pitch), abs(pose.roll), pose.look.lid) for pose in poses)
    results.append(Result("movement with life switched off", "two minutes", moved, f"{moved:g}", Gate(most=0)))
    return results
