"""Who watches a session, and who is told what happens in it."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from webrtc_avatar.session.subscription import Subscription, Tick

log = logging.getLogger(__name__)

Event = dict[str, Any]


class Audience:
    """Subscriptions to ticks, and listeners to events. Lives on the event loop."""

    def __init__(self, session_id: str) -> None:
        self._session_id = session_id
        self._subscriptions: set[Subscription] = set()
        self._listeners: dict[Callable[[Event], None], None] = {}
        self._untold: deque[Event] = deque()
        self._telling = False

    def __bool__(self) -> bool:
        """Whether anybody watches."""
        return bool(self._subscriptions)

    @property
    def wants_blendshapes(self) -> bool:
        """Whether anybody who watches wants them."""
        return any(subscription.blendshapes for subscription in self._subscriptions)

    def subscribe(self, *, blendshapes: bool) -> Subscription:
        """Return a new iterator of ticks."""
        subscription = Subscription(self._subscriptions.discard, blendshapes=blendshapes)
        self._subscriptions.add(subscription)
        return subscription

    def listen(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        """Call `callback` with each event; returns how to stop it."""
        self._listeners[callback] = None
        return lambda: self._listeners.pop(callback, None)

    def show(self, tick: Tick) -> None:
        """Hand a tick to all who watch."""
        for subscription in list(self._subscriptions):
            subscription.put(tick)

    def tell(self, events: Iterable[Event]) -> None:
        """Tell all who listen, in the order in which they came; what a listener tells comes after what it was told."""
        self._untold.extend(events)
        if self._telling:
            return
        self._telling = True
        while self._untold:
            event = self._untold.popleft()
            for listener in list(self._listeners):
                try:
                    listener(event)
                except Exception:  # a listener's fault is not the session's end
                    log.exception("a listener failed session=%s event=%s", self._session_id, event.get("type"))
        self._telling = False

    def close(self) -> None:
        """Send everybody home."""
        for subscription in list(self._subscriptions):
            subscription.close()
        self._listeners.clear()
