"""Measures the mouth that ships: how like the renders it is, whether it flickers, ghosts, leaves a seam, and what it costs.

Everything is measured on crops that it was not fitted to, and through the actor where the whole picture counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime

from webrtc_avatar.avatar.actor import Actor
from webrtc_avatar.avatar.compose import Planes, bgr, i420, planes
from webrtc_avatar.avatar.cue import Cue
from webrtc_avatar.avatar.package import Avatar
from webrtc_avatar.avatar.warp import Warp
from webrtc_avatar.speech.visemes import VISEMES
from webrtc_avatar.training.mouth_data import SWEEP, Mouths

LEAST_HELD_OUT_DB = 36.0
MOST_FLICKER = 1.3
MOST_GHOSTS = 0.01
LEAST_SHARPNESS = 0.9
MOST_SPECK_LEVELS = 16.0
MOST_SEAM_LEVELS = 3.0
MOST_DRIFT_LEVELS = 1.5
MOST_MS = 8.0
MOST_COST_OF_720 = 1.6

LIPS = (slice(30, 130), slice(40, 184))
"""Rows and columns of a 160x224 crop around the lips at their widest."""

_BETWEEN_LIPS = (slice(50, 85), slice(70, 155))
_PARTS_OF_A_STEP = 5
_NEAR_PX = 2
_COLOURLESS = 45
_RING_PX = 8
_SPEECH = ("aa", "PP", "O", "E", "FF", "I", "U", "SS", "CH", "LL", "TH", "sil")
_TICKS_A_VISEME = 5
_FRAMES = 250

Weights = npt.NDArray[np.float32]
Pictures = npt.NDArray[np.uint8]
Draw = Callable[[Weights], Pictures]


@dataclass(frozen=True, slots=True)
class Likeness:
    """Peak signal-to-noise ratio of held-out mouths to their renders, in dB, both as BGR out of I420.

    Attributes:
        lips_mean, lips_worst: over the lips.
        box_mean, box_worst: over the whole box of the mouth.
        count: held-out mouths.
    """

    lips_mean: float
    lips_worst: float
    box_mean: float
    box_worst: float
    count: int


@dataclass(frozen=True, slots=True)
class Flicker:
    """Mean change of luma over the lips from frame to frame of slow sweeps.

    Attributes:
        ratio: the drawn frames' change in relation to the renders'.
        without_noise: the same after a blur that takes out the renders' grain, which would flatter.
        wandering: the way that luma goes in five times finer steps, in relation to the way in single ones: 1 is straight.
        steps: steps of the sweeps.
    """

    ratio: float
    without_noise: float
    wandering: float
    steps: int


@dataclass(frozen=True, slots=True)
class Ghosting:
    """Edges over the lips of held-out mouths and sweeps.

    Attributes:
        sharpness: strength of all edges in relation to the renders': below 1 is softer.
        sharpness_worst: the softest mouth's.
        ghosts: share of the drawn edges' strength that exceeds any edge of the render within 2 pixels, on average.
        ghosts_worst: the worst mouth's.
    """

    sharpness: float
    sharpness_worst: float
    ghosts: float
    ghosts_worst: float


@dataclass(frozen=True, slots=True)
class Seam:
    """A speaking face against the same face with the mouth at rest, at all poses of ten seconds, in grey levels.

    Attributes:
        mean, worst: mean difference of luma over the outer 8 pixels of the mouth's box; worst: in one frame.
        drift: largest shift of the mean luma or chroma of the skin along the inside of the box in one frame.
    """

    mean: float
    worst: float
    drift: float


def load_mouth(path: Path) -> Draw:
    """Return a function from weights float32 (n, 12) to I420 pictures (n, height * 3 / 2, width), on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session: Any = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    return lambda weights: np.asarray(session.run(["crop"], {"weights": weights.astype(np.float32)})[0], np.uint8)


