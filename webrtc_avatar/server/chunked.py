"""HTTP of chunked sessions: begin with a face, feed sound, watch the film. Source: the seed document on chunked audio sessions.

Errors carry `detail` besides what all errors of this server carry, for that is where the seed's clients look.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import time

from aiohttp import web

from webrtc_avatar.chunked.options import read_flag, read_options
from webrtc_avatar.chunked.session import ChunkedSession
from webrtc_avatar.chunked.sessions import ChunkedSessions
from webrtc_avatar.errors import AvatarServerError, InvalidRequest
from webrtc_avatar.media.hls import PLAYLIST
from webrtc_avatar.server.middleware import Handler, error_response
from webrtc_avatar.server.reloads import Reloads
from webrtc_avatar.server.signalling import SETTINGS
from webrtc_avatar.server.uploads import read_form

CHUNKED = web.AppKey("chunked", ChunkedSessions)
_RELOADS = web.AppKey("reloads", Reloads)

_BASE = "/api/audio-driven/chunked"
_SEGMENT = re.compile(r"seg_(\d{1,9})(?:\.(\d{1,9}))?\.m4s")
_WAIT_S = 12.0
"""The longest that a request waits for what is about to be written."""
_AHEAD = 2
"""A reload may ask for what lies so many segments ahead, no further (RFC 8216bis 6.2.5.2)."""


async def init(request: web.Request) -> web.Response:
    """Take a face and how it shall be; answer where it will be seen."""
    settings = request.app[SETTINGS]
    form = await read_form(request, {"image": settings.chunked_max_image_bytes})
    options = read_options(form.fields, settings.style)
    image = form.files.get("image")
    if image is None:
        raise InvalidRequest("the form has no file named image; upload a JPEG, PNG or WebP with one face")
    session, warnings = await request.app[CHUNKED].open(image.data, options)
    answer = {
        "status": "success",
        "session_id": session.id,
        "hls_url": f"/hls/{session.id}/{PLAYLIST}",
        "message": "the session is ready: feed it sound, and play hls_url",
        "chunk_duration": options.chunk_duration,
        "audio_sample_rate": options.audio_sample_rate,
    }
    return web.json_response({**answer, "warnings": list(warnings)} if warnings else answer)


async def feed(request: web.Request) -> web.Response:
    """Take a piece of sound."""
    form = await read_form(request, {"audio_chunk": request.app[SETTINGS].chunked_max_audio_bytes})
    session_id = form.fields.get("session_id", "").strip()
    if not session_id:
        raise InvalidRequest("the form has no session_id; send the one that init answered")
    final = read_flag("is_final_chunk", form.fields.get("is_final_chunk", "").strip(), default=False)
    sound = form.files.get("audio_chunk")
    if sound is None and not final:
        raise InvalidRequest("the form has no file named audio_chunk; send a file with sound")
    session = request.app[CHUNKED].get(session_id)
    await session.feed(sound.data if sound else b"", content_type=sound.content_type if sound else "", final=final)
    return web.json_response(
        {
            "status": "success",
            "session_id": session.id,
            "buffer_samples": session.buffer_samples,
            "frames_generated": session.frames,
            "session_status": session.status.value,
            "message": "that was the last of the sound" if final else "the sound is being spoken; more may follow",
        }
    )


async def status(request: web.Request) -> web.Response:
    """Answer how far a session is."""
    session = request.app[CHUNKED].get(request.match_info["session_id"])
    session.touch()
    return web.json_response(session.describe())


async def delete(request: web.Request) -> web.Response:
    """End a session; its files go with it."""
    session_id = request.match_info["session_id"]
    await request.app[CHUNKED].close(session_id)
    return web.json_response({"status": "success", "message": f"session {session_id} and its files are deleted"})


async def playlist(request: web.Request) -> web.Response:
    """Answer the playlist; the first time, or where a reload asks for it, once there is what it waits for."""
    session = request.app[CHUNKED].get(request.match_info["session_id"])
    session.touch()
    session.watching.open_hls()
    segment, part = _asked(request)
    if segment is not None and segment > session.segments + _AHEAD:
        raise InvalidRequest(f"_HLS_msn={segment} lies too far ahead; the newest segment is {session.segments - 1}")
    reloads, client = request.app[_RELOADS], f"{request.remote} {request.headers.get('User-Agent', '')}"
    if segment is None and reloads.comes_too_soon(session, client, time.monotonic()):
        segment, part = session.segments, None
    await _at_most(session, segment or 0, part)
    reloads.note(session, client, time.monotonic())
    if not session.playlist_path.is_file():
        raise web.HTTPNotFound(text="nothing was fed yet, so there is nothing to see; try again in a moment")
    text = await asyncio.to_thread(session.playlist_path.read_text)
    # Names never change their content, the list does, until its end is written.
    cache = "max-age=3600" if "#EXT-X-ENDLIST" in text else "no-cache, no-store"
    answer = web.Response(
        body=text.encode(),
        content_type="application/vnd.apple.mpegurl",
        headers={"Cache-Control": cache, "Vary": "Accept-Encoding"},
    )
    answer.enable_compression()  # after an hour it is 53 kB, of which 5 remain
    return answer


async def media(request: web.Request) -> web.StreamResponse:
    """Answer the header, a segment or a part; one that was announced is waited for."""
    session = request.app[CHUNKED].get(request.match_info["session_id"])
    session.touch()
    name = request.match_info["name"]
    path = session.folder / name
    numbers = _SEGMENT.fullmatch(name)
    if numbers and numbers[2] is not None and int(numbers[1]) <= session.segments + 1 and not path.is_file():
        await _at_most(session, int(numbers[1]), int(numbers[2]))
    if not path.is_file():
        raise web.HTTPNotFound
    kind = "video/mp4" if name.endswith(".mp4") else "video/iso.segment"
    return web.FileResponse(path, headers={"Content-Type": kind, "Cache-Control": "max-age=3600, immutable"})


async def preflight(_request: web.Request) -> web.Response:
    """Tell another site's page that it may watch."""
    return web.Response(
        status=204, headers={"Access-Control-Allow-Methods": "GET, HEAD", "Access-Control-Allow-Headers": "Range"}
    )


