"""The engine's thread with models that misbehave on purpose, and many streams at once."""

import queue
import threading
import time

import numpy as np
import pytest

from webrtc_avatar.engine.engine import Stream
from webrtc_avatar.engine.executor import Executor
from webrtc_avatar.engine.model import Rendered
from webrtc_avatar.engine.source import Source
from webrtc_avatar.engine.viseme import VisemeTrack
from webrtc_avatar.errors import InvalidAudio
from webrtc_avatar.metrics import Metrics

SOON_S = 5.0


class FaultyModel:
    """Its feature is the window's newest row's mean; batches that hold a marked one fail."""

    def __init__(self):
        self.batches = []
        self.threads = set()
        self.poison_above = None

    chunks_before, chunks_after = 15, 2

    def track(self, *, first_chunk=0, windowed=False):
        return VisemeTrack(self.chunks_after, windowed=windowed)

    def render(self, jobs):
        windows = np.stack([job.context for job in jobs])
        self.threads.add(threading.current_thread().name)
        self.batches.append(len(windows))
        features = windows[:, -1].mean(axis=1, keepdims=True).astype(np.float32)
        if self.poison_above is not None and features.max() > self.poison_above:
            raise RuntimeError("poisoned")
        return [Rendered(np.zeros((4, 4, 3), np.uint8), feature) for feature in features]


@pytest.fixture
def model():
    return FaultyModel()


@pytest.fixture
def executor():
    executor = Executor(max_batch_size=8, metrics=Metrics())
    executor.start()
    yield executor
    executor.close()


def open_stream(executor, model):
    faces = queue.Queue()
    return Stream(executor, Source(model_key="fake", model=model, on_face=faces.put)), faces


def chunk(amplitude=0.1, seed=0):
    return (np.random.default_rng(seed).standard_normal(640) * amplitude).astype(np.float32)


def push_all(stream, chunks, *, epoch=0, deadline_s=None):
    for index, samples in enumerate(chunks):
        stream.push(samples, index=index, deadline_s=deadline_s or time.monotonic() + SOON_S, epoch=epoch)


def test_frame_n_comes_when_its_lookahead_has_arrived(executor, model):
    stream, faces = open_stream(executor, model)
    push_all(stream, [chunk(seed=i) for i in range(6)])
    assert [faces.get(timeout=SOON_S).index for _ in range(4)] == [0, 1, 2, 3]
    assert faces.empty()


def test_a_chunk_without_deadline_costs_no_model_call_but_is_heard(executor, model):
    chunks = [chunk(seed=i) for i in range(6)]
    all_asked, faces_all = open_stream(executor, model)
    push_all(all_asked, chunks)
    expected = [faces_all.get(timeout=SOON_S) for _ in range(4)][-1]
    model.batches.clear()
    last_asked, faces_last = open_stream(executor, model)
    for index, samples in enumerate(chunks):
        deadline_s = time.monotonic() + SOON_S if index == 5 else None
        last_asked.push(samples, index=index, deadline_s=deadline_s, epoch=0)
    face = faces_last.get(timeout=SOON_S)
    assert face.index == 3
    assert face.weights == pytest.approx(expected.weights)
    assert sum(model.batches) == 1


def test_frames_of_many_sessions_share_batches(executor, model):
    gate = threading.Event()
    executor.call(gate.wait)
    streams = [open_stream(executor, model) for _ in range(8)]
    for stream, _ in streams:
        push_all(stream, [chunk(seed=i) for i in range(3)])
    gate.set()
    for _, faces in streams:
        assert faces.get(timeout=SOON_S).index == 0
    assert model.batches == [8]
    assert model.threads == {"engine"}


def test_only_the_frame_at_fault_fails_when_a_batch_does(executor, model):
    gate = threading.Event()
    executor.call(gate.wait)
    streams = [open_stream(executor, model) for _ in range(4)]
    model.poison_above = 0.0
    for number, (stream, _) in enumerate(streams):
        push_all(stream, [chunk(amplitude=3.0 if number == 2 else 0.0001, seed=i) for i in range(3)])
    gate.set()
    faces = [faces.get(timeout=SOON_S) for _, faces in streams]
    assert [face.error is not None for face in faces] == [False, False, True, False]
    assert "poisoned" in str(faces[2].error)
    assert all(face.crop is not None for face in faces if face.error is None)


def test_a_frame_too_late_is_reported_and_not_rendered(executor, model):
    stream, faces = open_stream(executor, model)
    push_all(stream, [chunk(seed=i) for i in range(3)], deadline_s=time.monotonic() - 1)
    face = faces.get(timeout=SOON_S)
    assert face.late
    assert face.crop is None
    assert model.batches == []


def test_nothing_of_an_old_epoch_is_delivered(executor, model):
    gate = threading.Event()
    executor.call(gate.wait)
    stream, faces = open_stream(executor, model)
    push_all(stream, [chunk(seed=i) for i in range(4)])
    stream.reset(1)
    push_all(stream, [chunk(seed=i) for i in range(3)], epoch=1)
    gate.set()
    face = faces.get(timeout=SOON_S)
    assert (face.epoch, face.index) == (1, 0)
    assert faces.empty()


def test_a_receiver_that_raises_harms_nobody_else(executor, model):
    def broken(face):
        raise ValueError("gone")

    stream = Stream(executor, Source(model_key="fake", model=model, on_face=broken))
    push_all(stream, [chunk(seed=i) for i in range(3)])
    healthy, faces = open_stream(executor, model)
    push_all(healthy, [chunk(seed=i) for i in range(3)])
    assert faces.get(timeout=SOON_S).index == 0


def test_a_long_stream_hears_the_same_as_a_short_one(executor, model):
    """The ring of features is renewed many times; the windows must not notice."""
    chunks = [chunk(seed=i) for i in range(300)]
    stream, faces = open_stream(executor, model)
    push_all(stream, chunks)
    long_run = [faces.get(timeout=SOON_S).weights for _ in range(298)]
    from webrtc_avatar.audio.mel import log_mel

    rows = log_mel(np.concatenate(chunks))
    for index in (0, 57, 58, 59, 120, 200, 290):
        assert long_run[index] == pytest.approx(rows[4 * index + 10].mean(), abs=1e-3)


def test_a_chunk_of_another_size_is_refused_with_the_numbers(executor, model):
    stream, _ = open_stream(executor, model)
    with pytest.raises(InvalidAudio, match=r"float32 \(640,\).*got float32 \(320,\)"):
        stream.push(np.zeros(320, np.float32), index=0, deadline_s=None, epoch=0)
