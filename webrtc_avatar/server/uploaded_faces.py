"""Faces that visitors upload for their own live sessions: found by who knows their name, never listed, gone with their session.

A face has two names. The one that its owner is told opens everything: sessions, its poster, its package, its end. The other
is its avatar's own, which sessions' figures, events and logs show, and which opens nothing.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib.util import find_spec

from aiohttp import web

from webrtc_avatar.avatar.package import Avatar
from webrtc_avatar.chunked.faces import FaceOfImage, Faces
from webrtc_avatar.errors import AvatarServerError, Forbidden, ServerDraining, ServerFull, UnknownAvatar
from webrtc_avatar.metrics import Metrics
from webrtc_avatar.session import Session
from webrtc_avatar.settings import Settings

log = logging.getLogger(__name__)

_LOOK_S = 2.0
_MOST_WAITING = 4
"""Photos that wait for the one thread that makes faces of them; each takes about a second."""


@dataclass(slots=True, eq=False)
class UploadedFace:
    """A face that somebody uploaded.

    Attributes:
        name: unguessable; whoever knows it may use the face.
        avatar: an object of its own, so that a session that shows it can be told from one that shows the same picture.
        made: what it was made from, for `Faces.give_back`.
        used: a session showed it, or was about to.
        touched_s: when it was made or last used, on the monotonic clock.
    """

    name: str
    avatar: Avatar
    made: FaceOfImage
    used: bool = False
    touched_s: float = field(default_factory=time.monotonic)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What its owner should know of it."""
        return self.made.warnings


class UploadedFaces:
    """Takes, finds and removes faces. Lives on the event loop; make it there.

    Args:
        source: makes faces of pictures.
        settings: limits and lifetimes.
        metrics: where faces are counted.
        sessions: returns the sessions that are open.
    """

    def __init__(
        self, source: Faces, settings: Settings, metrics: Metrics, sessions: Callable[[], Sequence[Session]]
    ) -> None:
        self._source, self._settings, self._sessions = source, settings, sessions
        self._faces: dict[str, UploadedFace] = {}
        self._making = 0
        self._draining = False
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="faces")
        metrics.uploaded_faces.set_function(lambda: len(self._faces))
        self._looking = asyncio.create_task(self._look(), name="faces-unused")

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._faces)

    @property
    def offered(self) -> bool:
        """Whether visitors may upload faces, and what makes them is installed."""
        return self._settings.max_faces > 0 and find_spec("ai_edge_litert") is not None

    async def add(self, image: bytes, crop: bool) -> UploadedFace:
        """Make a face of a picture.

        Args:
            image: a JPEG, PNG or WebP.
            crop: see `face_of_image`.

        Raises:
            Forbidden: the settings allow none.
            ServerFull: there are as many as the settings allow, or too many are being made.
            InvalidRequest, BodyTooLarge, NoFaceFound, PortraitUnavailable: see `face_of_image`.
        """
        if self._settings.max_faces == 0:
            raise Forbidden("this server takes no photos; choose one of its avatars, or set max_faces on the server")
        if self._draining:
            raise ServerDraining("the server is shutting down and takes no new faces; try again in a moment")
        if len(self._faces) + self._making >= self._settings.max_faces:
            raise ServerFull(
                f"all {self._settings.max_faces} places of uploaded faces are taken; try again in a while, "
                "or raise max_faces on the server",
                retry_after_s=30,
            )
        if self._making >= _MOST_WAITING:
            raise ServerFull("other photos are being worked on; try again in a few seconds")
        self._making += 1
        try:
            made = await asyncio.get_running_loop().run_in_executor(self._pool, self._source.take, image, crop)
        finally:
            self._making -= 1
        face = UploadedFace(f"face-{secrets.token_hex(16)}", replace(made.avatar), made)
        self._faces[face.name] = face
        log.info("face uploaded avatar=%s faces=%d", face.avatar.name, len(self._faces))
        return face

    def get(self, name: str) -> UploadedFace:
        """Return a face.

        Raises:
            UnknownAvatar: there is none of that name, or none any more.
        """
        face = self._faces.get(name)
        if face is None:
            raise UnknownAvatar("there is no uploaded face of that name, or none any more; upload the photo again")
        return face

    def peek(self, name: str) -> UploadedFace | None:
        """Return a face without using it, or None."""
        return self._faces.get(name)

    def find(self, name: str) -> Avatar | None:
        """Return the avatar of a face for a session that is about to show it, or None."""
        face = self._faces.get(name)
        if face is None:
            return None
        face.used, face.touched_s = True, time.monotonic()
        return face.avatar

    def shown(self, face: UploadedFace) -> list[Session]:
        """Return the sessions that show a face now."""
        return [session for session in self._sessions() if session.avatar is face.avatar]

    def expires_s(self, face: UploadedFace) -> float | None:
        """Return in how many seconds a face goes; None while a session shows it."""
        return None if self.shown(face) else max(0.0, face.touched_s + self._patience_s(face) - time.monotonic())

    async def remove(self, name: str) -> None:
        """Remove a face at once; sessions that show it go on with the server's own avatar.

        Raises:
            UnknownAvatar: there is none of that name.
        """
        face = self.get(name)
        del self._faces[name]
        for session in self.shown(face):
            with suppress(AvatarServerError):
                await session.set_avatar(self._settings.avatar)
        await asyncio.get_running_loop().run_in_executor(self._pool, self._source.give_back, face.made)
        log.info("face removed avatar=%s faces=%d", face.avatar.name, len(self._faces))

    async def remove_unused(self, now_s: float) -> None:
        """Remove those that no session has shown for as long as the settings say."""
        for face in list(self._faces.values()):
            if self.shown(face):
                face.used, face.touched_s = True, now_s
            elif now_s - face.touched_s > self._patience_s(face):
                with suppress(UnknownAvatar):
                    await self.remove(face.name)

    async def aclose(self) -> None:
        """Remove all, after the sessions ended; calling it twice is fine."""
        self._draining = True
        self._looking.cancel()
        await asyncio.gather(self._looking, return_exceptions=True)
        await asyncio.gather(*(self.remove(name) for name in list(self._faces)), return_exceptions=True)
        self._pool.shutdown()

    def _patience_s(self, face: UploadedFace) -> float:
        return self._settings.face_grace_s if face.used else self._settings.face_unused_timeout_s

    async def _look(self) -> None:
        period_s = min(_LOOK_S, self._settings.face_grace_s / 2, self._settings.face_unused_timeout_s / 2)
        while True:
            await asyncio.sleep(period_s)
            await self.remove_unused(time.monotonic())


FACES = web.AppKey("faces", UploadedFaces)
