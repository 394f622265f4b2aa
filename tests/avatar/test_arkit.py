"""A mouth and a pose as ARKit's blendshapes: shape by shape, and left and right as the person has them."""

import numpy as np
import pytest

from webrtc_avatar.avatar.arkit import ARKIT_NAMES, MOUTH_WEIGHTS, blendshapes, head_degrees, weight_order
from webrtc_avatar.avatar.idle import Idle, Look, Pose
from webrtc_avatar.speech.visemes import VISEMES, WEIGHTS


def pose(**look):
    return Pose(yaw=0.0, pitch=0.0, roll=0.0, breath=0.0, look=Look(**look))


def named(weights=None, **look):
    """Return the shapes that move, by name."""
    values = blendshapes(weights, pose(**look))
    assert values.shape == (52,)
    assert values.dtype == np.float32
    return {name: float(value) for name, value in zip(ARKIT_NAMES, values, strict=True) if value > 1e-6}


def test_there_are_52_names_and_each_side_has_its_other():
    assert len(set(ARKIT_NAMES)) == 52
    assert (ARKIT_NAMES[0], ARKIT_NAMES[17], ARKIT_NAMES[51]) == ("eyeBlinkLeft", "jawOpen", "tongueOut")
    for name in ARKIT_NAMES:
        assert name.replace("Left", "Right") in ARKIT_NAMES


def test_the_weights_are_those_that_the_ear_learns():
    assert MOUTH_WEIGHTS == WEIGHTS


def test_a_model_s_own_order_of_weights_is_found_and_other_weights_are_none():
    order = weight_order(MOUTH_WEIGHTS[::-1])
    assert order.tolist() == list(range(11, -1, -1))
    assert weight_order(("jawOpen", *MOUTH_WEIGHTS[2:], "other")) is None
    assert weight_order(MOUTH_WEIGHTS[:11]) is None


def test_a_face_at_rest_is_all_zero():
    assert named(None) == {}
    assert named(VISEMES["sil"]) == {}


@pytest.mark.parametrize(
    ("viseme", "strongest"),
    [
        ("PP", {"mouthPressLeft", "mouthPressRight"}),
        ("FF", {"mouthUpperUpLeft", "mouthUpperUpRight", "mouthRollLower"}),
        ("TH", {"tongueOut"}),
        ("DD", {"mouthLowerDownLeft", "mouthLowerDownRight"}),
        ("kk", {"jawOpen"}),
        ("SS", {"mouthLowerDownLeft", "mouthLowerDownRight"}),
        ("CH", {"mouthFunnel"}),
        ("RR", {"mouthFunnel"}),
        ("aa", {"jawOpen"}),
        ("E", {"jawOpen"}),
        ("O", {"mouthFunnel", "mouthPucker"}),
        ("U", {"mouthPucker"}),
        ("@", {"jawOpen"}),
    ],
)
def test_a_viseme_moves_most_what_makes_it(viseme, strongest):
    shapes = named(VISEMES[viseme])
    order = sorted(shapes, key=shapes.get, reverse=True)
    assert set(order[: len(strongest)]) == strongest


def test_only_speech_with_the_tongue_shows_it():
    assert {name for name in VISEMES if "tongueOut" in named(VISEMES[name])} == {"TH", "DD", "LL"}
    assert named(VISEMES["LL"])["tongueOut"] < 0.2 < 0.6 < named(VISEMES["TH"])["tongueOut"]


def test_lips_pressed_over_an_open_jaw_are_closed():
    pressed = VISEMES["PP"] + VISEMES["aa"]
    shapes = named(pressed)
    assert shapes["mouthClose"] == shapes["jawOpen"]
    assert "mouthClose" not in named(VISEMES["aa"])


def test_smiles_are_smiles_and_less_than_the_resting_one_is_a_frown():
    weights = np.zeros(12, np.float32)
    weights[MOUTH_WEIGHTS.index("smile")] = 0.5
    assert named(weights) == pytest.approx({"mouthSmileLeft": 0.3, "mouthSmileRight": 0.3})
    assert named(-weights) == pytest.approx({"mouthFrownLeft": 0.3, "mouthFrownRight": 0.3})


def test_a_smile_at_rest_is_told_and_adds_to_the_mouth_s_own():
    resting = Pose(yaw=0.0, pitch=0.0, roll=0.0, breath=0.0, look=Look(), smile=1.0)
    place = ARKIT_NAMES.index("mouthSmileLeft")
    assert blendshapes(None, resting)[place] == pytest.approx(0.18)
    weights = np.zeros(12, np.float32)
    weights[MOUTH_WEIGHTS.index("smile")] = 0.5
    assert blendshapes(weights, resting)[place] == pytest.approx(0.48)


def test_no_weights_leave_0_to_1():
    random = np.random.default_rng(0)
    for _ in range(100):
        weights = random.uniform(-2, 3, 12).astype(np.float32)
        values = blendshapes(weights, pose(lid=1.0, brow_raise=1.0))
        assert np.all((values >= 0) & (values <= 1))


def test_a_blink_closes_both_eyes():
    assert named(lid=0.9) == pytest.approx({"eyeBlinkLeft": 0.9, "eyeBlinkRight": 0.9})


def test_eyes_that_look_to_the_right_of_the_picture_look_to_the_person_s_left():
    assert set(named(gaze=(1.0, 0.0))) == {"eyeLookOutLeft", "eyeLookInRight"}
    assert set(named(gaze=(-1.0, 0.0))) == {"eyeLookInLeft", "eyeLookOutRight"}
    assert set(named(gaze=(0.0, 1.0))) == {"eyeLookUpLeft", "eyeLookUpRight"}
    assert set(named(gaze=(0.0, -1.0))) == {"eyeLookDownLeft", "eyeLookDownRight"}


def test_eyes_on_their_way_are_between_both_places():
    there = named(gaze=(1.0, 0.0))["eyeLookOutLeft"]
    assert named(gaze=(1.0, 0.0), arrived=0.5)["eyeLookOutLeft"] == pytest.approx(there / 2)
    assert named(came_from=(1.0, 0.0), arrived=0.5)["eyeLookOutLeft"] == pytest.approx(there / 2)
    assert named(came_from=(1.0, 0.0), gaze=(1.0, 0.0), arrived=0.0)["eyeLookOutLeft"] == pytest.approx(there)


def test_brows_rise_and_eyes_narrow():
    raised = named(brow_raise=1.0)
    assert set(raised) == {"browInnerUp", "browOuterUpLeft", "browOuterUpRight"}
    assert named(squint=0.6) == pytest.approx({"eyeSquintLeft": 0.6, "eyeSquintRight": 0.6})


def test_the_head_s_rotation_is_pitch_yaw_roll():
    turned = Pose(yaw=1.5, pitch=-0.5, roll=0.25, breath=0.0, look=Look())
    assert head_degrees(turned).tolist() == [-0.5, 1.5, 0.25]


def test_an_idle_face_moves_eyes_and_brows_alone():
    moved = np.max([blendshapes(None, Idle(1).pose(tick)) for tick in range(0, 2500, 2)], axis=0)
    active = {name for name, value in zip(ARKIT_NAMES, moved, strict=True) if value > 0}
    assert {"eyeBlinkLeft", "browInnerUp", "eyeLookOutLeft", "eyeLookOutRight"} <= active
    assert all(name.startswith(("eye", "brow")) for name in active)
