"""`webrtc-avatar bench speech`: what batching brings, where a batch's time goes, and how soon a session speaks and falls silent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median

import numpy as np

from webrtc_avatar.client.measure import Percentiles, percentiles
from webrtc_avatar.metrics import Metrics
from webrtc_avatar.settings import Settings
from webrtc_avatar.speech.batching.options import BatchOptions
from webrtc_avatar.speech.batching.pool import SpeechPool
from webrtc_avatar.speech.registry import Registry
from webrtc_avatar.speech.service import batch_options
from webrtc_avatar.speech.voice import Utterance

TEXTS = {
    "short": (
        "Good morning.",
        "How are you today?",
        "Please come in.",
        "The show begins at eleven.",
        "I do not know.",
        "That is a very good question.",
        "Thank you so much.",
        "See you later, then.",
    ),
    "long": (
        "My mother bought five pounds of ripe bananas at the market, and then she walked home along the river.",
        "We found a small boat by the blue water, but nobody could tell us to whom it had belonged before.",
        "Please put the big box above the open door, next to the lamp that your brother made in the winter.",
        "They told me that the show begins at half past eleven, so we should leave the house at about ten.",
    ),
}
"""What is said, by kind."""

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Throughput:
    """Many requests at once.

    Attributes:
        kind: of the texts.
        batch_size: most requests in one batch; 0: batching off.
        workers: processes.
        per_s: requests a second; each round.
        sound_per_s: seconds of sound made in a second; each round.
        wait: from a request to its first sound, seconds.
        done: from a request to its last sound.
        batch: requests in a batch, on average.
    """

    kind: str
    batch_size: int
    workers: int
    per_s: list[float]
    sound_per_s: list[float]
    wait: Percentiles
    done: Percentiles
    batch: float


@dataclass(frozen=True, slots=True)
class Call:
    """One voice in this process, without queue and processes.

    Attributes:
        kind: of the texts.
        batch_size: utterances in one call.
        ms: median time of a call by utterance.
    """

    kind: str
    batch_size: int
    ms: float


async def bench_throughput(
    settings: Settings, *, sizes: list[int], requests: int, rounds: int, on_progress: Progress
) -> list[Throughput]:
    """Say many texts at once, batching off and on with each size, in turns.

    Args:
        settings: voice, processes.
        sizes: most requests in a batch; 0: batching off.
        requests: at once.
        rounds: how often each.
        on_progress: is told what is measured.

    Raises:
        SpeechFailure, VoiceUnavailable: see `SpeechPool.say`.
    """
    registry = Registry(settings)
    voice = registry.find(None).id
    pools = {size: _pool(settings, registry, voice, size) for size in sizes}
    runs: dict[tuple[str, int], list[_Round]] = {}
    try:
        for size, pool in pools.items():
            on_progress(f"batches of {size}" if size else "batching off")
            pool.warm(pool.options.workers)
            while pool.status().ready_workers < pool.options.workers:  # noqa: ASYNC110 - they start on their own
                await asyncio.sleep(0.05)
            await _round(pool, voice, TEXTS["short"], 2 * pool.options.workers)
            for kind in TEXTS:
                runs[kind, size] = []
        for number in range(rounds):
            for (kind, size), done in runs.items():
                on_progress(
                    f"round {number + 1} of {rounds}: {kind} texts, {f'batches of {size}' if size else 'batching off'}"
                )
                done.append(await _round(pools[size], voice, TEXTS[kind], requests))
    finally:
        await asyncio.gather(*(pool.aclose() for pool in pools.values()))
    return [
        Throughput(
            kind=kind,
            batch_size=size,
            workers=pools[size].options.workers,
            per_s=[requests / each.seconds for each in done],
            sound_per_s=[each.sound_s / each.seconds for each in done],
            wait=_of([wait for each in done for wait in each.first_s]),
            done=_of([wait for each in done for wait in each.last_s]),
            batch=pools[size].status().mean_batch_size,
        )
        for (kind, size), done in runs.items()
    ]


def bench_calls(settings: Settings, *, sizes: list[int], rounds: int) -> list[Call]:
    """Call the voice in this process with batches of each size, in turns: what a batch saves without queue and processes."""
    registry = Registry(settings)
    info = registry.find(None)
    engine = registry.load(info.id)
    times: dict[tuple[str, int], list[float]] = {}
    try:
        for _ in range(rounds + 1):
            for kind, texts in TEXTS.items():
                for size in sizes:
                    batch = [
                        Utterance.of_text(texts[n % len(texts)], info.id, seed=n) for n in range(max(size, len(texts)))
                    ]
                    started_s = time.perf_counter()
                    for first in range(0, len(batch), size):
                        for _ in engine.synthesize(batch[first : first + size]):
                            pass
                    times.setdefault((kind, size), []).append((time.perf_counter() - started_s) / len(batch))
    finally:
        engine.close()
    return [Call(kind, size, 1000 * median(taken[1:])) for (kind, size), taken in times.items()]


@dataclass(frozen=True, slots=True)
class _Round:
    seconds: float
    sound_s: float
    first_s: list[float]
    last_s: list[float]


def _pool(settings: Settings, registry: Registry, voice: str, size: int) -> SpeechPool:
    base: BatchOptions = batch_options(settings)
    options = replace(base, batching=size > 0, max_batch_size=max(size, 1))
    return SpeechPool(options, registry.factories, settings, Metrics(), warm=[voice])


async def _round(pool: SpeechPool, voice: str, texts: tuple[str, ...], requests: int) -> _Round:
    started_s = time.perf_counter()

    async def ask(number: int) -> tuple[float, float, float]:
        first_s, samples, rate_hz = None, 0, 1
        async for piece in pool.say(Utterance.of_text(texts[number % len(texts)], voice, seed=number)):
            first_s = first_s or time.perf_counter() - started_s
            samples, rate_hz = samples + len(piece.samples), piece.rate_hz
        return first_s or 0.0, time.perf_counter() - started_s, samples / rate_hz

    done = await asyncio.gather(*(ask(number) for number in range(requests)))
    firsts, lasts, sounds = zip(*done, strict=True)
    return _Round(max(lasts), sum(sounds), list(firsts), list(lasts))


def _of(seconds: list[float]) -> Percentiles:
    found = percentiles(np.asarray(seconds))
    assert found is not None
    return found
