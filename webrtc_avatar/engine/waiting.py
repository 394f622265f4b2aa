"""What waits for a model: live frames by deadline, bulk ones in order; and which live ones a call takes."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from webrtc_avatar.engine.capacity import Capacity, kept_most
from webrtc_avatar.engine.request import Request

STARVED_S = 1.0
_SPARE = 1.25
"""A frame with less time than so many times a call's is given up for others that have more."""


@dataclass(slots=True)
class Waiting:
    """What waits for one model, or for one company.

    Attributes:
        devices: of a company: where each of its frames can be rendered; None: where the model is.
    """

    devices: tuple[int, ...] | None = None
    live: list[Request] = field(default_factory=list)
    bulk: deque[Request] = field(default_factory=deque)
    oldest_live_s: float = math.inf
    newest_bulk_s: float = -math.inf
    bulk_served_s: float = -math.inf

    def __iter__(self) -> Iterator[Request]:
        yield from self.live
        yield from self.bulk


def push_live(queue: Waiting, request: Request) -> None:
    """Add a live frame."""
    heapq.heappush(queue.live, request)
    queue.oldest_live_s = min(queue.oldest_live_s, request.submitted_s)


def starved_s(queue: Waiting) -> float:
    """Return when the bulk frames of a queue will have waited long enough."""
    return max(queue.bulk_served_s, queue.bulk[0].submitted_s) + STARVED_S


def clean(queue: Waiting, now_s: float, late: list[Request]) -> None:
    """Drop what is stale and move out what is late, as far as it stands in front."""
    live, bulk = queue.live, queue.bulk
    while live and (live[0].is_stale or live[0].deadline_s < now_s):
        request = heapq.heappop(live)
        if not request.is_stale:
            late.append(request)
    if not live:
        queue.oldest_live_s = math.inf
    while bulk and bulk[0].is_stale:
        bulk.popleft()


def _worth_it(requests: list[Request], capacity: Capacity, now_s: float, late: list[Request]) -> list[Request]:
    """Return the live frames, by deadline, that may be in time; the others are late, or a slow device would make nothing else.

    Where others have time to spare, one that has none is not worth a call. Where none can be in time by what is known, that may
    be too little: those with most time are tried, in a batch that costs each of them hardly more than any other.
    """
    if len(requests) < 2:
        return requests
    run_s = capacity.predict(1)
    for least_s in (_SPARE * run_s, run_s):
        if requests[-1].deadline_s >= now_s + least_s:
            late += [request for request in requests if request.deadline_s < now_s + least_s]
            return [request for request in requests if request.deadline_s >= now_s + least_s]
    count = capacity.thrifty(len(requests))
    late += requests[:-count]
    return requests[-count:]


def pop_live(queue: Waiting, capacity: Capacity, now_s: float, late: list[Request]) -> list[Request]:
    """Remove the live frames of the next call; the first is in front and not stale."""
    if queue.live[0].alone:
        requests = [heapq.heappop(queue.live)]
    else:
        requests = []
        aside: list[Request] = []
        while queue.live and len(requests) < capacity.limit:
            request = heapq.heappop(queue.live)
            if request.is_stale:
                continue
            (aside if request.alone else requests).append(request)
        requests = _worth_it(requests, capacity, now_s, late)
        count = kept_most(capacity, [request.deadline_s for request in requests], now_s)
        for request in requests[count:] + aside:
            heapq.heappush(queue.live, request)
        requests = requests[:count]
    queue.oldest_live_s = min((request.submitted_s for request in queue.live), default=math.inf)
    return requests
