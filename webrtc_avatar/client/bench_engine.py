"""`webrtc-avatar bench engine`: what the engine adds to the networks that it calls, with both measured in turns in one run.

Load on the machine changes from second to second, so what is to be compared is measured in short turns, round after round, and
the ratio is the median of the rounds' ratios.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from webrtc_avatar.audio.chunk import CHUNK_S, CHUNK_SAMPLES
from webrtc_avatar.engine import Engine, Face, Stream, bulk, kinds
from webrtc_avatar.engine.model import Floats, Job, Model, Rendered, Track
from webrtc_avatar.engine.runtime import Runtime
from webrtc_avatar.metrics import Metrics
from webrtc_avatar.settings import Settings

if TYPE_CHECKING:
    from webrtc_avatar.avatar.package import AnyAvatar

_CONTEXTS = 16
_BASES = 16
"""Frames of footage that are drawn on, so that what depends on them alone is computed before anything is measured."""
_NOISE_CHUNKS = 64
_SHARED = 8
"""Callers, and frames of the one call that they are compared with."""
_ROUNDS = 16
"""What is compared takes turns so often in the time given, and `_LEAST_ROUNDS` times where a model is too slow for that."""
_LEAST_ROUNDS = 4


@dataclass(frozen=True, slots=True)
class Throughput:
    """One model with one batch size.

    Attributes:
        avatar: whose model.
        batch: frames in one call at most.
        network_fps: frames a second of the bare networks, called in a loop with inputs made beforehand.
        engine_fps: the same through the engine: asked for by number, answered by callback.
        overhead: share by which the engine takes longer.
        cpu_overhead: share by which it takes more of the process's CPU time, which other programs disturb less.
        batch_mean: frames in the engine's calls, on average.
        sound_fps: frames a second of an async iterator over chunks of sound: features and the hand-over to the event loop too.
        network_p50_ms: time of a call of the bare networks with a whole batch.
        network_p99_ms: the same, 99 %.
        engine_p50_ms: time from asking the idle engine for a batch's frames to the last answer.
        engine_p99_ms: the same, 99 %.
    """

    avatar: str
    batch: int
    network_fps: float
    engine_fps: float
    overhead: float
    cpu_overhead: float
    batch_mean: float
    sound_fps: float
    network_p50_ms: float
    network_p99_ms: float
    engine_p50_ms: float
    engine_p99_ms: float


@dataclass(frozen=True, slots=True)
class Sessions:
    """Live streams in real time.

    Attributes:
        avatar: whose model.
        sessions: how many, each with 25 chunks a second.
        fps: frames a second of one session, on average, that came in time.
        late: share of the frames that did not.
        batch_mean: frames in a call, on average.
        p50_ms: time from a chunk's arrival to the face that it completes.
        p99_ms: the same, 99 %.
    """

    avatar: str
    sessions: int
    fps: float
    late: float
    batch_mean: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Shared:
    """Eight callers of one frame each against one caller of eight.

    Attributes:
        avatar: whose model.
        one_ms: time of one call of eight frames, p50.
        eight_ms: time until eight calls of one frame, made at once, are all answered, p50.
        ratio: median of the ratios, round by round.
    """

    avatar: str
    one_ms: float
    eight_ms: float
    ratio: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """All figures of one run; `runtime` is what ran the networks."""

    runtime: str
    throughput: list[Throughput]
    sessions: list[Sessions]
    shared: list[Shared]


def bench_engine(
    avatars: Sequence[AnyAvatar],
    *,
    batches: Sequence[int],
    sessions: Sequence[int],
    seconds: float,
    settings: Settings,
    on_progress: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Measure each avatar's model.

    Args:
        avatars: who is rendered.
        batches: limits of the batch size to measure with.
        sessions: numbers of live streams to measure with.
        seconds: how long each thing is measured.
        settings: device, runtime, precision and threads; the batch size is overridden.
        on_progress: told what is measured next.

    Raises:
        InvalidAvatar: its networks do not fit.
        EngineFailure: the settings ask for a device that is not there.
    """
    throughput, live, shared = [], [], []
    runtime = ""
    for avatar in avatars:
        for batch in batches:
            on_progress(f"{avatar.name}: batches of {batch}")
            with _engine(avatar, settings, batch) as (engine, model):
                throughput.append(_throughput(engine, avatar, model, batch, seconds))
        with _engine(avatar, settings, max(*batches, _SHARED)) as (engine, model):
            runtime = engine.runtime_name
            on_progress(f"{avatar.name}: eight callers")
            shared.append(_shared(engine, avatar, seconds))
            for count in sessions:
                on_progress(f"{avatar.name}: {count} sessions")
                live.append(_sessions(engine, avatar, count, seconds, settings.render_budget_ms / 1000))
    return Outcome(runtime, throughput, live, shared)


