"""Players that ask for a playlist again at once, and need to be told something new.

A player may ask again after half a target duration at the earliest (RFC 8216, 6.3.4). Chromium's own asks as soon as it has fetched
all that it knows of, and gives up where the answer then names no new segment.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

from webrtc_avatar.chunked.session import ChunkedSession

_MOST_CLIENTS = 64


class Reloads:
    """Who was told of how many segments of which session, and when.

    Args:
        soonest_s: whoever asks again within this comes too soon.
    """

    def __init__(self, soonest_s: float) -> None:
        self._soonest_s = soonest_s
        self._told: WeakKeyDictionary[ChunkedSession, dict[str, tuple[int, float]]] = WeakKeyDictionary()

    def note(self, session: ChunkedSession, client: str, now_s: float) -> None:
        """Note that a client is told what there is."""
        told = self._told.setdefault(session, {})
        told.pop(client, None)
        told[client] = session.segments, now_s
        if len(told) > _MOST_CLIENTS:
            del told[next(iter(told))]

    def comes_too_soon(self, session: ChunkedSession, client: str, now_s: float) -> bool:
        """Tell whether a client would be told the same again, and has not waited for as long as it must."""
        segments, then_s = self._told.get(session, {}).get(client, (-1, 0.0))
        return segments == session.segments and now_s - then_s < self._soonest_s
