"""Model calls that fail in every way: nothing is lost, nothing comes twice, and only the frame at fault fails."""

import math
import random
import time
from collections import Counter

import pytest

from tests.engine.stand_ins import SOON_S, StandInModel, executing, loaded, open_stream
from webrtc_avatar.engine import executor as executor_module
from webrtc_avatar.engine import recovery
from webrtc_avatar.engine.faults import Fault, fault_of


class OutOfMemoryError(RuntimeError):
    """Named as torch's."""


class AcceleratorError(RuntimeError):
    """Named as torch's."""


MEMORY_ERRORS = (
    MemoryError(),
    OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError(
        "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running Conv node. Status Message: "
        "/onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:376 void* onnxruntime::BFCArena::AllocateRawInternal(size_t) "
        "Failed to allocate memory for requested buffer of size 4294967296"
    ),
    RuntimeError("[ONNXRuntimeError] : 1 : FAIL : std::bad_alloc"),
    RuntimeError("MPS backend out of memory (MPS allocated: 5.00 GB)"),
)
DEVICE_ERRORS = (
    AcceleratorError("CUDA error: an illegal memory access was encountered"),
    RuntimeError("CUDA error: unspecified launch failure"),
    RuntimeError("[ONNXRuntimeError] : 1 : FAIL : CUDA failure 700: an illegal memory access was encountered ; GPU=0"),
)


def ask(stream, frames):
    for frame in frames:
        stream.request(frame, index=frame, deadline_s=math.inf, epoch=0, base=frame)


def collect(faces, count):
    got = [faces.get(timeout=SOON_S) for _ in range(count)]
    assert Counter(face.index for face in got) == dict.fromkeys(range(count), 1)
    return sorted(got, key=lambda face: face.index)


@pytest.mark.parametrize("error", MEMORY_ERRORS, ids=lambda error: str(error)[:24])
def test_every_runtimes_way_to_say_out_of_memory_is_understood(error):
    assert fault_of(error) is Fault.MEMORY
    wrapped = ValueError("the call failed")
    wrapped.__cause__ = error
    assert fault_of(wrapped) is Fault.MEMORY


@pytest.mark.parametrize("error", DEVICE_ERRORS, ids=lambda error: str(error)[:24])
def test_every_runtimes_way_to_say_that_the_device_is_gone_is_understood(error):
    assert fault_of(error) is Fault.DEVICE


def test_other_errors_are_the_frames_own():
    assert fault_of(ValueError("Got invalid dimensions for input: mel")) is Fault.FRAME


@pytest.mark.parametrize("error", MEMORY_ERRORS, ids=lambda error: str(error)[:24])
def test_batches_that_do_not_fit_get_smaller_and_all_frames_come(error):
    def fault(jobs):
        if len(jobs) > 3:
            raise error

    model = loaded(StandInModel(fault=fault), most=32)
    with executing() as executor:
        stream, faces = open_stream(executor, model, bulk=True)
        ask(stream, range(100))
        assert all(face.error is None for face in collect(faces, 100))
    assert 1 <= model.places[0].capacity.limit <= 3


def test_a_frame_that_never_fits_fails_alone_and_the_batches_grow_again():
    def fault(jobs):
        if any(job.base == 20 for job in jobs):
            raise MemoryError

    model = loaded(StandInModel(fault=fault), most=16)
    with executing() as executor:
        stream, faces = open_stream(executor, model, bulk=True)
        ask(stream, range(1500))
        got = collect(faces, 1500)
    assert [face.index for face in got if face.error is not None] == [20]
    assert model.places[0].capacity.limit > 8


@pytest.mark.parametrize("seed", range(3))
def test_memory_that_runs_out_at_random_loses_nothing(seed, monkeypatch):
    monkeypatch.setattr(executor_module, "free_memory", lambda: None)  # a collection of garbage each time takes long
    chance = random.Random(seed)

    def fault(jobs):
        if chance.random() < (0.3 if len(jobs) > 1 else 0.05):
            raise chance.choice(MEMORY_ERRORS)

    model = StandInModel(fault=fault)
    with executing() as executor:
        stream, faces = open_stream(executor, loaded(model), bulk=True)
        ask(stream, range(400))
        assert all(face.error is None for face in collect(faces, 400))
    assert sum(model.batches) == 400


