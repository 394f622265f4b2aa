"""Models, avatars and runtimes that behave like real ones, with the cost and the faults that a test gives them."""

import queue
import threading
import time
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from webrtc_avatar.engine import kinds
from webrtc_avatar.engine.capacity import Capacity
from webrtc_avatar.engine.engine import Engine
from webrtc_avatar.engine.executor import Executor
from webrtc_avatar.engine.loaded import Loaded, Place
from webrtc_avatar.engine.model import Rendered
from webrtc_avatar.engine.source import Source
from webrtc_avatar.engine.stream import Stream
from webrtc_avatar.engine.viseme import VisemeTrack
from webrtc_avatar.errors import FrameOutOfRange
from webrtc_avatar.metrics import Metrics
from webrtc_avatar.settings import Settings

SOON_S = 20.0
"""Until then everything must have come; a test that waits so long has failed."""


class StandInModel:
    """Its weights are the mean of the window's newest row, or the frame's number where it was asked for by number.

    `fault(jobs)` may raise what a real one would; `gate` holds its calls while it is clear; `run_s(frames)` is how long one takes.
    """

    chunks_before, chunks_after = 15, 2

    def __init__(self, *, fault=None, run_s=None, frame_count=10**6):
        self.fault = fault
        self.run_s = run_s
        self.frame_count = frame_count
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self.batches = []
        self.bases = []
        self.threads = set()

    def track(self, *, first_chunk=0, windowed=False):
        return VisemeTrack(self.chunks_after, windowed=windowed)

    def features(self, frame):
        if not 0 <= frame < self.frame_count:
            raise FrameOutOfRange(f"there is no frame {frame}; it has 0 to {self.frame_count - 1}")
        return np.float32(frame)

    def render(self, jobs):
        self.threads.add(threading.current_thread().name)
        self.entered.release()
        assert self.gate.wait(SOON_S)
        if self.run_s is not None:
            time.sleep(self.run_s(len(jobs)))
        if self.fault is not None:
            self.fault(jobs)
        self.batches.append(len(jobs))
        self.bases += [job.base for job in jobs]
        means = [np.float32(np.asarray(job.context).reshape(-1)[-80:].mean()) for job in jobs]
        return [Rendered(np.zeros((4, 4, 3), np.uint8), np.array([mean], np.float32)) for mean in means]


def loaded(*models, name="stand-in", most=8):
    """Return a model that is loaded on devices 0, 1, …, and costs nothing known yet."""
    future = Future()
    future.set_result(models[0])
    places = {number: Place(model, Capacity(most)) for number, model in enumerate(models)}
    return Loaded(name, kind="stand_in", places=places, future=future)


@contextmanager
def executing(*devices, max_wait_s=0.004):
    """Run an executor with a thread for each device."""
    executor = Executor(max_wait_s=max_wait_s, metrics=Metrics())
    executor.start(devices or ("cpu",))
    try:
        yield executor
    finally:
        executor.close()


def open_stream(executor, model, **options):
    """Return a stream and the queue that its faces come into."""
    faces = queue.Queue()
    source = Source(loaded=model, on_face=faces.put, **options)
    executor.open(source)
    return Stream(executor, source), faces


def chunk(amplitude=0.1, seed=0):
    return (np.random.default_rng(seed).standard_normal(640) * amplitude).astype(np.float32)


def push_all(stream, chunks, *, epoch=0, deadline_s=None):
    for index, samples in enumerate(chunks):
        stream.push(samples, index=index, deadline_s=deadline_s or time.monotonic() + SOON_S, epoch=epoch)


@dataclass(frozen=True)
class StandInSpec:
    kind: str
    weights: Path


@dataclass(frozen=True, eq=False)
class StandInAvatar:
    """A package with one file of weights; `model.kind` is registered by `Rooms`."""

    name: str
    folder: Path
    model: StandInSpec


def package(folder, name, *, size_mb=1.0, kind="stand_in"):
    """Write a package whose network weighs `size_mb` and return its avatar."""
    folder = folder / name
    folder.mkdir(exist_ok=True)
    (folder / "avatar.toml").write_text("")
    (folder / "weights.bin").write_bytes(bytes(int(size_mb * 1e6)))
    return StandInAvatar(name, folder, StandInSpec(kind, folder / "weights.bin"))


@dataclass
class Rooms:
    """An engine on stand-in devices; `made` are its models in the order of loading, by name and device."""

    engine: Engine
    made: list = field(default_factory=list)
    model: type = StandInModel
    options: dict = field(default_factory=dict)

    def models(self, name):
        return [model for made, _, model in self.made if made == name]

    def make(self, avatar, runtime):
        model = self.model(**self.options)
        self.made.append((avatar.name, runtime.name, model))
        return model


@contextmanager
def engine_of(devices=("cpu",), *, start=True, options=None, **settings):
    """Run an engine whose kind `stand_in` is a StandInModel, on stand-in devices of these names."""
    runtimes = [SimpleNamespace(name=f"stand-in:{name}", device=name, precision="float32") for name in devices]
    engine = Engine(Settings(**settings), Metrics(), runtimes=runtimes)
    rooms = Rooms(engine, options=options or {})
    kinds.register("stand_in", rooms.make)
    if start:
        engine.start()
    try:
        yield rooms
    finally:
        for _, _, model in rooms.made:
            model.gate.set()
        engine.close()
