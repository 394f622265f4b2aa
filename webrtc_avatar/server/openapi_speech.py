"""The endpoints of speech, and the shapes of what goes in and out of them, for the OpenAPI document."""

from __future__ import annotations

from webrtc_avatar import errors
from webrtc_avatar.server.openapi_operations import BROKEN, CHANGES, FORM, FULL, JSON, LARGE, SLOW, Operation
from webrtc_avatar.server.openapi_schemas import COUNT, FILE, FLAG, NUMBER, TEXT, Schema, record

_VOICE = (
    errors.InvalidRequest,
    errors.NothingToSay,
    errors.InvalidSsml,
    errors.SpeechRefused,
    errors.UnsupportedParameter,
)
_FOUND = (errors.UnknownVoice, errors.VoiceUnavailable)
_SAYING = (errors.SpeechFailure, errors.VoiceServiceFailure)
_SESSION = (errors.UnknownSession, errors.SessionClosed)
_RATE: Schema = {"type": "integer", "minimum": 8000, "maximum": 192000, "default": 24000}


def _socket(path: str, name: str, summary: str, *, rate: Schema | None = None) -> Operation:
    return Operation(
        "GET", path, name, "speech", summary,
        answers=((101, "the socket is open; docs/speech.md has its messages", None),),
        errors=(errors.InvalidRequest, errors.Unauthorized, errors.Forbidden, *_SESSION, errors.VoiceUnavailable),
        refusals=((400, "http_error", "this is no WebSocket handshake"), BROKEN),
        query=() if rate is None else (("rate", "samples a second of the sound", rate),),
    )  # fmt: skip


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "GET", "/api/voices", "voices", "speech", "The voices, best first, and what each can do",
        answers=((200, "voices", (JSON, "Voices")),),
        errors=(errors.VoiceUnavailable,),
    ),
    Operation(
        "POST", "/api/speech", "synthesize", "speech", "Sound of a text",
        answers=((200, "a WAV file, or with `Accept: audio/…` (wav, ogg, pcm) one that comes while it is made", ("audio/wav", None)),),
        errors=(*_VOICE, *_FOUND, *FULL, *_SAYING, *CHANGES),
        refusals=(SLOW, LARGE, BROKEN),
        body=(JSON, "SpeechRequest", True),
    ),
    Operation(
        "GET", "/api/speech/status", "speechStatus", "speech", "What the processes that speak do",
        answers=((200, "figures", (JSON, "SpeechStatus")),),
    ),
    Operation(
        "POST", "/api/sessions/{session_id}/speak", "speak", "speech", "Have a live session say a text",
        answers=((202, "its turn; events tell how far it is", (JSON, "Turn")),),
        errors=(*_VOICE, *_FOUND, *_SESSION, *FULL, *CHANGES),
        refusals=(SLOW, LARGE, BROKEN),
        body=(JSON, "SpeakRequest", True),
    ),
    Operation(
        "POST", "/api/sessions/{session_id}/interrupt", "interrupt", "speech", "Silence a live session at once",
        answers=((204, "nothing that was on its way is heard any more", None),),
        errors=(*_SESSION, *CHANGES),
    ),
    Operation(
        "POST", "/api/sessions/{session_id}/audio", "playAudio", "speech", "Have a live session play a sound file as if it said it",
        answers=((202, "its turn", (JSON, "SoundTurn")),),
        errors=(errors.InvalidRequest, errors.UnreadableSound, errors.BodyTooLarge, *_SESSION, *FULL, *CHANGES),
        refusals=(SLOW, BROKEN),
        body=(FORM, "SoundForm", True),
    ),
    _socket("/ws/speak/{session_id}", "speakSocket", "A text that is still being written, over a WebSocket"),
    _socket("/ws/audio/{session_id}", "audioSocket", "Live sound for a session, over a WebSocket", rate=_RATE),
)  # fmt: skip

_MANNER: dict[str, Schema] = {
    "text": {"type": "string", "description": "what to say; SSML if it begins with `<speak`"},
    "voice": {"type": "string", "description": "`ENGINE/NAME`, or an engine for its default voice"},
    "checkpoint": TEXT,
    "speed": {"type": "number", "minimum": 0.5, "maximum": 2, "default": 1},
    "pitch": {"type": "number", "minimum": 0.5, "maximum": 2, "default": 1},
    "emotion": TEXT,
    "style": TEXT,
    "seed": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1, "default": 0},
    "ssml": FLAG,
}
_OPTIONAL = tuple(name for name in _MANNER if name != "text")

SCHEMAS: dict[str, Schema] = {
    "SpeechRequest": record(_MANNER, optional=_OPTIONAL, closed=False),
    "SpeakRequest": record(
        {**_MANNER, "interrupt": {"type": "boolean", "default": False}},
        optional=(*_OPTIONAL, "interrupt"),
        closed=False,
    ),
    "Turn": record({"id": COUNT, "session_id": TEXT}),
    "SoundTurn": record({"id": COUNT, "session_id": TEXT, "duration_s": {"type": ["number", "null"]}}),
    "SoundForm": record({"audio": FILE, "interrupt": FLAG}, optional=("interrupt",)),
    "Voices": record(
        {
            "voices": {
                "type": "array",
                "items": record(
                    {
                        "id": TEXT,
                        "language": TEXT,
                        "title": TEXT,
                        "rate_hz": COUNT,
                        "abilities": {"type": "array", "items": TEXT},
                        "licence": TEXT,
                        "default": FLAG,
                    },
                    closed=False,
                ),
            },
            "default": TEXT,
            "unavailable": {"type": "array", "items": record({"engine": TEXT, "reason": TEXT})},
        }
    ),
    "SpeechStatus": record(
        {
            **dict.fromkeys(("total_workers", "ready_workers", "busy_workers", "queue_size", "max_batch_size"), COUNT),
            "batching_enabled": FLAG,
            **dict.fromkeys(
                ("requests", "succeeded", "failed", "given_up", "batches", "retried", "workers_replaced"), COUNT
            ),
            "mean_batch_size": NUMBER,
        }
    ),
}
