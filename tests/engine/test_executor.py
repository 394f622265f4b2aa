"""The engine's threads with models that misbehave on purpose, and many streams at once."""

import math
import queue
import time

import numpy as np
import pytest

from tests.engine.stand_ins import SOON_S, StandInModel, chunk, executing, loaded, open_stream, push_all
from webrtc_avatar.audio.mel import log_mel
from webrtc_avatar.errors import EngineFailure, InvalidAudio


@pytest.fixture
def model():
    return StandInModel()


@pytest.fixture
def executor():
    with executing() as executor:
        yield executor


def hold(executor, model):
    """Occupy the thread with a call that ends when the model's gate opens."""
    model.gate.clear()
    stream, faces = open_stream(executor, loaded(model))
    push_all(stream, [chunk(seed=i) for i in range(3)])
    assert model.entered.acquire(timeout=SOON_S)
    return faces


def test_frame_n_comes_when_its_lookahead_has_arrived(executor, model):
    stream, faces = open_stream(executor, loaded(model))
    push_all(stream, [chunk(seed=i) for i in range(6)])
    assert [faces.get(timeout=SOON_S).index for _ in range(4)] == [0, 1, 2, 3]
    assert faces.empty()


def test_a_chunk_without_deadline_costs_no_model_call_but_is_heard(executor, model):
    chunks = [chunk(seed=i) for i in range(6)]
    all_asked, faces_all = open_stream(executor, loaded(model))
    push_all(all_asked, chunks)
    expected = [faces_all.get(timeout=SOON_S) for _ in range(4)][-1]
    model.batches.clear()
    last_asked, faces_last = open_stream(executor, loaded(model))
    for index, samples in enumerate(chunks):
        deadline_s = time.monotonic() + SOON_S if index == 5 else None
        last_asked.push(samples, index=index, deadline_s=deadline_s, epoch=0)
    face = faces_last.get(timeout=SOON_S)
    assert face.index == 3
    assert face.weights == pytest.approx(expected.weights)
    assert sum(model.batches) == 1


@pytest.mark.parametrize("deadline_s", [None, math.inf], ids=["live", "bulk"])
def test_eight_callers_of_one_frame_share_one_batch(executor, model, deadline_s):
    shared = loaded(model)
    hold(executor, model)
    streams = [open_stream(executor, shared, bulk=deadline_s is not None) for _ in range(8)]
    for stream, _ in streams:
        push_all(stream, [chunk(seed=i) for i in range(3)], deadline_s=deadline_s)
    model.gate.set()
    for _, faces in streams:
        face = faces.get(timeout=SOON_S)
        assert (face.index, face.batch_size) == (0, 8)
    assert model.batches == [1, 8]
    assert model.threads == {"engine"}


def test_live_frames_and_bulk_share_a_batch_with_the_live_ones_in_front(executor, model):
    shared = loaded(model)
    hold(executor, model)
    bulk, bulk_faces = open_stream(executor, shared, bulk=True)
    push_all(bulk, [chunk(seed=i) for i in range(14)], deadline_s=math.inf)
    live, live_faces = open_stream(executor, shared)
    push_all(live, [chunk(seed=i) for i in range(5)])
    model.gate.set()
    assert {live_faces.get(timeout=SOON_S).batch_size for _ in range(3)} == {8}
    assert [bulk_faces.get(timeout=SOON_S).batch_size for _ in range(12)][:5] == [8] * 5
    assert model.batches[:2] == [1, 8]
    assert sum(model.batches) == 1 + 3 + 12


def test_only_the_frame_at_fault_fails_when_a_batch_does(executor, model):
    shared = loaded(model)
    hold(executor, model)
    streams = [open_stream(executor, shared) for _ in range(4)]
    for number, (stream, _) in enumerate(streams):
        push_all(stream, [chunk(amplitude=3.0 if number == 2 else 0.0001, seed=i) for i in range(3)])

    def fault(jobs):
        if any(job.context[-1].mean() > 0 for job in jobs):
            raise RuntimeError("poisoned")

    model.fault = fault
    model.gate.set()
    faces = [faces.get(timeout=SOON_S) for _, faces in streams]
    assert [face.error is not None for face in faces] == [False, False, True, False]
    assert "poisoned" in str(faces[2].error)
    assert all(face.crop is not None for face in faces if face.error is None)


def test_a_model_that_gives_too_few_crops_fails_with_the_numbers(executor, model):
    whole = model.render
    model.render = lambda jobs: whole(jobs)[1:]
    stream, faces = open_stream(executor, loaded(model))
    push_all(stream, [chunk(seed=i) for i in range(3)])
    assert "0 crops for 1 requests" in faces.get(timeout=SOON_S).error.message


