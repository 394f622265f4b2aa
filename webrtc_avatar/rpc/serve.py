"""The gRPC server: listens, asks for the token, answers health and reflection, and drains."""

from __future__ import annotations

import asyncio
import hmac
import logging
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from webrtc_avatar.errors import CannotListen, InvalidSettings
from webrtc_avatar.rpc import engine_pb2_grpc, engine_service, optimized_lipsyncsrv_pb2, optimized_lipsyncsrv_pb2_grpc
from webrtc_avatar.rpc.lipsync import LipSync
from webrtc_avatar.rpc.packages import Packages
from webrtc_avatar.rpc.service import Service
from webrtc_avatar.settings import Settings

log = logging.getLogger(__name__)

SERVICE = optimized_lipsyncsrv_pb2.DESCRIPTOR.services_by_name["OptimizedLipSyncService"].full_name

_HEALTH_PATH = f"/{health.SERVICE_NAME}/"
_STOP_S = 0.2


class _GoneCallers(logging.Filter):
    """Keeps tracebacks of gRPC itself out of the log where a caller left in the middle of an answer: that is no fault."""

    def filter(self, record: logging.LogRecord) -> bool:
        kind = record.exc_info[0] if record.exc_info else None
        return kind is None or kind.__name__ not in ("ExecuteBatchError", "CancelledError")


logging.getLogger("grpc._cython.cygrpc").addFilter(_GoneCallers())


class RpcServer:
    """One listening server. Lives on the event loop.

    Attributes:
        port: the port that it listens on; 0 before `start`.
    """

    def __init__(self, lipsync: LipSync, packages: Packages, settings: Settings) -> None:
        self._lipsync = lipsync
        self._settings = settings
        self.port = 0
        limit = settings.rpc_max_message_bytes
        interceptors = [_TokenOnly(settings.token.get_secret_value())] if settings.token else []
        self._server = grpc.aio.server(
            interceptors=interceptors,
            options=[
                ("grpc.max_receive_message_length", limit),
                ("grpc.max_send_message_length", limit),
                # Two servers on one port would each get some of the calls, and nobody would notice.
                ("grpc.so_reuseport", 0),
            ],
        )
        service = Service(lipsync, packages, max_message_bytes=limit)
        optimized_lipsyncsrv_pb2_grpc.add_OptimizedLipSyncServiceServicer_to_server(  # type: ignore[no-untyped-call]
            service, self._server
        )
        self._engine_service = engine_service.EngineService(lipsync, max_streams=settings.engine_max_streams)
        engine_pb2_grpc.add_EngineServiceServicer_to_server(  # type: ignore[no-untyped-call]
            self._engine_service, self._server
        )
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection(
            (SERVICE, engine_service.SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server
        )

    @property
    def address(self) -> str:
        """What a client on this machine connects to."""
        host = self._settings.host
        shown = "127.0.0.1" if host in ("", "0.0.0.0", "::") else f"[{host}]" if ":" in host else host
        return f"{shown}:{self.port}"

    async def start(self) -> None:
        """Listen.

        Raises:
            CannotListen: the address or the port cannot be used.
            InvalidSettings: the certificate or its key cannot be used.
        """
        settings = self._settings
        host = f"[{settings.host}]" if ":" in settings.host else settings.host or "[::]"
        where = f"{host}:{settings.grpc_port}"
        credentials = _credentials(settings)
        try:
            if credentials is None:
                self.port = self._server.add_insecure_port(where)
            else:
                self.port = self._server.add_secure_port(where, credentials)
        except RuntimeError as error:
            raise CannotListen(
                f"gRPC cannot listen on {where}: the port is taken by another program (another copy of this server?), or "
                "not allowed; stop that program, choose another --grpc-port (0 takes a free one), or go without: --no-grpc"
            ) from error
        await self._server.start()
        for name in ("", SERVICE):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        log.info(
            "gRPC ready port=%d tls=%s token=%s",
            self.port,
            bool(credentials),
            "asked for" if settings.token else "none",
        )

    async def drain(self) -> None:
        """Say that it goes down, and wait for the calls that are under way."""
        await self._health.enter_graceful_shutdown()
        await asyncio.gather(self._lipsync.drain(), self._engine_service.drain())

    async def aclose(self) -> None:
        """End all calls and stop listening; calling it twice is fine."""
        await self._server.stop(_STOP_S)


class _TokenOnly(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Refuses calls without the token; health checks need none."""

    def __init__(self, token: str) -> None:
        self._expected = f"Bearer {token}".encode()

        async def refuse(_requests: Any, context: grpc.aio.ServicerContext) -> None:
            await context.abort(
                grpc.StatusCode.UNAUTHENTICATED,
                "this server asks for its token: send the metadata authorization = Bearer TOKEN",
            )

        self._refuse = grpc.stream_stream_rpc_method_handler(refuse)  # waits for no request

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        given = next((value for key, value in details.invocation_metadata if key == "authorization"), "")
        given = given if isinstance(given, bytes) else given.encode()
        if details.method.startswith(_HEALTH_PATH) or hmac.compare_digest(given, self._expected):
            return await continuation(details)
        return self._refuse


def _credentials(settings: Settings) -> grpc.ServerCredentials | None:
    cert, key = settings.grpc_tls_cert, settings.grpc_tls_key
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        missing = "grpc_tls_key" if key is None else "grpc_tls_cert"
        raise InvalidSettings(f"{missing} is not set; TLS needs both grpc_tls_cert and grpc_tls_key")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise InvalidSettings(
            f"grpc_tls_cert {str(cert)!r} and grpc_tls_key {str(key)!r} cannot be used: {error.strerror or error}; they are PEM "
            "files, the key without a passphrase and belonging to the certificate"
        ) from error
    return grpc.ssl_server_credentials([(_read(key), _read(cert))])


def _read(path: Path) -> bytes:
    return path.read_bytes()
