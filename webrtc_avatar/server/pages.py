"""The pages: files of `web/` and nothing else, and a poster of each avatar."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
from aiohttp import web

from webrtc_avatar.avatar.casting import make_actor
from webrtc_avatar.avatar.package import AnyAvatar
from webrtc_avatar.avatar.watermark import Watermarks
from webrtc_avatar.media.marking import OF_NOBODY, Marking
from webrtc_avatar.server.signalling import LIBRARY, SETTINGS
from webrtc_avatar.server.uploaded_faces import FACES

FOLDER = Path(__file__).resolve().parents[2] / "web"

_POSTER_QUALITY = 88


async def index(_request: web.Request) -> web.StreamResponse:
    """Answer the page for the microphone."""
    return web.FileResponse(FOLDER / "index.html")


async def page(request: web.Request) -> web.StreamResponse:
    """Answer a file of `web/`; whatever else a path may point at is not there."""
    try:
        path = (FOLDER / request.match_info["path"]).resolve()
        known = path.is_relative_to(FOLDER) and path.is_file()
    except (OSError, ValueError):
        known = False
    if not known:
        raise web.HTTPNotFound
    return web.FileResponse(path)


async def poster(request: web.Request) -> web.Response:
    """Answer a still picture of an avatar at rest, as JPEG."""
    loop = asyncio.get_running_loop()
    name = request.match_info["name"]
    face = request.app[FACES].peek(name)
    find = partial(request.app[LIBRARY].get, name) if face is None else lambda: face.avatar
    marks = request.app[SETTINGS].watermarks
    jpeg = await loop.run_in_executor(None, _draw_poster, find, marks)
    body = (Marking(name) if face is None else OF_NOBODY).in_image(jpeg)
    kept = "max-age=300" if face is None else "no-store"
    return web.Response(body=body, content_type="image/jpeg", headers={"Cache-Control": kept})


def _draw_poster(find: Callable[[], AnyAvatar], watermarks: Watermarks) -> bytes:
    avatar = find()
    picture = make_actor(avatar, seed=0, watermark=watermarks.of(avatar)).draw(0, None)
    _, encoded = cv2.imencode(
        ".jpg", cv2.cvtColor(picture, cv2.COLOR_YUV2BGR_I420), [cv2.IMWRITE_JPEG_QUALITY, _POSTER_QUALITY]
    )
    return bytes(encoded.tobytes())


async def _revalidate(_request: web.Request, response: web.StreamResponse) -> None:
    """Let browsers keep pages, but ask whether they changed."""
    if isinstance(response, web.FileResponse):
        response.headers.setdefault("Cache-Control", "no-cache")


def add_routes(app: web.Application) -> None:
    """Add the pages; last, because their pattern takes every path that is left."""
    app.router.add_get("/", index)
    app.router.add_get("/api/avatars/{name}/poster", poster)
    app.router.add_get("/{path:(?!api/|whep/|offer$).+}", page)
    app.on_response_prepare.append(_revalidate)