def test_bad_frames_among_good_ones_fail_alone():
    def fault(jobs):
        if any(job.base % 7 == 3 for job in jobs):
            raise RuntimeError("this frame cannot be drawn")

    with executing() as executor:
        stream, faces = open_stream(executor, loaded(StandInModel(fault=fault)), bulk=True)
        ask(stream, range(200))
        got = collect(faces, 200)
    assert all((face.error is not None) == (face.index % 7 == 3) for face in got)


@pytest.mark.parametrize("error", [DEVICE_ERRORS[0], RuntimeError("nobody knows why")], ids=["told", "untold"])
def test_a_device_that_dies_loses_no_frames_and_is_left_alone(error):
    def dead(jobs):
        raise error

    first, second = StandInModel(run_s=lambda size: 0.001), StandInModel(run_s=lambda size: 0.001)
    model = loaded(first, second)
    with executing("cuda:0", "cuda:1") as executor:
        stream, faces = open_stream(executor, model, bulk=True)
        ask(stream, range(50))
        first.fault = dead
        ask(stream, range(50, 300))
        assert all(face.error is None for face in collect(faces, 300))
        assert [worker.healthy for worker in executor.workers()] == [False, True]
        failures = executor.workers()[0].tally.failures
        assert 1 <= failures <= 8
    assert sum(first.batches) + sum(second.batches) == 300


def test_a_device_that_comes_back_is_used_again(monkeypatch):
    monkeypatch.setattr(recovery, "_SICK_S", 0.02)

    def dead(jobs):
        raise DEVICE_ERRORS[0]

    first, second = StandInModel(fault=dead), StandInModel(run_s=lambda size: 0.002)
    with executing("cpu", "cpu") as executor:
        stream, faces = open_stream(executor, loaded(first, second), bulk=True)
        ask(stream, range(100))
        collect(faces, 100)
        first.fault = None
        deadline_s = time.monotonic() + SOON_S
        while not first.batches and time.monotonic() < deadline_s:
            ask(stream, [0])
            faces.get(timeout=SOON_S)
    assert first.batches


def test_the_only_device_is_never_left_alone_and_every_frame_is_answered():
    def dead(jobs):
        raise DEVICE_ERRORS[0]

    with executing() as executor:
        stream, faces = open_stream(executor, loaded(StandInModel(fault=dead)), bulk=True)
        ask(stream, range(20))
        got = collect(faces, 20)
    assert all("illegal memory access" in str(face.error) for face in got)


def test_a_frame_that_fails_on_one_device_alone_gets_a_chance_on_the_other():
    def fault(jobs):
        if any(job.base == 5 for job in jobs):
            raise RuntimeError("only here")

    first, second = StandInModel(fault=fault), StandInModel(run_s=lambda size: 0.002)
    with executing("cpu", "cpu") as executor:
        stream, faces = open_stream(executor, loaded(first, second), bulk=True)
        ask(stream, range(60))
        assert all(face.error is None for face in collect(faces, 60))


def test_a_frame_that_fails_everywhere_is_answered_once():
    def fault(jobs):
        if any(job.base == 5 for job in jobs):
            raise RuntimeError("everywhere")

    with executing("cpu", "cpu") as executor:
        stream, faces = open_stream(executor, loaded(StandInModel(fault=fault), StandInModel(fault=fault)), bulk=True)
        ask(stream, range(60))
        assert [face.index for face in collect(faces, 60) if face.error is not None] == [5]


def test_two_devices_share_one_queue():
    models = [StandInModel(run_s=lambda size: 0.002) for _ in range(2)]
    with executing("cpu", "cpu") as executor:
        stream, faces = open_stream(executor, loaded(*models), bulk=True)
        ask(stream, range(200))
        collect(faces, 200)
    assert all(sum(model.batches) > 20 for model in models)
    assert models[0].threads.isdisjoint(models[1].threads)
