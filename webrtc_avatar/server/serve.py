"""Run the server until it is told to stop: listen, say where, drain on SIGTERM."""

from __future__ import annotations

import asyncio
import errno
import faulthandler
import gc
import logging
import signal
import socket
from collections.abc import Coroutine
from contextlib import suppress

from aiohttp import web

from webrtc_avatar.errors import CannotListen
from webrtc_avatar.server.app import LIPSYNC, RPC, create_app
from webrtc_avatar.server.monitoring import AccessLogger
from webrtc_avatar.server.signalling import LIVE
from webrtc_avatar.server.speech import SPEECH
from webrtc_avatar.server.stops import Stops
from webrtc_avatar.settings import Settings

log = logging.getLogger(__name__)

_HTTP_SHUTDOWN_S = 2.0


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; a first signal drains, a second one ends all at once.

    Raises:
        CannotListen: the address or the port cannot be used.
        UnknownAvatar, InvalidAvatar, EngineFailure: see `create_app`.
    """
    if hasattr(faulthandler, "register") and hasattr(signal, "SIGUSR1"):
        faulthandler.register(signal.SIGUSR1)
    asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    app = create_app(settings)
    runner = web.AppRunner(app, access_log_class=AccessLogger, handle_signals=False, shutdown_timeout=_HTTP_SHUTDOWN_S)
    stops = Stops()
    try:
        await runner.setup()
        await _listen(runner, settings)
        gc.collect()
        gc.freeze()  # what lives for ever need not be looked through by every collection
        print(f"webrtc-avatar: open {_url(runner, settings.host)} in a browser", flush=True)
        if (rpc := app[RPC]) is not None:
            print(f"webrtc-avatar: gRPC at {rpc.address}", flush=True)
        if settings.speech_preload:
            app[SPEECH].warm()
        await stops.first.wait()
        await stops.drain(_drain(app, settings.drain_timeout_s))
    finally:
        await runner.cleanup()
    log.info("stopped")


async def _drain(app: web.Application, timeout_s: float) -> None:
    """Let sessions and calls end by themselves; what is left after the time out ends with the rooms."""
    rpc = app[RPC]
    calls = app[LIPSYNC].drain() if rpc is None else rpc.drain()
    await asyncio.gather(app[LIVE].drain(), _at_most(timeout_s, calls))


async def _at_most(timeout_s: float, work: Coroutine[None, None, None]) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(work, timeout_s)


async def _listen(runner: web.AppRunner, settings: Settings) -> None:
    where = f"{settings.host}:{settings.port}"
    try:
        await web.TCPSite(runner, settings.host, settings.port).start()
    except socket.gaierror as error:
        raise CannotListen(f"{settings.host!r} is no address of this machine; try --host 127.0.0.1") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CannotListen(
                f"{where} is taken by another program (another copy of this server?); stop it or choose another --port"
            ) from error
        if error.errno == errno.EACCES:
            raise CannotListen(f"{where} is not allowed for this user; choose a --port above 1023") from error
        raise CannotListen(f"cannot listen on {where}: {error.strerror or error}; try --host 127.0.0.1") from error


def _url(runner: web.AppRunner, host: str) -> str:
    """Return an address that a browser on this machine can open."""
    port = runner.addresses[0][1]
    shown = "127.0.0.1" if host in ("", "0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}/"