class _Prepared:
    """A model whose features are ready: contexts of noise, in place of those that a package may bring."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.chunks_before: int = model.chunks_before
        self.chunks_after: int = model.chunks_after
        self.calls: list[int] = []
        track, noise = model.track(), _noise()
        found = (track.push(samples) for samples in noise)
        self.contexts = list(itertools.islice((context for context in found if context is not None), _CONTEXTS))
        for first in range(0, _CONTEXTS, 8):  # what is made once for each context and each base is made here
            model.render([Job(self.contexts[number], number % _BASES) for number in range(first, first + 8)])

    def track(self, *, first_chunk: int = 0, windowed: bool = False) -> Track:
        track: Track = self._model.track(first_chunk=first_chunk, windowed=windowed)
        return track

    def features(self, frame: int) -> Any:
        return self.contexts[frame % _CONTEXTS]

    def render(self, jobs: Sequence[Job]) -> Sequence[Rendered]:
        self.calls.append(len(jobs))
        rendered: Sequence[Rendered] = self._model.render(jobs)
        return rendered

    def bare(self, batch: int) -> Callable[[], object]:
        """Return what calls the networks alone, with inputs that are ready."""
        jobs = [Job(self.features(number), number % _BASES) for number in range(batch)]
        alone: Callable[[Sequence[Job]], Callable[[], object]] | None = getattr(self._model, "bare", None)
        return alone(jobs) if alone is not None else lambda: self._model.render(jobs)


@contextmanager
def _engine(avatar: AnyAvatar, settings: Settings, batch: int) -> Iterator[tuple[Engine, _Prepared]]:
    """Run an engine in which the avatar's model has its features ready."""
    kind = avatar.model.kind
    factory = kinds.factory_of(kind, avatar.name)
    made: list[_Prepared] = []

    def prepare(avatar: Any, runtime: Runtime) -> Model:
        made.append(_Prepared(factory(avatar, runtime)))
        return made[-1]

    kinds.register(kind, prepare)
    engine = Engine(settings.model_copy(update={"max_batch_size": batch}), Metrics())
    try:
        engine.start()
        engine.load(avatar).result()
        yield engine, made[0]
    finally:
        engine.close()
        kinds.register(kind, factory)


