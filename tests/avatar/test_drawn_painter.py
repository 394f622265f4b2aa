"""Pictures of a drawn avatar at any frame."""

import gc
import itertools
import threading
import weakref

import numpy as np
import pytest

from webrtc_avatar.avatar.compose import bgr
from webrtc_avatar.avatar.library import Library
from webrtc_avatar.avatar.painters import painter_of
from webrtc_avatar.errors import EngineFailure, FrameOutOfRange, InvalidRequest


@pytest.fixture(scope="module")
def avatar():
    return Library().get("iris")


@pytest.fixture(scope="module")
def painter(avatar):
    return painter_of(avatar)


def mouth_of(avatar, luma):
    left, top, right, bottom = avatar.mouth_box
    crop = np.full(((bottom - top) * 3 // 2, right - left), 128, np.uint8)
    crop[: bottom - top] = luma
    return crop


def test_a_performance_goes_to_and_fro(painter):
    last = painter.frame_count - 1
    assert [painter.fold(n) for n in (0, 1, last, last + 1, 2 * last - 1, 2 * last, 2 * last + 1)] == [
        *(0, 1, last, last - 1, 1, 0, 1)
    ]


def test_equal_frames_are_equal_pictures_in_any_order_and_on_any_thread(avatar, painter):
    crop = mouth_of(avatar, 90)
    asked = [(base, mouth) for base in (3, 700, 1499, 40) for mouth in (None, crop)]
    pictures = {(base, mouth is None): painter.paint(base, mouth) for base, mouth in asked}
    wrong = []

    def paint_again():
        for base, mouth in reversed(asked * 3):
            if not np.array_equal(painter.paint(base, mouth), pictures[base, mouth is None]):
                wrong.append(base)

    threads = [threading.Thread(target=paint_again) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_outside_its_bounds_a_mouth_changes_nothing(avatar, painter):
    light = mouth_of(avatar, 235)
    for base in range(0, painter.frame_count, 37):
        left, top, right, bottom = painter.bounds(base)
        changed = (bgr(painter.paint(base, light)) != bgr(painter.paint(base, None))).any(axis=2)
        assert changed[top:bottom, left:right].any()
        changed[top:bottom, left:right] = False
        assert not changed.any()


def test_bounds_lie_on_the_grid_of_jpegs_blocks_within_the_frame(painter):
    left, top, right, bottom = painter.bounds(0)
    assert not any(side % 16 for side in (left, top, right, bottom))
    assert 0 <= left < right <= painter.width
    assert 0 <= top < bottom <= painter.height


def test_the_face_lives(painter):
    frames = [painter.paint(base, None).astype(int) for base in (0, 250, 500)]
    assert all(np.abs(a - b).mean() > 0.5 for a, b in itertools.pairwise(frames))
    assert any(painter.pose(base).look.lid > 0.9 for base in range(200))


def test_a_gaze_takes_two_frames_to_arrive(painter):
    jumps = [base for base in range(1, 400) if painter.pose(base).look.gaze != painter.pose(base - 1).look.gaze]
    assert jumps
    for base in jumps:
        assert painter.pose(base).look.arrived == 0.5
        assert painter.pose(base + 1).look.arrived == 1.0


@pytest.mark.parametrize("base", [-1, 1500])
def test_a_frame_that_there_is_not_is_said(painter, base):
    for ask in (
        lambda: painter.paint(base, None),
        lambda: painter.bounds(base),
        lambda: painter.footage(base, "full_body"),
    ):
        with pytest.raises(FrameOutOfRange, match=f"0 to 1499; got {base}"):
            ask()


def test_footage_is_the_frame_without_a_mouth_and_there_is_no_other(painter):
    assert np.array_equal(painter.footage(9, "full_body"), bgr(painter.paint(9, None)))
    with pytest.raises(InvalidRequest, match="it has full_body"):
        painter.footage(9, "rois_320")


def test_a_crop_of_another_size_is_said(painter):
    with pytest.raises(EngineFailure, match="do not fit"):
        painter.paint(0, np.zeros((10, 10), np.uint8))


def test_one_painter_is_shared_and_goes_with_its_avatar():
    avatar = Library().get("iris")
    painter = painter_of(avatar)
    assert painter_of(avatar) is painter
    gone = weakref.ref(avatar)
    del avatar, painter
    gc.collect()
    assert gone() is None