def likeness(draw: Draw, mouths: Mouths) -> Likeness:
    """Compare the held-out mouths to their renders, which are taken to I420 and back too: that alone costs 41 dB."""
    unseen = mouths.unseen
    box, lips = [], []
    for picture, crop in zip(draw(unseen.weights), unseen.crops, strict=True):
        error = (bgr(picture).astype(np.float64) - bgr(i420(crop))) ** 2
        box.append(_db(error))
        lips.append(_db(error[LIPS]))
    return Likeness(float(np.mean(lips)), min(lips), float(np.mean(box)), min(box), len(box))


def flicker(draw: Draw, mouths: Mouths) -> Flicker:
    """Follow the rendered sweeps in their own steps, and in finer ones."""
    sweeps = mouths.sweeps
    steps = _steps(sweeps.weights)
    drawn = _luma(draw(sweeps.weights))
    rendered = _luma(np.stack([i420(crop) for crop in sweeps.crops]))
    fine = 0.0
    for first in steps:
        shares = np.linspace(0, 1, _PARTS_OF_A_STEP + 1, dtype=np.float32)[:, None]
        between = sweeps.weights[first] * (1 - shares) + sweeps.weights[first + 1] * shares
        fine += float(np.abs(np.diff(_luma(draw(between)), axis=0)).mean((1, 2)).sum())
    return Flicker(
        ratio=float(_change(drawn, steps).mean() / _change(rendered, steps).mean()),
        without_noise=float(_change(_smooth(drawn), steps).mean() / _change(_smooth(rendered), steps).mean()),
        wandering=fine / float(_change(drawn, steps).sum()),
        steps=len(steps),
    )


def ghosting(draw: Draw, mouths: Mouths) -> Ghosting:
    """Compare the edges of the held-out mouths and sweeps to those of their renders."""
    unseen = mouths.take(mouths.held_out | (mouths.kinds == SWEEP))
    drawn = _edges(_luma(draw(unseen.weights)))
    rendered = _edges(_luma(np.stack([i420(crop) for crop in unseen.crops])))
    near = np.ones((2 * _NEAR_PX + 1,) * 2, np.uint8)
    ghosts = []
    for ours, theirs in zip(drawn, rendered, strict=True):
        ghosts.append(float(np.maximum(ours - cv2.dilate(theirs, near), 0).sum() / ours.sum()))
    sharpness = drawn.mean((1, 2)) / rendered.mean((1, 2))
    return Ghosting(float(sharpness.mean()), float(sharpness.min()), float(np.mean(ghosts)), max(ghosts))


def closed_lip_speck(draw: Draw, mouths: Mouths) -> float:
    """Return how much whiter the whitest colourless spot between closed lips is than in the render of PP, in grey levels.

    Lips closed with 0.4 to 1.2 times the strength of PP, most of which were never rendered; the worst counts. Lips shine, but in red; teeth are grey.
    """
    rendered = mouths.crops[int(np.abs(mouths.weights - VISEMES["PP"]).max(1).argmin())]
    closures = np.linspace(0.4, 1.2, 17, dtype=np.float32)[:, None] * VISEMES["PP"]
    return max(_whitest(picture) for picture in draw(closures)) - _whitest(i420(rendered))


def seam(avatar: Avatar, draw: Draw, *, seed: int = 1, frames: int = _FRAMES) -> Seam:
    """Let one actor speak and another one of the same seed rest, and compare them along the edge of the mouth's box."""
    size = avatar.frame_size
    left, top, right, bottom = avatar.mouth_box
    mark = np.zeros((size, size, 3), np.uint8)
    mark[top:bottom, left:right] = 255
    mark[top + _RING_PX : bottom - _RING_PX, left + _RING_PX : right - _RING_PX] = 0
    marked = i420(mark)
    warp, moved = Warp(avatar.flow, planes(marked)), np.empty_like(marked)
    speaking, resting = Actor(avatar, seed=seed), Actor(avatar, seed=seed)
    weights = speech(frames)
    differences, drifts = [], []
    for tick, crop in enumerate(draw(weights)):
        # Both are told the same, so that both are in the same pose; only the mouth differs.
        ours, theirs = (planes(actor.draw(tick, shown, Cue())) for actor, shown in ((speaking, crop), (resting, None)))
        pose = speaking.pose
        if tick < 2 or pose is None:
            continue
        warp.move(planes(marked), planes(moved), pose.yaw, pose.pitch, pose.roll, pose.breath)
        ring = planes(moved)
        differences.append(_mean_difference(ours, theirs, ring))
        drifts.append(_drift(ours, theirs, ring))
    return Seam(float(np.mean(differences)), max(differences), max(drifts))


