"""Every endpoint with what it takes, answers and refuses: what the OpenAPI document consists of."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from webrtc_avatar import errors
from webrtc_avatar.errors import AvatarServerError

Content = tuple[str, str | None]
"""A media type and the name of a schema; none: text or bytes."""

JSON, _SDP, FORM = "application/json", "application/sdp", "multipart/form-data"
_WHOLE = {"type": "integer", "minimum": 0}
_NO_PAGE = (404, "not_found", "nothing at this path")
SLOW = (408, "too_slow", "the body took too long to arrive")
LARGE = (413, "too_large", "the body is larger than `max_request_bytes`")
BROKEN = (500, "internal", "a fault of the server; its log says more")
CHANGES = (errors.Forbidden,)
_PHOTO = (errors.InvalidRequest, errors.NoFaceFound, errors.FaceTurnedAway, errors.PortraitUnavailable)
FULL = (errors.ServerFull, errors.ServerDraining)
_ENGINE = (errors.EngineFailure, errors.EngineLost)


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path.

    Attributes:
        method, path: as the router has them.
        name: of the operation, for generated clients.
        tag: the group that it belongs to.
        summary: what it does.
        answers: status, what it says, and content.
        errors: types that may be raised.
        refusals: status, code and meaning of errors that are HTTP's own.
        body: media type, name of the schema, and whether it must be there.
        query: name, meaning and schema.
        description: more about it.
    """

    method: str
    path: str
    name: str
    tag: str
    summary: str
    answers: tuple[tuple[int, str, Content | None], ...]
    errors: tuple[type[AvatarServerError], ...] = ()
    refusals: tuple[tuple[int, str, str], ...] = (BROKEN,)
    body: tuple[str, str | None, bool] | None = None
    query: tuple[tuple[str, str, dict[str, Any]], ...] = ()
    description: str = ""

    @property
    def names(self) -> list[str]:
        """The path's parameters."""
        return re.findall(r"{(\w+)}", self.path)


_CHUNKED = "/api/audio-driven/chunked"

_CHUNKED_OPERATIONS = (
    Operation(
        "POST", f"{_CHUNKED}/init", "initChunked", "chunked sessions", "Begin a session with a face",
        answers=((200, "the session is ready", (JSON, "ChunkedSession")),),
        errors=(*_PHOTO, *CHANGES, errors.SessionFinished, errors.BodyTooLarge, *FULL, errors.EngineFailure),
        refusals=(SLOW, BROKEN),
        body=(FORM, "ChunkedForm", True),
    ),
    Operation(
        "POST", f"{_CHUNKED}/feed", "feedChunked", "chunked sessions", "Feed a piece of sound",
        answers=((200, "it is taken", (JSON, "Fed")),),
        errors=(
            errors.InvalidRequest, errors.InvalidAudio, *CHANGES, errors.UnknownSession, errors.SessionFinished,
            errors.BodyTooLarge, errors.BufferFull, errors.UnreadableSound,
        ),
        refusals=(SLOW, BROKEN),
        body=(FORM, "Feed", True),
    ),
    Operation(
        "GET", f"{_CHUNKED}/status/{{session_id}}", "chunkedStatus", "chunked sessions", "How far a session is",
        answers=((200, "its state", (JSON, "ChunkedStatus")),),
        errors=(errors.UnknownSession,),
    ),
    Operation(
        "DELETE", f"{_CHUNKED}/session/{{session_id}}", "deleteChunked", "chunked sessions",
        "End a session and delete its files",
        answers=((200, "it is gone", (JSON, "Deleted")),),
        errors=(*CHANGES, errors.UnknownSession),
    ),
    Operation(
        "GET", "/hls/{session_id}/playlist.m3u8", "playlist", "chunked sessions", "The film's playlist",
        answers=((200, "HLS, for players", ("application/vnd.apple.mpegurl", None)),),
        errors=(errors.InvalidRequest, errors.UnknownSession),
        refusals=((404, "not_found", "nothing was fed yet"), BROKEN),
        query=(
            ("_HLS_msn", "wait for this segment (RFC 8216bis 6.2.5.2)", _WHOLE),
            ("_HLS_part", "wait for this part of it", _WHOLE),
        ),
    ),
    Operation(
        "GET", "/hls/{session_id}/{name}", "media", "chunked sessions", "The film's header, a segment or a part of it",
        answers=(
            (200, "fragmented MP4 (`video/iso.segment`; the header `video/mp4`)", ("video/*", None)),
            (206, "a range of it", ("video/*", None)),
            (416, "the range lies outside of the file", None),
        ),
        errors=(errors.UnknownSession,),
        refusals=(_NO_PAGE, BROKEN),
    ),
)  # fmt: skip

