"""Signals that end a process, as events."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Coroutine

log = logging.getLogger(__name__)

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stops:
    """Signals as events: the first asks to drain, the second to hurry, the third gives up on order."""

    def __init__(self) -> None:
        self.first = asyncio.Event()
        self.second = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            try:
                loop.add_signal_handler(number, self._on_signal, number)
            except NotImplementedError:  # Windows: only between two turns of the loop
                signal.signal(number, lambda n, _: loop.call_soon_threadsafe(self._on_signal, n))

    def _on_signal(self, number: int) -> None:
        if not self.first.is_set():
            log.info("%s: draining; the same again ends at once", signal.Signals(number).name)
            self.first.set()
        elif not self.second.is_set():
            self.second.set()
        else:
            os._exit(1)

    async def drain(self, drain: Coroutine[None, None, None]) -> None:
        """Wait for `drain`, or until a second signal cuts it off."""
        draining = asyncio.create_task(drain, name="drain")
        hurry = asyncio.create_task(self.second.wait(), name="hurry")
        await asyncio.wait({draining, hurry}, return_when=asyncio.FIRST_COMPLETED)
        draining.cancel()
        hurry.cancel()
        await asyncio.gather(draining, hurry, return_exceptions=True)
