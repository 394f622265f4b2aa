"""Which frames of footage are kept on a device, ready for the network, within a fixed number of places."""

from __future__ import annotations

from collections import OrderedDict


class BaseSlots:
    """Places for frames of footage. Called from one thread at a time.

    Footage is played to and fro, by callers who began at different times. With fewer places than frames, replacing what was used
    least recently lets frames go just before their turn comes again. So the first ones stay, which finds as large a share as there
    are places, until one has not been used for so long that nobody plays it any more.

    Args:
        count: places.
        patience: look-ups after which an unused frame gives up its place.
    """

    def __init__(self, count: int, *, patience: int) -> None:
        self.count = count
        self._patience = patience
        self._clock = 0
        self._slots: OrderedDict[int, tuple[int, int]] = OrderedDict()

    def __len__(self) -> int:
        """Return how many places are taken."""
        return len(self._slots)

    def find(self, base: int) -> int | None:
        """Return the place of a frame, from 0, or None where it has none."""
        self._clock += 1
        found = self._slots.get(base)
        if found is None:
            return None
        self._slots[base] = found[0], self._clock
        self._slots.move_to_end(base)
        return found[0]

    def take(self, base: int) -> int | None:
        """Return a place for a frame that has none, or None where none is free. It counts as used now."""
        if len(self._slots) < self.count:
            slot = len(self._slots)
        else:
            oldest = next(iter(self._slots), None)
            if oldest is None or self._clock - self._slots[oldest][1] <= self._patience:
                return None
            slot, _ = self._slots.pop(oldest)
        self._slots[base] = slot, self._clock
        return slot

    def clear(self) -> None:
        """Empty all places."""
        self._slots.clear()