def _throughput(engine: Engine, avatar: AnyAvatar, model: _Prepared, batch: int, seconds: float) -> Throughput:
    bare = model.bare(batch)
    bare()
    call_s = _time(bare)
    calls = max(1, round(seconds / _ROUNDS / call_s))
    bare_s: list[float] = []
    asked_s: list[float] = []
    network: list[_Spent] = []
    through: list[_Spent] = []
    sound: list[float] = []
    sizes: list[int] = []
    for _ in _rounds(4 * seconds):
        start = _Spent.now()
        bare_s += [_time(bare) for _ in range(calls)]
        network.append(_Spent.since(start))
        model.calls.clear()
        start = _Spent.now()
        _asked(engine, avatar, calls * batch)
        through.append(_Spent.since(start))
        sizes += model.calls
        sound.append(asyncio.run(_heard(engine, avatar, calls * batch)) / (calls * batch))
        asked_s += [_asked(engine, avatar, batch) for _ in range(max(1, calls // 4))]
    return Throughput(
        avatar=avatar.name,
        batch=batch,
        network_fps=calls * batch / statistics.median(spent.wall_s for spent in network),
        engine_fps=calls * batch / statistics.median(spent.wall_s for spent in through),
        overhead=statistics.median(w.wall_s / a.wall_s for w, a in zip(through, network, strict=True)) - 1,
        cpu_overhead=statistics.median(w.cpu_s / a.cpu_s for w, a in zip(through, network, strict=True)) - 1,
        batch_mean=sum(sizes) / len(sizes),
        sound_fps=1 / statistics.median(sound),
        network_p50_ms=1e3 * _quantile(bare_s, 0.5),
        network_p99_ms=1e3 * _quantile(bare_s, 0.99),
        engine_p50_ms=1e3 * _quantile(asked_s, 0.5),
        engine_p99_ms=1e3 * _quantile(asked_s, 0.99),
    )


def _shared(engine: Engine, avatar: AnyAvatar, seconds: float) -> Shared:
    one_s: list[float] = []
    eight_s: list[float] = []
    _asked(engine, avatar, _SHARED)
    for _ in _rounds(seconds):
        one_s.append(_asked(engine, avatar, _SHARED))
        eight_s.append(_asked(engine, avatar, _SHARED, callers=_SHARED))
    return Shared(
        avatar=avatar.name,
        one_ms=1e3 * _quantile(one_s, 0.5),
        eight_ms=1e3 * _quantile(eight_s, 0.5),
        ratio=statistics.median(eight / one for eight, one in zip(eight_s, one_s, strict=True)),
    )


def _sessions(engine: Engine, avatar: AnyAvatar, count: int, seconds: float, budget_s: float) -> Sessions:
    """Push chunks in real time into so many streams, evenly spread over a chunk's time."""
    came: list[tuple[float, float, Face]] = []
    pushed_s: list[dict[int, float]] = [{} for _ in range(count)]

    def receiver(number: int) -> Callable[[Face], None]:
        def receive(face: Face) -> None:
            came.append((time.monotonic(), pushed_s[number].pop(face.index), face))

        return receive

    streams = [engine.open(avatar, receiver(number)) for number in range(count)]
    noise = _noise()
    frames = 0
    start_s = time.monotonic() + 0.01
    for tick in range(round(seconds / CHUNK_S)):
        for number, stream in enumerate(streams):
            due_s = start_s + (tick + number / count) * CHUNK_S
            time.sleep(max(0.0, due_s - time.monotonic()))
            frame = tick - stream.chunks_after
            if frame >= 0:
                frames += 1
                pushed_s[number][frame] = due_s
            stream.push(next(noise), index=tick, deadline_s=due_s + budget_s, epoch=0, base=max(frame, 0) % _BASES)
    ends_s = time.monotonic() + 10 * budget_s
    while len(came) < frames and time.monotonic() < ends_s:
        time.sleep(0.005)
    for stream in streams:
        stream.close()
    waits_s = [at_s - since_s for at_s, since_s, face in came if not face.late and face.error is None]
    in_time = sum(wait_s <= budget_s for wait_s in waits_s)
    # Each call of n frames gives n answers that say n.
    calls = sum(1 / face.batch_size for _, _, face in came if face.batch_size)
    return Sessions(
        avatar=avatar.name,
        sessions=count,
        fps=in_time / frames / CHUNK_S if frames else 0.0,
        late=1 - in_time / frames if frames else 0.0,
        batch_mean=len(waits_s) / calls if calls else 0.0,
        p50_ms=1e3 * _quantile(waits_s, 0.5),
        p99_ms=1e3 * _quantile(waits_s, 0.99),
    )


def _asked(engine: Engine, avatar: AnyAvatar, frames: int, *, callers: int = 1) -> float:
    """Ask for frames by number, shared out over callers, and return the time until the last one is there."""
    failed: list[Exception] = []
    answered = itertools.count(1)
    done = threading.Event()

    def receive(face: Face) -> None:
        if face.error is not None:
            failed.append(face.error)
        if next(answered) == frames:
            done.set()

    streams: list[Stream] = []
    started_s = time.perf_counter()
    for number in range(callers):
        asked = range(number * frames // callers, (number + 1) * frames // callers)
        streams.append(engine.submit(avatar, asked, receive, bases=[frame % _BASES for frame in asked]))
    done.wait()
    took_s = time.perf_counter() - started_s
    for stream in streams:
        stream.close()
    if failed:
        raise failed[0]
    return took_s


def _rounds(seconds: float) -> Iterator[int]:
    """Count rounds until the time is over, at least a few."""
    ends_s = time.perf_counter() + seconds
    for number in itertools.count():
        if number >= _LEAST_ROUNDS and time.perf_counter() >= ends_s:
            return
        yield number


async def _heard(engine: Engine, avatar: AnyAvatar, frames: int) -> float:
    """Take the frames of so many chunks of sound, and return how long that took."""
    chunks = list(itertools.islice(_noise(), frames))
    started_s = time.perf_counter()
    async for face in bulk.frames(engine, avatar, chunks, bases=lambda frame: frame % _BASES):
        if face.error is not None:
            raise face.error
    return time.perf_counter() - started_s


def _noise() -> Iterator[Floats]:
    """Yield chunks of noise: it never is silence, which models need not hear twice."""
    source = np.random.default_rng(0)
    pieces = [(0.1 * source.standard_normal(CHUNK_SAMPLES)).astype(np.float32) for _ in range(_NOISE_CHUNKS)]
    return itertools.cycle(pieces)


@dataclass(frozen=True, slots=True)
class _Spent:
    wall_s: float
    cpu_s: float

    @classmethod
    def now(cls) -> _Spent:
        return cls(time.perf_counter(), time.process_time())

    @classmethod
    def since(cls, start: _Spent) -> _Spent:
        return cls(time.perf_counter() - start.wall_s, time.process_time() - start.cpu_s)


def _time(call: Callable[[], object]) -> float:
    started_s = time.perf_counter()
    call()
    return time.perf_counter() - started_s


def _quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else math.nan