_LIVE_OPERATIONS = (
    Operation(
        "POST", "/offer", "offer", "live sessions", "Open a session for a microphone",
        answers=((200, "the answer's SDP", (JSON, "Answer")),),
        errors=(
            errors.InvalidRequest, *CHANGES, errors.UnknownAvatar, errors.UnsupportedMedia, errors.InvalidAvatar,
            errors.InvalidCheckpoint, *_ENGINE, *FULL, errors.ModelMemoryFull,
        ),
        refusals=(SLOW, LARGE, BROKEN),
        body=(JSON, "Offer", True),
    ),
    Operation(
        "POST", "/api/sessions", "openSession", "live sessions", "Open a session without a microphone",
        answers=((201, "it is open; `Location` says where", (JSON, "OpenedSession")),),
        errors=(
            errors.InvalidRequest, *CHANGES, errors.UnknownAvatar, errors.InvalidAvatar, errors.InvalidCheckpoint,
            *_ENGINE, *FULL, errors.ModelMemoryFull,
        ),
        refusals=(SLOW, LARGE, BROKEN),
        body=(JSON, "NewSession", False),
    ),
    Operation(
        "GET", "/api/sessions", "listSessions", "live sessions", "All open sessions with their figures",
        answers=((200, "their figures", (JSON, "Sessions")),),
    ),
    Operation(
        "GET", "/api/sessions/{session_id}", "getSession", "live sessions", "One session's figures",
        answers=((200, "its figures", (JSON, "Session")),),
        errors=(errors.UnknownSession,),
    ),
    Operation(
        "DELETE", "/api/sessions/{session_id}", "closeSession", "live sessions", "End a session for all who watch it",
        answers=((204, "it is gone", None),),
        errors=(*CHANGES, errors.UnknownSession),
    ),
    Operation(
        "POST", "/whep/{session_id}", "watch", "live sessions", "Watch a session (WHEP)",
        answers=((201, "the answer's SDP; `Location` ends it", (_SDP, None)),),
        errors=(
            errors.InvalidRequest, errors.UnknownSession, errors.SessionClosed, errors.SessionFinished,
            errors.UnsupportedMedia, *FULL,
        ),
        refusals=(SLOW, LARGE, BROKEN),
        body=(_SDP, None, True),
    ),
    Operation(
        "DELETE", "/whep/{session_id}/{viewer_id}", "leave", "live sessions", "Stop watching",
        answers=((200, "the viewer is gone", None),),
        errors=(errors.UnknownSession,),
    ),
)  # fmt: skip

_OTHER_OPERATIONS = (
    Operation(
        "GET", "/api/config", "config", "server", "What a page needs before it can offer",
        answers=((200, "ICE servers and avatars", (JSON, "Config")),),
    ),
    Operation(
        "GET", "/api/avatars/{name}/poster", "poster", "server", "A picture of an avatar at rest",
        answers=((200, "JPEG", ("image/jpeg", None)),),
        errors=(errors.UnknownAvatar, errors.InvalidAvatar),
    ),
    Operation(
        "POST", "/api/faces", "uploadFace", "uploaded faces", "Make a face of a photo for live sessions",
        answers=((201, "the face; `Location` says where", (JSON, "Face")),),
        errors=(*_PHOTO, *CHANGES, errors.BodyTooLarge, errors.TooManyRequests, *FULL, errors.EngineFailure),
        refusals=(SLOW, BROKEN),
        body=(FORM, "FaceForm", True),
    ),
    Operation(
        "GET", "/api/faces/{name}", "getFace", "uploaded faces", "Whether a face is still there",
        answers=((200, "the face", (JSON, "Face")),),
        errors=(errors.UnknownAvatar,),
    ),
    Operation(
        "DELETE", "/api/faces/{name}", "removeFace", "uploaded faces", "Remove a face at once",
        answers=((204, "it is gone", None),),
        errors=(*CHANGES, errors.UnknownAvatar),
    ),
    Operation(
        "GET", "/api/faces/{name}/package", "facePackage", "uploaded faces", "The face's package",
        answers=((200, "ZIP", ("application/zip", None)),),
        errors=(errors.InvalidRequest, errors.UnknownAvatar, errors.CannotImport),
        query=(("name", "what the avatar shall be called", {"type": "string"}), ("title", "for people", {"type": "string"})),
    ),
    Operation(
        "POST", "/api/faces/{name}/save", "saveFace", "uploaded faces", "Keep a face as an avatar of the server",
        answers=((201, "the avatar", (JSON, "SavedFace")),),
        errors=(
            errors.InvalidRequest, *CHANGES, errors.UnknownAvatar, errors.AvatarExists, errors.CannotImport,
            errors.CannotWrite,
        ),
        refusals=(SLOW, LARGE, BROKEN),
        body=(JSON, "FaceName", True),
    ),
    Operation(
        "GET", "/ws/lipsync", "lipsync", "lip-sync", "Batched lip-sync over a WebSocket",
        answers=((101, "the socket is open; docs/lipsync.md has its messages", None),),
        errors=(errors.Unauthorized, errors.Forbidden),
        refusals=((400, "http_error", "this is no WebSocket handshake"), BROKEN),
        description="The token goes into `Authorization: Bearer` or into the first message; the same service answers over gRPC.",
    ),
    Operation(
        "GET", "/health", "health", "monitoring", "Whether the server is alive",
        answers=((200, "it is", (JSON, "Health")),),
    ),
    Operation(
        "GET", "/ready", "ready", "monitoring", "Whether a new session would be taken",
        answers=(
            (200, "it would", (JSON, "Readiness")),
            (503, "it would not; `Retry-After` says when to ask again", (JSON, "Readiness")),
        ),
    ),
    Operation(
        "GET", "/metrics", "metrics", "monitoring", "Counters for Prometheus",
        answers=((200, "Prometheus text", ("text/plain", None)),),
    ),
    Operation(
        "GET", "/openapi.json", "openapi", "server", "This document",
        answers=((200, "OpenAPI 3.1", (JSON, None)),),
    ),
    Operation(
        "GET", "/", "index", "server", "The page for the microphone", answers=((200, "HTML", ("text/html", None)),)
    ),
    Operation(
        "GET", "/{path}", "page", "server", "A page or a file of the SDK",
        answers=(
            (200, "the file", ("*/*", None)),
            (206, "a range of it", ("*/*", None)),
            (416, "the range lies outside of the file", None),
        ),
        refusals=(_NO_PAGE, BROKEN),
        description="`path` may hold slashes.",
    ),
)  # fmt: skip

OPERATIONS: tuple[Operation, ...] = (*_CHUNKED_OPERATIONS, *_LIVE_OPERATIONS, *_OTHER_OPERATIONS)
"""All, as the document lists them."""
