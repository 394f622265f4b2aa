"""Which models are loaded where: once, within the budget, never taken from those who use them."""

import math
import queue
import time

import pytest

from tests.engine.stand_ins import SOON_S, engine_of, package
from webrtc_avatar.engine import kinds
from webrtc_avatar.engine import residency as residency_module
from webrtc_avatar.engine.residency import Residency
from webrtc_avatar.errors import AvatarInUse, EngineFailure, InvalidAvatar, ModelMemoryFull


class Clock:
    now_s = 1000.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    made = Residency.__init__

    def init(self, **options):
        made(self, **options, clock=clock)

    monkeypatch.setattr(Residency, "__init__", init)
    return clock


def load(rooms, avatar):
    return rooms.engine.load(avatar).result(SOON_S)


def names(rooms):
    return [model.name for model in rooms.engine.status().models]


def until(condition):
    deadline_s = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.002)


def test_a_model_is_loaded_once_however_often_it_is_asked_for(tmp_path):
    with engine_of() as rooms:
        avatar = package(tmp_path, "anna")
        assert len({id(load(rooms, avatar)) for _ in range(3)}) == 1
        assert len(rooms.made) == 1


def test_who_leaves_while_a_model_loads_does_not_cancel_it_for_the_others(tmp_path):
    with engine_of() as rooms:
        future = rooms.engine.load(package(tmp_path, "anna"))
        assert not future.cancel()
        assert future.result(SOON_S) is not None


def test_the_same_package_read_again_is_the_same_model(tmp_path):
    with engine_of() as rooms:
        first = package(tmp_path, "anna")
        model = load(rooms, first)
        again = type(first)(first.name, first.folder, first.model)
        assert load(rooms, again) is model


def test_a_model_goes_to_every_device_that_has_room(tmp_path):
    with engine_of(("cpu", "cpu"), model_memory_mb=3) as rooms:
        load(rooms, package(tmp_path, "small", size_mb=1))
        until(lambda: len(rooms.models("small")) == 2)
        until(lambda: rooms.engine.status().models[0].devices == ("stand-in:cpu", "stand-in:cpu"))
        assert rooms.engine.status().memory_bytes == 2_000_000


def test_the_least_recently_used_model_makes_room(tmp_path, clock):
    with engine_of(model_memory_mb=3) as rooms:
        avatars = {name: package(tmp_path, name) for name in ("anna", "bert", "cora", "dora")}
        for name in ("anna", "bert", "cora"):
            load(rooms, avatars[name])
            clock.now_s += 60
        load(rooms, avatars["anna"])
        clock.now_s += 60
        load(rooms, avatars["dora"])
        assert names(rooms) == ["anna", "cora", "dora"]
        clock.now_s += 60
        load(rooms, avatars["bert"])
        assert names(rooms) == ["anna", "bert", "dora"]
        assert len(rooms.models("bert")) == 2


def test_a_model_in_use_never_goes_and_the_refusal_says_the_numbers(tmp_path, clock):
    with engine_of(model_memory_mb=2) as rooms:
        anna, bert, cora = (package(tmp_path, name) for name in ("anna", "bert", "cora"))
        load(rooms, anna)
        load(rooms, bert)
        streams = [rooms.engine.open(anna, print), rooms.engine.open(bert, print)]
        clock.now_s += 3600
        with pytest.raises(
            ModelMemoryFull, match=r"needs 1.0 MB of the 2.0 MB .* 2.0 MB are in use \(by: anna, bert\)"
        ):
            load(rooms, cora)
        assert names(rooms) == ["anna", "bert"]
        streams[1].close()
        clock.now_s += 60
        load(rooms, cora)
        assert names(rooms) == ["anna", "cora"]
        with pytest.raises(EngineFailure, match="'bert' is not loaded"):
            rooms.engine.open(bert, print)
        streams[0].close()


