"""Run the server until it is told to stop: listen, say where, drain on SIGTERM."""

from __future__ import annotations

import asyncio
import errno
import faulthandler
import gc
import logging
import os
import signal
import socket

from aiohttp import web

from webrtc_avatar.errors import CannotListen
from webrtc_avatar.server.app import create_app
from webrtc_avatar.server.monitoring import AccessLogger
from webrtc_avatar.server.signalling import LIVE
from webrtc_avatar.settings import Settings

log = logging.getLogger(__name__)

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
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
    stops = _Stops()
    try:
        await runner.setup()
        await _listen(runner, settings)
        gc.collect()
        gc.freeze()  # what lives for ever need not be looked through by every collection
        print(f"webrtc-avatar: open {_url(runner, settings.host)} in a browser", flush=True)
        await stops.first.wait()
        drain = asyncio.create_task(app[LIVE].drain(), name="drain")
        hurry = asyncio.create_task(stops.second.wait(), name="hurry")
        await asyncio.wait({drain, hurry}, return_when=asyncio.FIRST_COMPLETED)
        drain.cancel()
        hurry.cancel()
        await asyncio.gather(drain, hurry, return_exceptions=True)
    finally:
        await runner.cleanup()
    log.info("stopped")


class _Stops:
    """Signals as events: the first asks to drain, the second to hurry, the third gives up on order."""

    def __init__(self) -> None:
        self.first = asyncio.Event()
        self.second = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            try:
                loop.add_signal_handler(number, self._on_signal, number)
            except NotImplementedError:  # Windows: only between two turns of the loop
                signal.signal(number, lambda n, _: loop.call_soon_threadsafe(self._on_signal, n))

    def _on_signal(self, number: int) -> None:
        if not self.first.is_set():
            log.info("%s: draining; the same again ends at once", signal.Signals(number).name)
            self.first.set()
        elif not self.second.is_set():
            self.second.set()
        else:
            os._exit(1)


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
