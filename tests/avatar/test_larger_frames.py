"""Frames of 720 pixels from an avatar of 512: the same picture, finer where the plate is finer."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from webrtc_avatar.avatar.actor import Actor
from webrtc_avatar.avatar.compose import Box, i420, planes
from webrtc_avatar.avatar.package import Avatar, load_avatar
from webrtc_avatar.avatar.stage import stage_of
from webrtc_avatar.avatar.warp import Warp
from webrtc_avatar.errors import InvalidAvatar

IRIS = Path(__file__).parents[2] / "models" / "iris"
LARGE = 720


@pytest.fixture(scope="module")
def iris() -> Avatar:
    return load_avatar(IRIS)


def luma(frame: np.ndarray) -> np.ndarray:
    return planes(frame).y


def sharpness(part: np.ndarray) -> float:
    return float(np.abs(cv2.Laplacian(part, cv2.CV_16S)).mean())


def test_a_larger_frame_shows_what_the_small_one_shows(iris: Avatar) -> None:
    small, large = Actor(iris, seed=5), Actor(iris, seed=5, frame_px=LARGE)
    for tick in (0, 30, 60):
        small_frame, large_frame = small.draw(tick, None), large.draw(tick, None)
        assert large_frame.shape == (LARGE * 3 // 2, LARGE)
        for big, little in zip(planes(large_frame), planes(small_frame), strict=True):
            shrunk = cv2.resize(big, little.shape[::-1], interpolation=cv2.INTER_AREA)
            assert np.abs(shrunk.astype(int) - little).mean() < 2.5
            shift, _ = cv2.phaseCorrelate(shrunk.astype(np.float32), little.astype(np.float32))
            assert np.abs(shift).max() < 0.1


def test_hair_and_skin_are_finer_than_an_enlarged_small_frame(iris: Avatar) -> None:
    enlarged = cv2.resize(luma(Actor(iris, seed=5).draw(0, None)), (LARGE, LARGE), interpolation=cv2.INTER_CUBIC)
    fine = luma(Actor(iris, seed=5, frame_px=LARGE).draw(0, None))
    for part in ((slice(100, 300), slice(110, 180)), (slice(250, 300), slice(300, 420))):
        assert sharpness(fine[part]) > 1.2 * sharpness(enlarged[part])


def test_the_plates_detail_stays_off_a_mouth_that_is_not_the_plates(iris: Avatar) -> None:
    stage = stage_of(iris)
    still = stage.plate.copy()
    left, top, right, bottom = iris.mouth_box
    inner = planes(still).y[top + 20 : bottom - 20, left + 20 : right - 20]
    inner //= 3
    doubles = []
    for detail in (stage.detail, None):
        warp = Warp(iris.flow, planes(stage.plate), frame_px=LARGE, detail=detail)
        warp.refresh(planes(still), Box(*iris.mouth_box))
        frame = np.empty((LARGE * 3 // 2, LARGE), np.uint8)
        warp.move(planes(still), planes(frame), 0, 0, 0, 0)
        doubles.append(luma(frame).astype(int))
    difference = np.abs(doubles[0] - doubles[1])
    scale = LARGE / iris.frame_size
    rows, columns = (
        [round((side + inset) * scale) for side, inset in zip(sides, (28, -28), strict=True)]
        for sides in ((top, bottom), (left, right))
    )
    assert difference[slice(*rows), slice(*columns)].max() <= 1
    assert difference[: rows[0] - 100].mean() > 0.5


def test_avatars_without_a_finer_plate_or_a_flow_are_enlarged(iris: Avatar) -> None:
    expected = cv2.resize(luma(i420(iris.plate)), (LARGE, LARGE), interpolation=cv2.INTER_CUBIC)
    for poorer in (dataclasses.replace(iris, fine=None), dataclasses.replace(iris, flow={}, fine=None)):
        frame = Actor(poorer, seed=1, frame_px=LARGE).draw(0, None)
        assert frame.shape == (LARGE * 3 // 2, LARGE)
        assert np.abs(luma(frame)[:200].astype(int) - expected[:200]).mean() < 4


def test_a_finer_plate_that_is_not_twice_the_size_is_refused(tmp_path: Path) -> None:
    package = shutil.copytree(IRIS, tmp_path / "iris", ignore=shutil.ignore_patterns("source"))
    shutil.copy(package / "plate.png", package / "plate_1024.webp")
    with pytest.raises(InvalidAvatar, match="1024"):
        load_avatar(package)