def test_a_model_that_was_just_asked_for_stays_until_somebody_can_open_it(tmp_path, clock):
    with engine_of(model_memory_mb=1) as rooms:
        anna, bert = package(tmp_path, "anna"), package(tmp_path, "bert")
        load(rooms, anna)
        clock.now_s += residency_module.GRACE_S - 1
        with pytest.raises(ModelMemoryFull):
            load(rooms, bert)
        clock.now_s += 2
        load(rooms, bert)
        assert names(rooms) == ["bert"]


def test_a_stream_that_nobody_closed_frees_its_model(tmp_path, clock):
    with engine_of(model_memory_mb=1) as rooms:
        anna = package(tmp_path, "anna")
        load(rooms, anna)
        stream = rooms.engine.open(anna, print)
        assert rooms.engine.status().models[0].streams == 1
        del stream
        assert rooms.engine.status().models[0].streams == 0


def test_a_changed_package_takes_its_place_only_when_nobody_uses_it(tmp_path):
    with engine_of() as rooms:
        before = package(tmp_path, "anna", size_mb=1)
        old = load(rooms, before)
        stream = rooms.engine.open(before, print)
        after = package(tmp_path, "anna", size_mb=2)
        with pytest.raises(AvatarInUse, match="1 open streams"):
            load(rooms, after)
        assert load(rooms, before) is old
        stream.close()
        new = load(rooms, after)
        assert new is not old
        assert rooms.engine.status().memory_bytes == 2_000_000


def test_frames_of_a_model_that_was_unloaded_and_loaded_again_are_the_new_ones(tmp_path, clock):
    with engine_of(model_memory_mb=1) as rooms:
        anna, bert = package(tmp_path, "anna"), package(tmp_path, "bert")
        faces = queue.Queue()
        for avatar in (anna, bert, anna):
            load(rooms, avatar)
            stream = rooms.engine.submit(avatar, [3], faces.put)
            assert faces.get(timeout=SOON_S).error is None
            stream.close()
            clock.now_s += 60
        assert [name for name, _, _ in rooms.made] == ["anna", "bert", "anna"]


def test_a_model_that_cannot_be_made_is_told_and_tried_again(tmp_path):
    with engine_of() as rooms:
        anna = package(tmp_path, "anna")
        rooms.options = {"nonsense": 1}
        with pytest.raises(TypeError):
            load(rooms, anna)
        rooms.options = {}
        assert load(rooms, anna) is rooms.models("anna")[0]


def test_a_kind_that_nobody_knows_is_refused_with_those_that_are_known(tmp_path):
    with engine_of() as rooms, pytest.raises(InvalidAvatar, match=r"'hologram'; known are .*'synctalk2d'"):
        load(rooms, package(tmp_path, "anna", kind="hologram"))


def test_an_engine_that_was_not_started_says_so(tmp_path):
    with engine_of(start=False) as rooms, pytest.raises(EngineFailure, match=r"call start\(\) first"):
        load(rooms, package(tmp_path, "anna"))


def test_loading_measures_the_cost_curve_in_bounded_time(tmp_path):
    with engine_of(max_batch_size=16, options={"run_s": lambda size: 0.002 * size}) as rooms:
        load(rooms, package(tmp_path, "quick"))
        curve = rooms.engine.status().models[0].batch_s
        assert list(curve)[:3] == [1, 2, 4]
        assert sum(rooms.models("quick")[0].batches) <= 32
        rooms.options = {"run_s": lambda size: 0.05 * size}
        load(rooms, package(tmp_path, "slow"))
        assert rooms.models("slow")[0].batches == [1, 1]


def test_a_model_that_does_not_fit_while_warming_up_starts_with_small_batches(tmp_path):
    def fault(jobs):
        if len(jobs) > 2:
            raise MemoryError

    with engine_of(max_batch_size=16, options={"fault": fault}) as rooms:
        load(rooms, package(tmp_path, "big"))
        assert rooms.engine.status().models[0].batch_limit == 2


