"""A reorder buffer: RTP packets leave in the order of their sequence numbers; a missing one is waited for only briefly.

The wait begins when a later packet shows that one is missing. It starts at a few milliseconds, which is what reordering
takes on most networks, and grows only where packets really come late, because every lost packet costs this wait.
"""

from __future__ import annotations

from typing import Generic, TypeVar

Item = TypeVar("Item")

_SEQUENCES = 1 << 16
_RESTART_BACKWARD = 100
_RESTART_FORWARD = 3_000
_REMEMBERED = 64
_MARGIN_S = 0.005
_CALM = 1_000
"""Packets without a late one after which the wait halves."""


class ReorderBuffer(Generic[Item]):
    """Puts packets back in order.

    Args:
        min_wait_s: the wait to begin with, from the first later packet on.
        max_wait_s: the wait never grows beyond this.
        depth: so many later packets end the wait at once.

    Attributes:
        duplicates: packets that came twice.
        late: packets that came after they had been given up.
        lost: packets that were given up.
    """

    def __init__(self, *, min_wait_s: float = 0.010, max_wait_s: float = 0.050, depth: int = 3) -> None:
        self._min_wait_s = min_wait_s
        self._max_wait_s = max_wait_s
        self._depth = depth
        self._wait_s = min_wait_s
        self._next: int | None = None
        self._waiting: dict[int, Item] = {}
        self._blocked_s = 0.0
        self._given_up: dict[int, float] = {}
        self._calm = 0
        self.duplicates = 0
        self.late = 0
        self.lost = 0

    @property
    def deadline_s(self) -> float | None:
        """When `expire` has something to do; None while nothing waits."""
        return self._blocked_s + self._wait_s if self._waiting else None

    @property
    def wait_s(self) -> float:
        """The present wait for a missing packet."""
        return self._wait_s

    def push(self, sequence: int, item: Item, now_s: float) -> list[Item]:
        """Take one packet and return those that may leave now, in order."""
        released: list[Item] = []
        if self._next is None:
            self._next = sequence
        ahead = (sequence - self._next + _SEQUENCES // 2) % _SEQUENCES - _SEQUENCES // 2
        if ahead < -_RESTART_BACKWARD or ahead > _RESTART_FORWARD:
            released = self._release_all()
            self._given_up.clear()
            self._next = sequence
        elif ahead < 0:
            self._came_late(sequence, now_s)
            return released
        if sequence in self._waiting:
            self.duplicates += 1
            return released
        self._calm_down()
        if not self._waiting:
            self._blocked_s = now_s
        self._waiting[sequence] = item
        released += self._release_ready(now_s)
        while len(self._waiting) >= self._depth:
            released += self._give_up(now_s)
        return released

    def expire(self, now_s: float) -> list[Item]:
        """Give up what has been waited for long enough and return what may leave then."""
        released: list[Item] = []
        deadline_s = self.deadline_s
        while deadline_s is not None and deadline_s <= now_s:
            released += self._give_up(now_s)
            deadline_s = self.deadline_s
        return released

    def _release_ready(self, now_s: float) -> list[Item]:
        assert self._next is not None
        released = []
        while self._next in self._waiting:
            released.append(self._waiting.pop(self._next))
            self._next = (self._next + 1) % _SEQUENCES
        if released and self._waiting:
            self._blocked_s = now_s
        return released

    def _give_up(self, now_s: float) -> list[Item]:
        assert self._next is not None
        while self._next not in self._waiting:
            self.lost += 1
            self._given_up[self._next] = self._blocked_s
            self._next = (self._next + 1) % _SEQUENCES
        while len(self._given_up) > _REMEMBERED:
            del self._given_up[next(iter(self._given_up))]
        return self._release_ready(now_s)

    def _release_all(self) -> list[Item]:
        assert self._next is not None
        start = self._next
        ordered = sorted(self._waiting, key=lambda sequence: (sequence - start) % _SEQUENCES)
        return [self._waiting.pop(sequence) for sequence in ordered]

    def _came_late(self, sequence: int, now_s: float) -> None:
        blocked_s = self._given_up.pop(sequence, None)
        if blocked_s is None:
            self.duplicates += 1
            return
        self.late += 1
        self.lost -= 1
        self._calm = 0
        self._wait_s = min(self._max_wait_s, max(self._wait_s, now_s - blocked_s + _MARGIN_S))

    def _calm_down(self) -> None:
        self._calm += 1
        if self._calm >= _CALM:
            self._calm = 0
            self._wait_s = max(self._min_wait_s, self._wait_s / 2)
