"""The shapes of what goes in and out over HTTP, as JSON Schemas (draft 2020-12)."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from webrtc_avatar.chunked.options import RANGES, ChunkedOptions, default_of
from webrtc_avatar.chunked.session import Status

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
COUNT: Schema = {"type": "integer", "minimum": 0}
FLAG: Schema = {"type": "boolean"}
FILE: Schema = {"type": "string", "contentMediaType": "application/octet-stream"}

_STYLES: dict[str, Schema] = {
    "pose_style": {
        "description": "pitch, yaw and roll of the head in degrees: down, and to the picture's right",
        "type": "array",
        "items": NUMBER,
        "minItems": 3,
        "maxItems": 3,
    },
    "gaze_style": {
        "description": "x and y of the gaze, -1 to 1: to the picture's right, and up",
        "type": "array",
        "items": NUMBER,
        "minItems": 2,
        "maxItems": 2,
    },
}
_MEANINGS = {
    "session_id": "the name that the session shall have; one is made where it is left out",
    "crop": "look for the face and cut it out; false: the picture is a centred face already",
    "seed": "decides blinks, glances and sway; the same one makes the same film",
    "nfe": "evaluations of the ear for each frame: more are smoother, fewer are faster",
    "cfg_scale": "strength of articulation and motion around neutral; 1 is plain",
    "chunk_duration": "seconds of sound that are taken at a time",
    "audio_sample_rate": "rate in Hz of bare samples",
}
_TYPES: dict[type, str] = {bool: "boolean", int: "integer", float: "number", str: "string"}


def record(properties: dict[str, Schema], *, optional: tuple[str, ...] = (), closed: bool = True) -> Schema:
    """Return the schema of an object.

    Args:
        properties: its members.
        optional: those that may be left out.
        closed: it has no others.
    """
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": not closed}


def init_form() -> Schema:
    """Return the form of `init`: types, defaults and ranges are those that `ChunkedOptions` and its reader have."""
    properties: dict[str, Schema] = {"image": {**FILE, "description": "JPEG, PNG or WebP with one face"}}
    for field in fields(ChunkedOptions):
        if field.name == "style":
            continue
        default = default_of(field.name)
        schema: Schema = {
            "type": _TYPES[str if default is None else type(default)], "description": _MEANINGS[field.name]
        }  # fmt: skip
        if default is not None:
            schema["default"] = default
        if field.name in RANGES:
            schema["minimum"], schema["maximum"] = RANGES[field.name]
        properties[field.name] = schema
    properties["session_id"]["pattern"] = "^[A-Za-z0-9_-]{1,64}$"
    properties |= _STYLES
    return record(properties, optional=tuple(name for name in properties if name != "image"))


FEED_FORM = record(
    {
        "session_id": {**TEXT, "description": "as init answered it"},
        "audio_chunk": {
            **FILE,
            "description": "a file with sound that FFmpeg reads; what continues a WebM, Ogg or fragmented MP4 that was begun; or "
            "int16 samples with the content type audio/l16. May be absent in the last feed",
        },
        "is_final_chunk": {**FLAG, "default": False, "description": "nothing follows"},
    },
    optional=("audio_chunk", "is_final_chunk"),
)
FACE_FORM = record(
    {"image": {**FILE, "description": "JPEG, PNG or WebP with one face"}, "crop": {**FLAG, "default": True}},
    optional=("crop",),
)
_STATUS: Schema = {"type": "string", "enum": [status.value for status in Status]}
_SAMPLES: Schema = {**COUNT, "description": "samples at 16 kHz that are decoded and wait for their frames"}

SCHEMAS: dict[str, Schema] = {
    "Error": record(
        {
            "error": record({"code": TEXT, "message": TEXT}),
            "detail": {**TEXT, "description": "the message again, in errors of chunked sessions"},
        },
        optional=("detail",),
    ),
    "ChunkedForm": init_form(),
    "ChunkedSession": record(
        {
            "status": {"const": "success"},
            "session_id": TEXT,
            "hls_url": {**TEXT, "description": "path of the film's playlist"},
            "message": TEXT,
            "chunk_duration": NUMBER,
            "audio_sample_rate": COUNT,
            "warnings": {"type": "array", "items": TEXT, "description": "what its owner should know of the face"},
        },
        optional=("warnings",),
    ),
    "Feed": FEED_FORM,
    "Fed": record(
        {
            "status": {"const": "success"},
            "session_id": TEXT,
            "buffer_samples": _SAMPLES,
            "frames_generated": COUNT,
            "session_status": _STATUS,
            "message": TEXT,
        }
    ),
    "ChunkedStatus": record(
        {
            "session_id": TEXT,
            "status": _STATUS,
            "total_frames_generated": COUNT,
            "buffer_samples": _SAMPLES,
            "error": {"type": ["string", "null"], "description": "what ended it"},
            "created_at": {**NUMBER, "description": "seconds since 1970"},
            "uptime_seconds": NUMBER,
        }
    ),
    "Deleted": record({"status": {"const": "success"}, "message": TEXT}),
    "Offer": record(
        {"sdp": TEXT, "type": {"const": "offer"}, "avatar": {"type": ["string", "null"]}, **_STYLES},
        optional=("avatar", "pose_style", "gaze_style"),
        closed=False,
    ),
    "Answer": record({"sdp": TEXT, "type": {"const": "answer"}, "session_id": TEXT}),
    "NewSession": record(
        {"avatar": {"type": ["string", "null"]}, **_STYLES},
        optional=("avatar", "pose_style", "gaze_style"),
        closed=False,
    ),
    "OpenedSession": record({"session_id": TEXT, "avatar": TEXT}),
    "Session": record(
        {
            "session_id": TEXT,
            "avatar": TEXT,
            "state": {"type": "string", "enum": ["connecting", "idle", "speaking", "closed"]},
            "epoch": COUNT,
            "lookahead_ms": NUMBER,
            "uptime_s": NUMBER,
            "ticks": COUNT,
            "fps": NUMBER,
            "delay_ms": NUMBER,
            "lateness_ms": NUMBER,
            "rendered_frames": COUNT,
            "idle_frames": COUNT,
            "held_frames": COUNT,
            "failed_frames": COUNT,
            "viewers": COUNT,
            "microphone": FLAG,
        },
        closed=False,
    ),
    "Sessions": record({"sessions": {"type": "array", "items": {"$ref": "#/components/schemas/Session"}}}),
    "Config": record(
        {
            "ice_servers": {"type": "array", "items": {"type": "object"}},
            "avatars": {
                "type": "array",
                "items": record(
                    {"name": TEXT, "title": TEXT, "kind": TEXT, "width": COUNT, "height": COUNT, "frame_count": {}},
                    closed=False,
                ),
            },
            "default_avatar": TEXT,
            "version": TEXT,
        },
        closed=False,
    ),
    "Health": record({"status": {"const": "healthy"}}),
    "Readiness": record({"status": {"enum": ["ready", "draining", "no engine"]}}),
    "FaceForm": FACE_FORM,
    "Face": record(
        {
            "name": TEXT,
            "shown_as": TEXT,
            "poster": TEXT,
            "package": TEXT,
            "warnings": {"type": "array", "items": TEXT},
            "in_use": FLAG,
            "expires_in_s": {"type": ["number", "null"]},
        },
        closed=False,
    ),
    "FaceName": record({"name": TEXT, "title": TEXT}, optional=("title",), closed=False),
    "SavedFace": record({"name": TEXT, "title": TEXT}),
}
"""By name, as operations refer to them."""
