"""The batcher's rules, with the time in hand: deadlines first, bulk in what they leave, nothing stale, nothing late."""

import math
import random

import pytest

from tests.engine.stand_ins import StandInModel, loaded
from webrtc_avatar.engine.batcher import LIVE_SLICE_S, Batcher
from webrtc_avatar.engine.model import Job
from webrtc_avatar.engine.request import Request

WAIT_S = 0.004


class StandInSource:
    def __init__(self, model):
        self.loaded = model
        self.epoch = 0

    def is_stale(self, epoch):
        return epoch != self.epoch


def model_of(cost_s=None, *, devices=1, most=4, name="stand-in"):
    """A model on some devices, with a cost curve if it is told one."""
    model = loaded(*[StandInModel() for _ in range(devices)], name=name, most=most)
    for place in model.places.values():
        size = 1
        while cost_s is not None and size <= most:
            place.capacity.record(size, cost_s(size))
            size *= 2
    return model


@pytest.fixture
def batcher():
    return Batcher(max_wait_s=WAIT_S)


@pytest.fixture
def source():
    return StandInSource(model_of())


def request(deadline_s, source, *, index=0, submitted_s=0.0, epoch=0):
    return Request(
        deadline_s=deadline_s, submitted_s=submitted_s, source=source, index=index, epoch=epoch, job=Job(None, index)
    )


def bulk(source, *, index=0, submitted_s=0.0):
    return request(math.inf, source, index=index, submitted_s=submitted_s)


def add(batcher, requests):
    for each in requests:
        batcher.add(each)


def indices(batch):
    return [request.index for request in batch.requests]


def test_earliest_deadline_goes_first_whatever_the_order_of_arrival(batcher, source):
    add(batcher, [request(deadline_s, source) for deadline_s in (5.0, 2.0, 9.0, 1.0, 3.0)])
    assert [r.deadline_s for r in batcher.take(0.1, 0).requests] == [1.0, 2.0, 3.0, 5.0]
    assert [r.deadline_s for r in batcher.take(0.1, 0).requests] == [9.0]


def test_equal_deadlines_keep_the_order_of_arrival(batcher, source):
    add(batcher, [request(1.0, source, index=index) for index in range(3)])
    assert indices(batcher.take(0.1, 0)) == [0, 1, 2]


def test_a_batch_holds_one_model_and_the_most_urgent_model_comes_first(batcher):
    slow, urgent = StandInSource(model_of(name="a")), StandInSource(model_of(name="b"))
    add(batcher, [request(4.0, slow), request(2.0, urgent), request(3.0, slow)])
    first, second = batcher.take(0.1, 0), batcher.take(0.1, 0)
    assert {r.source for r in first.requests} == {urgent}
    assert [r.source for r in second.requests] == [slow, slow]


def test_a_frame_whose_deadline_has_passed_costs_no_model_call(batcher, source):
    add(batcher, [request(1.0, source, index=1), request(3.0, source, index=2)])
    assert [r.index for r in batcher.take(2.0, 0).late] == [1]
    assert indices(batcher.take(2.0, 0)) == [2]


def test_work_of_an_old_epoch_vanishes(batcher, source):
    add(batcher, [request(1.0, source), bulk(source)])
    source.epoch = 1
    batch = batcher.take(0.1, 0)
    assert not batch.requests
    assert not batch.late
    assert batch.wake_s is None
    assert batcher.lengths() == (0, 0)


@pytest.mark.parametrize("deadline_s", [3.0, math.inf], ids=["live", "bulk"])
def test_stale_work_behind_work_that_counts_costs_no_place_in_a_batch(batcher, source, deadline_s):
    gone = StandInSource(source.loaded)
    for index in range(4):
        batcher.add(request(deadline_s, source, index=index))
        batcher.add(request(deadline_s, gone, index=100 + index))
    gone.epoch = 1
    assert indices(batcher.take(0.1, 0)) == [0, 1, 2, 3]
    assert not batcher.take(0.1, 0).requests


