"""All chunked sessions of a server: within their limits, ended when nobody cares for them, their files with them."""

from __future__ import annotations

import asyncio
import logging
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

from webrtc_avatar.audio.chunk import SAMPLE_RATE_HZ
from webrtc_avatar.avatar.package import Avatar
from webrtc_avatar.chunked.faces import FaceOfImage, Faces
from webrtc_avatar.chunked.folder import own_folder
from webrtc_avatar.chunked.options import ChunkedOptions
from webrtc_avatar.chunked.session import ChunkedSession, Status
from webrtc_avatar.engine import AnyEngine
from webrtc_avatar.errors import ServerDraining, ServerFull, SessionFinished, UnknownSession
from webrtc_avatar.metrics import Metrics
from webrtc_avatar.settings import Settings

log = logging.getLogger(__name__)

_FACES = ".faces"
_LOOK_S = 30.0


class ChunkedSessions:
    """Opens, finds and ends sessions. Lives on the event loop; make it there.

    Args:
        settings: limits, and where files go.
        ear: returns the drawn avatar that lends its ear to uploaded faces; called on another thread.
        engine: a started engine.
        metrics: where encoders count their time.
    """

    def __init__(
        self, *, settings: Settings, ear: Callable[[], Avatar], engine: AnyEngine, metrics: Metrics | None = None
    ) -> None:
        self._settings, self._engine, self._metrics = settings, engine, metrics
        self._sessions: dict[str, ChunkedSession] = {}
        self._face_of: dict[str, FaceOfImage] = {}
        self._reserved: set[str] = set()
        self._draining = False
        self._pool = ThreadPoolExecutor(settings.media_threads, thread_name_prefix="chunked")
        self._folder, self._lock = own_folder(settings.hls_folder)
        faces = self._folder / _FACES
        faces.mkdir()
        self._faces = Faces(faces, ear, most_pixels=settings.chunked_max_image_pixels, on_gone=engine.unload)
        self._looking = asyncio.create_task(self._look(), name="chunked-idle")
        if metrics is not None:
            metrics.chunked_waiting.set_function(lambda: sum(one.buffer_samples for one in self) / SAMPLE_RATE_HZ)
            for status in Status:
                metrics.chunked_sessions.labels(status.value).set_function(partial(self._count, status))

    def __len__(self) -> int:
        """Return how many there are, finished ones included."""
        return len(self._sessions)

    def __iter__(self) -> Iterator[ChunkedSession]:
        """Iterate over them, oldest first."""
        return iter(list(self._sessions.values()))

    @property
    def engine(self) -> AnyEngine:
        """What makes faces of sound."""
        return self._engine

    @property
    def faces(self) -> Faces:
        """What makes faces of pictures; their packages lie in the sessions' own folder, and go with it."""
        return self._faces

    async def open(self, image: bytes, options: ChunkedOptions) -> tuple[ChunkedSession, tuple[str, ...]]:
        """Open a session for an uploaded picture; return it, and what its owner should know of the face.

        Raises:
            ServerFull: as many as the settings allow are there.
            SessionFinished: the name is taken.
            InvalidRequest, NoFaceFound, BodyTooLarge, PortraitUnavailable: see `face_of_image`.
        """
        if self._draining:
            raise ServerDraining("the server is shutting down and takes no new sessions; try again in a moment")
        if len(self._sessions) + len(self._reserved) >= self._settings.chunked_max_sessions:
            raise ServerFull(
                f"all {self._settings.chunked_max_sessions} chunked sessions are taken; end one with DELETE, "
                "or raise chunked_max_sessions on the server"
            )
        name = options.session_id or secrets.token_hex(16)
        if name in self._sessions or name in self._reserved:
            raise SessionFinished(f"there is a session {name!r} already; end it with DELETE or choose another name")
        self._reserved.add(name)
        try:
            face = await asyncio.get_running_loop().run_in_executor(
                self._pool, self._faces.take, image, options.crop, options.strength, options.nfe
            )
            self._face_of[name] = face
            folder = self._folder / name
            folder.mkdir(mode=0o700)
            session = ChunkedSession(
                name, face.avatar, options,
                folder=folder, engine=self._engine, settings=self._settings, pool=self._pool, metrics=self._metrics,
            )  # fmt: skip
        except BaseException:
            if (left := self._face_of.pop(name, None)) is not None:
                self._faces.give_back(left)
            raise
        finally:
            self._reserved.discard(name)
        self._sessions[name] = session
        session.start()
        return session, face.warnings

    def get(self, session_id: str) -> ChunkedSession:
        """Return a session.

        Raises:
            UnknownSession: there is none with that id.
        """
        session = self._sessions.get(session_id)
        if session is None:
            raise UnknownSession(f"no chunked session {session_id[:64]!r}; it may have ended: begin with init")
        return session

    async def close(self, session_id: str) -> None:
        """End a session and delete its files.

        Raises:
            UnknownSession: there is none with that id.
        """
        session = self.get(session_id)
        del self._sessions[session_id]
        self._reserved.add(session_id)  # the name is free once the folder is
        try:
            await session.aclose()
            await asyncio.to_thread(shutil.rmtree, session.folder, ignore_errors=True)
            await asyncio.to_thread(self._faces.give_back, self._face_of.pop(session_id))
        finally:
            self._reserved.discard(session_id)

    async def aclose(self) -> None:
        """End all, and leave nothing on disk; calling it twice is fine."""
        self._draining = True
        self._looking.cancel()
        await asyncio.gather(self._looking, return_exceptions=True)
        await asyncio.gather(*(self.close(name) for name in list(self._sessions)), return_exceptions=True)
        self._pool.shutdown()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._lock.close()

    async def end_idle(self, now_s: float) -> None:
        """End those that were neither fed nor watched for `chunked_idle_timeout_s`."""
        for session in self:
            if now_s - session.active_s > self._settings.chunked_idle_timeout_s:
                log.info("chunked session ended: nobody fed or watched it", extra={"session": session.id})
                with suppress(UnknownSession):
                    await self.close(session.id)

    def _count(self, status: Status) -> float:
        return sum(one.status is status for one in self)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(min(_LOOK_S, self._settings.chunked_idle_timeout_s / 2))
            await self.end_idle(time.monotonic())
