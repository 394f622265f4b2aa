"""A style: what may be asked for, what is clamped, and that drawn faces move where the names say."""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np
import pytest

from tests.avatar.package_parts import IRIS
from webrtc_avatar.avatar.actor import Actor
from webrtc_avatar.avatar.compose import planes
from webrtc_avatar.avatar.package import Avatar, load_avatar
from webrtc_avatar.avatar.style import DEFAULT_STYLE, POSE_LIMITS_DEG, Style, read_style
from webrtc_avatar.errors import InvalidRequest

FACE = (slice(150, 400), slice(180, 330))
EYES = (slice(196, 232), slice(176, 336))


@pytest.fixture(scope="module")
def iris() -> Avatar:
    return load_avatar(IRIS)


def luma(
    avatar: Avatar, pose: tuple[float, float, float] = (0, 0, 0), gaze: tuple[float, float] = (0, 0)
) -> np.ndarray:
    still = Style(pose=pose, gaze=gaze, alive=False)
    return planes(Actor(avatar, seed=1, style=still).draw(0, None)).y


def flow(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Pixels right and down that each pixel moves by, from the pictures alone."""
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return search.calc(before, after, None)


@pytest.mark.parametrize(
    ("pose", "axis", "sign"),
    [((3, 0, 0), 1, 1), ((-3, 0, 0), 1, -1), ((0, 3, 0), 0, 1), ((0, -3, 0), 0, -1)],
    ids=["pitch down", "pitch up", "yaw to the right", "yaw to the left"],
)
def test_a_pose_moves_the_face_where_its_name_says(
    iris: Avatar, pose: tuple[float, float, float], axis: int, sign: int
) -> None:
    moved = flow(luma(iris), luma(iris, pose))[FACE]
    along, across = np.median(moved[..., axis]), np.median(moved[..., 1 - axis])
    assert sign * along > 4
    assert abs(across) < 0.35 * abs(along)


@pytest.mark.parametrize("sign", [-1, 1], ids=["to the left", "to the right"])
def test_roll_tilts_the_face(iris: Avatar, sign: int) -> None:
    moved = flow(luma(iris), luma(iris, (0, 0, 3.0 * sign)))
    forehead, chin = moved[150:180, 220:300, 0].mean(), moved[370:390, 230:290, 0].mean()
    assert sign * (forehead - chin) > 4
    left, right = moved[200:330, 160:190, 1].mean(), moved[200:330, 325:350, 1].mean()
    assert sign * (right - left) > 4


@pytest.mark.parametrize(
    ("gaze", "axis", "sign"),
    [((1, 0), 0, 1), ((-1, 0), 0, -1), ((0, 1), 1, -1), ((0, -1), 1, 1)],
    ids=["right", "left", "up", "down"],
)
def test_a_gaze_moves_the_irises_and_nothing_else(
    iris: Avatar, gaze: tuple[float, float], axis: int, sign: int
) -> None:
    before, after = luma(iris), luma(iris, gaze=gaze)
    for columns in (slice(184, 236), slice(278, 330)):
        centres = [pupil(picture[196:232, columns]) for picture in (before, after)]
        assert sign * (centres[1][axis] - centres[0][axis]) > 0.8
    outside = np.abs(after.astype(int) - before)
    outside[152:248, 144:368] = 0
    assert outside.max() <= 1


def pupil(eye: np.ndarray) -> tuple[float, float]:
    """The middle, right and down, of the darkest disc of an iris's size: lashes are dark too, but thin."""
    soft = cv2.GaussianBlur(eye.astype(np.float32), (0, 0), 4.0)
    weight = np.clip(np.percentile(soft, 8) - soft, 0, None)
    rows, columns = np.mgrid[: eye.shape[0], : eye.shape[1]]
    return float((columns * weight).sum() / weight.sum()), float((rows * weight).sum() / weight.sum())


def test_what_is_beyond_the_limits_is_clamped(iris: Avatar) -> None:
    far = Style(pose=(90, -90, 40), gaze=(7, -7))
    assert far.pose == (POSE_LIMITS_DEG[0], -POSE_LIMITS_DEG[1], POSE_LIMITS_DEG[2])
    assert far.gaze == (1, -1)
    assert min(POSE_LIMITS_DEG) >= 3
    assert np.array_equal(luma(iris, (0, 90, 0)), luma(iris, (0, POSE_LIMITS_DEG[1], 0)))
    assert not np.array_equal(luma(iris, (0, 3, 0)), luma(iris, (0, POSE_LIMITS_DEG[1], 0)))


def test_a_style_is_read_field_by_field() -> None:
    assert read_style({}, DEFAULT_STYLE) == DEFAULT_STYLE
    assert read_style({"pose_style": None, "gaze_style": None}, DEFAULT_STYLE) == DEFAULT_STYLE
    held = read_style({"pose_style": [1, 2.5, -3]}, DEFAULT_STYLE)
    assert held == Style(pose=(1, 2.5, -3))
    both = read_style({"gaze_style": [0.5, -1]}, dataclasses.replace(held, alive=False))
    assert both == Style(pose=(1, 2.5, -3), gaze=(0.5, -1), alive=False)
    assert both.to_json() == {"pose_style": [1, 2.5, -3], "gaze_style": [0.5, -1]}


@pytest.mark.parametrize(
    "fields",
    [
        {"pose_style": [1, 2]},
        {"pose_style": [1, 2, 3, 4]},
        {"pose_style": 3},
        {"pose_style": "1, 2, 3"},
        {"pose_style": {"pitch": 1}},
        {"pose_style": [1, 2, "3"]},
        {"pose_style": [1, 2, True]},
        {"pose_style": [1, 2, math.nan]},
        {"pose_style": [1, 2, math.inf]},
        {"pose_style": [1, 2, 10**400]},
        {"pose_style": [1, 2, None]},
        {"gaze_style": [1, 2, 3]},
        {"gaze_style": []},
        {"gaze_style": [[0, 0]]},
    ],
    ids=str,
)
def test_what_makes_no_style_is_refused_and_the_message_says_what_does(fields: dict[str, object]) -> None:
    name = next(iter(fields))
    with pytest.raises(InvalidRequest, match=rf'"{name}" is \[') as refused:
        read_style(fields, DEFAULT_STYLE)
    assert len(refused.value.message) < 250