def test_a_frame_too_late_is_reported_and_not_rendered(executor, model):
    stream, faces = open_stream(executor, loaded(model))
    push_all(stream, [chunk(seed=i) for i in range(3)], deadline_s=time.monotonic() - 1)
    face = faces.get(timeout=SOON_S)
    assert face.late
    assert face.crop is None
    assert model.batches == []


def test_nothing_of_an_old_epoch_is_delivered(executor, model):
    hold(executor, model)
    stream, faces = open_stream(executor, loaded(model))
    push_all(stream, [chunk(seed=i) for i in range(4)])
    stream.reset(1)
    push_all(stream, [chunk(seed=i) for i in range(3)], epoch=1)
    model.gate.set()
    face = faces.get(timeout=SOON_S)
    assert (face.epoch, face.index) == (1, 0)
    assert faces.empty()


@pytest.mark.parametrize("bulk", [False, True], ids=["live", "bulk"])
def test_a_closed_stream_costs_no_further_call(executor, model, bulk):
    shared = loaded(model)
    held = hold(executor, model)
    closed, faces = open_stream(executor, shared, bulk=bulk)
    push_all(closed, [chunk(seed=i) for i in range(200)], deadline_s=math.inf if bulk else None)
    closed.close()
    closed.close()
    other, other_faces = open_stream(executor, shared)
    push_all(other, [chunk(seed=i) for i in range(3)])
    model.gate.set()
    held.get(timeout=SOON_S)
    assert other_faces.get(timeout=SOON_S).index == 0
    assert model.batches == [1, 1]
    assert faces.empty()


def test_a_receiver_that_raises_harms_nobody_else(executor, model):
    broken, _ = open_stream(executor, loaded(model))
    broken._source.on_face = lambda face: 1 / 0
    push_all(broken, [chunk(seed=i) for i in range(3)])
    healthy, faces = open_stream(executor, loaded(model))
    push_all(healthy, [chunk(seed=i) for i in range(3)])
    assert faces.get(timeout=SOON_S).index == 0


def test_a_track_that_fails_answers_each_frame_until_the_next_epoch(executor, model):
    stream, faces = open_stream(executor, loaded(model))
    chunks = [chunk(seed=i) for i in range(3)]
    push_all(stream, chunks)
    assert faces.get(timeout=SOON_S).error is None
    stream._source._track.push = lambda samples: 1 / 0
    for index in (3, 4):
        stream.push(chunk(), index=index, deadline_s=math.inf, epoch=0)
    stream.finish(index=3, deadline_s=math.inf, epoch=0)
    failed = [faces.get(timeout=SOON_S) for _ in range(4)]
    assert [face.index for face in failed] == [1, 2, 3, 4]
    assert all("cannot be heard" in str(face.error) for face in failed)
    stream.reset(1)
    push_all(stream, chunks, epoch=1)
    assert faces.get(timeout=SOON_S).error is None


def test_a_long_stream_hears_the_same_as_a_short_one(executor, model):
    """The ring of features is renewed many times; the windows must not notice."""
    chunks = [chunk(seed=i) for i in range(300)]
    stream, faces = open_stream(executor, loaded(model))
    push_all(stream, chunks)
    long_run = [faces.get(timeout=SOON_S).weights for _ in range(298)]
    rows = log_mel(np.concatenate(chunks))
    for index in (0, 57, 58, 59, 120, 200, 290):
        assert long_run[index] == pytest.approx(rows[4 * index + 10].mean(), abs=1e-3)


def test_a_chunk_of_another_size_is_refused_with_the_numbers(executor, model):
    stream, _ = open_stream(executor, loaded(model))
    with pytest.raises(InvalidAudio, match=r"float32 \(640,\).*got float32 \(320,\)"):
        stream.push(np.zeros(320, np.float32), index=0, deadline_s=None, epoch=0)


def test_those_who_wait_are_told_when_the_engine_stops(model):
    stopped = queue.Queue()
    with executing() as executor:
        stream, _ = open_stream(executor, loaded(model), on_stop=lambda: stopped.put(True))
        executor.close()
        executor.close()
        assert stopped.get(timeout=SOON_S)
        assert stopped.empty()
        with pytest.raises(EngineFailure, match="has stopped"):
            open_stream(executor, loaded(model))
        stream.push(chunk(), index=0, deadline_s=math.inf, epoch=0)


def test_a_fault_of_the_engine_itself_ends_it_and_everybody_hears_of_it(model):
    stopped = queue.Queue()
    with executing() as executor:
        stream, _ = open_stream(executor, loaded(model), on_stop=lambda: stopped.put(True))
        executor._batcher.take = lambda *_: 1 / 0
        stream.push(chunk(), index=0, deadline_s=math.inf, epoch=0)
        assert stopped.get(timeout=SOON_S)
        assert executor.stopped
    assert stopped.empty()