def test_a_full_batch_starts_at_once(batcher, source):
    add(batcher, [request(10.0, source, submitted_s=1.0) for _ in range(4)])
    assert len(batcher.take(1.0, 0).requests) == 4


def test_a_lone_frame_waits_for_company_but_not_past_its_deadline(batcher):
    source = StandInSource(model_of(lambda size: 0.010))
    batcher.add(request(10.0, source, submitted_s=1.0))
    assert batcher.take(1.0, 0).wake_s == pytest.approx(1.004)
    batcher.add(request(1.021, source, submitted_s=1.0))
    batch = batcher.take(1.0, 0)
    assert not batch.requests
    assert batch.wake_s == pytest.approx(1.001)
    assert len(batcher.take(1.0011, 0).requests) == 2


def test_a_lone_bulk_frame_waits_only_while_others_keep_coming(batcher, source):
    batcher.add(bulk(source, submitted_s=1.0))
    assert batcher.take(1.0, 0).wake_s == pytest.approx(1.001)
    batcher.add(bulk(source, submitted_s=1.0009))
    assert batcher.take(1.001, 0).wake_s == pytest.approx(1.0019)
    assert len(batcher.take(1.002, 0).requests) == 2


def test_nothing_to_do_has_no_hour(batcher):
    batch = batcher.take(0.0, 0)
    assert (batch.requests, batch.late, batch.wake_s) == ([], [], None)


def test_a_due_live_frame_goes_before_bulk_that_came_earlier(batcher):
    live, slow = StandInSource(model_of(lambda size: 0.010)), StandInSource(model_of(lambda size: 0.010, name="slow"))
    add(batcher, [bulk(slow, submitted_s=0.9) for _ in range(4)])
    batcher.add(request(1.030, live, submitted_s=0.99))
    assert batcher.take(1.0, 0).requests[0].source is live
    assert len(batcher.take(1.0, 0).requests) == 4


def test_bulk_fills_up_a_live_batch_at_once(batcher):
    source = StandInSource(model_of(lambda size: 0.003))
    batcher.add(request(1.030, source, index=100, submitted_s=1.0))
    add(batcher, [bulk(source, index=index, submitted_s=1.0) for index in range(9)])
    assert indices(batcher.take(1.0, 0)) == [100, 0, 1, 2]


def test_bulk_does_not_fill_up_a_batch_that_would_then_be_late(batcher):
    source = StandInSource(model_of(lambda size: 0.004 * size))
    batcher.add(request(1.013, source, index=100, submitted_s=0.99))
    add(batcher, [bulk(source, index=index, submitted_s=1.0) for index in range(9)])
    assert indices(batcher.take(1.0, 0)) == [100, 0]


def test_a_bulk_batch_ends_before_the_live_frame_that_waits_must_start(batcher):
    live = StandInSource(model_of(lambda size: 0.010, most=8))
    batch_work = StandInSource(model_of(lambda size: 0.001 + 0.001 * size, most=8, name="bulk"))
    batcher.live_seen(1.0)
    add(batcher, [bulk(batch_work, submitted_s=0.99) for _ in range(8)])
    batcher.add(request(1.0205, live, submitted_s=0.9999))
    # 20.5 ms are left, the live call counts as 15: that leaves time for four bulk frames, not for eight.
    assert [r.source for r in batcher.take(1.0, 0).requests] == [batch_work] * 4


def test_bulk_batches_are_short_while_live_streams_are_open_and_cheap_otherwise(batcher):
    source = StandInSource(model_of(lambda size: 0.010 + 0.0025 * size, most=16))
    add(batcher, [bulk(source, submitted_s=0.9) for _ in range(64)])
    batcher.live_seen(1.0)
    assert len(batcher.take(1.1, 0).requests) == 1
    assert len(batcher.take(2.1, 0).requests) == 16

    batcher = Batcher(max_wait_s=WAIT_S)
    quick = StandInSource(model_of(lambda size: 0.002 * size, most=16))
    add(batcher, [bulk(quick, submitted_s=0.9) for _ in range(64)])
    batcher.live_seen(3.0)
    short = batcher.take(3.0, 0).requests
    assert short[0].source.loaded.places[0].capacity.predict(len(short)) <= LIVE_SLICE_S


