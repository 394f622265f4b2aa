"""Idle motion: human rates, no jumps, and the same for the same seed."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from webrtc_avatar.avatar.idle import PITCH_DEG, ROLL_DEG, YAW_DEG, Idle, Pose

FIVE_MINUTES = 5 * 60 * 25
SEEDS = range(6)


@cache
def poses(seed: int, liveliness: float = 0.0) -> list[Pose]:
    idle = Idle(seed)
    return [idle.pose(tick, liveliness) for tick in range(FIVE_MINUTES)]


def runs(held: np.ndarray) -> list[tuple[int, int]]:
    """Start and length of each stretch of true values."""
    edges = np.flatnonzero(np.diff(np.r_[False, held, False].astype(int)))
    return [(int(start), int(end - start)) for start, end in zip(edges[::2], edges[1::2], strict=True)]


@pytest.mark.parametrize("seed", SEEDS)
def test_blinks_come_and_last_like_a_person_s(seed: int) -> None:
    lids = np.array([pose.look.lid for pose in poses(seed)])
    blinks = runs(lids > 0)
    assert all(lids[start : start + length].max() == 1.0 for start, length in blinks)
    assert 12 <= len(blinks) / 5 <= 26
    lengths = np.array([length for _, length in blinks]) * 40
    assert 120 <= np.median(lengths) <= 200
    assert lengths.min() >= 120
    gaps = np.diff([start for start, _ in blinks]) / 25
    assert gaps.max() < 7.0
    assert 2.0 < np.median(gaps) < 6.0


@pytest.mark.parametrize("seed", SEEDS)
def test_gaze_mostly_meets_the_viewer_and_glances_are_short(seed: int) -> None:
    away = np.array([pose.look.gaze != (0, 0) for pose in poses(seed)])
    assert 0.02 < away.mean() < 0.2
    assert max(length for _, length in runs(away)) <= 32


def test_larger_turns_of_the_head_come_with_a_blink_and_small_ones_need_none() -> None:
    with_blink: dict[bool, list[bool]] = {True: [], False: []}
    for seed in SEEDS:
        angles = np.array([(pose.yaw, pose.pitch) for pose in poses(seed)])
        closed = np.array([pose.look.lid for pose in poses(seed)]) > 0
        turned = np.hypot(*(angles[30:] - angles[:-30]).T)
        for tick in range(30, len(turned) - 30):
            blink = bool(closed[tick - 6 : tick + 24].any())
            if turned[tick] > 1.05 and turned[tick] == turned[tick - 15 : tick + 16].max():
                with_blink[True].append(blink)
            elif turned[tick - 15 : tick + 16].max() < 0.5:
                with_blink[False].append(blink)
    assert len(with_blink[True]) > 10
    assert np.mean(with_blink[True]) > 0.9
    assert np.mean(with_blink[False]) < 0.5


def test_brows_rise_now_and_then_without_a_jump() -> None:
    brows = np.array([pose.look.brow_raise for seed in SEEDS for pose in poses(seed)])
    assert brows.max() > 0.3
    assert 0.005 < (brows > 0.1).mean() < 0.15
    within = np.concatenate([np.diff(part) for part in np.split(brows, len(SEEDS))])
    assert np.abs(within).max() < 0.25


@pytest.mark.parametrize("liveliness", [0.0, 1.0])
def test_head_stays_in_range_and_never_jumps(liveliness: float) -> None:
    angles = np.array([(p.yaw, p.pitch, p.roll) for seed in SEEDS for p in poses(seed, liveliness)])
    assert (np.abs(angles).max(0) <= (YAW_DEG, PITCH_DEG, ROLL_DEG)).all()
    by_seed = angles.reshape(len(SEEDS), -1, 3)
    assert (np.abs(np.diff(by_seed, axis=1)) < 0.25).all()
    assert (np.abs(np.diff(by_seed, 2, axis=1)) < 0.06).all()
    assert (by_seed.std(1) > 0.1).all()


def test_speaking_moves_the_head_more() -> None:
    calm, lively = (np.array([p.yaw for p in poses(1, share)]).std() for share in (0.0, 1.0))
    assert lively > 1.1 * calm


def test_breath_is_smooth_and_about_fourteen_a_minute() -> None:
    breath = np.array([pose.breath for pose in poses(2)])
    assert breath.min() >= 0
    assert breath.max() <= 1
    assert np.abs(np.diff(breath)).max() < 0.06
    assert 12 <= len(runs(breath > 0.5)) / 5 <= 16


def test_any_tick_can_be_asked_for_in_any_order() -> None:
    one, other = Idle(5), Idle(5)
    in_order = {tick: one.pose(tick) for tick in range(0, 9000)}
    for tick in np.random.default_rng(0).permutation(9000)[:500]:
        assert other.pose(int(tick)) == in_order[int(tick)]
    assert other.pose(90_000_000) == Idle(5).pose(90_000_000)


def test_seeds_differ() -> None:
    assert Idle(1).pose(100) != Idle(2).pose(100)
    first, second = (runs(np.array([p.look.lid for p in poses(seed)]) > 0)[:3] for seed in (1, 2))
    assert first != second