def cost_ms(avatar: Avatar, draw: Draw, *, frame_px: int, frames: int = _FRAMES) -> float:
    """Return the median milliseconds of one speaking frame on one thread, from weights to picture, one frame a batch."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        actor, weights = Actor(avatar, seed=1, frame_px=frame_px), speech(frames)
        times = []
        for tick in range(frames):
            start = time.perf_counter()
            actor.draw(tick, draw(weights[tick : tick + 1])[0], Cue(speaking=True))
            times.append(time.perf_counter() - start)
    finally:
        cv2.setNumThreads(threads)
    return 1000 * float(np.median(times))


def speech(frames: int) -> Weights:
    """Return weights float32 (frames, 12) that go from viseme to viseme, a fifth of a second each."""
    corners = np.stack([VISEMES[name] for name in _SPEECH])
    place = np.arange(frames) / _TICKS_A_VISEME % len(corners)
    first = place.astype(int)
    share = (place - first)[:, None]
    mixed: Weights = (corners[first] * (1 - share) + corners[(first + 1) % len(corners)] * share).astype(np.float32)
    return mixed


def _whitest(picture: Pictures) -> float:
    """Return the brightest grey between the lips of an I420 picture."""
    part = bgr(picture)[_BETWEEN_LIPS]
    least, most = part.min(2), part.max(2)
    return float(least[most - least < _COLOURLESS].max(initial=0))


def _db(error: npt.NDArray[np.float64]) -> float:
    return float(10 * np.log10(255**2 / error.mean()))


def _luma(pictures: Pictures) -> npt.NDArray[np.float32]:
    """Return the luma over the lips, float32 (n, rows, columns)."""
    return pictures[:, LIPS[0], LIPS[1]].astype(np.float32)


def _steps(weights: Weights) -> npt.NDArray[np.intp]:
    """Return the first frame of each step; where one sweep ends and the next begins there is none."""
    length = np.linalg.norm(np.diff(weights, axis=0), axis=1)
    return np.flatnonzero(length < 2.5 * np.median(length))


def _change(luma: npt.NDArray[np.float32], steps: npt.NDArray[np.intp]) -> npt.NDArray[np.float32]:
    change: npt.NDArray[np.float32] = np.abs(luma[steps + 1] - luma[steps]).mean((1, 2))
    return change


def _smooth(luma: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return np.stack([cv2.GaussianBlur(picture, (0, 0), 1.5) for picture in luma]).astype(np.float32)


def _edges(luma: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the gradient's length, 8 for a slope of one grey level a pixel, after a blur that takes out the renders' grain."""
    found = []
    for picture in luma:
        soft = cv2.GaussianBlur(picture, (0, 0), 1.0)
        found.append(cv2.magnitude(cv2.Sobel(soft, cv2.CV_32F, 1, 0), cv2.Sobel(soft, cv2.CV_32F, 0, 1)))
    return np.stack(found).astype(np.float32)


def _mean_difference(ours: Planes, theirs: Planes, ring: Planes) -> float:
    return float(np.abs(ours.y.astype(np.int16) - theirs.y)[ring.y > 128].mean())


def _drift(ours: Planes, theirs: Planes, ring: Planes) -> float:
    masks = (ring.y > 128, cv2.resize(ring.y, ring.u.shape[::-1], interpolation=cv2.INTER_AREA) > 128)
    return max(
        abs(float((a.astype(np.int16) - b)[mask].mean()))
        for a, b, mask in zip(ours, theirs, (masks[0], masks[1], masks[1]), strict=True)
    )
