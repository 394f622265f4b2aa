"""Random callers, cancellations and faults: every request is answered once, unless it was cancelled; live frames first."""

import heapq
import math
import queue
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass

import pytest

from tests.engine.stand_ins import SOON_S, StandInModel, executing, loaded, open_stream
from webrtc_avatar.engine import executor as executor_module
from webrtc_avatar.engine import recovery
from webrtc_avatar.engine.batcher import LIVE_SLICE_S, Batcher
from webrtc_avatar.engine.model import Job
from webrtc_avatar.engine.request import Request

POISON = 13


def faulty(chance):
    """A fault now and then, of every kind; frames divisible by 13 never go well. One thread a model, so no lock."""

    def fault(jobs):
        if any(job.base % POISON == 0 for job in jobs):
            raise RuntimeError("this frame cannot be drawn")
        if chance.random() < 0.02:
            raise MemoryError
        if chance.random() < 0.01:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    return fault


class Caller:
    """One stream with its answers; asks, starts a new epoch, or closes, as chance has it."""

    def __init__(self, executor, model, chance):
        self.chance = chance
        self.live = chance.random() < 0.4
        self.stream, self.faces = open_stream(executor, model, bulk=not self.live)
        self.epoch = 0
        self.asked = []
        self.cancelled = set()
        self.closed = False

    def step(self):
        if self.closed:
            return
        what = self.chance.random()
        if what < 0.02:
            self.cancel()
            self.closed = True
            self.stream.close()
        elif what < 0.08:
            self.cancel()
            self.epoch += 1
            self.stream.reset(self.epoch)
        for _ in range(self.chance.randrange(12)):
            number = len(self.asked)
            late = self.live and self.chance.random() < 0.1
            deadline_s = time.monotonic() + (-1 if late else SOON_S) if self.live else math.inf
            base = self.chance.randrange(1, 500)
            self.asked.append((self.epoch, late, base))
            self.stream.request(base, index=number, deadline_s=deadline_s, epoch=self.epoch, base=base)

    def cancel(self):
        self.cancelled.update(number for number, (epoch, _, _) in enumerate(self.asked) if epoch == self.epoch)

    def owed(self):
        return len(self.asked) - len(self.cancelled) if not self.closed else 0


@pytest.mark.parametrize("devices", [1, 2], ids=["one", "two"])
@pytest.mark.parametrize("seed", range(3))
def test_every_request_is_answered_once_unless_it_was_cancelled(seed, devices, monkeypatch):
    monkeypatch.setattr(executor_module, "free_memory", lambda: None)
    monkeypatch.setattr(recovery, "_SICK_S", 0.001)
    chance = random.Random(seed)
    models = [
        loaded(
            *[StandInModel(fault=faulty(random.Random(f"{seed} {name} {n}"))) for n in range(devices)],
            name=name,
            most=16,
        )
        for name in ("first", "second", "third")
    ]
    with executing(*["cpu"] * devices) as executor:
        callers = [Caller(executor, chance.choice(models), chance) for _ in range(30)]
        asking = [
            threading.Thread(target=lambda part=part: [c.step() for _ in range(25) for c in part])
            for part in (callers[::2], callers[1::2])
        ]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
        assert sum(len(caller.asked) for caller in callers) > 2500
        for caller in callers:
            check(caller)


def check(caller):
    answered = Counter()
    owed = set(range(len(caller.asked))) - caller.cancelled if not caller.closed else set()
    while owed:
        face = caller.faces.get(timeout=SOON_S)
        answered[face.index] += 1
        owed.discard(face.index)
        epoch, late, base = caller.asked[face.index]
        assert face.epoch == epoch
        assert face.late == late
        if not late:
            assert (face.error is None) == (base % POISON != 0), face
            assert face.error is not None or float(face.weights[0]) == base
    time.sleep(0)
    while True:
        try:
            answered[caller.faces.get_nowait().index] += 1
        except queue.Empty:
            break
    assert set(answered.values()) <= {1}


