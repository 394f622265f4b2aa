"""Pictures between pictures: brows that rise and mouth corners that lift in fine steps, made from a few crops.

Between two crops the picture is a morph: both are moved along the optical flow between them and then mixed, so that brows travel where
a plain mix would show them twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from webrtc_avatar.avatar.compose import Picture

STEPS = 24
"""From one end to the other; a step moves brows by about a fifth of a pixel."""

_FLOW_BLUR_PX = 4.0


def morphs(crops: Sequence[tuple[float, Picture]]) -> list[Picture]:
    """Return the picture of each of `STEPS` + 1 places from 0 to 1.

    Args:
        crops: places, ascending from 0, and their pictures, uint8 BGR (height, width, 3), all of one size.
    """
    flows = [_flow(before, after) for (_, before), (_, after) in pairwise(crops)]
    pictures = []
    for step in range(STEPS + 1):
        wanted = min(step / STEPS, crops[-1][0])
        place = max(number for number, (level, _) in enumerate(crops) if level <= wanted)
        if place == len(crops) - 1:
            pictures.append(crops[place][1])
            continue
        (low, before), (high, after) = crops[place], crops[place + 1]
        pictures.append(_between(before, after, flows[place], (wanted - low) / (high - low)))
    return pictures


def border(brows: Sequence[Picture], eyes: Sequence[Picture]) -> int:
    """Return the row that best parts brows from eyes: above it the eyes change least, below it the brows.

    Args:
        brows: pictures that differ in their brows, the first of them at rest.
        eyes: pictures that differ in lids and gaze.
    """
    by_brows, by_eyes = (
        np.max([np.abs(picture.astype(np.int16) - brows[0]).mean((1, 2)) for picture in pictures], axis=0)
        for pictures in (brows, eyes)
    )
    lost = np.concatenate([[0.0], np.cumsum(by_eyes)]) + np.concatenate([np.cumsum(by_brows[::-1])[::-1], [0.0]])
    return int(np.argmin(lost))


def _flow(before: Picture, after: Picture) -> npt.NDArray[np.float32]:
    """Return how far each pixel of `before` moves to `after`: (height, width, 2) pixels, smooth."""
    grey = [
        np.asarray(cv2.resize(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), None, fx=2, fy=2), np.uint8)
        for picture in (before, after)
    ]
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    found = search.calc(grey[0], grey[1], np.zeros((*grey[0].shape, 2), np.float32))
    size = (before.shape[1], before.shape[0])
    return np.asarray(cv2.GaussianBlur(cv2.resize(found, size) / 2, (0, 0), _FLOW_BLUR_PX), np.float32)


def _between(before: Picture, after: Picture, flow: npt.NDArray[np.float32], share: float) -> Picture:
    rows, columns = np.mgrid[: before.shape[0], : before.shape[1]].astype(np.float32)
    here = np.stack([columns, rows], -1)
    parts = [
        cv2.remap(picture, here - part * flow, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
        for picture, part in ((before, share), (after, share - 1))
    ]
    return np.asarray(cv2.addWeighted(parts[0], 1 - share, parts[1], share, 0), np.uint8)
