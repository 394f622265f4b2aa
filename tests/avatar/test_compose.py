"""Pasting crops into I420 frames, against the same done in BGR."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from webrtc_avatar.avatar.compose import Box, cut, feather, i420, paste, planes, put
from webrtc_avatar.errors import InvalidAvatar

BOX = Box(16, 24, 80, 72)


def smooth_picture(seed: int, height: int, width: int) -> np.ndarray:
    """A picture without sharp edges in colour, so that halved chroma loses nothing to speak of."""
    coarse = np.random.default_rng(seed).integers(60, 200, (4, 4, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def as_bgr(picture: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(picture, cv2.COLOR_YUV2BGR_I420)


@pytest.mark.parametrize("weight", [1.0, 0.4])
def test_paste_equals_compositing_in_bgr(weight: float) -> None:
    base = smooth_picture(1, 96, 128)
    change = smooth_picture(2, BOX.height, BOX.width).astype(int) // 4 - 32
    crop = np.clip(base[BOX.top : BOX.bottom, BOX.left : BOX.right] + change, 0, 255).astype(np.uint8)
    picture = i420(base)
    paste(planes(picture), BOX, i420(crop), feather(BOX.width, BOX.height, 8), weight=weight)

    rows, columns = np.arange(BOX.height), np.arange(BOX.width)
    edge = np.minimum.outer(np.minimum(rows, rows[::-1]), np.minimum(columns, columns[::-1]))
    alpha = weight * np.clip((edge + 0.5) / 8, 0, 1)[..., None]
    expected = base.astype(np.float64)
    inside = expected[BOX.top : BOX.bottom, BOX.left : BOX.right]
    inside += alpha * (crop - inside)
    wanted = i420(np.rint(expected).astype(np.uint8))
    assert np.abs(picture.astype(int) - wanted).max() <= 1
    in_bgr = np.abs(as_bgr(picture).astype(int) - as_bgr(wanted))
    assert np.percentile(in_bgr, 99) <= 3


def test_interior_of_a_paste_is_the_crop_itself() -> None:
    picture, crop = i420(smooth_picture(1, 96, 128)), i420(smooth_picture(2, BOX.height, BOX.width))
    paste(planes(picture), BOX, crop, feather(BOX.width, BOX.height, 8))
    pasted = planes(cut(planes(picture), BOX))
    for got, want, soft in zip(pasted, planes(crop), (8, 4, 4), strict=True):
        assert np.array_equal(got[soft:-soft, soft:-soft], want[soft:-soft, soft:-soft])


def test_outside_of_the_box_nothing_changes() -> None:
    before = i420(smooth_picture(1, 96, 128))
    picture = before.copy()
    paste(planes(picture), BOX, i420(smooth_picture(2, BOX.height, BOX.width)), feather(BOX.width, BOX.height, 8))
    put(planes(picture), BOX, cut(planes(before), BOX))
    assert np.array_equal(picture, before)


def test_a_full_height_box_of_odd_half_size_keeps_its_planes_apart() -> None:
    box = Box(2, 2, 8, 12)
    assert (box.height // 2) % 2 == 1
    picture, crop = i420(smooth_picture(3, 14, 10)), i420(smooth_picture(4, box.height, box.width))
    put(planes(picture), box, crop)
    assert np.array_equal(cut(planes(picture), box), crop)


@pytest.mark.parametrize("sides", [(1, 0, 8, 8), (0, 0, 7, 8), (8, 0, 8, 8), (0, 10, 8, 8), (-2, 0, 8, 8)])
def test_odd_empty_and_negative_boxes_are_refused(sides: tuple[int, int, int, int]) -> None:
    with pytest.raises(InvalidAvatar, match="even"):
        Box(*sides)


def test_a_box_beyond_the_frame_is_refused() -> None:
    picture = i420(smooth_picture(1, 96, 128))
    with pytest.raises(InvalidAvatar, match="128x96"):
        cut(planes(picture), Box(64, 0, 130, 8))


def test_a_crop_of_another_size_is_refused() -> None:
    picture = i420(smooth_picture(1, 96, 128))
    with pytest.raises(InvalidAvatar, match="I420"):
        paste(planes(picture), BOX, i420(smooth_picture(2, 32, 32)), feather(32, 32, 4))
