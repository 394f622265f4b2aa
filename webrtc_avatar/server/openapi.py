"""`GET /openapi.json`: all endpoints as an OpenAPI 3.1 document. A test compares it with the routes and with what they answer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import Any

from aiohttp import web

from webrtc_avatar import __version__
from webrtc_avatar.errors import AvatarServerError
from webrtc_avatar.server import openapi_speech
from webrtc_avatar.server.openapi_operations import OPERATIONS, Operation
from webrtc_avatar.server.openapi_schemas import SCHEMAS

PATH = "/openapi.json"

_ABOUT = (
    "A voice in, a lip-synced face out. Live sessions go over WebRTC (`/offer`, `/whep/`) and are told what happens over a data "
    "channel, chunked ones over HTTP (`/api/audio-driven/chunked/`) with a film as HLS (`/hls/`). Errors carry `error.code` and "
    "`error.message`. Pages of other sites may read `/hls/` and use `/whep/`, and the rest where `allowed_origins` lists them; "
    "`OPTIONS` is answered to their browsers."
)


@dataclass(frozen=True, slots=True)
class _Refusal:
    code: str
    about: str


@cache
def document() -> dict[str, Any]:
    """Return the document."""
    paths: dict[str, dict[str, Any]] = {}
    operations = (*OPERATIONS, *openapi_speech.OPERATIONS)
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "webrtc_avatar", "version": __version__, "description": _ABOUT, "license": _LICENSE},
        "tags": [{"name": name} for name in dict.fromkeys(operation.tag for operation in operations)],
        "paths": paths,
        "components": {"schemas": SCHEMAS | openapi_speech.SCHEMAS},
    }


_LICENSE = {"name": "Apache-2.0", "identifier": "Apache-2.0"}


async def answer(_request: web.Request) -> web.Response:
    """Answer the document."""
    return web.Response(
        text=json.dumps(document()), content_type="application/json", headers={"Cache-Control": "max-age=300"}
    )


def add_routes(app: web.Application) -> None:
    """Add the endpoint."""
    app.router.add_get(PATH, answer)


def _described(operation: Operation) -> dict[str, Any]:
    answers: dict[str, Any] = {str(status): _answer(about, content) for status, about, content in operation.answers}
    for status, refusals in _refusals(operation).items():
        about = "; ".join(f"`{refusal.code}`: {refusal.about}" for refusal in refusals)
        if str(status) in answers:
            answers[str(status)]["description"] += f"; {about}"
        else:
            answers[str(status)] = _answer(about, ("application/json", "Error"))
    described: dict[str, Any] = {
        "tags": [operation.tag],
        "summary": operation.summary,
        "operationId": operation.name,
        "responses": answers,
    }
    if operation.description:
        described["description"] = operation.description
    parameters = [
        *({"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in operation.names),
        *(
            {"name": name, "in": "query", "description": about, "schema": schema}
            for name, about, schema in operation.query
        ),
    ]
    if parameters:
        described["parameters"] = parameters
    if operation.body is not None:
        media, schema, required = operation.body
        described["requestBody"] = {"required": required, "content": {media: {"schema": _schema(media, schema)}}}
    return described


def _refusals(operation: Operation) -> dict[int, list[_Refusal]]:
    """Return all errors of an operation by status."""
    found: dict[int, list[_Refusal]] = {}
    for kind in operation.errors:
        found.setdefault(kind.status, []).append(_Refusal(kind.code, _about(kind)))
    for status, code, about in operation.refusals:
        found.setdefault(status, []).append(_Refusal(code, about))
    return found


def _about(kind: type[AvatarServerError]) -> str:
    return (kind.__doc__ or kind.code).partition("\n")[0].rstrip(".").lower()


def _answer(about: str, content: tuple[str, str | None] | None) -> dict[str, Any]:
    if content is None:
        return {"description": about}
    media, schema = content
    return {"description": about, "content": {media: {"schema": _schema(media, schema)}}}


def _schema(media: str, name: str | None) -> dict[str, Any]:
    if name is None:
        return {"type": "object" if media == "application/json" else "string"}
    return {"$ref": f"#/components/schemas/{name}"}