def add_routes(app: web.Application) -> None:
    """Add the endpoints of chunked sessions."""
    app[_RELOADS] = Reloads(math.ceil(app[SETTINGS].hls_segment_s) / 2)
    app.router.add_post(f"{_BASE}/init", _with_detail(init))
    app.router.add_post(f"{_BASE}/feed", _with_detail(feed))
    app.router.add_get(f"{_BASE}/status/{{session_id}}", _with_detail(status))
    app.router.add_delete(f"{_BASE}/session/{{session_id}}", _with_detail(delete))
    app.router.add_get(f"/hls/{{session_id}}/{PLAYLIST}", _with_detail(playlist))
    app.router.add_get(r"/hls/{session_id}/{name:init\.mp4|seg_\d+(\.\d+)?\.m4s}", _with_detail(media))
    app.router.add_route("OPTIONS", "/hls/{session_id}/{name}", preflight)


def _with_detail(handler: Handler) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except AvatarServerError as error:
            answer = error_response(error)
            body = {"detail": error.message, **json.loads(answer.text or "{}")}
            answer.text = json.dumps(body, ensure_ascii=False)
            return answer

    return handle


def _asked(request: web.Request) -> tuple[int | None, int | None]:
    """Return the segment and the part for which a blocking reload waits."""
    numbers: list[int | None] = []
    for name in ("_HLS_msn", "_HLS_part"):
        text = request.query.get(name)
        if text is not None and not (text.isdecimal() and len(text) < 10):
            raise InvalidRequest(f"{name} is a whole number; got {text[:40]!r}")
        numbers.append(None if text is None else int(text))
    if numbers[0] is None and numbers[1] is not None:
        raise InvalidRequest("_HLS_part goes with _HLS_msn; send both")
    return numbers[0], numbers[1]


async def _at_most(session: ChunkedSession, segment: int, part: int | None) -> None:
    try:
        async with asyncio.timeout(_WAIT_S):
            await session.watching.wait_for(segment, part)
    except TimeoutError:
        pass
