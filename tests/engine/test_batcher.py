"""The batcher's rules: earliest deadline first, one model a batch, nothing stale, nothing late."""

import pytest

from webrtc_avatar.engine.batcher import Batcher
from webrtc_avatar.engine.model import Job
from webrtc_avatar.engine.request import Request


class FakeStream:
    def __init__(self, model_key="iris"):
        self.model_key = model_key
        self.epoch = 0

    def is_stale(self, epoch):
        return epoch != self.epoch


@pytest.fixture
def batcher():
    return Batcher(max_batch_size=4, max_wait_s=0.004)


def request(deadline_s, *, stream=None, index=0, submitted_s=0.0, epoch=0, sequence=0):
    return Request(
        deadline_s=deadline_s,
        sequence=sequence,
        submitted_s=submitted_s,
        source=stream or FakeStream(),
        index=index,
        epoch=epoch,
        job=Job(None, index),
    )


def test_earliest_deadline_goes_first_whatever_the_order_of_arrival(batcher):
    for sequence, deadline_s in enumerate((5.0, 2.0, 9.0, 1.0, 3.0)):
        batcher.add(request(deadline_s, sequence=sequence))
    assert [r.deadline_s for r in batcher.take(0.0).requests] == [1.0, 2.0, 3.0, 5.0]
    assert [r.deadline_s for r in batcher.take(0.0).requests] == [9.0]


def test_equal_deadlines_keep_the_order_of_arrival(batcher):
    for sequence in range(3):
        batcher.add(request(1.0, sequence=sequence, index=sequence))
    assert [r.index for r in batcher.take(0.0).requests] == [0, 1, 2]


def test_a_batch_holds_one_model_and_the_most_urgent_model_comes_first(batcher):
    slow, urgent = FakeStream("a"), FakeStream("b")
    batcher.add(request(4.0, stream=slow))
    batcher.add(request(2.0, stream=urgent))
    batcher.add(request(3.0, stream=slow))
    first, second = batcher.take(0.0), batcher.take(0.0)
    assert (first.model, len(first.requests)) == ("b", 1)
    assert (second.model, len(second.requests)) == ("a", 2)


def test_a_frame_whose_deadline_has_passed_costs_no_model_call(batcher):
    batcher.add(request(1.0, index=1))
    batcher.add(request(3.0, index=2))
    batch = batcher.take(2.0)
    assert [r.index for r in batch.late] == [1]
    assert [r.index for r in batch.requests] == [2]


def test_work_of_an_old_epoch_vanishes(batcher):
    stream = FakeStream()
    batcher.add(request(1.0, stream=stream))
    stream.epoch = 1
    batch = batcher.take(0.0)
    assert not batch.requests
    assert not batch.late
    assert len(batcher) == 0


def test_a_full_batch_starts_at_once(batcher):
    for _ in range(4):
        batcher.add(request(10.0, submitted_s=1.0))
    assert batcher.next_start_s(1.0) == 1.0


def test_a_lone_frame_waits_for_company_but_not_past_its_deadline(batcher):
    batcher.record_run("iris", 0.010)
    batcher.add(request(10.0, submitted_s=1.0))
    assert batcher.next_start_s(1.0) == pytest.approx(1.004)
    batcher.add(request(1.021, submitted_s=1.0))
    assert batcher.next_start_s(1.0) == pytest.approx(1.001)


def test_nothing_to_do_has_no_start(batcher):
    assert batcher.next_start_s(0.0) is None
    assert batcher.take(0.0).requests == []


def test_run_times_rise_at_once_and_fall_slowly(batcher):
    batcher.record_run("iris", 0.010)
    batcher.record_run("iris", 0.030)
    batcher.add(request(1.0, submitted_s=1.0))
    assert batcher.next_start_s(0.0) == pytest.approx(1.0 - 0.060)
    batcher.record_run("iris", 0.010)
    assert batcher.next_start_s(0.0) == pytest.approx(1.0 - 0.056)
