"""The largest face of a picture, found by the real networks."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tests.avatar.portrait_parts import astronaut_photo, iris_photo, turned
from webrtc_avatar.avatar.face_finder import find_face
from webrtc_avatar.errors import FaceTurnedAway, NoFaceFound

EYES, LIPS = ((33, 133), (362, 263)), (13, 14)


def test_landmarks_lie_on_the_face_that_was_rendered() -> None:
    landmarks = find_face(iris_photo()).landmarks
    assert landmarks.shape == (468, 3)
    assert landmarks.dtype == np.float32
    # Where the pupils and the line between the lips are in the plate, as seen by eye.
    pupils = [landmarks[list(corners), :2].mean(0) for corners in EYES]
    assert np.abs(pupils[0] - (412, 424)).max() < 14
    assert np.abs(pupils[1] - (604, 424)).max() < 14
    assert np.abs(landmarks[list(LIPS), :2].mean(0) - (511, 622)).max() < 14


def test_a_photo_of_a_person_is_found_and_stands_upright() -> None:
    face = find_face(astronaut_photo())
    assert 80 < np.ptp(face.landmarks[:, 0]) < 120
    assert abs(face.roll_deg) < 6
    assert abs(face.yaw_deg) < 8
    assert face.others == 0


@pytest.mark.parametrize("angle", [-30, 30])
def test_a_face_that_is_tilted_by_30_degrees_is_found_tilted(angle: int) -> None:
    photo = iris_photo()
    place = cv2.getRotationMatrix2D((512, 400), angle, 0.8)
    assert find_face(cv2.warpAffine(photo, place, (1024, 1024))).roll_deg == pytest.approx(-angle, abs=4)


@pytest.mark.parametrize("make", [iris_photo, astronaut_photo])
@pytest.mark.parametrize("angle", [-30, -15, 15, 30])
def test_a_face_that_is_turned_by_up_to_30_degrees_is_taken_and_its_turn_is_told(make, angle: int) -> None:
    assert find_face(turned(make(), angle)).yaw_deg == pytest.approx(angle, abs=9)


@pytest.mark.parametrize("make", [iris_photo, astronaut_photo])
@pytest.mark.parametrize("angle", [-60, 60])
def test_a_face_from_the_side_is_refused_with_what_to_do(make, angle: int) -> None:
    with pytest.raises(FaceTurnedAway, match="looks towards the camera"):
        find_face(turned(make(), angle))


def test_the_largest_of_two_faces_is_taken_and_the_other_is_counted() -> None:
    photo = np.full((1024, 1500, 3), 128, np.uint8)
    photo[:, :1024] = iris_photo()
    photo[300:812, 988:] = cv2.resize(astronaut_photo(), (512, 512))[:512]
    photo[100:356, 1200:1456] = cv2.resize(iris_photo(), (256, 256))
    face = find_face(photo)
    assert face.landmarks[:, 0].mean() < 700
    assert face.others >= 1


@pytest.mark.parametrize("shape", [(300, 300), (80, 900), (1, 1)])
def test_a_picture_without_a_face_is_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(NoFaceFound, match="no face"):
        find_face(np.full((*shape, 3), 120, np.uint8))


def test_a_face_that_is_too_small_is_refused_with_its_size() -> None:
    photo = cv2.resize(iris_photo(), (96, 96), interpolation=cv2.INTER_AREA)
    with pytest.raises(NoFaceFound, match="pixels wide"):
        find_face(photo)
