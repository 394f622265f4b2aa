"""What a model costs on a device, measured call by call, and how many of its frames fit into the device's memory."""

from __future__ import annotations

import math
from bisect import bisect_left, insort

_RISE, _FALL = 0.1, 0.5
"""Share of a measurement's difference that a cost follows: whatever disturbs a call makes it longer, never shorter."""
_OUTLIER = 2.0
"""A call that took longer than so many times the usual tells more about the machine than about the batch's size."""
_NEWS = 0.1
"""A measurement that differs by less from what is known does not change which size is cheapest."""
_LOAD_FALL = 0.1
_MOST_LOAD = 8.0
_EQUAL = 1.1
"""Costs a frame that differ by less count as equal, and then the larger batch is taken: it costs the engine less."""
_THRIFT = 1.3
_EXPLORE_EVERY = 32
"""Once in so many choices the next larger size is tried, in case it was measured in a bad moment."""
_RECOVER_CALLS = 32
"""After so many calls without a fault, a limit that running out of memory has lowered rises by an eighth."""


class Capacity:
    """The cost curve of one model on one device, and its limit.

    The curve has a point for each power of two and for the largest batch: an average of what calls of that size took.
    Between two points it is straight, beyond the last proportional. `load` says how much slower than that the machine is just
    now: it rises at once and falls slowly, since a deadline that is missed cannot be mended.

    Attributes:
        most: frames in one call at most, by the settings.
        limit: frames in one call at most, by the device's memory.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.limit = most
        self._sizes: list[int] = []
        self._run_s: dict[int, float] = {}
        self._load = 1.0
        self._calls_since_fault = 0
        self._choices = 0
        self._full: int | None = None

    def record(self, frames: int, run_s: float) -> None:
        """Learn from a call of `frames` frames that took `run_s` seconds."""
        usual_s = self._usual(frames)
        if frames & (frames - 1) == 0 or frames == self.most:
            known_s = self._run_s.get(frames)
            if known_s is None:
                insort(self._sizes, frames)
                self._run_s[frames] = run_s
            else:
                share = _FALL if run_s < known_s else _RISE
                self._run_s[frames] = known_s + share * (min(run_s, _OUTLIER * known_s) - known_s)
            if known_s is None or abs(run_s - known_s) > _NEWS * known_s:
                self._full = None
        if usual_s > 0:
            slower = min(max(run_s / usual_s, 1.0), _MOST_LOAD)
            self._load = slower if slower > self._load else self._load + _LOAD_FALL * (slower - self._load)
        self._calls_since_fault += 1
        if self.limit < self.most and self._calls_since_fault >= _RECOVER_CALLS:
            self.limit = min(self.most, self.limit + max(1, self.limit // 8))
            self._calls_since_fault = 0
            self._full = None

    def out_of_memory(self, frames: int) -> None:
        """Learn that a call of `frames` frames did not fit: from now on at most half as many."""
        self.limit = max(1, min(self.limit, frames // 2))
        self._calls_since_fault = 0
        self._full = None

    def predict(self, frames: int) -> float:
        """Return the seconds that a call of `frames` frames will take as things are; 0 where nothing is known yet."""
        return self._usual(frames) * self._load

    def curve(self) -> dict[int, float]:
        """Return the seconds of a call by its frames, as measured."""
        return {size: self._run_s[size] for size in self._sizes}

    @property
    def full(self) -> int:
        """The size at which a frame costs least: a batch of so many has nothing to wait for."""
        if self._full is None:
            self._full = self._cheapest(self.sizes(self.limit))
        return self._full

    def sizes(self, available: int) -> list[int]:
        """Return the sizes worth considering with `available` frames at hand: powers of two, and all that fit."""
        most = max(1, min(available, self.limit))
        return [1 << power for power in range((most - 1).bit_length())] + [most]

    def best(self, available: int, within_s: float) -> int:
        """Return how many of `available` frames to take so that each costs least and the call ends in time.

        At least 1, whatever it takes: a frame is what cannot be divided.
        """
        self._choices += 1
        explores = self._choices % _EXPLORE_EVERY == 0
        if explores:
            self._full = None  # many small changes may have made a large one
        full = self.full
        if available >= full and not explores and self.predict(full) <= within_s:
            return full
        sizes = [size for size in self.sizes(available) if size == 1 or self.predict(size) <= within_s]
        chosen = self._cheapest(sizes)
        if explores and chosen != sizes[-1]:
            return sizes[sizes.index(chosen) + 1]
        return chosen

    def thrifty(self, available: int) -> int:
        """Return the least of `available` frames in one call that cost each hardly more than any other number does."""
        sizes = self.sizes(available)
        costs = [self._usual(size) / size for size in sizes]
        return next(size for size, cost in zip(sizes, costs, strict=True) if cost <= min(costs) * _THRIFT)

    def _cheapest(self, sizes: list[int]) -> int:
        costs = [self._usual(size) / size for size in sizes]
        bound = min(costs) * _EQUAL
        return max(size for size, cost in zip(sizes, costs, strict=True) if cost <= bound)

    def _usual(self, frames: int) -> float:
        sizes = self._sizes
        if not sizes:
            return 0.0
        place = bisect_left(sizes, frames)
        if place == len(sizes):
            return self._run_s[sizes[-1]] * frames / sizes[-1]
        above = sizes[place]
        above_s = self._run_s[above]
        if place == 0 or above == frames:
            return above_s
        below = sizes[place - 1]
        below_s = self._run_s[below]
        return below_s + (above_s - below_s) * (frames - below) / (above - below)


def kept_most(capacity: Capacity, deadlines_s: list[float], now_s: float) -> int:
    """Return how many of the frames with these deadlines, earliest first, to take so that most a second are in time.

    Where none can be, as many as cost least each: then it matters that the others are.
    """
    sizes = capacity.sizes(len(deadlines_s))
    rates = []
    for size in sizes:
        run_s = capacity.predict(size)
        kept = sum(deadline_s >= now_s + run_s for deadline_s in deadlines_s[:size])
        rates.append(kept / run_s if run_s > 0 else math.inf if size == sizes[-1] else 0.0)
    highest = max(rates)
    if highest == 0:
        return capacity.best(len(deadlines_s), math.inf)
    return max(size for size, rate in zip(sizes, rates, strict=True) if rate * _EQUAL >= highest)
