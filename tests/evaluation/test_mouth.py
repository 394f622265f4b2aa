"""The shipped mouth meets its gates, and each measure notices the fault that it is for."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tests.avatar.package_parts import IRIS
from webrtc_avatar.avatar.compose import i420
from webrtc_avatar.avatar.package import load_avatar
from webrtc_avatar.evaluation import mouth as measure
from webrtc_avatar.speech.visemes import VISEMES
from webrtc_avatar.training.mouth_data import load_mouths


@pytest.fixture(scope="module")
def iris():
    return load_avatar(IRIS)


@pytest.fixture(scope="module")
def draw():
    return measure.load_mouth(IRIS / "mouth.onnx")


@pytest.fixture(scope="module")
def mouths():
    return load_mouths(IRIS / "source")


@pytest.fixture(scope="module")
def few(mouths):
    """A tenth of the held-out mouths, and the sweeps."""
    return mouths.take(np.r_[np.flatnonzero(mouths.held_out)[::10], np.flatnonzero(mouths.kinds == "sweep")])


def test_held_out_mouths_are_like_their_renders(draw, mouths):
    quality = measure.likeness(draw, mouths)
    assert quality.count == 100
    assert quality.lips_mean >= measure.LEAST_HELD_OUT_DB
    assert quality.lips_worst >= 34
    assert quality.box_mean >= measure.LEAST_HELD_OUT_DB


def test_a_slow_sweep_flickers_no_more_than_its_renders(draw, few):
    seen = measure.flicker(draw, few)
    assert seen.steps == 48
    assert seen.ratio <= measure.MOST_FLICKER
    assert seen.without_noise <= measure.MOST_FLICKER
    assert seen.wandering <= measure.MOST_FLICKER


def test_flicker_is_noticed(draw, few):
    def flickering(weights):
        noise = np.random.default_rng(0).normal(0, 6, (len(weights), 1, 1))
        return np.clip(draw(weights) + noise, 0, 255).astype(np.uint8)

    seen = measure.flicker(flickering, few)
    assert min(seen.ratio, seen.without_noise, seen.wandering) > measure.MOST_FLICKER


def test_no_mouth_is_a_ghost(draw, mouths):
    seen = measure.ghosting(draw, mouths)
    assert seen.ghosts_worst <= measure.MOST_GHOSTS
    assert seen.sharpness_worst >= measure.LEAST_SHARPNESS


def test_a_cross_fade_of_renders_is_noticed_as_ghosts(few, mouths):
    known = mouths.seen

    def fading(weights):
        pictures = []
        for mouth in weights:
            first, second = np.abs(known.weights - mouth).sum(1).argsort()[[0, 20]]
            pictures.append(i420(cv2.addWeighted(known.crops[first], 0.5, known.crops[second], 0.5, 0)))
        return np.stack(pictures)

    seen = measure.ghosting(fading, few)
    assert seen.ghosts_worst > measure.MOST_GHOSTS
    assert seen.sharpness_worst < measure.LEAST_SHARPNESS


def test_no_speck_of_teeth_shows_between_closed_lips(draw, mouths):
    assert measure.closed_lip_speck(draw, mouths) <= measure.MOST_SPECK_LEVELS


def test_a_speck_of_teeth_is_noticed(draw, mouths):
    def parted(weights):
        return draw(weights * 0.8 + VISEMES["E"] * 0.2)

    assert measure.closed_lip_speck(parted, mouths) > measure.MOST_SPECK_LEVELS


def test_no_seam_shows_and_no_skin_tone_drifts(iris, draw):
    seen = measure.seam(iris, draw, frames=75)
    assert seen.worst <= measure.MOST_SEAM_LEVELS
    assert seen.drift <= measure.MOST_DRIFT_LEVELS


def test_a_brighter_mouth_is_noticed_as_a_seam_and_as_drift(iris, draw):
    def brighter(weights):
        pictures = draw(weights).astype(np.int16)
        pictures[:, :160] += 8
        return np.clip(pictures, 0, 255).astype(np.uint8)

    seen = measure.seam(iris, brighter, frames=20)
    assert seen.worst > measure.MOST_SEAM_LEVELS
    assert seen.drift > measure.MOST_DRIFT_LEVELS


def test_the_cost_of_a_frame_is_measured_at_both_sizes(iris, draw):
    small, large = (measure.cost_ms(iris, draw, frame_px=size, frames=40) for size in (512, 720))
    print(f"{small:.2f} ms at 512, {large:.2f} ms at 720: {large / small:.2f} times")
    assert small > 0
    assert large > 0
