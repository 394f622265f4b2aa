"""The first calls of a model that was just loaded: they are the slow ones, and they give its cost curve a start."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from webrtc_avatar.audio.chunk import CHUNK_SAMPLES
from webrtc_avatar.engine.capacity import Capacity
from webrtc_avatar.engine.faults import Fault, fault_of, free_memory
from webrtc_avatar.engine.model import Job, Model

log = logging.getLogger(__name__)

CPU_BUDGET_S = 0.06
"""So long at most, on a CPU: a server is to be ready soon, and the curve goes on being measured as frames are rendered."""
GPU_BUDGET_S = 3.0
"""The same on other devices, where the first call of each size chooses kernels and a live frame could not wait for it."""
_NOISE = 0.05


def warm_up(model: Model, capacity: Capacity, *, budget_s: float) -> None:
    """Call a model with 1, 2, 4, … frames of noise until the next size would take longer than the budget leaves.

    Whatever goes wrong is logged: the frames that are asked for later get their own answer.
    """
    contexts = _contexts(model)
    size = 1
    ends_s = time.monotonic() + budget_s
    try:
        _measure(model, contexts, 1)
        while size <= capacity.most:
            run_s = _measure(model, contexts, size)
            capacity.record(size, run_s)
            if size == capacity.most or time.monotonic() + 2.5 * run_s > ends_s:
                break
            size = min(2 * size, capacity.most)
    except Exception as error:
        if fault_of(error) is Fault.MEMORY:
            capacity.out_of_memory(size)
            free_memory()
        log.warning("the model could not be warmed up: %s", error)


def _measure(model: Model, contexts: Iterator[Any], size: int) -> float:
    jobs = [Job(next(contexts), 0) for _ in range(size)]
    started_s = time.monotonic()
    model.render(jobs)
    return time.monotonic() - started_s


def _contexts(model: Model) -> Iterator[Any]:
    """Yield contexts of one made-up sound."""
    noise = np.random.default_rng(0)
    track = model.track()
    while True:
        context = track.push((_NOISE * noise.standard_normal(CHUNK_SAMPLES)).astype(np.float32))
        if context is not None:
            yield context
