"""Which sites' pages may use the server: its own, those that `allowed_origins` lists, and for watching anybody's.

Programs that are no browsers send no origin and are not asked. Cookies and the like play no part here, so credentials are never allowed.
Source: the Fetch standard (CORS protocol), Fetch Metadata Request Headers.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from aiohttp import web

from webrtc_avatar.errors import Forbidden
from webrtc_avatar.server.middleware import Handler
from webrtc_avatar.server.signalling import SETTINGS
from webrtc_avatar.settings import ANY_ORIGIN

_WATCHING = ("/whep/", "/hls/")
"""What others may always do: whoever knows a session's name may watch it, on whatever page."""
_SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
_OWN_SITES = {"same-origin", "none"}
_METHODS = "GET, HEAD, POST, PATCH, DELETE"
_REQUEST_HEADERS = "Authorization, Content-Type, If-Match, If-None-Match, Range"
_EXPOSED = "Location, Link, ETag, Retry-After, WWW-Authenticate, Accept-Patch, Content-Length, Content-Range"
_REMEMBER_S = 600


def foreign_origin(request: web.Request) -> str | None:
    """Return whose page makes a browser ask, `null` where it hides that; None for this server's own pages and for programs.

    Browsers tell how sites relate (`Sec-Fetch-Site`) only to https and localhost; elsewhere Origin and Host are compared.
    """
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site in _OWN_SITES or (site is None and origin is None):
        return None
    if origin is None:
        return "null"
    return None if site is None and urlsplit(origin).netloc == request.host else origin


def check(request: web.Request) -> None:
    """Let a request pass that its page may make.

    Raises:
        Forbidden: another site's page makes it.
    """
    origin = foreign_origin(request)
    if origin is not None and not _is_allowed(request, origin):
        raise Forbidden(
            f"a page of {origin[:200]!r} may not use {request.host}; open this server's own page, or list that origin in "
            "allowed_origins on the server"
        )


@web.middleware
async def allowed_pages_only(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse what a page that is not allowed makes a visitor's browser change, and answer those that ask before (preflight).

    What is only read, browsers keep from other pages by themselves.
    """
    if request.method not in _SAFE_METHODS:
        check(request)
    elif request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
        origin = foreign_origin(request)
        if origin is not None and _is_allowed(request, origin):
            return _preflight()
    return await handler(request)


def _preflight() -> web.Response:
    return web.Response(
        status=204,
        headers={
            "Access-Control-Allow-Methods": _METHODS,
            "Access-Control-Allow-Headers": _REQUEST_HEADERS,
            "Access-Control-Max-Age": str(_REMEMBER_S),
        },
    )


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Tell the browser which pages may read the answer, errors included."""
    allowed = request.app[SETTINGS].allowed_origins
    if request.path.startswith(_WATCHING):
        response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
        shown = ANY_ORIGIN
    elif not allowed:
        return
    elif ANY_ORIGIN in allowed:
        shown = ANY_ORIGIN
    else:
        # Whatever keeps answers must not give one page's to another.
        response.headers.add("Vary", "Origin")
        shown = request.headers.get("Origin", "")
        if shown not in allowed:
            return
    response.headers["Access-Control-Allow-Origin"] = shown
    response.headers["Access-Control-Expose-Headers"] = _EXPOSED


def _is_allowed(request: web.Request, origin: str) -> bool:
    allowed = request.app[SETTINGS].allowed_origins
    return request.path.startswith(_WATCHING) or ANY_ORIGIN in allowed or origin in allowed
