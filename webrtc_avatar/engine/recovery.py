"""What becomes of frames whose model call failed: who gets another try, in what company, and on which device."""

from __future__ import annotations

import logging
import threading
import time

from webrtc_avatar.engine.batcher import Batcher
from webrtc_avatar.engine.faults import Fault, fault_of
from webrtc_avatar.engine.loaded import Place
from webrtc_avatar.engine.request import Request
from webrtc_avatar.engine.status import Tally

log = logging.getLogger(__name__)

EAR = -1
"""The number of the worker that hears and has no device."""

_TRIES = {Fault.MEMORY: 6, Fault.DEVICE: 4, Fault.FRAME: 2}
"""A frame that fails alone is tried so often: others may have taken the memory, and a fault may have been the device's."""
_MOST_TRIES = 24
"""A frame that was in so many failed calls is given up, whatever the reason."""
_SICK_STRIKES = 4
"""After so many failed calls with none between that went well, a device counts as sick."""
_SICK_S, _MOST_SICK_S = 1.0, 60.0
"""How long a sick device gets nothing at first, doubled each time, and at most."""


class Worker:
    """One device's thread; the executor's lock guards it.

    Attributes:
        number: the device's, by which places are found; `EAR` renders nothing.
        name: the device, for people.
        busy: in a model call.
        strikes: calls that failed since the last that went well.
        sick_s: how long it is left alone next time.
        tally: what it did.
        thread: where it runs, once it does.
    """

    def __init__(self, number: int, name: str) -> None:
        self.number = number
        self.name = name
        self.busy = False
        self.strikes = 0
        self.sick_s = _SICK_S
        self.tally = Tally()
        self.thread: threading.Thread | None = None

    def is_well(self) -> None:
        """Take note of a call that went well."""
        self.strikes = 0
        self.sick_s = _SICK_S


def worth_a_try(
    batcher: Batcher, worker: Worker, place: Place, requests: list[Request], error: Exception
) -> list[Request]:
    """Learn from a fault, and return the requests that go back into the queue.

    All do where the device is at fault and another one is well, or where fewer may fit into memory. A batch that failed for
    another reason is taken apart. A frame that failed alone is put aside for a device where it has not.
    """
    fault = fault_of(error)
    now_s = time.monotonic()
    others = batcher.others(requests[0].source.loaded, worker.number, now_s)
    if fault is Fault.MEMORY:
        place.capacity.out_of_memory(len(requests))
    else:
        worker.strikes += 1
    hopeful = [request for request in requests if request.tries < _MOST_TRIES]
    if others and (fault is Fault.DEVICE or worker.strikes >= _SICK_STRIKES):
        _leave_alone(batcher, worker, now_s, error)
        return hopeful
    if len(requests) > 1:
        for request in requests:
            request.alone = fault is not Fault.MEMORY or request.tries > _TRIES[fault]
        return hopeful
    if requests[0].tries < _TRIES[fault] and not (others and fault is Fault.FRAME):
        return requests
    for request in hopeful:
        request.refused |= {worker.number}
        fresh = [number for number in others if number not in request.refused]
        if fresh:
            request.alone = request.aside = True
            batcher.put_aside(request, fresh[0])
    return []


def _leave_alone(batcher: Batcher, worker: Worker, now_s: float, error: Exception) -> None:
    batcher.shun(worker.number, now_s + worker.sick_s)
    log.error("device %s is left alone for %.0f s: %s", worker.name, worker.sick_s, error)
    worker.sick_s = min(2 * worker.sick_s, _MOST_SICK_S)
