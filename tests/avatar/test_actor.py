"""The actor: never frozen, repeatable, and a mouth that comes and goes without popping."""

from __future__ import annotations

import dataclasses
import itertools
import statistics
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from webrtc_avatar.avatar.actor import FADE_OUT_FRAMES, Actor
from webrtc_avatar.avatar.compose import i420, planes
from webrtc_avatar.avatar.cue import Cue
from webrtc_avatar.avatar.idle import Look
from webrtc_avatar.avatar.package import Avatar, load_avatar
from webrtc_avatar.avatar.stage import stage_of
from webrtc_avatar.avatar.style import Style
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


def eyes_of(avatar: Avatar, look: Look) -> np.ndarray:
    """Luma of the eyes' box, (96, 224)."""
    return planes(stage_of(avatar).eyes(look)).y.astype(int)


@pytest.mark.parametrize(
    "look", [Look(gaze=(1, 0), came_from=(1, 0)), Look(lid=1.0), Look(gaze=(0, -1), came_from=(0, -1), lid=0.3)]
)
def test_brows_rise_over_any_gaze_and_lid_and_leave_the_eyes_alone(iris: Avatar, look: Look) -> None:
    resting, raised = eyes_of(iris, look), eyes_of(iris, dataclasses.replace(look, brow_raise=1.0))
    assert np.array_equal(raised[50:], resting[50:])
    assert np.abs(raised[:40] - resting[:40]).mean() > 5
    seam = np.abs(np.diff(raised[38:52], axis=0)).mean(), np.abs(np.diff(resting[38:52], axis=0)).mean()
    assert seam[0] < 1.2 * seam[1] + 0.5


def test_brows_rise_in_fine_steps_and_are_never_seen_twice(iris: Avatar) -> None:
    frames = [eyes_of(iris, Look(brow_raise=raise_ / 24))[:44] for raise_ in range(25)]
    steps = [np.abs(after - before).mean() for before, after in itertools.pairwise(frames)]
    assert max(steps) < 0.15 * np.abs(frames[-1] - frames[0]).mean()
    edges = [np.abs(np.diff(cv2.GaussianBlur(f.astype(np.float32), (0, 0), 1.0), axis=0)).max(0).mean() for f in frames]
    assert min(edges) > 0.8 * min(edges[0], edges[-1]), "a mix of two brows has softer edges than either"


def test_a_crop_on_the_way_is_shown_in_the_middle_of_a_saccade(iris: Avatar) -> None:
    looks = {
        gaze: next(crop for crop in iris.eyes if crop.gaze == gaze and crop.lid == 0) for gaze in ((-1, 0), (1, 0))
    }
    assert len(looks) == 2
    across = eyes_of(iris, Look(gaze=(1, 0), came_from=(-1, 0), arrived=0.5))
    assert np.array_equal(across, eyes_of(iris, Look()))
    assert np.array_equal(eyes_of(iris, Look(gaze=(1, 0), came_from=(0, 0))), eyes_of(iris, Look(gaze=(1, 0))))


def test_the_mouth_smiles_at_rest_and_not_without_a_picture_of_it(iris: Avatar) -> None:
    serious = dataclasses.replace(iris, smile=None)
    smiling, plain = Actor(iris, seed=2), Actor(serious, seed=2)
    shown, rest = smiling.draw(0, None, Cue(listening=True)), plain.draw(0, None, Cue(listening=True))
    assert np.abs(mouth_part(shown, iris) - mouth_part(rest, iris)).mean() > 1
    assert np.array_equal(planes(shown).y[:220], planes(rest).y[:220])


def test_the_smile_never_pops_when_speech_comes_and_goes(iris: Avatar) -> None:
    left, top, right, bottom = iris.mouth_box
    plain = i420(np.ascontiguousarray(iris.plate[top:bottom, left:right]))
    actor, parts = Actor(iris, seed=2, style=Style(alive=True)), []
    resting = Actor(dataclasses.replace(iris, smile=None), seed=2)
    for tick in range(120):
        cue = Cue(speaking=10 <= tick < 40)
        frame = actor.draw(tick, plain if cue.speaking else None, cue)
        parts.append(np.abs(mouth_part(frame, iris) - mouth_part(resting.draw(tick, None, cue), iris)).mean())
    assert parts[0] > 0.5
    assert max(parts[13:60]) < 0.15
    assert parts[-1] > 0.5
    assert np.abs(np.diff(parts)).max() < 0.7 * parts[0]


def test_a_face_that_is_not_alive_moves_its_mouth_only(iris: Avatar, open_mouth: np.ndarray) -> None:
    actor = Actor(iris, seed=5, style=Style(alive=False))
    cues = [Cue(speaking=True, stress=1.0, pitch=1.0), Cue(listening=True), Cue()]
    frames = [actor.draw(tick, open_mouth if tick % 3 == 0 else None, cues[tick % 3]) for tick in range(60)]
    assert all(np.array_equal(planes(frame).y[:240], planes(frames[0]).y[:240]) for frame in frames)
    assert not np.array_equal(mouth_part(frames[0], iris), mouth_part(frames[2], iris))


def test_an_actor_tells_what_it_did_in_the_last_frame(iris: Avatar) -> None:
    actor = Actor(iris, seed=5)
    assert actor.pose is None
    actor.draw(0, None)
    first = actor.pose
    actor.draw(40, None, Cue(listening=True))
    assert first is not None
    assert actor.pose != first


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


def test_a_mouth_whose_speech_is_cut_off_is_at_rest_in_that_very_frame(iris: Avatar, open_mouth: np.ndarray) -> None:
    actor, resting = Actor(iris, seed=3), Actor(iris, seed=3)
    for tick in range(5):
        actor.draw(tick, open_mouth, Cue(speaking=True))
        resting.draw(tick, None, Cue(speaking=True))
    assert actor.mouth_share == 1
    cut, rest = (mouth_part(each.draw(5, None, Cue(cut=True)), iris) for each in (actor, resting))
    assert actor.mouth_share == 0
    np.testing.assert_array_equal(cut, rest)
