"""HTTP of uploaded faces: send a photo, talk through it, keep the package or not."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from aiohttp import web

from webrtc_avatar.avatar.export import check_name, copy_package, zip_package
from webrtc_avatar.avatar.library import imported_folder
from webrtc_avatar.chunked.options import read_flag
from webrtc_avatar.errors import AvatarExists, Forbidden, InvalidRequest, TooManyRequests, UnknownAvatar
from webrtc_avatar.server.middleware import FACE_UPLOAD
from webrtc_avatar.server.signalling import LIBRARY, SETTINGS, read_json
from webrtc_avatar.server.uploaded_faces import FACES, UploadedFace, UploadedFaces
from webrtc_avatar.server.uploads import read_form

_PRIVATE = {"Cache-Control": "no-store"}
_MINUTE_S = 60.0


class UploadRate:
    """How many photos each address may send: `per_minute` at once, and again one every so many seconds."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._due_s: dict[str, float] = {}

    def take(self, address: str, now_s: float) -> None:
        """Count a photo (a leaky bucket, as ITU-T I.371's generic cell rate algorithm has it).

        Raises:
            TooManyRequests: the address has sent as many as it may.
        """
        self._due_s = {known: due_s for known, due_s in self._due_s.items() if due_s > now_s}
        due_s = max(self._due_s.get(address, now_s), now_s) + _MINUTE_S / self._per_minute
        if due_s - now_s > _MINUTE_S + 1e-6:
            wait_s = int(due_s - now_s - _MINUTE_S) + 1
            raise TooManyRequests(
                f"more than {self._per_minute} photos a minute came from your address; try again in {wait_s} s",
                retry_after_s=wait_s,
            )
        self._due_s[address] = due_s


RATE = web.AppKey("face-upload-rate", UploadRate)


async def upload(request: web.Request) -> web.Response:
    """Take a photo; answer 201 with the name of its face."""
    settings, faces = request.app[SETTINGS], request.app[FACES]
    request.app[RATE].take(request.remote or "", time.monotonic())
    form = await read_form(request, {"image": settings.chunked_max_image_bytes})
    image = form.files.get("image")
    if image is None:
        raise InvalidRequest("the form has no file named image; upload a JPEG, PNG or WebP with one face")
    crop = read_flag("crop", form.fields.get("crop", "").strip(), default=True)
    face = await faces.add(image.data, crop)
    headers = {"Location": f"/api/faces/{face.name}", **_PRIVATE}
    return web.json_response(_describe(faces, face), status=201, headers=headers)


async def describe(request: web.Request) -> web.Response:
    """Answer whether a face is still there, and for how long."""
    faces = request.app[FACES]
    return web.json_response(_describe(faces, faces.get(request.match_info["name"])), headers=_PRIVATE)


async def remove(request: web.Request) -> web.Response:
    """Remove a face at once."""
    await request.app[FACES].remove(request.match_info["name"])
    return web.Response(status=204)


async def package(request: web.Request) -> web.Response:
    """Answer the face's package as a ZIP, under a name of one's own."""
    face = request.app[FACES].get(request.match_info["name"])
    name = request.query.get("name") or "me"
    title = request.query.get("title") or name
    check_name(name, title)
    try:
        data = await asyncio.to_thread(zip_package, face.avatar.folder, name, title)
    except FileNotFoundError:
        raise UnknownAvatar("the face was removed meanwhile; upload the photo again") from None
    headers = {"Content-Disposition": f'attachment; filename="{name}.zip"', **_PRIVATE}
    return web.Response(body=data, content_type="application/zip", headers=headers)


async def save(request: web.Request) -> web.Response:
    """Write the face's package into the server's first avatar folder; it is an avatar as any other from then on."""
    settings, library = request.app[SETTINGS], request.app[LIBRARY]
    if not settings.save_faces:
        raise Forbidden(
            "this server keeps no photos of visitors; take the package home with GET /api/faces/{name}/package, "
            "or set save_faces on the server"
        )
    face = request.app[FACES].get(request.match_info["name"])
    body = await read_json(request)
    name = body.get("name")
    title = body.get("title") or name
    if not isinstance(name, str) or not isinstance(title, str):
        raise InvalidRequest('expected {"name": "me", "title": "Me"}: two texts, of which the title may be left out')
    check_name(name, title)
    if library.folder(name) is not None:
        raise AvatarExists(f"there is an avatar {name!r} already; choose another name")
    into = settings.avatar_folders[0] if settings.avatar_folders else imported_folder()
    try:
        await asyncio.to_thread(copy_package, face.avatar.folder, into, name, title)
    except FileNotFoundError:
        raise UnknownAvatar("the face was removed meanwhile; upload the photo again") from None
    await asyncio.to_thread(library.refresh)
    return web.json_response({"name": name, "title": title}, status=201, headers=_PRIVATE)


def add_routes(app: web.Application) -> None:
    """Add the endpoints of uploaded faces."""
    app[RATE] = UploadRate(app[SETTINGS].face_uploads_per_minute)
    app.router.add_post(FACE_UPLOAD, upload)
    app.router.add_get("/api/faces/{name}", describe)
    app.router.add_delete("/api/faces/{name}", remove)
    app.router.add_get("/api/faces/{name}/package", package)
    app.router.add_post("/api/faces/{name}/save", save)


def _describe(faces: UploadedFaces, face: UploadedFace) -> dict[str, Any]:
    expires_s = faces.expires_s(face)
    return {
        "name": face.name,
        "shown_as": face.avatar.name,
        "poster": f"/api/avatars/{face.name}/poster",
        "package": f"/api/faces/{face.name}/package",
        "warnings": list(face.warnings),
        "in_use": expires_s is None,
        "expires_in_s": None if expires_s is None else round(expires_s, 1),
    }
