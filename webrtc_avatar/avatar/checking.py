"""Looks at every part of a package, and goes on after a fault: for who made it, before anybody is shown it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from webrtc_avatar.avatar.footage import FootageAvatar, cut_face, read_features
from webrtc_avatar.avatar.package import AnyAvatar, load_avatar
from webrtc_avatar.errors import AvatarServerError

Progress = Callable[[str, int, int], None]

_UNLIKE_LEVELS = 12.0
_JUMP_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: in a few words.
        verdict: what was found.
        level: `ok`, `warning`, or `fault`: it cannot be shown.
    """

    what: str
    verdict: str
    level: str = "ok"


def check_package(folder: Path, progress: Progress) -> tuple[AnyAvatar | None, list[Finding]]:
    """Return the avatar, if it loads, and what was found in its package, without its networks."""
    try:
        avatar = load_avatar(folder)
    except AvatarServerError as error:
        return None, [Finding("package", error.message, "fault")]
    findings = [Finding("package", "loads: names, sizes and shapes fit avatar.toml")]
    if isinstance(avatar, FootageAvatar):
        findings += _frames(avatar, progress)
        findings += _boxes(avatar)
        findings += _features(avatar)
    return avatar, findings


def _frames(avatar: FootageAvatar, progress: Progress) -> Iterator[Finding]:
    broken, unlike = [], []
    for number in range(avatar.frame_count):
        progress("frames", number + 1, avatar.frame_count)
        try:
            picture = avatar.frame(number)
        except AvatarServerError as error:
            broken.append(error.message)
            continue
        x0, y0, x1, y1 = avatar.boxes[number]
        box = np.array([x0, y0, min(x1, avatar.width), min(y1, avatar.height)], np.int32)
        cut = cut_face(picture, box, avatar.model.crop_px)
        unlike.append(float(np.mean(cv2.absdiff(cut, np.asarray(avatar.faces[number])))))
    if broken:
        yield Finding(
            "frames", f"{len(broken)} of {avatar.frame_count} cannot be shown; the first: {broken[0]}", "fault"
        )
    else:
        yield Finding("frames", f"all {avatar.frame_count} decode to {avatar.width}x{avatar.height}")
    if unlike:
        worst = float(np.max(unlike))
        shown = f"differ from what is in the frames by {np.median(unlike):.1f} grey levels, by {worst:.1f} at most"
        level = "warning" if np.median(unlike) > _UNLIKE_LEVELS else "ok"
        yield Finding("faces", shown + (": they may belong to other frames" if level == "warning" else ""), level)


def _boxes(avatar: FootageAvatar) -> Iterator[Finding]:
    sizes = (avatar.boxes[:, 2:] - avatar.boxes[:, :2]).astype(float)
    middle = (avatar.boxes[:, 2:] + avatar.boxes[:, :2]) / 2
    steps = np.abs(np.diff(middle, axis=0)).max(1) / np.median(sizes) if avatar.frame_count > 1 else np.zeros(1)
    shown = f"{int(np.median(sizes))} pixels wide, {int(sizes.min())} to {int(sizes.max())}"
    jumps = np.flatnonzero(steps > _JUMP_SHARE)
    if jumps.size:
        first = f"; at frame {jumps[0] + 1} the face jumps by {steps[jumps[0]]:.0%} of its width"
        more = f", and {jumps.size - 1} times more" if jumps.size > 1 else ""
        yield Finding("face boxes", f"{shown}{first}{more}, which will be seen", "warning")
    else:
        yield Finding("face boxes", shown)


def _features(avatar: FootageAvatar) -> Iterator[Finding]:
    try:
        rows = read_features(avatar)
    except AvatarServerError as error:
        yield Finding("features", error.message, "fault")
        return
    if rows is None:
        yield Finding("features", "none: frames need sound, and cannot be asked for by number alone", "warning")
    elif not np.isfinite(rows).all():
        yield Finding("features", "some are infinite or missing; import the avatar again", "fault")
    elif len(rows) < avatar.frame_count:
        yield Finding(
            "features", f"{len(rows)} rows for {avatar.frame_count} frames: the last frames have none", "warning"
        )
    else:
        yield Finding("features", f"{len(rows)} rows for {avatar.frame_count} frames")
