"""HTTP for the page: settings that it needs, offers, sessions."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from aiohttp import web

from webrtc_avatar import __version__
from webrtc_avatar.avatar.library import Library
from webrtc_avatar.avatar.style import Style, read_style
from webrtc_avatar.errors import InvalidRequest
from webrtc_avatar.server.live import LiveSession, LiveSessions
from webrtc_avatar.server.negotiation import read_offer
from webrtc_avatar.server.uploaded_faces import FACES
from webrtc_avatar.settings import Settings

SETTINGS = web.AppKey("settings", Settings)
LIBRARY = web.AppKey("library", Library)
LIVE = web.AppKey("live", LiveSessions)

MAX_NAME_CHARS = 200


async def config(request: web.Request) -> web.Response:
    """Answer what a page needs before it can offer: ICE servers and avatars, and whether pictures have to be shown whole."""
    settings = request.app[SETTINGS]
    return web.json_response(
        {
            "ice_servers": [server.model_dump(exclude_none=True) for server in settings.ice_servers],
            "avatars": [asdict(info) for info in request.app[LIBRARY].infos()],
            "default_avatar": settings.avatar,
            "faces": _faces(request),
            "watermark": settings.watermarks.any,
            "version": __version__,
        }
    )


async def offer(request: web.Request) -> web.Response:
    """Take a microphone's offer: `{"sdp", "type", "avatar"?, "pose_style"?, "gaze_style"?}` in, `{"sdp", "type", "session_id"}` out."""
    body = await read_json(request)
    if body.get("type") != "offer" or not isinstance(body.get("sdp"), str):
        raise InvalidRequest('expected {"sdp": "v=0…", "type": "offer"}: the local description of a peer connection')
    read = read_offer(body["sdp"], request.app[SETTINGS].video_codecs)
    live, answer = await request.app[LIVE].open_for_microphone(_avatar(body), read, _style(request, body))
    return web.json_response({"sdp": answer, "type": "answer", "session_id": live.session.id})


async def open_session(request: web.Request) -> web.Response:
    """Open a session without a microphone, to be watched over WHEP."""
    body = await read_json(request) if request.body_exists else {}
    live = await request.app[LIVE].open_for_viewers(_avatar(body), _style(request, body))
    return web.json_response(
        {"session_id": live.session.id, "avatar": live.session.avatar_name},
        status=201,
        headers={"Location": f"/api/sessions/{live.session.id}"},
    )


async def list_sessions(request: web.Request) -> web.Response:
    """Answer all open sessions with their figures."""
    return web.json_response({"sessions": [_describe(live) for live in request.app[LIVE]]})


async def get_session(request: web.Request) -> web.Response:
    """Answer one session's figures."""
    return web.json_response(_describe(request.app[LIVE].get(request.match_info["session_id"])))


async def close_session(request: web.Request) -> web.Response:
    """End a session and all who watch it."""
    await request.app[LIVE].close(request.match_info["session_id"], "ended by DELETE")
    return web.Response(status=204)


def add_routes(app: web.Application) -> None:
    """Add the endpoints of sessions."""
    app.router.add_get("/api/config", config)
    app.router.add_post("/offer", offer)
    app.router.add_post("/api/sessions", open_session)
    app.router.add_get("/api/sessions", list_sessions)
    app.router.add_get("/api/sessions/{session_id}", get_session)
    app.router.add_delete("/api/sessions/{session_id}", close_session)


def _faces(request: web.Request) -> dict[str, Any] | None:
    """Return what a page needs to offer "use my photo"; None where no photos are taken."""
    if not request.app[FACES].offered:
        return None
    settings = request.app[SETTINGS]
    return {"max_bytes": settings.chunked_max_image_bytes, "save": settings.save_faces}


def _describe(live: LiveSession) -> dict[str, Any]:
    return {**live.session.stats(), "viewers": live.viewers, "microphone": live.has_microphone}


async def read_json(request: web.Request) -> dict[str, Any]:
    """Return the body, a JSON object.

    The content type is insisted on: another site's page cannot send it without this server's consent (CORS).
    """
    if request.content_type != "application/json":
        raise InvalidRequest(f"expected Content-Type: application/json; got {request.content_type!r}")
    try:
        body = json.loads(await request.text())
    except (ValueError, RecursionError, LookupError) as error:
        raise InvalidRequest(f"the body is not JSON ({error!s:.120}); expected a JSON object") from error
    if not isinstance(body, dict):
        raise InvalidRequest(f"expected a JSON object; got {type(body).__name__}")
    return body


def _style(request: web.Request, body: dict[str, Any]) -> Style:
    return read_style(body, request.app[SETTINGS].style)


def _avatar(body: dict[str, Any]) -> str | None:
    name = body.get("avatar")
    if name is None or (isinstance(name, str) and len(name) <= MAX_NAME_CHARS):
        return name or None
    raise InvalidRequest('"avatar" is the name of an avatar, a short text; GET /api/config lists the names')
