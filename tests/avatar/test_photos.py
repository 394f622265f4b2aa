"""Photos as people have them: with glasses, beards, tilted, from the side, large and small, in any kind of file."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tests.avatar.portrait_parts import (
    IRIS,
    astronaut_photo,
    bearded,
    cmyk_jpeg,
    glasses,
    iris_photo,
    turned,
)
from webrtc_avatar.avatar.face_finder import find_face
from webrtc_avatar.avatar.package import Avatar, load_avatar
from webrtc_avatar.avatar.portrait import PortraitOptions, boxes, create_portrait, read_photo
from webrtc_avatar.avatar.portrait_eyes import EyeState, eye_pictures, eyes_are_covered, has_frames, states
from webrtc_avatar.avatar.portrait_interior import mouth_art
from webrtc_avatar.avatar.portrait_plate import make_plate
from webrtc_avatar.errors import FaceTurnedAway, NoFaceFound

PHOTOS = {"iris": iris_photo, "astronaut": astronaut_photo}
LOOKS = {
    "glasses": glasses,
    "sunglasses": lambda photo: glasses(photo, dark=True),
    "beard": bearded,
    "glasses and beard": lambda photo: bearded(glasses(photo)),
}


@pytest.fixture(scope="module")
def ear() -> Avatar:
    return load_avatar(IRIS)


def off(photo: np.ndarray, other: np.ndarray) -> float:
    """Return how far the landmarks of two photos of one face are apart on average, in widths of the face."""
    here, there = (find_face(each).landmarks[:, :2] / each.shape[0] for each in (photo, other))
    return float(np.linalg.norm(here - there, axis=1).mean() / np.ptp(here[:, 0]))


@pytest.mark.parametrize("name", PHOTOS)
@pytest.mark.parametrize("look", LOOKS)
def test_glasses_and_beards_move_no_landmarks(name: str, look: str) -> None:
    photo = PHOTOS[name]()
    assert off(photo, LOOKS[look](photo)) < 0.025


@pytest.mark.parametrize("name", PHOTOS)
@pytest.mark.parametrize(("look", "angle"), [(None, -30), (None, 30), ("sunglasses", -30), ("glasses and beard", 30)])
def test_a_tilted_head_is_found_tilted_whatever_it_wears(name: str, look: str | None, angle: int) -> None:
    photo = PHOTOS[name]()
    centre = find_face(photo).landmarks[:, :2].mean(0)
    worn = LOOKS[look](photo) if look else photo
    place = cv2.getRotationMatrix2D((float(centre[0]), float(centre[1])), angle, 0.8)
    tilted = cv2.warpAffine(worn, place, photo.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
    assert find_face(tilted).roll_deg == pytest.approx(find_face(photo).roll_deg - angle, abs=4)


@pytest.mark.parametrize("name", PHOTOS)
@pytest.mark.parametrize("size", [280, 1000, 4000])
def test_a_photo_of_any_size_has_its_landmarks_in_the_same_place(name: str, size: int) -> None:
    photo = PHOTOS[name]()
    other = cv2.resize(photo, (size, size), interpolation=cv2.INTER_AREA if size < len(photo) else cv2.INTER_CUBIC)
    assert off(photo, other) < 0.012


@pytest.mark.parametrize("name", PHOTOS)
def test_a_photo_of_a_hundred_pixels_is_refused_with_the_size_of_its_face(name: str) -> None:
    small = cv2.resize(PHOTOS[name](), (100, 100), interpolation=cv2.INTER_AREA)
    with pytest.raises(NoFaceFound, match=r"\d+ pixels wide, at least 48"):
        find_face(small)


def test_a_face_is_found_in_a_twentieth_of_a_large_photo() -> None:
    photo = np.full((3800, 3800, 3), (140, 150, 140), np.uint8)
    photo[900:1924, 1800:2824] = cv2.resize(astronaut_photo(), (1024, 1024), interpolation=cv2.INTER_CUBIC)
    face = find_face(photo)
    assert np.ptp(face.landmarks[:, 0]) == pytest.approx(190, abs=12)
    assert 1800 < face.landmarks[:, 0].mean() < 2824


@pytest.mark.parametrize(("name", "angle"), [("iris", -75), ("iris", 75), ("astronaut", -75), ("astronaut", 75)])
def test_a_profile_is_refused_as_turned_away(name: str, angle: int) -> None:
    with pytest.raises(FaceTurnedAway, match="looks towards the camera"):
        find_face(turned(PHOTOS[name](), angle))


@pytest.mark.parametrize(("name", "angle"), [("iris", 90), ("astronaut", -90)])
def test_a_full_profile_is_refused(name: str, angle: int) -> None:
    with pytest.raises(NoFaceFound, match="camera"):
        find_face(turned(PHOTOS[name](), angle))


def test_what_hides_a_face_from_the_front_is_not_called_a_turn() -> None:
    photo = iris_photo()
    low, high = (edge(find_face(photo).landmarks[:, :2], 0).astype(int) for edge in (np.min, np.max))
    photo[low[1] : high[1], low[0] : high[0]] = (60, 60, 60)
    with pytest.raises(NoFaceFound) as caught:
        find_face(photo)
    assert not isinstance(caught.value, FaceTurnedAway)


@pytest.mark.parametrize("quarters", [1, 2])
def test_a_photo_that_lies_or_stands_on_its_head_is_turned_and_that_is_said(tmp_path, ear, quarters: int) -> None:
    made = create_portrait(np.rot90(iris_photo(), quarters).copy(), PortraitOptions(tmp_path, "me", "Me"), ear)
    assert any(f"turned by {360 - 90 * quarters} degrees" in warning for warning in made.warnings)
    face = find_face(load_avatar(made.folder).plate)
    assert abs(face.roll_deg) < 5
    plate = make_plate(iris_photo(), find_face(iris_photo()).landmarks)
    assert off(plate.still, load_avatar(made.folder).plate) < 0.03


@pytest.mark.parametrize("name", PHOTOS)
@pytest.mark.parametrize("look", [None, *LOOKS])
def test_frames_and_dark_lenses_are_noticed_and_nothing_else_is_taken_for_them(name: str, look: str | None) -> None:
    photo = PHOTOS[name]()
    worn = LOOKS[look](photo) if look else photo
    plate = make_plate(worn, find_face(worn).landmarks)
    for light in (1.0, 0.35):
        still, fine = (np.rint(light * picture).astype(np.uint8) for picture in (plate.still, plate.fine))
        assert eyes_are_covered(still, plate.landmarks) == (look == "sunglasses")
        assert has_frames(fine, plate.landmarks) == (look is not None and "glasses" in look)


@pytest.mark.parametrize("name", PHOTOS)
def test_lids_close_behind_frames_that_stay_where_they_are(name: str) -> None:
    photo = PHOTOS[name]()
    plates = [make_plate(each, find_face(each).landmarks) for each in (glasses(photo), photo)]
    left, top, right, bottom = box = boxes(plates[0])[1]
    pictures = dict(zip(states(), eye_pictures(plates[0].fine, plates[0].landmarks, box), strict=True))
    rest = pictures[EyeState(0.0, (0.0, 0.0), 0.0)].astype(int)
    frame = (rest.max(-1) < 60) & (plates[1].still[top:bottom, left:right].max(-1) > 90)
    assert frame.sum() > 300
    closed = EyeState(1.0, (0.0, 0.0), 0.0)
    for state in (closed, EyeState(0.0, (0.0, 0.0), 1.0), EyeState(0.0, (1.0, 0.0), 0.0)):
        moved = np.abs(pictures[state] - rest).max(-1)
        assert (moved[frame] > 40).mean() < 0.02
    assert (np.abs(pictures[closed] - rest).max(-1) > 40).sum() > 100, "the lids do close"


def test_eyes_behind_dark_lenses_stay_still_and_that_is_said(tmp_path, ear) -> None:
    made = create_portrait(glasses(iris_photo(), dark=True), PortraitOptions(tmp_path, "me", "Me"), ear)
    assert any("dark glasses" in warning for warning in made.warnings)
    pictures = [crop.image for crop in load_avatar(made.folder).eyes]
    assert all(np.array_equal(picture, pictures[0]) for picture in pictures)


@pytest.mark.parametrize("name", PHOTOS)
def test_a_beard_darkens_no_teeth(name: str) -> None:
    bright = []
    for photo in (PHOTOS[name](), bearded(PHOTOS[name]())):
        plate = make_plate(photo, find_face(photo).landmarks)
        teeth = mouth_art(plate, boxes(plate)[0]).upper_teeth
        bright.append(float(np.quantile(teeth[..., :3][teeth[..., 3] > 200].mean(-1), 0.9)))
    assert 0.7 < bright[1] / bright[0] < 1.3


def test_the_line_between_closed_lips_is_found_in_a_beard_that_misleads_the_landmarks() -> None:
    photo = bearded(iris_photo())
    plate = make_plate(photo, find_face(photo).landmarks)
    lips, luma = plate.lips, cv2.cvtColor(plate.still, cv2.COLOR_BGR2GRAY)
    line = lips.line[np.abs(lips.line[:, 0]) < 0.6]
    along = []
    for shift in (-0.12, 0.0, 0.12):
        down = np.array([-lips.across[1], lips.across[0]])
        places = lips.centre + lips.half_px * (line[:, :1] * lips.across + (line[:, 1:] + shift) * down)
        places = places.astype(np.float32)[None]
        along.append(float(cv2.remap(luma, places, None, cv2.INTER_LINEAR).mean()))
    assert along[1] < 0.8 * min(along[0], along[2])


def test_the_largest_face_speaks_and_the_other_one_is_told_of(tmp_path, ear) -> None:
    photo = np.full((600, 1000, 3), 128, np.uint8)
    photo[:, :600] = cv2.resize(iris_photo(), (600, 600), interpolation=cv2.INTER_AREA)
    photo[100:500, 600:] = cv2.resize(astronaut_photo()[:360, 50:410], (400, 400))
    made = create_portrait(photo, PortraitOptions(tmp_path, "me", "Me"), ear)
    assert any("1 more face" in warning for warning in made.warnings)
    face = find_face(load_avatar(made.folder).plate)
    assert (face.others, abs(face.landmarks[:, 0].mean() - 256) < 40) == (0, True)


def png(picture: np.ndarray) -> bytes:
    return bytes(cv2.imencode(".png", picture)[1].tobytes())


def test_grey_and_deep_and_indexed_files_are_photos_of_three_channels() -> None:
    photo = astronaut_photo()
    grey = cv2.cvtColor(photo, cv2.COLOR_BGR2GRAY)
    for data in (png(grey), bytes(cv2.imencode(".jpg", grey)[1].tobytes())):
        assert np.abs(read_photo(data).astype(int) - grey[..., None]).max() < 30
        assert off(photo, read_photo(data)) < 0.02
    assert np.array_equal(read_photo(png(photo.astype(np.uint16) * 257)), photo)


@pytest.mark.parametrize(("extension", "deep"), [(".png", False), (".png", True), (".webp", False)])
def test_what_is_transparent_becomes_grey_and_what_shines_through_is_mixed(extension: str, deep: bool) -> None:
    photo = np.dstack([astronaut_photo(), np.full((512, 512), 255, np.uint8)])
    photo[:, :60] = 0
    photo[:, 60:90, 3] = 128
    coded = photo.astype(np.uint16) * 257 if deep else photo
    options = [cv2.IMWRITE_WEBP_QUALITY, 101] if extension == ".webp" else []
    read = read_photo(bytes(cv2.imencode(extension, coded, options)[1].tobytes())).astype(int)
    assert (read[:, :60] == 127).all()
    assert np.abs(read[:, 60:90] - (photo[:, 60:90, :3].astype(int) + 127) / 2).max() <= 2
    assert np.array_equal(read[:, 90:], photo[:, 90:, :3])


def test_a_photo_for_print_in_four_inks_has_its_colours_and_its_face() -> None:
    small = cv2.resize(iris_photo(), (160, 160), interpolation=cv2.INTER_AREA)
    read = read_photo(cmyk_jpeg(small))
    assert read.shape == (1280, 1280, 3)
    assert np.abs(read[4::8, 4::8].astype(int) - small).mean() < 3
    assert find_face(read).others == 0
