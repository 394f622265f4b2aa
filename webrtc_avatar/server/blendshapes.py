"""The face as ARKit's blendshapes over one peer's data channel, from when it asks until it says stop.

First `{"type": "blendshape_names", "names": [52 texts]}`, then with each tick `{"type": "blendshapes", "index", "time", "values",
"head"}`. A channel that does not carry them in time misses some rather than getting old ones: each message stands alone.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from aiortc import RTCDataChannel

from webrtc_avatar.avatar.arkit import ARKIT_NAMES
from webrtc_avatar.errors import NoBlendshapes
from webrtc_avatar.metrics import Metrics
from webrtc_avatar.session import Blendshapes, Session, Subscription

MAX_BUFFERED_BYTES = 4096
"""About half a second of messages; what waits behind more than that is of no use any more."""


class BlendshapeFeed:
    """One peer's blendshapes. Costs nothing until `start`."""

    def __init__(self, channel: RTCDataChannel, session: Session, metrics: Metrics) -> None:
        self._channel = channel
        self._session = session
        self._metrics = metrics
        self._subscription: Subscription | None = None
        self._forget: Callable[[], None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Send the names, and from the next tick on the values; once begun, only the names again.

        Raises:
            NoBlendshapes: the avatar's model yields none.
            SessionClosed: the session has ended.
        """
        if self._subscription is None:
            self._subscription = self._session.subscribe(blendshapes=True)
            self._forget = self._session.listen(self._on_event)
            task = asyncio.get_running_loop().create_task(self._run(self._subscription), name="blendshapes")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._send({"type": "blendshape_names", "names": ARKIT_NAMES})

    def stop(self) -> None:
        """Send no more values. Twice is fine."""
        if self._forget is not None:
            self._forget()
            self._forget = None
        if self._subscription is not None:
            self._subscription.close()
            self._subscription = None

    async def aclose(self) -> None:
        """Stop, and wait until nothing runs any more."""
        self.stop()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, ticks: Subscription) -> None:
        async for tick in ticks:
            if tick.blendshapes is None or self._channel.readyState != "open":
                continue
            if self._channel.bufferedAmount > MAX_BUFFERED_BYTES:
                self._metrics.blendshapes.labels("skipped").inc()
                continue
            self._send(_message(tick.blendshapes))
            self._metrics.blendshapes.labels("sent").inc()

    def _on_event(self, event: dict[str, Any]) -> None:
        """Say so where a new avatar yields none; they go on by themselves with the next one that does."""
        if event["type"] == "avatar" and not self._session.yields_blendshapes:
            error = NoBlendshapes(self._session.avatar_name)
            self._send({"type": "error", "code": error.code, "message": error.message})

    def _send(self, message: dict[str, Any]) -> None:
        if self._channel.readyState == "open":
            self._channel.send(json.dumps(message, separators=(",", ":")))


def _message(face: Blendshapes) -> dict[str, Any]:
    return {
        "type": "blendshapes",
        "index": face.index,
        "time": face.time_s,
        "values": [round(value, 3) for value in face.values.tolist()],
        "head": [round(angle, 3) for angle in face.head_deg.tolist()],
    }