@dataclass
class Day:
    """What a simulated day gave: waits of live frames that were on time for a batch, and how often bulk was served."""

    live_wait_s: list
    late: int
    bulk_gap_s: float
    bulk_done: int


def simulate(seed, *, live_load, cost_s, seconds=20.0, devices=1):
    """Run the batcher on a clock of its own: sessions at 25 frames a second with 28 ms for each, and endless bulk work."""
    chance = random.Random(seed)
    models = [loaded(*[StandInModel() for _ in range(devices)], name=name, most=16) for name in ("shared", "other")]
    for model in models:
        for place in model.places.values():
            for size in (1, 2, 4, 8, 16):
                place.capacity.record(size, cost_s(size))

    class Anyone:
        def __init__(self, model):
            self.loaded = model

        def is_stale(self, epoch):
            return False

    batcher = Batcher(max_wait_s=0.004)
    bulk = [Anyone(models[0]), Anyone(models[1])]
    events, sequence = [], 0
    for session in range(max(1, int(live_load / (25 * cost_s(1))))):
        caller, phase_s = Anyone(models[session % 2]), chance.random() * 0.04
        for tick in range(int(seconds * 25)):
            sequence += 1
            heapq.heappush(events, (phase_s + tick * 0.04 + chance.random() * 0.004, sequence, caller))
    day = Day([], 0, 0.0, 0)
    free_s = [0.0] * devices
    served_s, now_s = 0.0, 0.0
    while now_s < seconds:
        while events and events[0][0] <= now_s:
            at_s, _, caller = heapq.heappop(events)
            batcher.live_seen(at_s)
            batcher.add(Request(at_s + 0.028, at_s, caller, 0, 0, Job(None, 0)))
        while batcher.lengths()[1] < 64:
            batcher.add(Request(math.inf, now_s, chance.choice(bulk), 0, 0, Job(None, 0)))
        wakes = [events[0][0]] if events else [seconds]
        for device in range(devices):
            if free_s[device] > now_s:
                wakes.append(free_s[device])
                continue
            batch = batcher.take(now_s, device)
            day.late += len(batch.late)
            if batch.requests:
                size = len(batch.requests)
                run_s = cost_s(size) * chance.uniform(0.95, 1.05)
                batch.place.capacity.record(size, run_s)
                free_s[device] = now_s + run_s
                day.live_wait_s += [now_s - r.submitted_s for r in batch.requests if not r.is_bulk]
                fillers = sum(r.is_bulk for r in batch.requests)
                if fillers:
                    day.bulk_gap_s, served_s = max(day.bulk_gap_s, now_s - served_s), now_s
                    day.bulk_done += fillers
                wakes.append(free_s[device])
            elif batch.late:
                wakes.append(now_s)
            elif batch.wake_s is not None:
                wakes.append(max(batch.wake_s, now_s + 1e-6))
        now_s = max(min(wakes), now_s)
    day.bulk_gap_s = max(day.bulk_gap_s, seconds - served_s)
    return day


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize(
    "cost_s", [lambda n: 0.0005 + 0.001 * n, lambda n: 0.006 + 0.0005 * n], ids=["linear", "fixed"]
)
def test_live_frames_wait_for_one_short_bulk_batch_at_most_and_bulk_goes_on(cost_s, devices):
    day = simulate(1, live_load=0.5, cost_s=cost_s, devices=devices)
    assert len(day.live_wait_s) > 500
    assert day.late == 0
    # Its own company, one bulk batch and one batch of the other model's live frames may lie before it.
    longest_s = 0.004 + max(LIVE_SLICE_S, cost_s(1)) * 1.1 + cost_s(2) * 1.1
    assert sorted(day.live_wait_s)[int(0.999 * len(day.live_wait_s))] <= longest_s
    assert day.bulk_gap_s < 1.1
    assert day.bulk_done / 20 > 0.25 / cost_s(1)


def test_bulk_is_served_once_a_second_even_beside_more_live_work_than_there_is_time_for():
    day = simulate(2, live_load=3.0, cost_s=lambda n: 0.004 * n)
    assert day.late > 100
    assert day.bulk_gap_s < 1.2
    assert day.bulk_done >= 15
