"""One engine on another machine: whether it is well, how far away, how busy, which avatars it has, and calls to it."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc

from webrtc_avatar.errors import AvatarServerError, EngineFailure, EngineLost, InvalidSettings, Unauthorized
from webrtc_avatar.rpc import engine_pb2 as messages
from webrtc_avatar.rpc import engine_pb2_grpc
from webrtc_avatar.rpc.engine_wire import error_of
from webrtc_avatar.rpc.errors import CODE_KEY
from webrtc_avatar.settings import Settings

if TYPE_CHECKING:
    from webrtc_avatar.engine.remote_link import Link

log = logging.getLogger(__name__)

_PROBE_S = 1.0
_PROBE_TIMEOUT_S = 2.0
_LOAD_TIMEOUT_S = 300.0
_BACKOFF_S, _MOST_BACKOFF_S = 0.1, 2.0
_REFUSED_S = 1.0
"""An engine that refused a stream gets no other one for so long."""
_RECENT_PROBES = 16
_CUT_OFF = (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL)
"""How calls end, depending on the moment, when the process at the other end dies."""
_CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
)


@dataclass(frozen=True, slots=True)
class RemoteModel:
    """A model on other machines; see `engine.interface.Reach`."""

    chunks_before: int
    chunks_after: int


class Connection:
    """See the module. Lives on one event loop.

    Args:
        address: HOST:PORT.
        settings: token and certificates.
        wanted: fingerprints by the names of avatars that it should have; grows.
        on_change: told when it comes, goes, or has loaded an avatar.

    Attributes:
        address: see above.
        is_up: it answered lately.
        status: its newest answer.
        models: the avatars that it has loaded, by name.
        refusals: why it will not render an avatar, by name.
        links: our open streams.
    """

    def __init__(
        self, address: str, settings: Settings, *, wanted: Mapping[str, bytes], on_change: Callable[[], None]
    ) -> None:
        self.address = address
        self.is_up = False
        self.status = messages.StatusResponse()
        self.models: dict[str, RemoteModel] = {}
        self.refusals: dict[str, AvatarServerError] = {}
        self.links: set[Link] = set()
        self._fault: AvatarServerError = EngineLost(f"the engine at {address} has not answered yet")
        self._wanted = wanted
        self._on_change = on_change
        self._others_streams = 0
        self._refused_until_s = 0.0
        self._round_trips_s: deque[float] = deque(maxlen=_RECENT_PROBES)
        self._poked = asyncio.Event()
        self._loading: dict[str, asyncio.Task[None]] = {}
        token = settings.engine_token
        self._metadata = (("authorization", f"Bearer {token.get_secret_value()}"),) if token else ()
        self._settings = settings
        self._connect()
        self._watcher = asyncio.create_task(self._watch(), name=f"engine-watch-{address}")

    @property
    def round_trip_s(self) -> float:
        """The shortest of the newest round trips; 0 before the first."""
        return min(self._round_trips_s, default=0.0)

    @property
    def takes_streams(self) -> bool:
        """Whether it takes new streams now."""
        return self.is_up and not self.status.draining and time.monotonic() >= self._refused_until_s

    @property
    def load(self) -> float:
        """Streams by device: ours as they are now, those of others as it told last."""
        return (self._others_streams + len(self.links)) / max(1, len(self.status.workers))

    def is_loading(self, name: str) -> bool:
        """Whether it is busy loading an avatar."""
        return name in self._loading

    def refusal(self, name: str) -> AvatarServerError | None:
        """Return why it is of no use for an avatar, if that will not change by waiting."""
        return self._fault if isinstance(self._fault, Unauthorized) and not self.is_up else self.refusals.get(name)

    @property
    def fault(self) -> AvatarServerError:
        """Why it was not there when it was not there last."""
        return self._fault

    def want(self, name: str) -> None:
        """Let it load an avatar, unless it has it, or is at it; a refusal is forgotten."""
        self.refusals.pop(name, None)
        if self.is_up and name not in self.models and name not in self._loading:
            task = self._loading[name] = asyncio.create_task(self._load(name), name=f"engine-load-{name}")
            task.add_done_callback(lambda _: self._loaded(name))

    def open_call(self) -> grpc.aio.StreamStreamCall:
        """Begin a Render call."""
        return self._stub.Render(metadata=self._metadata)

    def refused(self, name: str, error: AvatarServerError) -> None:
        """Take note of how a stream of an avatar ended."""
        if error.status in (404, 409, 422):
            self.models.pop(name, None)
            self.refusals[name] = error
        else:
            self._refused_until_s = time.monotonic() + _REFUSED_S  # if it is gone, the next probe, now, will tell
        self._poked.set()

    def error_of(self, error: grpc.aio.AioRpcError) -> AvatarServerError:
        """Return the typed error of a call that failed."""
        trailing = dict(error.trailing_metadata() or ())
        code = trailing.get(CODE_KEY)
        if code is not None:
            return error_of(str(code), f"engine at {self.address}: {error.details()}")
        if error.code() is grpc.StatusCode.UNAUTHENTICATED:
            return Unauthorized(
                f"the engine at {self.address} refuses the token; set engine_token here to that engine's token"
            )
        if error.code() is grpc.StatusCode.UNIMPLEMENTED:
            return EngineLost(f"the server at {self.address} is no engine of this version; update both sides")
        if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            return EngineLost(
                f"no engine answers at {self.address} ({error.details()}); start `webrtc-avatar engine` there, and check "
                "address, firewall and TLS"
            )
        if error.code() in _CUT_OFF:
            return EngineLost(f"the engine at {self.address} went away: {error.code().name} {error.details()}")
        return EngineFailure(f"the engine at {self.address} failed: {error.code().name} {error.details()}")

    async def aclose(self) -> None:
        """End everything."""
        self.is_up = False
        tasks = [self._watcher, *self._loading.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._channel.close()

    async def _watch(self) -> None:
        misses, backoff_s = 0, _BACKOFF_S
        while True:
            started_s = time.monotonic()
            try:
                status = await self._ask(self._stub.GetStatus, messages.StatusRequest(), timeout_s=_PROBE_TIMEOUT_S)
            except AvatarServerError as error:
                misses += 1
                silent = time.monotonic() - started_s > _PROBE_TIMEOUT_S / 2
                # An engine that is too busy to answer once still renders; one that nobody listens for does not.
                if misses > 1 or not silent:
                    self._down(error)
                    backoff_s = min(2 * backoff_s, _MOST_BACKOFF_S)
                    if silent:  # the way may be broken without a word; the next one must not wait for TCP to give it up
                        await self._reconnect()
                await self._pause(backoff_s * random.uniform(0.7, 1.0))
                continue
            self._round_trips_s.append(time.monotonic() - started_s)
            misses, backoff_s = 0, _BACKOFF_S
            self.status = status
            self._others_streams = max(0, status.streams - len(self.links))
            if not self.is_up:
                self._up()
            await self._pause(_PROBE_S)

    def _connect(self) -> None:
        self._channel = _channel(self.address, self._settings)
        self._stub = engine_pb2_grpc.EngineServiceStub(self._channel)  # type: ignore[no-untyped-call]

    async def _reconnect(self) -> None:
        former = self._channel
        self._connect()
        await former.close()

    async def _pause(self, seconds: float) -> None:
        self._poked.clear()
        try:
            await asyncio.wait_for(self._poked.wait(), seconds)
        except TimeoutError:
            return
        await asyncio.sleep(_BACKOFF_S / 2)

    def _up(self) -> None:
        self.is_up = True
        log.info(
            "engine reached address=%s runtime=%s round_trip_ms=%.2f",
            self.address,
            self.status.runtime_name,
            1000 * self.round_trip_s,
        )
        self.models.clear()
        self.refusals.clear()
        for name in self._wanted:
            self.want(name)
        self._on_change()

    def _down(self, error: AvatarServerError) -> None:
        if self.is_up or str(error) != str(self._fault):
            log.warning("engine lost address=%s reason=%s", self.address, error.message)
        self.is_up = False
        self._fault = error
        self._round_trips_s.clear()
        for link in list(self.links):
            link.fail(error)
        self._on_change()

    async def _load(self, name: str) -> None:
        request = messages.LoadRequest(avatar=name, fingerprint=self._wanted[name])
        try:
            loaded = await self._ask(self._stub.Load, request, timeout_s=_LOAD_TIMEOUT_S)
            self.status = await self._ask(self._stub.GetStatus, messages.StatusRequest(), timeout_s=_PROBE_TIMEOUT_S)
        except (EngineLost, Unauthorized) as error:
            self._down(error)
            self._poked.set()
            return
        except AvatarServerError as error:
            log.error("engine has no avatar address=%s avatar=%s reason=%s", self.address, name, error.message)
            self.refusals[name] = error
            return
        self.models[name] = RemoteModel(loaded.chunks_before, loaded.chunks_after)

    def _loaded(self, name: str) -> None:
        self._loading.pop(name, None)
        self._on_change()

    async def _ask(self, method: Callable[..., Awaitable[Any]], request: Any, *, timeout_s: float) -> Any:
        try:
            return await method(request, timeout=timeout_s, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            raise self.error_of(error) from error


def _channel(address: str, settings: Settings) -> grpc.aio.Channel:
    if settings.engine_tls_ca is None:
        return grpc.aio.insecure_channel(address, options=_CHANNEL_OPTIONS)
    try:
        roots = settings.engine_tls_ca.read_bytes()
    except OSError as error:
        raise InvalidSettings(
            f"engine_tls_ca {str(settings.engine_tls_ca)!r} cannot be read: {error.strerror}; it is a PEM file with the "
            "certificates by which engines are trusted"
        ) from error
    return grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(roots), options=_CHANNEL_OPTIONS)
