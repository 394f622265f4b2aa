"""The HTTP application: makes the rooms, wires them together, and takes them down in the reverse order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import cv2
from aiohttp import web

from webrtc_avatar.avatar.footage_frames import CACHE
from webrtc_avatar.avatar.library import Library
from webrtc_avatar.avatar.package import drawn
from webrtc_avatar.chunked.sessions import ChunkedSessions
from webrtc_avatar.engine.choice import make_engine
from webrtc_avatar.metrics import Metrics
from webrtc_avatar.rpc.lipsync import LipSync
from webrtc_avatar.rpc.packages import Packages
from webrtc_avatar.rpc.serve import RpcServer
from webrtc_avatar.server import (
    chunked,
    faces,
    lipsync_socket,
    memory,
    middleware,
    monitoring,
    openapi,
    origins,
    pages,
    signalling,
    speech_sockets,
    whep,
)
from webrtc_avatar.server import speech as speech_http
from webrtc_avatar.server.barge_in import silero
from webrtc_avatar.server.film_viewers import FILM_VIEWERS, FilmViewers
from webrtc_avatar.server.live import LiveSessions
from webrtc_avatar.server.uploaded_faces import FACES, UploadedFaces
from webrtc_avatar.session import SessionManager
from webrtc_avatar.settings import Settings
from webrtc_avatar.speech.service import SpeechService

log = logging.getLogger(__name__)

LIPSYNC = web.AppKey("lipsync", LipSync)
PACKAGES = web.AppKey("packages", Packages)
RPC: web.AppKey[RpcServer | None] = web.AppKey("rpc")

EAR = "iris"
"""The avatar that lends its ear to uploaded faces."""

_LOOP_THREADS = 4
"""Threads for what asyncio and its libraries hand to the default executor: files, names, posters."""


def create_app(settings: Settings) -> web.Application:
    """Return the application of one server; its start-up loads the default avatar, its clean-up ends all sessions.

    Start-up raises UnknownAvatar, InvalidAvatar or EngineFailure where the settings cannot be followed.
    """
    memory.bound_allocator()
    app = web.Application(
        middlewares=[middleware.errors_as_json, origins.allowed_pages_only, middleware.patient_within_limits],
        client_max_size=settings.max_request_bytes,
    )
    app[signalling.SETTINGS] = settings
    app[middleware.METRICS] = Metrics()
    app.on_response_prepare.append(middleware.add_headers)
    app.on_response_prepare.append(origins.add_headers)
    monitoring.add_routes(app)
    openapi.add_routes(app)
    signalling.add_routes(app)
    whep.add_routes(app)
    lipsync_socket.add_routes(app, lambda: (app[LIPSYNC], app[PACKAGES]))
    chunked.add_routes(app)
    speech_http.add_routes(app)
    speech_sockets.add_routes(app)
    faces.add_routes(app)
    pages.add_routes(app)
    app.cleanup_ctx.append(_rooms)
    return app


async def _rooms(app: web.Application) -> AsyncIterator[None]:
    """Make engine and sessions; take them down again."""
    settings, metrics = app[signalling.SETTINGS], app[middleware.METRICS]
    cv2.setNumThreads(1)
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(_LOOP_THREADS, thread_name_prefix="loop"))
    pool = ThreadPoolExecutor(settings.media_threads, thread_name_prefix="media")
    engine = make_engine(settings, metrics)
    engine.start()
    library = Library(settings.avatar_folders)
    CACHE.budget_bytes = settings.frame_cache_mb * 1_000_000
    sessions = ChunkedSessions(settings=settings, ear=lambda: drawn(library.get(EAR)), engine=engine, metrics=metrics)
    uploaded = UploadedFaces(sessions.faces, settings, metrics, lambda: manager.sessions())  # noqa: PLW0108 - made below
    manager = SessionManager(
        settings=settings, library=library, engine=engine, pool=pool, metrics=metrics, unlisted=uploaded.find
    )
    if settings.barge_in:
        silero()  # what is missing for it stops the server now, not the first session later
    speech = SpeechService(settings, metrics)
    live = LiveSessions(manager, speech, settings, metrics, pool)
    lipsync = LipSync(engine=engine, library=library, settings=settings, metrics=metrics)
    packages = Packages(lipsync, library)
    app[signalling.LIBRARY] = library
    app[signalling.LIVE] = live
    app[speech_http.SPEECH] = speech
    app[LIPSYNC] = lipsync
    app[PACKAGES] = packages
    app[chunked.CHUNKED] = sessions
    app[FACES] = uploaded
    app[FILM_VIEWERS] = film_viewers = FilmViewers(settings, metrics)
    try:
        await manager.load(settings.avatar)
        async with _grpc(app, lipsync, packages):
            yield
    finally:
        await live.aclose("server shutting down")
        await speech.aclose()
        await uploaded.aclose()
        await film_viewers.aclose()
        await sessions.aclose()
        lipsync.close()
        engine.close()
        pool.shutdown()


@asynccontextmanager
async def _grpc(app: web.Application, lipsync: LipSync, packages: Packages) -> AsyncIterator[None]:
    """Serve gRPC on the same loop, unless the settings turn it off."""
    settings = app[signalling.SETTINGS]
    if not settings.grpc:
        app[RPC] = None
        yield
        return
    app[RPC] = server = RpcServer(lipsync, packages, settings)
    try:
        await server.start()
        yield
    finally:
        await server.aclose()
