"""A session with everybody who is connected to it: one microphone at most, any number of viewers.

Ends when the microphone's peer is gone, or, without a microphone, when nobody has watched for a while; then its viewers
are sent home too.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any

from webrtc_avatar.avatar.style import Style
from webrtc_avatar.errors import ServerFull, SessionClosed, UnknownSession
from webrtc_avatar.log import session_context
from webrtc_avatar.media.broadcast import Broadcast
from webrtc_avatar.metrics import Metrics
from webrtc_avatar.server.barge_in import BargeIn, silero
from webrtc_avatar.server.connection import Connection
from webrtc_avatar.server.memory import Tidy
from webrtc_avatar.server.negotiation import Offer
from webrtc_avatar.server.speaking import Speaking
from webrtc_avatar.session import Session, SessionManager, State
from webrtc_avatar.settings import Settings
from webrtc_avatar.speech.service import SpeechService

log = logging.getLogger(__name__)


class LiveSession:
    """One session, its broadcast and its peers. Lives on the event loop."""

    def __init__(
        self,
        session: Session,
        speaking: Speaking,
        broadcast: Broadcast,
        settings: Settings,
        metrics: Metrics,
        on_end: Callable[[str], None],
    ) -> None:
        """Take a new session; `on_end` is called once with the reason when it should end."""
        self.session = session
        self.speaking = speaking
        self._barge_in = (
            BargeIn(session, speaking, after_s=settings.barge_in_after_s, detector=silero)
            if settings.barge_in
            else None
        )
        self._broadcast = broadcast
        self._settings = settings
        self._metrics = metrics
        self._on_end = on_end
        self._owner: Connection | None = None
        self._viewers: dict[str, Connection] = {}
        self._unwatched: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing: asyncio.Task[None] | None = None

    @property
    def viewers(self) -> int:
        """How many watch without a microphone."""
        return len(self._viewers)

    @property
    def has_microphone(self) -> bool:
        """Whether a peer with a microphone owns the session."""
        return self._owner is not None

    async def take_microphone(self, offer: Offer) -> str:
        """Connect the peer that drives the session; return the answer's SDP.

        Raises:
            InvalidRequest, UnsupportedMedia: see `Connection.answer`; the session is of no use then.
        """
        self._owner = self._connection(microphone=True, on_gone=self._end)
        return await self._owner.answer(offer)

    async def add_viewer(self, offer: Offer) -> tuple[str, str]:
        """Connect a viewer; return its id and the answer's SDP.

        Raises:
            ServerFull: as many viewers as the settings allow are watching.
            SessionClosed: the session is ending.
            InvalidRequest, UnsupportedMedia: see `Connection.answer`.
        """
        self._check_open()
        if len(self._viewers) >= self._settings.max_viewers:
            raise ServerFull(
                f"all {self._settings.max_viewers} places of viewers are taken; try again in a few seconds, "
                "or raise max_viewers on the server"
            )
        viewer_id = secrets.token_urlsafe(12)

        def gone(reason: str) -> None:
            self._start(self._drop_viewer(viewer_id, reason))

        connection = self._connection(microphone=False, on_gone=gone)
        self._viewers[viewer_id] = connection
        self._metrics.viewers.inc()
        self.watch_for_viewers()
        try:
            answer = await connection.answer(offer)
            self._check_open()
        except BaseException:
            await self._drop_viewer(viewer_id, "the offer could not be answered")
            raise
        return viewer_id, answer

    async def remove_viewer(self, viewer_id: str) -> None:
        """End a viewer.

        Raises:
            UnknownSession: there is none with that id.
        """
        if viewer_id not in self._viewers:
            raise UnknownSession("this session has no such viewer; it may have left already")
        await self._drop_viewer(viewer_id, "the viewer asked to leave")

    def watch_for_viewers(self) -> None:
        """Without a microphone, end the session once nobody has watched for `unwatched_timeout_s`."""
        if self._unwatched is not None:
            self._unwatched.cancel()
            self._unwatched = None
        if self._owner is None and not self._viewers and self._closing is None:
            timeout_s = self._settings.unwatched_timeout_s
            self._unwatched = asyncio.get_running_loop().call_later(
                timeout_s, self._end, f"nobody watched for {timeout_s:g} s"
            )

    async def aclose(self) -> None:
        """Close all peers and the broadcast, once; further calls wait for the first."""
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close(), name="close-live")
        await asyncio.shield(self._closing)

    def _connection(self, *, microphone: bool, on_gone: Callable[[str], None]) -> Connection:
        return Connection(
            self.session,
            self.speaking,
            self._broadcast,
            self._settings,
            self._metrics,
            microphone=microphone,
            on_connected=self.session.start,
            on_gone=on_gone,
        )

    def _check_open(self) -> None:
        if self._closing is not None or self.session.state is State.CLOSED:
            raise SessionClosed(f"session {self.session.id} has ended; open a new one with POST /offer")

    def _end(self, reason: str) -> None:
        if self._closing is None:
            self._on_end(reason)

    async def _drop_viewer(self, viewer_id: str, reason: str) -> None:
        connection = self._viewers.pop(viewer_id, None)
        if connection is None:
            return
        self._metrics.viewers.dec()
        log.info("viewer left: %s", reason, extra={"session": self.session.id, "viewers": len(self._viewers)})
        self.watch_for_viewers()
        await connection.aclose()

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine, name="drop-viewer")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _close(self) -> None:
        self.watch_for_viewers()
        connections = list(self._viewers.values()) + ([self._owner] if self._owner else [])
        self._metrics.viewers.dec(len(self._viewers))
        self._viewers.clear()
        await asyncio.gather(*(connection.aclose() for connection in connections), return_exceptions=True)
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._barge_in is not None:
            await self._barge_in.aclose()
        await self.speaking.aclose()
        await self._broadcast.aclose()


class LiveSessions:
    """All live sessions of one server, by session id: opens them, finds them, ends them."""

    def __init__(
        self, manager: SessionManager, speech: SpeechService, settings: Settings, metrics: Metrics, pool: Executor
    ) -> None:
        """Take the manager that admits sessions, the voices, and the threads on which pictures are encoded."""
        self._speech = speech
        self._manager = manager
        self._settings = settings
        self._metrics = metrics
        self._pool = pool
        self._live: dict[str, LiveSession] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._tidy = Tidy()

    @property
    def draining(self) -> bool:
        """Whether nobody is taken in any more."""
        return self._manager.draining

    @property
    def has_engine(self) -> bool:
        """Whether anything renders."""
        return self._manager.has_engine

    def __iter__(self) -> Iterator[LiveSession]:
        """Iterate over those that are open, oldest first."""
        return iter(list(self._live.values()))

    def __len__(self) -> int:
        """Return the number of those that are open."""
        return len(self._live)

    async def open_for_microphone(
        self, avatar: str | None, offer: Offer, style: Style | None = None
    ) -> tuple[LiveSession, str]:
        """Open a session that a peer's microphone drives; return it and the answer's SDP.

        Raises:
            ServerFull, UnknownAvatar, InvalidAvatar: see `SessionManager.create`.
            InvalidRequest, UnsupportedMedia: see `Connection.answer`.
        """
        session = await self._manager.create(avatar, style)
        with session_context(session.id):
            live = self._add(session)
            try:
                return live, await live.take_microphone(offer)
            except BaseException:
                await self.close(session.id, "the offer could not be answered")
                raise

    async def open_for_viewers(self, avatar: str | None, style: Style | None = None) -> LiveSession:
        """Open a session without a microphone; it ends when nobody watches it.

        Raises:
            ServerFull, UnknownAvatar, InvalidAvatar: see `SessionManager.create`.
        """
        session = await self._manager.create(avatar, style)
        with session_context(session.id):
            live = self._add(session)
            live.watch_for_viewers()
        return live

    def get(self, session_id: str) -> LiveSession:
        """Return an open session.

        Raises:
            UnknownSession: there is none with that id, or it is ending.
        """
        live = self._live.get(session_id)
        if live is None or live.session.state is State.CLOSED:
            raise UnknownSession(f"no session {session_id[:64]!r}; it may have ended: open one with POST /offer")
        return live

    async def close(self, session_id: str, reason: str) -> None:
        """End a session and send its peers home; simultaneous calls wait for the same end.

        Raises:
            UnknownSession: there is none with that id.
        """
        if session_id not in self._tasks:
            self.get(session_id)
        await asyncio.shield(self._close_soon(session_id, reason))

    async def drain(self) -> None:
        """Take nobody in any more, let those inside finish for `drain_timeout_s`, then end the rest."""
        log.info("draining", extra={"sessions": len(self), "timeout_s": self._settings.drain_timeout_s})
        self._manager.stop_admission()
        await self._manager.drain(self._settings.drain_timeout_s)
        await self.aclose("server shutting down")

    async def aclose(self, reason: str) -> None:
        """End everything at once."""
        self._manager.stop_admission()
        for session_id in list(self._live):
            self._close_soon(session_id, reason)
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await self._tidy.aclose()

    def _add(self, session: Session) -> LiveSession:
        broadcast = Broadcast(session, settings=self._settings, metrics=self._metrics, executor=self._pool)
        live = LiveSession(
            session,
            Speaking(session, self._speech),
            broadcast,
            self._settings,
            self._metrics,
            lambda reason: self._end(session.id, reason),
        )
        self._live[session.id] = live
        session.listen(lambda event: self._on_event(session.id, event))
        return live

    def _on_event(self, session_id: str, event: dict[str, Any]) -> None:
        if event.get("type") == "state" and event.get("state") == State.CLOSED.value:
            self._end(session_id, str(event.get("reason", "the session ended")))

    def _end(self, session_id: str, reason: str) -> None:
        if session_id in self._live:
            self._close_soon(session_id, reason)

    def _close_soon(self, session_id: str, reason: str) -> asyncio.Task[None]:
        task = self._tasks.get(session_id)
        if task is None:
            with session_context(session_id):
                task = asyncio.get_running_loop().create_task(self._close(session_id, reason), name="end-session")
            self._tasks[session_id] = task
            task.add_done_callback(lambda _: self._tasks.pop(session_id, None))
        return task

    async def _close(self, session_id: str, reason: str) -> None:
        live = self._live[session_id]
        try:
            with suppress(UnknownSession):  # closed by the manager itself
                await self._manager.close(session_id, reason)
            await live.session.aclose(reason)
            await live.aclose()
        except Exception:
            log.exception("ending the session failed")
        finally:
            self._live.pop(session_id, None)
            self._tidy.soon()
