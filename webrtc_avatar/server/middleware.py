"""Where errors become HTTP answers, and what every answer carries."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable

from aiohttp import web

from webrtc_avatar.errors import AvatarServerError, ServerFull, Unauthorized
from webrtc_avatar.metrics import Metrics

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

METRICS = web.AppKey("metrics", Metrics)

BODY_TIMEOUT_S = 10.0

UPLOADS = "/api/audio-driven/"
"""What lies below it reads its own bodies."""

FACE_UPLOAD = "/api/faces"
"""So does a photo."""

SOUND_UPLOAD = re.compile(r"/api/sessions/[^/]+/audio")
"""So does a session that is given a file to play."""

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Content-Security-Policy": (
        "default-src 'self'; media-src 'self' mediastream: blob:; object-src 'none'; base-uri 'none'; form-action 'none'"
    ),
}

_CODES = {
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "too_slow",
    413: "too_large",
    415: "unsupported_media",
}


def error_response(error: AvatarServerError) -> web.Response:
    """Return the JSON answer of a typed error; a full server says when to come again."""
    headers = {"Retry-After": str(error.retry_after_s)} if isinstance(error, ServerFull) else {}
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = "Bearer"
    return _json_error(error.status, error.code, error.message, headers)


def _json_error(status: int, code: str, message: str, headers: dict[str, str]) -> web.Response:
    body = json.dumps({"error": {"code": code, "message": message}}, ensure_ascii=False)
    return web.Response(status=status, text=body, content_type="application/json", headers=headers)


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every error as `{"error": {"code", "message"}}`; count what is refused at the door."""
    try:
        return await handler(request)
    except AvatarServerError as error:
        if request.method == "POST":
            request.app[METRICS].sessions_refused.labels(error.code).inc()
        level = logging.ERROR if error.status == 500 else logging.INFO
        log.log(level, "refused %s %s: %s", request.method, request.path, error.message, extra={"code": error.code})
        return error_response(error)
    except web.HTTPException as answer:
        if answer.status < 400:
            raise
        headers = {name: value for name, value in answer.headers.items() if name in ("Allow", "Location")}
        message = _message(request, answer)
        return _json_error(answer.status, _CODES.get(answer.status, "http_error"), message, headers)
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        return _json_error(500, "internal", "the server failed on this request; its log says why", {})


def _message(request: web.Request, answer: web.HTTPException) -> str:
    if isinstance(answer, web.HTTPRequestEntityTooLarge):
        return f"{answer.text}; send a smaller body or raise max_request_bytes"
    if answer.status == 404:
        return f"there is nothing at {request.path}"
    if answer.status == 405:
        return f"{request.method} is not possible at {request.path}; allowed: {answer.headers.get('Allow', 'nothing')}"
    return answer.text or answer.reason


def _reads_its_own_body(path: str) -> bool:
    return path.startswith(UPLOADS) or path == FACE_UPLOAD or SOUND_UPLOAD.fullmatch(path) is not None


@web.middleware
async def patient_within_limits(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Read the whole body first, and give up on one that trickles in for ever. Forms with files have limits of their own."""
    if request.body_exists and not _reads_its_own_body(request.path):
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                await request.read()
        except TimeoutError:
            raise web.HTTPRequestTimeout(
                text=f"the body did not arrive within {BODY_TIMEOUT_S:g} s; send it again"
            ) from None
    return await handler(request)


async def add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Put the headers that keep a browser careful on every answer."""
    response.headers["Server"] = "webrtc-avatar"
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