def test_the_status_tells_queues_workers_and_models(tmp_path):
    with engine_of(("cpu",), max_batch_size=4) as rooms:
        anna = package(tmp_path, "anna")
        model = load(rooms, anna)
        while model.entered.acquire(blocking=False):
            pass  # the calls of the warm-up
        model.batches.clear()
        model.gate.clear()
        faces = queue.Queue()
        stream = rooms.engine.submit(anna, range(20), faces.put)
        assert model.entered.acquire(timeout=SOON_S)
        status = rooms.engine.status()
        assert (status.running, status.busy, status.queued_live) == (True, 1, 0)
        assert 16 <= status.queued_bulk == status.models[0].queued_bulk <= 19
        model.gate.set()
        for _ in range(20):
            faces.get(timeout=SOON_S)
        until(lambda: not rooms.engine.status().busy)
        tally = rooms.engine.status().workers[0].tally
        assert (tally.batches, tally.frames, tally.failures) == (len(model.batches), 20, 0)
        assert tally.batch_size == 20 / len(model.batches)
        assert 0 < tally.wait_p50_s <= tally.wait_p99_s < math.inf
        stream.close()
    assert not rooms.engine.status().running


def test_an_unwanted_model_goes_at_once_with_its_memory(tmp_path):
    with engine_of(("cpu", "cpu")) as rooms:
        anna = package(tmp_path, "anna")
        rooms.engine.unload(anna)
        load(rooms, anna)
        until(lambda: rooms.engine.status().memory_bytes == 2_000_000)
        rooms.engine.unload(anna)
        until(lambda: rooms.engine.status().memory_bytes == 0)
        assert names(rooms) == []
        with pytest.raises(EngineFailure, match="not loaded"):
            rooms.engine.open(anna, print)
        load(rooms, anna)
        rooms.engine.open(anna, print).close()
        assert names(rooms) == ["anna"]


def test_an_unwanted_model_stays_for_frames_that_are_under_way_and_goes_with_its_last_stream(tmp_path):
    with engine_of() as rooms:
        anna = package(tmp_path, "anna")
        model = load(rooms, anna)
        faces = queue.Queue()
        streams = [rooms.engine.submit(anna, range(20), faces.put) for _ in range(2)]
        model.gate.clear()
        rooms.engine.unload(anna)
        model.gate.set()
        assert {faces.get(timeout=SOON_S).error for _ in range(40)} == {None}
        streams[0].close()
        assert names(rooms) == ["anna"]
        streams[1].close()
        streams[1].close()
        assert names(rooms) == []


def test_who_asks_again_in_time_keeps_an_unwanted_model(tmp_path):
    with engine_of() as rooms:
        anna = package(tmp_path, "anna")
        model = load(rooms, anna)
        stream = rooms.engine.open(anna, print)
        rooms.engine.unload(anna)
        assert load(rooms, anna) is model
        stream.close()
        assert names(rooms) == ["anna"]


def test_a_model_that_nobody_wants_when_it_has_loaded_goes(tmp_path):
    with engine_of() as rooms:
        anna = package(tmp_path, "anna")
        future = rooms.engine.load(anna)
        rooms.engine.unload(anna)
        future.result(SOON_S)
        until(lambda: names(rooms) == [])


def test_a_company_learns_its_costs_together(tmp_path):
    with engine_of() as rooms:
        for name in ("anna", "bert"):
            avatar = package(tmp_path, name)
            make = rooms.make

            def joined(avatar, runtime, make=make):
                model = make(avatar, runtime)
                model.company = "one ear"
                model.render_for = lambda models, jobs: model.render(jobs)
                return model

            kinds.register("stand_in", joined)
            load(rooms, avatar)
        anna, bert = rooms.engine._residency.models()
        assert anna.places[0].capacity is bert.places[0].capacity
