"""Packets in any order, with losses and duplicates, leave in order and soon."""

import random

import pytest

from webrtc_avatar.media.reorder import ReorderBuffer


def test_packets_in_order_leave_at_once_across_the_wrap():
    buffer = ReorderBuffer()
    for n in range(10):
        assert buffer.push((65530 + n) % 65536, n, n * 0.02) == [n]
        assert buffer.deadline_s is None


def test_two_packets_that_changed_places_leave_in_order():
    buffer = ReorderBuffer()
    assert buffer.push(1, "a", 0.0) == ["a"]
    assert buffer.push(3, "c", 0.02) == []
    assert buffer.push(2, "b", 0.021) == ["b", "c"]
    assert buffer.lost == buffer.late == 0


def test_a_lost_packet_is_waited_for_only_briefly():
    buffer = ReorderBuffer(min_wait_s=0.01)
    buffer.push(1, "a", 0.0)
    assert buffer.push(3, "c", 0.04) == []
    assert buffer.deadline_s == pytest.approx(0.05)
    assert buffer.expire(0.049) == []
    assert buffer.expire(0.0501) == ["c"]
    assert buffer.lost == 1


def test_many_later_packets_end_the_wait_without_a_timer():
    buffer = ReorderBuffer(min_wait_s=10, max_wait_s=10, depth=3)
    buffer.push(1, "a", 0.0)
    assert buffer.push(3, "c", 0.0) == []
    assert buffer.push(4, "d", 0.0) == []
    assert buffer.push(5, "e", 0.0) == ["c", "d", "e"]


def test_the_wait_grows_where_packets_really_come_late_and_shrinks_again():
    buffer = ReorderBuffer(min_wait_s=0.01, max_wait_s=0.05)
    buffer.push(1, "a", 0.0)
    buffer.push(3, "c", 0.04)
    buffer.expire(0.051)
    assert buffer.push(2, "b", 0.065) == []
    assert buffer.late == 1
    assert buffer.lost == 0
    assert buffer.wait_s == pytest.approx(0.03)
    for n in range(4, 2200):
        buffer.push(n, n, 1 + n * 0.02)
    assert buffer.wait_s == pytest.approx(0.01)


def test_duplicates_are_dropped_and_counted():
    buffer = ReorderBuffer()
    buffer.push(1, "a", 0.0)
    assert buffer.push(1, "a", 0.0) == []
    buffer.push(3, "c", 0.0)
    assert buffer.push(3, "c", 0.0) == []
    assert buffer.duplicates == 2


def test_a_sender_that_begins_anew_is_followed_and_nothing_that_waited_is_kept_back():
    buffer = ReorderBuffer()
    buffer.push(100, "a", 0.0)
    buffer.push(102, "c", 0.0)
    assert buffer.push(40_000, "x", 0.0) == ["c", "x"]
    assert buffer.push(40_001, "y", 0.0) == ["y"]


@pytest.mark.parametrize("loss", [0.0, 0.05, 0.2])
@pytest.mark.parametrize("seed", range(5))
def test_whatever_the_network_does_packets_leave_in_order_and_once(seed, loss):
    rng = random.Random(seed)
    buffer = ReorderBuffer()
    sent = [n for n in range(1000) for _ in range(1 + (rng.random() < 0.03))]
    arrivals = [(n * 0.02 + rng.expovariate(100), n) for n in sent if rng.random() >= loss]
    out = []
    for now_s, n in sorted(arrivals):
        out += buffer.expire(now_s)
        out += buffer.push((65000 + n) % 65536, n, now_s)
    out += buffer.expire(1e9)
    assert out == sorted(set(out))
    arrived = {n for _, n in arrivals if n >= out[0]}
    assert set(out) <= arrived
    assert len(arrived) - len(out) == buffer.late
    assert len(out) > 0.9 * len(arrived)
