"""The cost curve: what it learns, what it advises, and how memory bounds it."""

import math

import pytest

from webrtc_avatar.engine.capacity import Capacity, kept_most


def measured(cost_s, *, most=16):
    capacity = Capacity(most)
    for size in (1, 2, 4, 8, 16):
        if size <= most:
            capacity.record(size, cost_s(size))
    return capacity


def test_between_measured_sizes_the_curve_is_straight_and_beyond_proportional():
    capacity = Capacity(16)
    assert capacity.predict(4) == 0.0
    capacity.record(2, 0.010)
    capacity.record(4, 0.014)
    assert [capacity.predict(size) for size in (1, 2, 3, 4, 8)] == pytest.approx([0.010, 0.010, 0.012, 0.014, 0.028])


def test_a_model_with_a_fixed_cost_gets_all_frames_at_once():
    capacity = measured(lambda size: 0.010 + 0.001 * size)
    assert [capacity.best(available, math.inf) for available in (1, 3, 8, 13, 100)] == [1, 3, 8, 13, 16]
    assert capacity.full == 16


def test_a_model_whose_batches_cost_more_a_frame_gets_small_ones():
    capacity = measured(lambda size: {1: 0.010, 2: 0.018, 4: 0.080, 8: 0.200, 16: 0.500}[size])
    assert [capacity.best(available, math.inf) for available in (1, 2, 4, 16)] == [1, 2, 2, 2]
    assert capacity.full == 2


def test_a_bound_on_time_bounds_the_batch_but_one_frame_always_goes():
    capacity = measured(lambda size: 0.002 * size)
    assert [capacity.best(16, within_s) for within_s in (0.1, 0.01, 0.005, 0.0)] == [16, 4, 2, 1]


def test_a_size_that_was_measured_in_a_bad_moment_gets_another_chance():
    capacity = measured(lambda size: 0.001 + 0.001 * size)
    capacity._run_s[8] = capacity._run_s[16] = 1.0
    capacity._full = None
    assert capacity.full == 4
    for _ in range(1000):
        size = capacity.best(16, math.inf)
        capacity.record(size, 0.001 + 0.001 * size)
    assert capacity.full == 16


def test_a_slow_moment_is_expected_to_last_but_not_for_ever():
    capacity = measured(lambda size: 0.010)
    capacity.record(3, 0.030)
    assert capacity.predict(4) == pytest.approx(0.030)
    for _ in range(30):
        capacity.record(3, 0.010)
    assert capacity.predict(4) == pytest.approx(0.010, rel=0.1)


def test_running_out_of_memory_halves_the_limit_and_it_recovers_slowly():
    capacity = measured(lambda size: 0.010)
    capacity.out_of_memory(16)
    assert (capacity.limit, capacity.best(16, math.inf), capacity.full) == (8, 8, 8)
    capacity.out_of_memory(8)
    assert capacity.limit == 4
    for _ in range(31):
        capacity.record(4, 0.010)
    assert capacity.limit == 4
    capacity.record(4, 0.010)
    assert capacity.limit == 5
    for _ in range(32 * 20):
        capacity.record(4, 0.010)
    assert capacity.limit == 16
    capacity.out_of_memory(1)
    assert capacity.limit == 1


def test_as_many_live_frames_go_together_as_keeps_most_deadlines_a_second():
    cheap = measured(lambda size: 0.010 + 0.001 * size)
    assert kept_most(cheap, [1.0] * 8, 0.0) == 8
    # Eight together would be too late for all, four are not.
    assert kept_most(cheap, [0.0145] * 8, 0.0) == 4
    # One that cannot be kept anyway does not make the others go one by one.
    assert kept_most(cheap, [0.005] + [0.030] * 7, 0.0) == 8
    assert kept_most(cheap, [0.001] * 8, 0.0) == 8
    dear = measured(lambda size: 0.010 * size * size)
    assert kept_most(dear, [1.0] * 4, 0.0) == 1
