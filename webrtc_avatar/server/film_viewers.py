"""Viewers of chunked sessions over WebRTC: each session's are connected to its film, and go home when it ends."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Coroutine
from typing import Any
from weakref import WeakKeyDictionary

from aiohttp import web

from webrtc_avatar.chunked.session import ChunkedSession
from webrtc_avatar.errors import ServerFull, UnknownSession
from webrtc_avatar.log import session_context
from webrtc_avatar.metrics import Metrics
from webrtc_avatar.server.connection import Connection
from webrtc_avatar.server.negotiation import Offer
from webrtc_avatar.settings import Settings

log = logging.getLogger(__name__)


class FilmViewers:
    """All of a server. Lives on the event loop.

    Args:
        settings: ICE servers, timeouts, and how many may watch one session.
        metrics: where they are counted.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings, self._metrics = settings, metrics
        self._of: WeakKeyDictionary[ChunkedSession, dict[str, Connection]] = WeakKeyDictionary()
        self._tasks: set[asyncio.Task[None]] = set()

    async def add(self, session: ChunkedSession, offer: Offer) -> tuple[str, str]:
        """Connect a viewer; return its id and the answer's SDP.

        Raises:
            ServerFull: as many as the settings allow are watching this session.
            SessionClosed: its film is over.
            InvalidRequest, UnsupportedMedia: see `Connection.answer`.
        """
        viewers = self._of.setdefault(session, {})
        if len(viewers) >= self._settings.max_viewers:
            raise ServerFull(
                f"all {self._settings.max_viewers} places of viewers are taken; try again in a few seconds, "
                "or raise max_viewers on the server"
            )
        broadcast = session.watching.open_webrtc()
        session.touch()
        session.watching.on_end = lambda: self._start(self._end_all(session))
        viewer_id = secrets.token_urlsafe(12)
        connection = Connection(
            None,
            None,
            broadcast,
            self._settings,
            self._metrics,
            microphone=False,
            on_connected=session.touch,
            on_gone=lambda reason: self._start(self._drop(session, viewer_id, reason)),
        )
        viewers[viewer_id] = connection
        self._metrics.viewers.inc()
        try:
            with session_context(session.id):
                return viewer_id, await connection.answer(offer)
        except BaseException:
            await self._drop(session, viewer_id, "the offer could not be answered")
            raise

    async def remove(self, session: ChunkedSession, viewer_id: str) -> None:
        """End a viewer.

        Raises:
            UnknownSession: there is none with that id.
        """
        if viewer_id not in self._of.get(session, {}):
            raise UnknownSession("this session has no such viewer; it may have left already")
        await self._drop(session, viewer_id, "the viewer asked to leave")

    async def aclose(self) -> None:
        """Send everybody home; calling it twice is fine."""
        await asyncio.gather(*(self._end_all(session) for session in list(self._of)))
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _end_all(self, session: ChunkedSession) -> None:
        for viewer_id in list(self._of.get(session, {})):
            await self._drop(session, viewer_id, "the film is over")

    async def _drop(self, session: ChunkedSession, viewer_id: str, reason: str) -> None:
        connection = self._of.get(session, {}).pop(viewer_id, None)
        if connection is None:
            return
        self._metrics.viewers.dec()
        session.touch()
        log.info("viewer left: %s", reason, extra={"session": session.id})
        await connection.aclose()

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine, name="film-viewer-leaves")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


FILM_VIEWERS = web.AppKey("film_viewers", FilmViewers)
