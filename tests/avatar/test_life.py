"""What a face answers: nods to stress, brows to pitch, stillness to somebody else's voice, a smile to a pause, a style to a wish."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from webrtc_avatar.avatar.cue import QUIET, Cue
from webrtc_avatar.avatar.idle import Idle, Pose
from webrtc_avatar.avatar.life import Life
from webrtc_avatar.avatar.style import DEFAULT_STYLE, Style, within_reach

SEEDS = range(6)
LISTENING = Cue(listening=True)


def poses(cues: list[Cue], *, seed: int = 1, style: Style = DEFAULT_STYLE) -> list[Pose]:
    life = Life(seed, style)
    return [life.pose(tick, cue, style) for tick, cue in enumerate(cues)]


def stressed_speech(ticks: int, every: int = 7, stress: float = 0.7) -> list[Cue]:
    return [Cue(speaking=True, stress=stress if tick % every == 3 else 0.0) for tick in range(ticks)]


def pitches(frames: list[Pose]) -> np.ndarray:
    return np.array([pose.pitch for pose in frames])


def nods(seed: int, cues: list[Cue]) -> np.ndarray:
    """How much further down the head is than without stress."""
    flat = [Cue(speaking=cue.speaking, listening=cue.listening) for cue in cues]
    return pitches(poses(cues, seed=seed)) - pitches(poses(flat, seed=seed))


@pytest.mark.parametrize("seed", SEEDS)
def test_the_head_nods_a_little_on_some_stressed_syllables(seed: int) -> None:
    down = nods(seed, stressed_speech(1500))
    moving = np.flatnonzero(np.diff(np.r_[0, down > 1e-9, 0].astype(int)))
    starts, ends = moving[::2], moving[1::2]
    depths = np.array([down[start:end].max() for start, end in zip(starts, ends, strict=True)])
    assert 0.45 <= depths.min() < depths.max() <= 1.25
    assert depths.std() > 0.05
    assert {int(length) for length in ends - starts} <= {6, 7}, "about 250 ms"
    assert 0.15 < len(starts) / (1500 / 7) < 0.8, "not on every syllable"
    assert set(starts % 7) == {3}, "it begins with the syllable"


@pytest.mark.parametrize("seed", SEEDS)
def test_stronger_motion_takes_head_and_brows_further_at_the_same_moments(seed: int) -> None:
    cues = [Cue(speaking=True, stress=cue.stress, pitch=0.6 * math.sin(tick / 9)) for tick, cue in
            enumerate(stressed_speech(500))]  # fmt: skip
    shown = [poses(cues, seed=seed, style=Style(motion=motion)) for motion in (0.0, 1.0, 1.2, 1.8)]
    turns = [np.array([(pose.pitch, pose.yaw, pose.roll) for pose in frames]) for frames in shown]
    travels = [np.abs(np.diff(turn, axis=0)).sum() for turn in turns]
    brows = [np.array([pose.look.brow_raise for pose in frames]) for frames in shown]
    assert travels[0] == 0
    assert 1.15 * travels[1] < travels[2] <= 1.21 * travels[1]
    assert 1.5 * travels[1] < travels[3] <= 1.81 * travels[1]
    for less, more in itertools.pairwise(brows):
        assert (more >= less).all()
        assert more.sum() > less.sum()
    assert brows[-1].max() <= 1
    for turn in turns[2:]:
        assert min(np.corrcoef(turn[:, axis], turns[1][:, axis])[0, 1] for axis in range(3)) > 0.98
    assert [pose.look.lid for pose in shown[3]] == [pose.look.lid for pose in shown[1]]


def test_without_stress_or_speech_no_syllable_makes_a_nod() -> None:
    silent = [Cue(stress=0.9) for _ in range(200)]
    assert not nods(1, silent).any()
    weak = [Cue(speaking=True, stress=0.2) for _ in range(200)]
    assert not nods(1, weak).any()


def test_brows_rise_with_pitch_quickly_and_sink_slowly() -> None:
    cues = [Cue(speaking=True, pitch=0.8 if 50 <= tick < 56 else 0.0) for tick in range(120)]
    flat = [Cue(speaking=True)] * 120
    raised, usual = ([pose.look.brow_raise for pose in poses(part, seed=2)] for part in (cues, flat))
    gain = np.array(raised) - usual
    assert gain[:50].max() == 0
    assert gain[50:58].max() > 0.3
    top = int(np.argmax(gain))
    assert top in range(53, 58)
    assert gain[top + 6] > 0.4 * gain[top]
    assert gain[top + 45] < 0.1 * gain[top]


def test_one_tick_of_high_pitch_is_taken_for_a_mistake() -> None:
    cues = [Cue(speaking=True, pitch=1.0 if tick == 20 else 0.0) for tick in range(40)]
    flat = [Cue(speaking=True)] * 40
    assert [p.look for p in poses(cues)] == [p.look for p in poses(flat)]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_listener_holds_still_tilts_its_head_and_looks_at_the_speaker(seed: int) -> None:
    alone, listening = poses([QUIET] * 3000, seed=seed)[100:], poses([LISTENING] * 3000, seed=seed)[100:]

    def spread(frames: list[Pose]) -> float:
        return float(np.std([pose.yaw for pose in frames]))

    def away(frames: list[Pose]) -> float:
        return float(np.mean([pose.look.gaze != (0, 0) for pose in frames]))

    assert spread(listening) < 0.6 * spread(alone)
    tilt = np.mean([pose.roll for pose in listening]) - np.mean([pose.roll for pose in alone])
    assert 0.6 < abs(tilt) < 2.2
    assert away(listening) < 0.6 * away(alone)
    assert min(pose.look.brow_raise for pose in listening) > 0.1


@pytest.mark.parametrize("seed", SEEDS)
def test_a_listener_nods_slowly_now_and_then(seed: int) -> None:
    listening = pitches(poses([LISTENING] * 3000, seed=seed))
    idle = Idle(seed)
    own = np.array([idle.pose(tick, 0.0, 1.0).pitch for tick in range(3000)])
    down = (listening - own)[100:] > 0.95
    starts = np.flatnonzero(np.diff(down.astype(int)) > 0)
    assert 8 <= len(starts) <= 32, "in two minutes"
    assert np.diff(starts).min() > 40
    assert np.abs(np.diff(listening)).max() < 0.45


def test_who_speaks_does_not_listen() -> None:
    both = Cue(speaking=True, listening=True)
    assert poses([both] * 60) == poses([Cue(speaking=True)] * 60)


def test_a_smile_comes_a_second_after_speech_and_is_warmer_for_a_speaker() -> None:
    cues = [Cue(speaking=True)] * 50 + [QUIET] * 100 + [LISTENING] * 100
    smile = np.array([pose.smile for pose in poses(cues)])
    assert smile[49] < 0.02
    assert smile[50:75].max() < 0.02
    assert 0.5 < smile[149] < 0.7
    assert smile[249] > 0.95
    assert np.abs(np.diff(smile[50:])).max() < 0.08


def test_nothing_jumps_whatever_happens() -> None:
    random = np.random.default_rng(3)
    kinds = [Cue(speaking=True, stress=0.9, pitch=1.0), Cue(speaking=True, pitch=-1.0), QUIET, LISTENING]
    life, before = Life(4, DEFAULT_STYLE), None
    style = DEFAULT_STYLE
    for tick in range(3000):
        if tick % 100 == 50:
            style = Style(pose=tuple(random.uniform(-9, 9, 3)), gaze=tuple(random.uniform(-1, 1, 2)))
        pose = life.pose(tick, kinds[int(random.integers(4))], style)
        if before is not None:
            assert max(abs(a - b) for a, b in zip(angles(pose), angles(before), strict=True)) < 1.8
            assert abs(pose.look.brow_raise - before.look.brow_raise) < 0.5
            assert abs(pose.smile - before.smile) < 0.1
        assert angles(pose) == pytest.approx(within_reach(*angles(pose)), abs=0.4)
        before = pose


def angles(pose: Pose) -> tuple[float, float, float]:
    return pose.pitch, pose.yaw, pose.roll


@pytest.mark.parametrize("seed", SEEDS)
def test_a_saccade_takes_two_ticks_and_glances_are_where_the_idle_face_looks(seed: int) -> None:
    idle, looks = Idle(seed), [pose.look for pose in poses([QUIET] * 3000, seed=seed)]
    assert [look.gaze for look in looks] == [idle.pose(tick).look.gaze for tick in range(3000)]
    moving = [tick for tick, look in enumerate(looks) if look.arrived < 1]
    assert len(moving) > 10
    for tick in moving:
        assert looks[tick].arrived == 0.5
        assert looks[tick - 1].gaze == looks[tick].came_from != looks[tick].gaze
        assert looks[tick + 1].arrived == 1


def test_a_style_turns_head_and_eyes_in_half_a_second() -> None:
    life = Life(1, DEFAULT_STYLE)
    still = Life(1, DEFAULT_STYLE)
    turned = Style(pose=(2.0, 3.0, -2.0), gaze=(-1.0, 0.0))
    offsets = []
    for tick in range(60):
        now = life.pose(tick, QUIET, turned if tick >= 20 else DEFAULT_STYLE)
        usual = still.pose(tick, QUIET, DEFAULT_STYLE)
        offsets.append(np.subtract(angles(now), angles(usual)))
        if tick == 21:
            assert now.look.gaze[0] < -0.9
            assert now.look.arrived == 1
    assert not np.any(offsets[:20])
    assert np.abs(np.diff(offsets, axis=0)).max() < 0.6
    assert offsets[33] == pytest.approx([2.0, 3.0, -2.0], abs=0.35)
    assert offsets[59] == pytest.approx([2.0, 3.0, -2.0], abs=0.05)


def test_eyes_make_up_for_a_turned_head() -> None:
    look = poses([QUIET], style=Style(pose=(0.0, 3.5, 0.0)))[0].look
    assert -0.5 < look.gaze[0] < -0.1


def test_a_larger_change_of_style_comes_with_a_blink() -> None:
    life, lids = Life(9, DEFAULT_STYLE), []
    quiet_from = next(tick for tick in range(2000) if not any(Idle(9).pose(t).look.lid for t in range(tick, tick + 40)))
    for tick in range(quiet_from, quiet_from + 40):
        style = Style(pose=(0.0, 3.0, 0.0)) if tick >= quiet_from + 20 else DEFAULT_STYLE
        lids.append(life.pose(tick, QUIET, style).look.lid)
    assert max(lids[:20]) == 0
    assert max(lids[20:24]) == 1
    assert max(lids[26:]) == 0


def test_a_face_that_is_not_alive_is_as_still_as_its_style() -> None:
    style = Style(pose=(1.0, 2.0, -1.0), gaze=(1.0, 0.0), alive=False)
    cues = [Cue(speaking=True, stress=0.9, pitch=0.9), QUIET, LISTENING] * 100
    frames = poses(cues, style=style)
    assert len(set(frames)) == 1
    assert angles(frames[0]) == (1.0, 2.0, -1.0)
    assert (frames[0].look.lid, frames[0].look.brow_raise, frames[0].breath, frames[0].smile) == (0, 0, 0, 0)


def test_equal_seeds_and_cues_move_alike_also_with_gaps() -> None:
    ticks = [*range(50), *range(60, 90), 200, 5000, *range(5001, 5050)]
    cues = stressed_speech(5100)

    def run(seed: int) -> list[Pose]:
        life = Life(seed, DEFAULT_STYLE)
        return [life.pose(tick, cues[tick], DEFAULT_STYLE) for tick in ticks]

    assert run(1) == run(1)
    assert run(1) != run(2)


@pytest.mark.parametrize("signs", list(itertools.product((-1, 1), repeat=3)))
def test_together_angles_reach_less_far_than_alone(signs: tuple[int, int, int]) -> None:
    corner = within_reach(*(sign * 50.0 for sign in signs))
    assert all(math.copysign(1, angle) == sign for angle, sign in zip(corner, signs, strict=True))
    alone = within_reach(50.0 * signs[0], 0.0, 0.0)[0]
    assert abs(corner[0]) < 0.7 * abs(alone) < 4
    assert within_reach(1.0, -2.0, 1.0) == (1.0, -2.0, 1.0)
