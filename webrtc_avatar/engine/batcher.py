"""Which frames go into the next model call of a device: live ones by deadline, bulk work in what they leave.

Pure bookkeeping without threads or clocks of its own: the executor asks, with the time in hand and under its lock.

- A frame with a deadline is live, one without (infinite) is bulk.
- A live batch starts when it is full, when its oldest frame has waited for company long enough, or when its earliest
  deadline allows no more waiting. It takes as many frames as keep most deadlines a second.
- Bulk frames fill up a live batch while the cost curve says that every live deadline is kept, and otherwise run when no live
  frame is due: in batches of the cheapest size, but short ones as long as live streams are open.
- A model whose bulk frames have waited for a second beside live ones gets one of them done, whatever is due.
- Models of one company count as one model.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from webrtc_avatar.engine.capacity import Capacity
from webrtc_avatar.engine.loaded import Loaded, Place
from webrtc_avatar.engine.model import Model
from webrtc_avatar.engine.request import Request
from webrtc_avatar.engine.waiting import Waiting, clean, pop_live, push_live, starved_s

LIVE_SLICE_S = 0.010
"""Longest bulk batch while live streams are open: a live frame waits so long for it at worst, of some 30 ms that it has."""
BULK_SLICE_S = 0.100
"""Longest bulk batch otherwise: what is closed or opened meanwhile waits so long."""
LIVE_MEMORY_S = 1.0
"""So long after the last live chunk, live streams still count as open."""
_MARGIN = 1.5
"""A call counts as taking so many times what the curve says, where a deadline depends on it."""
_QUIET = 0.25
"""Share of the wait for company after which nobody else seems to come."""


@dataclass(slots=True)
class Batch:
    """What a device is to do now.

    Attributes:
        requests: frames of one model, or of one company, for one call; empty: nothing is due.
        place: the model's copy that renders them.
        models: of a company, the copy that each frame belongs to; None: all belong to that of `place`.
        late: frames whose deadline has passed; they are answered without a call.
        wake_s: with nothing due, when to ask again; None: when something arrives.
    """

    requests: list[Request] = field(default_factory=list)
    place: Place | None = None
    models: list[Model] | None = None
    late: list[Request] = field(default_factory=list)
    wake_s: float | None = None


class Batcher:
    """Requests of all streams, grouped by model or by company."""

    def __init__(self, *, max_wait_s: float) -> None:
        """Take how long a frame may wait for company."""
        self._max_wait_s = max_wait_s
        self._queues: dict[Hashable, Waiting] = {}
        self._for_device: dict[int, list[Request]] = {}
        self._sick_until_s: dict[int, float] = {}
        self._sequence = 0
        self._live_seen_s = -math.inf

    def lengths(self, loaded: Loaded | None = None) -> tuple[int, int]:
        """Return how many live and bulk requests wait, of one model or of all."""
        live = bulk = 0
        if loaded is not None and loaded.company is not None:
            mine = [request for queue in self._queues.values() for request in queue if request.source.loaded is loaded]
            bulk = sum(request.is_bulk for request in mine)
            return len(mine) - bulk, bulk
        for each, queue in self._queues.items():
            if loaded is None or each is loaded:
                live += len(queue.live)
                bulk += len(queue.bulk)
        return live, bulk + (sum(map(len, self._for_device.values())) if loaded is None else 0)

    def add(self, request: Request) -> None:
        """Queue a request under its source's model."""
        self._sequence += 1
        request.sequence = self._sequence
        queue = self._queue(request)
        if request.is_bulk:
            queue.bulk.append(request)
            queue.newest_bulk_s = request.submitted_s
        else:
            push_live(queue, request)

    def put_back(self, requests: Sequence[Request]) -> None:
        """Queue requests again, in their old places, after a call that failed."""
        for request in reversed(requests):
            if request.is_bulk:
                self._queue(request).bulk.appendleft(request)
            else:
                push_live(self._queue(request), request)

    def _queue(self, request: Request) -> Waiting:
        loaded = request.source.loaded
        key: Hashable = loaded
        devices = None
        if loaded.company is not None:
            # Copies may still be coming to other devices: frames that wait together can be rendered in the same places.
            devices = tuple(sorted(loaded.places))
            key = (loaded.company, devices)
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = Waiting(devices)
        return queue

    def put_aside(self, request: Request, device: int) -> None:
        """Queue a request for one device alone, where it is next."""
        heapq.heappush(self._for_device.setdefault(device, []), request)

    def live_seen(self, now_s: float) -> None:
        """Take note that a live stream is open."""
        self._live_seen_s = now_s

    def shun(self, device: int, until_s: float) -> None:
        """Give a device nothing that another one can do, for a while; what was put aside for it goes to the others."""
        self._sick_until_s[device] = until_s
        requests = sorted(self._for_device.pop(device, []))
        for request in requests:
            request.aside = False
        self.put_back(requests)

    def is_sick(self, device: int, now_s: float) -> bool:
        """Say whether a device is being shunned."""
        return self._sick_until_s.get(device, now_s) > now_s

    def others(self, loaded: Loaded, device: int, now_s: float) -> list[int]:
        """Return the other devices that hold a model and are well."""
        return [number for number in loaded.places if number != device and not self.is_sick(number, now_s)]

    def forget(self, loaded: Loaded) -> list[Request]:
        """Drop what waits for a model that is no longer loaded, and return it."""
        if loaded.company is None:
            return list(self._queues.pop(loaded, Waiting()))
        gone: list[Request] = []
        for key, queue in list(self._queues.items()):
            mine = [request for request in queue if request.source.loaded is loaded]
            if mine:
                gone += mine
                queue.live = [request for request in queue.live if request.source.loaded is not loaded]
                heapq.heapify(queue.live)
                queue.bulk = deque(request for request in queue.bulk if request.source.loaded is not loaded)
            if queue.devices is not None and not (queue.live or queue.bulk):
                del self._queues[key]
        return gone

    def take(self, now_s: float, device: int) -> Batch:
        """Remove and return what a device is to do now; stale requests vanish.

        Stale: of an epoch or a source that is over. Late: the deadline has passed.
        """
        batch = Batch()
        mine: list[tuple[Loaded, Waiting, Capacity]] = []
        for queue in self._queues.values():
            clean(queue, now_s, batch.late)
            first = next(iter(queue), None)
            if first is None or (queue.devices is not None and device not in queue.devices):
                continue
            loaded = first.source.loaded
            place = loaded.places.get(device)
            if place is not None and self._may_take(loaded, device, now_s):
                mine.append((loaded, queue, place.capacity))
        aside = self._for_device.get(device)
        if aside:
            batch.requests = self._next_aside(aside, now_s, batch)
        if not batch.requests and not batch.late:
            self._fill(batch, mine, now_s)
            if not batch.requests:
                batch.wake_s = self._wake_s(mine, device, now_s)
        if batch.requests:
            _find_models(batch, device)
        return batch

    def _may_take(self, loaded: Loaded, device: int, now_s: float) -> bool:
        if device not in loaded.places:
            return False
        return not self.is_sick(device, now_s) or not self.others(loaded, device, now_s)

    def _next_aside(self, aside: list[Request], now_s: float, batch: Batch) -> list[Request]:
        while aside:
            request = heapq.heappop(aside)
            request.aside = False
            if request.is_stale:
                continue
            if request.deadline_s >= now_s:
                return [request]
            batch.late.append(request)
        return []

    def _fill(self, batch: Batch, mine: list[tuple[Loaded, Waiting, Capacity]], now_s: float) -> None:
        within_s = None
        if any(queue.live for _, queue, _ in mine):
            if self._fill_live(batch, mine, now_s):
                return
            within_s = self._bulk_time_s(mine, now_s)
        ready = [
            entry
            for entry in mine
            if entry[1].bulk
            and self._bulk_start_s(entry[1], entry[2], now_s) <= now_s
            and (within_s is None or entry[2].predict(1) <= within_s)
        ]
        if ready:
            _, queue, capacity = min(ready, key=lambda entry: entry[1].bulk[0].submitted_s) if ready[1:] else ready[0]
            slice_s = BULK_SLICE_S if within_s is None and not self._is_live(now_s) else LIVE_SLICE_S
            within_s = slice_s if within_s is None else min(slice_s, within_s)
            batch.requests = self._pop_bulk(queue, capacity.best(len(queue.bulk), within_s), now_s)

    def _fill_live(self, batch: Batch, mine: list[tuple[Loaded, Waiting, Capacity]], now_s: float) -> bool:
        """Take what is due where live frames wait: of bulk that starves one frame, else live ones; say whether anything was."""
        starving = [queue for _, queue, _ in mine if queue.bulk and starved_s(queue) <= now_s]
        if starving:
            batch.requests = self._pop_bulk(min(starving, key=starved_s), 1, now_s)
            return True
        due = [entry for entry in mine if entry[1].live and self._live_start_s(entry[1], entry[2], now_s) <= now_s]
        if not due:
            return False
        _, queue, capacity = min(due, key=lambda entry: entry[1].live[0])
        batch.requests = pop_live(queue, capacity, now_s, batch.late)
        if batch.requests:  # a caller may have gone since they were looked at
            self._top_up(batch.requests, queue, capacity, mine, now_s)
        return True

    def _top_up(
        self,
        requests: list[Request],
        queue: Waiting,
        capacity: Capacity,
        mine: list[tuple[Loaded, Waiting, Capacity]],
        now_s: float,
    ) -> None:
        """Add bulk frames to a live batch that no other live frame waits for, as many as its deadlines allow."""
        live = len(requests)
        if not queue.bulk or requests[0].alone or any(other.live for _, other, _ in mine):
            return
        within_s = min(max(LIVE_SLICE_S, capacity.predict(live)), (requests[0].deadline_s - now_s) / _MARGIN)
        total = min(capacity.full, live + len(queue.bulk))
        while total > live and capacity.predict(total) > within_s:
            total -= 1
        if total > live:
            requests += self._pop_bulk(queue, total - live, now_s, with_others=True)

    def _pop_bulk(self, queue: Waiting, count: int, now_s: float, *, with_others: bool = False) -> list[Request]:
        requests: list[Request] = []
        while queue.bulk and len(requests) < count:
            if queue.bulk[0].is_stale:
                queue.bulk.popleft()
                continue
            if queue.bulk[0].alone and (requests or with_others):
                break
            requests.append(queue.bulk.popleft())
            if requests[0].alone:
                break
        if requests:
            queue.bulk_served_s = now_s
        return requests

    def _is_live(self, now_s: float) -> bool:
        return now_s - self._live_seen_s < LIVE_MEMORY_S

    def _live_start_s(self, queue: Waiting, capacity: Capacity, now_s: float) -> float:
        first = queue.live[0]
        if first.alone or len(queue.live) + len(queue.bulk) >= capacity.full:
            return now_s
        run_s = capacity.predict(min(len(queue.live), capacity.limit))
        return min(queue.oldest_live_s + self._max_wait_s, first.deadline_s - 2 * run_s)

    def _bulk_start_s(self, queue: Waiting, capacity: Capacity, now_s: float) -> float:
        first = queue.bulk[0]
        if first.alone or len(queue.bulk) >= capacity.full:
            return now_s
        return min(first.submitted_s + self._max_wait_s, queue.newest_bulk_s + _QUIET * self._max_wait_s)

    def _bulk_time_s(self, mine: list[tuple[Loaded, Waiting, Capacity]], now_s: float) -> float | None:
        """Return how long a bulk batch may take so that the live frames that wait are in time; None: none waits."""
        times = [
            queue.live[0].deadline_s - now_s - _MARGIN * capacity.predict(min(len(queue.live), capacity.limit))
            for _, queue, capacity in mine
            if queue.live
        ]
        return min(times, default=None)

    def _wake_s(self, mine: list[tuple[Loaded, Waiting, Capacity]], device: int, now_s: float) -> float | None:
        times = []
        for _, queue, capacity in mine:
            if queue.live:
                times.append(self._live_start_s(queue, capacity, now_s))
            if queue.bulk:
                start_s = self._bulk_start_s(queue, capacity, now_s)
                times.append(start_s if start_s > now_s else starved_s(queue))
        sick_until_s = self._sick_until_s.get(device, 0.0)
        if sick_until_s > now_s:
            times.append(sick_until_s)
        return min(times, default=None)


def _find_models(batch: Batch, device: int) -> None:
    """Note which copies render a batch; whose model has just gone has no frames any more."""
    if len({request.source.loaded for request in batch.requests}) == 1:
        batch.place = batch.requests[0].source.loaded.places.get(device)
        return
    batch.requests = [request for request in batch.requests if device in request.source.loaded.places]
    places = [request.source.loaded.places[device] for request in batch.requests]
    batch.place = places[0] if places else None
    batch.models = [place.model for place in places]
