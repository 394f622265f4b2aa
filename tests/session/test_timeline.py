"""The clock follows the arrival of sound."""

import numpy as np
import pytest

from webrtc_avatar.session.timeline import Timeline

BUDGET_S = 0.03


def dues(arrivals, silent=False):
    timeline = Timeline(budget_s=BUDGET_S)
    return np.array([timeline.due(i, t, silent=silent) for i, t in enumerate(arrivals)])


def test_even_arrivals_leave_after_the_budget():
    arrivals = 100 + 0.04 * np.arange(50)
    assert dues(arrivals) - arrivals == pytest.approx(BUDGET_S)


def test_jitter_is_smoothed_and_never_makes_a_tick_due_before_its_chunk():
    arrivals = 100 + 0.04 * np.arange(500) + np.random.default_rng(0).uniform(0, 0.02, 500)
    due = dues(arrivals)
    assert np.all(due - arrivals >= BUDGET_S - 1e-9)
    assert np.abs(np.diff(due)[100:] - 0.04).max() < 0.006


@pytest.mark.parametrize("drift", [-300e-6, 300e-6])
def test_the_senders_clock_rules(drift):
    arrivals = 100 + 0.04 * (1 + drift) * np.arange(15_000)
    delay = dues(arrivals) - arrivals
    assert delay.max() - delay.min() < 0.002


def test_delay_after_a_stall_is_worked_off():
    arrivals = 100 + 0.04 * np.arange(400)
    arrivals[100:108] = arrivals[108]
    delay = dues(arrivals) - arrivals
    assert delay[99] == pytest.approx(BUDGET_S)
    assert 0.2 < delay[110] < 0.4
    assert delay[-1] < BUDGET_S + 0.01
    assert np.diff(dues(arrivals)).min() >= 0.03


def test_silence_lets_the_clock_recover_faster():
    arrivals = 100 + 0.04 * np.arange(150)
    arrivals[10] += 0.2
    assert dues(arrivals, silent=True)[40] < dues(arrivals)[40]
