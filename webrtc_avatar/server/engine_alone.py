"""The engine behind gRPC and nothing else, until it is told to stop: for machines that render for others."""

from __future__ import annotations

import asyncio
import gc
import logging
from concurrent.futures import ThreadPoolExecutor

import cv2

from webrtc_avatar.avatar.footage_frames import CACHE
from webrtc_avatar.avatar.library import Library
from webrtc_avatar.engine import Engine
from webrtc_avatar.metrics import Metrics
from webrtc_avatar.rpc.lipsync import LipSync
from webrtc_avatar.rpc.packages import Packages
from webrtc_avatar.rpc.serve import RpcServer
from webrtc_avatar.server import memory
from webrtc_avatar.server.stops import Stops
from webrtc_avatar.settings import Settings

log = logging.getLogger(__name__)

_LOOP_THREADS = 2


def serve_engine(settings: Settings) -> None:
    """Serve gRPC until SIGTERM or SIGINT; a first signal drains, a second one ends all at once.

    Raises:
        CannotListen: the address or the port cannot be used.
        InvalidSettings: certificate or key cannot be used.
        UnknownAvatar, InvalidAvatar, EngineFailure: the settings' avatar or device is not there.
    """
    memory.bound_allocator()
    cv2.setNumThreads(1)
    asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_LOOP_THREADS, thread_name_prefix="loop"))
    stops = Stops()
    metrics = Metrics()
    engine = Engine(settings, metrics)
    engine.start()
    library = Library(settings.avatar_folders)
    CACHE.budget_bytes = settings.frame_cache_mb * 1_000_000
    lipsync = LipSync(engine=engine, library=library, settings=settings, metrics=metrics)
    server = RpcServer(lipsync, Packages(lipsync, library), settings)
    try:
        await lipsync.casting.get(settings.avatar)
        await server.start()
        gc.collect()
        gc.freeze()  # what lives for ever need not be looked through by every collection
        print(f"webrtc-avatar: gRPC at {server.address}", flush=True)
        await stops.first.wait()
        await stops.drain(_at_most(settings.drain_timeout_s, server))
    finally:
        await server.aclose()
        lipsync.close()
        engine.close()
    log.info("stopped")


async def _at_most(timeout_s: float, server: RpcServer) -> None:
    try:
        await asyncio.wait_for(server.drain(), timeout_s)
    except TimeoutError:
        log.info("drain timed out")
