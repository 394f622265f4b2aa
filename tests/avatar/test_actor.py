"""The actor: never frozen, repeatable, and a mouth that comes and goes without popping."""

from __future__ import annotations

import dataclasses
import statistics
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from webrtc_avatar.avatar.actor import FADE_OUT_FRAMES, Actor
from webrtc_avatar.avatar.compose import i420, planes
from webrtc_avatar.avatar.cue import Cue
from webrtc_avatar.avatar.package import Avatar, load_avatar
from webrtc_avatar.errors import EngineFailure

IRIS = Path(__file__).parents[2] / "models" / "iris"


@pytest.fixture(scope="module")
def iris() -> Avatar:
    return load_avatar(IRIS)


@pytest.fixture(scope="module")
def open_mouth(iris: Avatar) -> np.ndarray:
    """The plate's own mouth with a dark ellipse on it: all that matters here is that it differs."""
    left, top, right, bottom = iris.mouth_box
    crop = iris.plate[top:bottom, left:right].copy()
    return i420(cv2.ellipse(crop, (112, 70), (36, 26), 0, 0, 360, (40, 30, 70), -1))


def mouth_part(frame: np.ndarray, avatar: Avatar) -> np.ndarray:
    left, top, right, bottom = avatar.mouth_box
    return planes(frame).y[top + 20 : bottom - 20, left + 20 : right - 20].astype(int)


def test_no_two_consecutive_frames_are_alike_in_ten_seconds(iris: Avatar) -> None:
    actor = Actor(iris, seed=3)
    before = actor.draw(0, None)
    assert before.shape == (768, 512)
    assert before.dtype == np.uint8
    for tick in range(1, 250):
        frame = actor.draw(tick, None)
        assert not np.array_equal(frame, before)
        before = frame


def test_equal_seeds_and_calls_draw_equal_frames(iris: Avatar, open_mouth: np.ndarray) -> None:
    def frames(seed: int) -> list[np.ndarray]:
        actor = Actor(iris, seed=seed)
        ticks = [*range(20), 25, 26, 40, *range(1500, 1520)]
        return [
            actor.draw(tick, open_mouth if 5 <= tick < 12 else None, Cue(speaking=5 <= tick < 12)) for tick in ticks
        ]

    first, second, other = frames(1), frames(1), frames(2)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_each_frame_is_a_new_array_and_actors_do_not_share_state(iris: Avatar, open_mouth: np.ndarray) -> None:
    alone, beside = Actor(iris, seed=1), Actor(iris, seed=1)
    disturbing = Actor(iris, seed=2)
    for tick in range(10):
        expected = alone.draw(tick, None)
        kept = expected.copy()
        disturbing.draw(tick, open_mouth, Cue(speaking=True))
        got = beside.draw(tick, None)
        assert np.array_equal(got, kept)
        assert np.array_equal(expected, kept)


def test_a_mouth_shows_and_fades_away_without_a_pop(iris: Avatar, open_mouth: np.ndarray) -> None:
    actor, resting = Actor(iris, seed=4), Actor(iris, seed=4)
    change = []
    for tick in range(20):
        frame = actor.draw(tick, open_mouth if tick < 8 else None)
        rest = resting.draw(tick, None)
        change.append(np.abs(mouth_part(frame, iris) - mouth_part(rest, iris)).mean())
    shown = change[7]
    assert shown > 5
    fading = change[8 : 8 + FADE_OUT_FRAMES - 1]
    assert all(before > after > 0 for before, after in zip(change[7:], fading, strict=False))
    assert max(-np.diff(change[7:])) < 0.35 * shown
    assert change[8 + FADE_OUT_FRAMES - 1 :] == [0] * (20 - 8 - FADE_OUT_FRAMES + 1)


def test_a_skipped_tick_fades_as_far_as_two(iris: Avatar, open_mouth: np.ndarray) -> None:
    skipping, steady = Actor(iris, seed=4), Actor(iris, seed=4)
    for actor in (skipping, steady):
        for tick in range(4):
            actor.draw(tick, open_mouth, Cue(speaking=True))
    steady.draw(4, None, Cue(speaking=True))
    difference = mouth_part(skipping.draw(5, None, Cue(speaking=True)), iris) - mouth_part(
        steady.draw(5, None, Cue(speaking=True)), iris
    )
    assert np.abs(difference).max() <= 1


def test_speaking_changes_nothing_at_once(iris: Avatar) -> None:
    talking, quiet = Actor(iris, seed=6), Actor(iris, seed=6)
    for tick in range(100):
        talking.draw(tick, None)
        quiet.draw(tick, None)
    toggled = talking.draw(100, None, Cue(speaking=True)).astype(int)
    usual = quiet.draw(100, None)
    assert np.abs(toggled - usual).mean() < 0.1


def test_pasted_mouth_leaves_no_edge(iris: Avatar) -> None:
    left, top, right, bottom = iris.mouth_box
    own = i420(iris.plate[top:bottom, left:right])
    serious = dataclasses.replace(iris, smile=None)
    pasting, resting = Actor(serious, seed=8), Actor(serious, seed=8)
    for tick in range(5):
        pasted = pasting.draw(tick, own)
        rest = resting.draw(tick, None)
        assert np.abs(planes(pasted).y.astype(int) - planes(rest).y).max() <= 1


def test_a_crop_of_the_wrong_size_is_refused_and_the_actor_goes_on(iris: Avatar, open_mouth: np.ndarray) -> None:
    actor, undisturbed = Actor(iris, seed=1), Actor(iris, seed=1)
    with pytest.raises(EngineFailure, match=r"\(240, 224\)"):
        actor.draw(0, np.zeros((160, 160, 3), np.uint8), Cue(speaking=True))
    with pytest.raises(EngineFailure, match="float32"):
        actor.draw(0, open_mouth.astype(np.float32), Cue(speaking=True))
    assert np.array_equal(actor.draw(0, None), undisturbed.draw(0, None))


def test_an_avatar_without_flow_holds_its_head_still(iris: Avatar) -> None:
    still = dataclasses.replace(iris, flow={})
    actor = Actor(still, seed=1)
    top = [planes(actor.draw(tick, None)).y[:140].copy() for tick in range(0, 100, 10)]
    assert all(np.array_equal(top[0], other) for other in top)


def test_report_the_cost_of_a_frame(iris: Avatar, open_mouth: np.ndarray) -> None:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        for name, crop in (("resting", None), ("speaking", open_mouth)):
            actor = Actor(iris, seed=1)
            times = []
            for tick in range(150):
                start = time.perf_counter()
                actor.draw(tick, crop, Cue(speaking=crop is not None))
                times.append(1000 * (time.perf_counter() - start))
            print(f"{name}: median {statistics.median(times):.2f} ms a frame, best {min(times):.2f} ms")
    finally:
        cv2.setNumThreads(threads)