def test_starved_bulk_gets_one_frame_a_second(batcher):
    live, slow = StandInSource(model_of(lambda size: 0.010)), StandInSource(model_of(lambda size: 0.010, name="slow"))
    add(batcher, [bulk(slow, submitted_s=0.0) for _ in range(50)])
    now_s, served_s = 0.0, []
    while now_s < 10.0:
        add(batcher, [request(now_s + 0.5, live, submitted_s=now_s - 0.1) for _ in range(4)])
        batch = batcher.take(now_s, 0)
        if batch.requests and batch.requests[0].source is slow:
            assert len(batch.requests) == 1
            served_s.append(now_s)
        now_s += 0.010
    assert [round(at_s) for at_s in served_s] == [1, 2, 3, 4, 5, 6, 7, 8, 9]


def test_bulk_of_two_models_takes_turns_by_arrival(batcher):
    first, second = StandInSource(model_of()), StandInSource(model_of(name="second"))
    add(batcher, [bulk(source, submitted_s=index) for index in range(8) for source in (first, second)])
    taken = [batcher.take(100.0, 0).requests for _ in range(4)]
    assert [requests[0].source for requests in taken] == [first, second, first, second]


def test_a_device_takes_only_what_is_loaded_there(batcher):
    both, second_only = model_of(devices=2), model_of(devices=2, name="second")
    del second_only.places[0]
    add(batcher, [bulk(StandInSource(second_only)), bulk(StandInSource(both))])
    assert [r.source.loaded for r in batcher.take(1.0, 0).requests] == [both]
    assert not batcher.take(1.0, 0).requests
    assert [r.source.loaded for r in batcher.take(1.0, 1).requests] == [second_only]


def test_a_shunned_device_gets_only_what_no_other_can_do(batcher):
    both, first_only = model_of(devices=2), model_of(name="first")
    add(batcher, [bulk(StandInSource(both)), bulk(StandInSource(first_only))])
    batcher.shun(0, 5.0)
    assert [r.source.loaded for r in batcher.take(1.0, 0).requests] == [first_only]
    batch = batcher.take(1.0, 0)
    assert (batch.requests, batch.wake_s) == ([], 5.0)
    assert [r.source.loaded for r in batcher.take(5.0, 0).requests] == [both]


def test_what_was_put_aside_goes_to_its_device_alone_and_to_others_when_that_is_shunned(batcher):
    source = StandInSource(model_of(devices=2))
    for index in range(2):
        batcher.put_aside(request(10.0, source, index=index), 1)
    assert not batcher.take(1.0, 0).requests
    assert indices(batcher.take(1.0, 1)) == [0]
    batcher.shun(1, 5.0)
    assert indices(batcher.take(1.0, 0)) == [1]


def test_a_frame_that_must_be_alone_shares_its_batch_with_nobody(batcher, source):
    alone = bulk(source, index=7)
    alone.alone = True
    add(batcher, [bulk(source, index=1), alone, bulk(source, index=2)])
    assert [indices(batcher.take(1.0, 0)) for _ in range(3)] == [[1], [7], [2]]
    alone = request(9.0, source, index=8)
    alone.alone = True
    add(batcher, [request(8.0, source, index=3), alone, request(9.5, source, index=4), bulk(source, index=5)])
    assert [indices(batcher.take(1.0, 0)) for _ in range(3)] == [[3, 4], [8], [5]]


