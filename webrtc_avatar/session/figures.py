"""What a session tells about itself: counts and times of its last second and of its whole life."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import numpy as np

_WINDOW_TICKS = 50


class Figures:
    """Counts of one session, written by its clock only."""

    def __init__(self) -> None:
        self.started_s = time.monotonic()
        self.ticks = 0
        self.rendered = 0
        self.idle = 0
        self.held = 0
        self.failed = 0
        self._left_s: deque[float] = deque(maxlen=_WINDOW_TICKS)
        self._late_s: deque[float] = deque(maxlen=_WINDOW_TICKS)
        self._delay_s: deque[float] = deque(maxlen=_WINDOW_TICKS)

    def record(self, *, left_s: float, due_s: float, arrived_s: float) -> None:
        """Note a tick that left: when, when it was due, and when its own chunk had arrived."""
        self.ticks += 1
        self._left_s.append(left_s)
        self._late_s.append(max(0.0, left_s - due_s))
        self._delay_s.append(left_s - arrived_s)

    def snapshot(self) -> dict[str, Any]:
        """Return the figures by name; times in milliseconds.

        `delay_ms` counts from the arrival of a chunk to the departure of its picture, look-ahead included;
        `lateness_ms` is the 95th percentile of departures behind their due time over the last two seconds.
        """
        span_s = self._left_s[-1] - self._left_s[0] if len(self._left_s) > 1 else 0.0
        return {
            "uptime_s": round(time.monotonic() - self.started_s, 1),
            "fps": round((len(self._left_s) - 1) / span_s, 2) if span_s > 0 else 0.0,
            "delay_ms": round(1000 * float(np.median(self._delay_s)), 1) if self._delay_s else 0.0,
            "lateness_ms": round(1000 * float(np.percentile(self._late_s, 95)), 1) if self._late_s else 0.0,
            "ticks": self.ticks,
            "rendered_frames": self.rendered,
            "idle_frames": self.idle,
            "held_frames": self.held,
            "failed_frames": self.failed,
        }
