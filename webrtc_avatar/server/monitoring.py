"""For operators: alive, ready, metrics, and an access log that polling does not flood."""

from __future__ import annotations

import logging

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

from webrtc_avatar.server.middleware import METRICS
from webrtc_avatar.server.signalling import LIVE

_POLLED = ("/health", "/ready", "/metrics")


async def health(_request: web.Request) -> web.Response:
    """Answer while the event loop turns."""
    return web.json_response({"status": "healthy"})


async def ready(request: web.Request) -> web.Response:
    """Answer 200 while a new session would be taken, else 503."""
    if request.app[LIVE].draining:
        return web.json_response({"status": "draining"}, status=503, headers={"Retry-After": "5"})
    if not request.app[LIVE].has_engine:
        return web.json_response({"status": "no engine"}, status=503, headers={"Retry-After": "5"})
    return web.json_response({"status": "ready"})


async def metrics(request: web.Request) -> web.Response:
    """Answer in the Prometheus text format."""
    response = web.Response(body=request.app[METRICS].exposition())
    response.headers["Content-Type"] = "text/plain; version=0.0.4; charset=utf-8"
    return response


def add_routes(app: web.Application) -> None:
    """Add the three endpoints."""
    app.router.add_get("/health", health)
    app.router.add_get("/ready", ready)
    app.router.add_get("/metrics", metrics)


class AccessLogger(AbstractAccessLogger):
    """One record a request: info for what changes something, debug for pages and polling."""

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        """Write the record; `time` is the request's duration in seconds."""
        polled = request.path in _POLLED or request.method in ("GET", "HEAD")
        level = logging.DEBUG if polled and response.status < 400 else logging.INFO
        if self.logger.isEnabledFor(level):
            self.logger.log(
                level,
                "%s %s",
                request.method,
                _route(request),
                extra={"status": response.status, "ms": round(time * 1000, 1), "remote": request.remote},
            )

    @property
    def enabled(self) -> bool:
        """Return whether any record could be written."""
        return self.logger.isEnabledFor(logging.INFO)


def _route(request: web.BaseRequest) -> str:
    """Return the route's pattern in place of a path with ids in it: whoever knows a session's id may watch."""
    resource = request.match_info.route.resource if isinstance(request, web.Request) else None
    return resource.canonical if resource is not None else request.path
