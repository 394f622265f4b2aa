import cv2
import numpy as np
import pytest

from tests.avatar import footage_parts as parts
from webrtc_avatar.avatar.actor import Actor
from webrtc_avatar.avatar.casting import make_actor
from webrtc_avatar.avatar.compose import bgr, i420
from webrtc_avatar.avatar.footage_actor import HOLD_FRAMES, FootageActor, fitted
from webrtc_avatar.avatar.footage_painter import FootagePainter
from webrtc_avatar.avatar.library import Library
from webrtc_avatar.errors import EngineFailure, InvalidAvatar


@pytest.fixture
def avatar(tmp_path):
    return parts.make_footage(tmp_path / "painted")


def crop(level=90):
    return np.full((168, 168, 3), level, np.uint8)


def test_each_kind_of_avatar_gets_its_own_actor(avatar):
    assert isinstance(make_actor(avatar, seed=0, frame_px=512), FootageActor)
    assert isinstance(make_actor(Library().get("iris"), seed=0, frame_px=512), Actor)


def test_while_nobody_speaks_the_footage_plays_to_and_fro(avatar):
    actor = FootageActor(avatar)
    for tick, number in enumerate([0, 1, 2, 3, 4, 5, 4, 3, 2, 1, 0, 1]):
        assert np.array_equal(actor.draw(tick, None), i420(parts.picture(number)))
    assert actor.mouth_share == 0
    assert actor.pose is None


def shown(avatar, base, face, share=1.0):
    """A frame with a share of a face in it and the rest as it was filmed, I420."""
    filmed = np.asarray(avatar.faces[base])
    return i420(FootagePainter(avatar).paint(base, cv2.addWeighted(face, share, filmed, 1 - share, 0)))


def test_faces_fade_in_and_are_put_into_the_frames_of_their_ticks(avatar):
    actor = FootageActor(avatar)
    for tick, base, share in ((3, 3, 0.5), (4, 4, 1.0), (7, 3, 1.0), (8, 2, 1.0)):
        face = crop(tick * 20)
        assert np.array_equal(actor.draw(tick, face), shown(avatar, base, face, share))
        assert actor.mouth_share == share


def test_after_speech_the_last_face_fades_and_the_footage_is_as_it_was_filmed(avatar):
    actor = FootageActor(avatar)
    face = crop()
    actor.draw(0, crop(70))
    actor.draw(1, face)
    for tick, share in ((2, 2 / 3), (3, 1 - 2 / 3)):
        assert np.array_equal(actor.draw(tick, None), shown(avatar, tick, face, share))
    for tick in (4, 5):
        assert np.array_equal(actor.draw(tick, None), i420(parts.picture(tick)))
    assert actor.mouth_share == 0


def test_a_late_face_holds_the_whole_picture_and_the_next_one_goes_on(avatar):
    actor = FootageActor(avatar)
    actor.draw(1, crop(70))
    face = crop()
    held = actor.draw(2, face)
    assert np.array_equal(actor.draw(3, face), held)
    assert np.array_equal(actor.draw(4, face), held)
    other = crop(30)
    assert np.array_equal(actor.draw(5, other), shown(avatar, 5, other))


def test_faces_that_stay_away_do_not_freeze_the_picture_for_ever(avatar):
    actor = FootageActor(avatar)
    face = crop()
    pictures = [actor.draw(tick, face) for tick in range(HOLD_FRAMES + 6)]
    assert all(np.array_equal(picture, pictures[0]) for picture in pictures[: HOLD_FRAMES + 1])
    for tick in range(HOLD_FRAMES + 3, HOLD_FRAMES + 6):
        assert np.array_equal(pictures[tick], i420(avatar.frame(avatar.fold(tick))))


def test_a_face_of_another_size_is_the_engines_failure(avatar):
    with pytest.raises(EngineFailure, match=r"BGR uint8 \(168, 168, 3\)"):
        FootageActor(avatar).draw(0, np.zeros((328, 328, 3), np.uint8))


@pytest.mark.parametrize(
    ("width", "height", "frame_px", "size"),
    [
        (340, 290, 512, (340, 290)),
        (512, 512, 512, (512, 512)),
        (1280, 720, 512, (682, 384)),
        (1920, 1080, 720, (960, 540)),
        (1080, 1920, 512, (384, 682)),
        (1280, 720, None, (1280, 720)),
    ],
)
def test_large_footage_is_scaled_to_as_many_pixels_as_the_setting_has(width, height, frame_px, size):
    assert fitted(width, height, frame_px) == size
    assert frame_px is None or size[0] * size[1] <= frame_px**2


def test_scaled_frames_show_the_face_where_the_large_ones_do(tmp_path):
    avatar = parts.make_footage(tmp_path / "large", width=640, height=480)
    small, large = FootageActor(avatar, frame_px=240), FootageActor(avatar)
    assert small.size == (276, 206)
    for tick in range(5):
        face = np.array(avatar.faces[tick])[::-1].copy()
        found = bgr(small.draw(tick, face))
        expected = cv2.resize(bgr(large.draw(tick, face)), small.size, interpolation=cv2.INTER_AREA)
        difference = cv2.absdiff(found, expected)
        assert difference.mean() < 1.5
        assert cv2.blur(difference, (5, 5)).max() < 40


def test_a_face_in_scaled_frames_does_not_move_where_the_footage_does_not(tmp_path):
    """The same picture in a box that moves by less than a pixel of the small frame moves by as little."""
    avatar = parts.make_footage(tmp_path / "large", width=640, height=480)
    centres = []
    boxes = avatar.boxes.copy()
    spot = np.zeros((168, 168, 3), np.uint8)
    cv2.circle(spot, (84, 84), 20, (255, 255, 255), -1)
    for shift in range(8):
        boxes[0] = [100 + shift, 100, 340 + shift, 340]
        object.__setattr__(avatar, "boxes", boxes.copy())
        actor = FootageActor(avatar, frame_px=240)
        actor.draw(9, spot.copy())
        luma = actor.draw(10, spot)[50:140, 50:140].astype(float) - 16
        centres.append((luma.sum(0) @ np.arange(90)) / luma.sum())
    steps = np.diff(centres)
    assert steps == pytest.approx(np.full(7, 276 / 640), abs=0.12)


def test_pictures_that_cannot_be_decoded_are_told_before_the_session_begins(avatar):
    (avatar.folder / "frames" / "000000.png").write_bytes(b"no picture")
    with pytest.raises(InvalidAvatar, match=r"000000\.png"):
        FootageActor(avatar)