@pytest.mark.parametrize(("cost_s", "kept"), [(0.025, 0.95), (0.035, 0.9), (0.044, 0.7), (0.065, 0.4)])
def test_a_device_that_is_too_slow_still_makes_frames_in_time(batcher, cost_s, kept):
    """25 frames a second with 118 ms each, calls that take cost_s a frame and up to half of it longer now and then."""
    source = StandInSource(model_of(lambda frames: cost_s * frames, most=16))
    capacity = source.loaded.places[0].capacity
    jitter = random.Random(0)
    now_s, added, in_time = 0.0, 0, 0
    while added < 300:
        while added * 0.04 <= now_s:
            batcher.add(request(added * 0.04 + 0.118, source, index=added, submitted_s=added * 0.04))
            added += 1
        batch = batcher.take(now_s, 0)
        if batch.requests:
            run_s = cost_s * len(batch.requests) * (1 + 0.2 * abs(jitter.gauss(0, 1)))
            now_s += run_s
            capacity.record(len(batch.requests), run_s)
            in_time += sum(each.deadline_s >= now_s for each in batch.requests)
        elif not batch.late:
            wake_s = math.inf if batch.wake_s is None else batch.wake_s
            now_s = max(now_s + 1e-4, min(wake_s, added * 0.04))
    assert in_time / 300 > kept


def company_of(*names, devices=1, cost_s=None):
    """Sources of models that share calls, by name."""
    models = [model_of(cost_s, devices=devices, name=name) for name in names]
    for model in models:
        model.company = "one ear"
    return [StandInSource(model) for model in models]


def test_a_company_fills_one_batch_and_each_frame_keeps_its_model(batcher):
    anna, bert = company_of("anna", "bert")
    add(batcher, [request(1.0 + index / 10, (anna, bert)[index % 2], index=index) for index in range(4)])
    batch = batcher.take(0.0, 0)
    assert [one.index for one in batch.requests] == [0, 1, 2, 3]
    assert batch.models == [(anna, bert)[index % 2].loaded.places[0].model for index in range(4)]
    assert batch.place in anna.loaded.places.values()


def test_a_company_of_one_is_called_as_any_model(batcher):
    anna, _ = company_of("anna", "bert")
    add(batcher, [request(1.0, anna, index=index) for index in range(4)])
    batch = batcher.take(0.0, 0)
    assert len(batch.requests) == 4
    assert batch.models is None


def test_frames_of_a_company_wait_apart_where_one_is_not_on_every_device(batcher):
    anna, bert = company_of("anna", "bert", devices=2)
    del bert.loaded.places[1]
    add(batcher, [bulk(source, index=index) for index in range(4) for source in (anna, bert)])
    batch = batcher.take(1.0, 1)
    assert {one.source for one in batch.requests} == {anna}
    assert {one.source for one in batcher.take(1.0, 0).requests} == {bert}
    assert not batcher.take(1.0, 1).requests


def test_a_member_that_goes_takes_its_own_frames_alone(batcher):
    anna, bert = company_of("anna", "bert")
    add(batcher, [request(1.0, source, index=index) for index in range(3) for source in (anna, bert)])
    add(batcher, [bulk(source, index=index) for index in range(2) for source in (anna, bert)])
    assert batcher.lengths(anna.loaded) == (3, 2)
    assert batcher.lengths() == (6, 4)
    assert len(batcher.forget(anna.loaded)) == 5
    assert batcher.lengths(anna.loaded) == (0, 0)
    assert batcher.lengths(bert.loaded) == (3, 2)
    taken = []
    while batch := batcher.take(0.5, 0).requests:
        taken += batch
    assert {one.source for one in taken} == {bert}
    assert len(taken) == 5
    batcher.forget(bert.loaded)
    assert batcher.lengths() == (0, 0)


def test_a_member_that_is_just_going_is_left_out_of_its_companys_batch(batcher):
    anna, bert = company_of("anna", "bert")
    add(batcher, [request(1.0 + index / 10, (anna, bert)[index % 2], index=index) for index in range(4)])
    bert.loaded.places = {}  # before the news of it has come
    batch = batcher.take(0.0, 0)
    assert [one.source for one in batch.requests] == [anna, anna]
    assert len(batch.models) == 2
