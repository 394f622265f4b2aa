"""Who is in: creates sessions within the limits, finds them by id, ends them, drains on shutdown."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import random
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from webrtc_avatar.avatar.casting import AnyActor, make_actor
from webrtc_avatar.avatar.library import Library
from webrtc_avatar.avatar.package import AnyAvatar
from webrtc_avatar.avatar.style import Style
from webrtc_avatar.engine import AnyEngine
from webrtc_avatar.errors import ServerDraining, ServerFull, UnknownSession
from webrtc_avatar.metrics import Metrics
from webrtc_avatar.session.session import Session
from webrtc_avatar.settings import Settings

log = logging.getLogger(__name__)

_SESSIONS_A_CORE, _MOST_SESSIONS = 2, 12
"""What `max_sessions` is where nobody set it: on two cores four keep 25 frames a second, six 23.9 to 24.7, eight 21; and past
a dozen one Python process is busy however many cores there are."""


class SessionManager:
    """All sessions of one server. Lives on the event loop.

    Attributes:
        capacity: how many may be open at once.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        library: Library,
        engine: AnyEngine,
        pool: ThreadPoolExecutor,
        metrics: Metrics,
        unlisted: Callable[[str], AnyAvatar | None] = lambda name: None,
    ) -> None:
        """Take what sessions need; `unlisted` finds avatars that are not in the library."""
        self._settings = settings
        self._library = library
        self._unlisted = unlisted
        self._engine = engine
        self._pool = pool
        self._metrics = metrics
        self._sessions: dict[str, Session] = {}
        self._reserved = 0
        self._draining = False
        self.capacity = settings.max_sessions or min(_MOST_SESSIONS, _SESSIONS_A_CORE * (os.cpu_count() or 1))
        self._emptied = asyncio.Event()

    @property
    def draining(self) -> bool:
        """Whether the server takes nobody in any more."""
        return self._draining

    @property
    def has_engine(self) -> bool:
        """Whether anything renders: false while all engines are elsewhere and none is well."""
        return bool(self._engine.status().workers)

    def sessions(self) -> list[Session]:
        """Return the sessions that are open, oldest first."""
        return list(self._sessions.values())

    async def create(self, avatar_name: str | None = None, style: Style | None = None) -> Session:
        """Open a session in the state `connecting`.

        Args:
            avatar_name: who performs; None: the settings' avatar.
            style: how the face is held; None: as the settings say.

        Raises:
            ServerDraining: the server is going down.
            ServerFull: as many sessions as the settings allow are open.
            UnknownAvatar: no avatar of that name.
            InvalidAvatar: the package or its networks are broken.
        """
        if self._draining:
            raise ServerDraining("the server is shutting down and takes no new sessions; try again in a moment")
        if len(self._sessions) + self._reserved >= self.capacity:
            raise ServerFull(
                f"all {self.capacity} sessions are taken; try again in a few seconds, "
                "or raise max_sessions on the server"
            )
        self._reserved += 1
        try:
            avatar, actor = await self._cast(avatar_name or self._settings.avatar, style or self._settings.style)
        finally:
            self._reserved -= 1
        session = Session(
            session_id=secrets.token_urlsafe(12),
            avatar=avatar,
            actor=actor,
            load=self._cast,
            engine=self._engine,
            pool=self._pool,
            settings=self._settings,
            metrics=self._metrics,
        )
        self._sessions[session.id] = session
        self._emptied.clear()
        log.info("session opened session=%s avatar=%s open=%d", session.id, avatar.name, len(self._sessions))
        return session

    async def load(self, name: str) -> AnyAvatar:
        """Return an avatar whose model is ready to render; see `create` for what it raises."""
        avatar = self._unlisted(name)
        if avatar is None:
            avatar = await asyncio.get_running_loop().run_in_executor(self._pool, self._library.get, name)
        await asyncio.wrap_future(self._engine.load(avatar))
        return avatar

    async def _cast(self, name: str, style: Style) -> tuple[AnyAvatar, AnyActor]:
        """Return a loaded avatar and a new actor for it, made off the event loop: that takes some milliseconds."""
        avatar = await self.load(name)
        seed = self._settings.idle_seed if self._settings.idle_seed is not None else random.getrandbits(31)
        watermark, frame_px = self._settings.watermarks.of(avatar), self._settings.frame_px
        make = functools.partial(make_actor, avatar, seed=seed, style=style, frame_px=frame_px, watermark=watermark)
        return avatar, await asyncio.get_running_loop().run_in_executor(self._pool, make)

    def get(self, session_id: str) -> Session:
        """Return an open session.

        Raises:
            UnknownSession: there is none with that id.
        """
        session = self._sessions.get(session_id)
        if session is None:
            raise UnknownSession(f"no session {session_id[:64]!r}; it may have ended: open one with POST /offer")
        return session

    async def close(self, session_id: str, reason: str) -> None:
        """End a session.

        Raises:
            UnknownSession: there is none with that id.
        """
        session = self.get(session_id)
        await session.aclose(reason)
        if self._sessions.pop(session_id, None) is not None and not self._sessions:
            self._emptied.set()

    def stop_admission(self) -> None:
        """Take nobody in any more; those inside go on."""
        self._draining = True

    async def drain(self, timeout_s: float) -> None:
        """Take nobody in any more, wait for those inside to leave, then end the rest."""
        self.stop_admission()
        if self._sessions:
            try:
                await asyncio.wait_for(self._emptied.wait(), timeout_s)
            except TimeoutError:
                log.info("drain timed out open=%d", len(self._sessions))
        await self.aclose("server shutting down")

    async def aclose(self, reason: str) -> None:
        """End all sessions at once."""
        await asyncio.gather(*(self.close(session_id, reason) for session_id in list(self._sessions)))
