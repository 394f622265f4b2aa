"""Watching a session: WebRTC-HTTP egress. SDP in, SDP and `Location` out, `DELETE` there ends it.

Source: draft-ietf-wish-whep, which shares its HTTP with RFC 9725 (WHIP). Trickle `PATCH` and ETag are not offered: all
candidates are in the answer.
"""

from __future__ import annotations

from aiohttp import web

from webrtc_avatar.chunked.session import ChunkedSession
from webrtc_avatar.errors import UnknownSession, UnsupportedMedia
from webrtc_avatar.log import session_context
from webrtc_avatar.server.chunked import CHUNKED
from webrtc_avatar.server.film_viewers import FILM_VIEWERS
from webrtc_avatar.server.negotiation import read_offer
from webrtc_avatar.server.signalling import LIVE, SETTINGS

_SDP = "application/sdp"


async def watch(request: web.Request) -> web.Response:
    """Take a viewer's offer; answer 201 with the SDP and where to end it."""
    if request.content_type != _SDP:
        raise UnsupportedMedia(f"expected Content-Type: {_SDP}; got {request.content_type!r}")
    session_id = request.match_info["session_id"]
    film = _film(request)
    if film is not None:
        viewer_id, answer = await request.app[FILM_VIEWERS].add(film, read_offer(await request.text(), ("H264",)))
    else:
        live = request.app[LIVE].get(session_id)
        offer = read_offer(await request.text(), request.app[SETTINGS].video_codecs)
        with session_context(session_id):
            viewer_id, answer = await live.add_viewer(offer)
    return web.Response(
        status=201, text=answer, content_type=_SDP, headers={"Location": f"/whep/{session_id}/{viewer_id}"}
    )


async def leave(request: web.Request) -> web.Response:
    """End a viewer."""
    film, viewer_id = _film(request), request.match_info["viewer_id"]
    if film is not None:
        await request.app[FILM_VIEWERS].remove(film, viewer_id)
    else:
        await request.app[LIVE].get(request.match_info["session_id"]).remove_viewer(viewer_id)
    return web.Response(status=200)


async def preflight(request: web.Request) -> web.Response:
    """Say what is possible here, to players on other sites too."""
    methods = "POST" if "viewer_id" not in request.match_info else "DELETE"
    return web.Response(
        status=204,
        headers={
            "Access-Control-Allow-Methods": f"{methods}, OPTIONS",
            "Access-Control-Allow-Headers": "Content-Type, Authorization",
            "Access-Control-Max-Age": "600",
            "Accept-Post": _SDP,
        },
    )


def _film(request: web.Request) -> ChunkedSession | None:
    """Return the chunked session that a request names, if there is one."""
    try:
        return request.app[CHUNKED].get(request.match_info["session_id"])
    except UnknownSession:
        return None


def add_routes(app: web.Application) -> None:
    """Add the endpoints of viewers."""
    app.router.add_post("/whep/{session_id}", watch)
    app.router.add_options("/whep/{session_id}", preflight)
    app.router.add_delete("/whep/{session_id}/{viewer_id}", leave)
    app.router.add_options("/whep/{session_id}/{viewer_id}", preflight)
