"""What callers send to have something said: JSON, read strictly, the same over HTTP, WebSockets and the data channel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from webrtc_avatar.errors import InvalidRequest
from webrtc_avatar.speech.request import SpeechRequest

_TEXTS = ("voice", "checkpoint", "emotion", "style")
_MOST_NAME_CHARS = 200
_MOST_SEED = 2**31 - 1
FIELDS = ("text", *_TEXTS, "speed", "pitch", "seed", "ssml")


def read_request(body: Mapping[str, Any], *, most_chars: int, needs_text: bool = True) -> SpeechRequest:
    """Return the request that a JSON object makes.

    Args:
        body: `text`, and where wanted `voice`, `checkpoint`, `speed`, `pitch`, `emotion`, `style`, `seed` and `ssml`.
        most_chars: of the text.
        needs_text: false where the text comes later.

    Raises:
        InvalidRequest: a field is missing, of another type, or too long.
    """
    text = body.get("text", None if needs_text else "")
    if not isinstance(text, str) or (needs_text and not text.strip()):
        raise InvalidRequest('"text" is what to say, a text with at least one word')
    if len(text) > most_chars:
        raise InvalidRequest(
            f'"text" has {len(text)} characters; at most {most_chars} are said in one go: send it in parts'
        )
    names = {name: _name(name, body[name]) for name in _TEXTS if body.get(name) is not None}
    ssml = body.get("ssml")
    if ssml is not None and not isinstance(ssml, bool):
        raise InvalidRequest('"ssml" is true or false')
    seed = body.get("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed <= _MOST_SEED:
        raise InvalidRequest(f'"seed" is a whole number from 0 to {_MOST_SEED}')
    return SpeechRequest(
        text=text,
        speed=_number("speed", body.get("speed", 1.0)),
        pitch=_number("pitch", body.get("pitch", 1.0)),
        seed=seed,
        ssml=ssml,
        **names,
    )


def read_interrupt(body: Mapping[str, Any]) -> bool:
    """Return whether what is being said shall give way.

    Raises:
        InvalidRequest: it is neither true nor false.
    """
    value = body.get("interrupt", False)
    if not isinstance(value, bool):
        raise InvalidRequest('"interrupt" is true or false')
    return value


def _name(field: str, value: object) -> str:
    if not isinstance(value, str) or not value or len(value) > _MOST_NAME_CHARS:
        raise InvalidRequest(f'"{field}" is a short text; GET /api/voices says what there is')
    return value


def _number(field: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.5 <= value <= 2:
        raise InvalidRequest(f'"{field}" is a number from 0.5 to 2, 1 being the voice\'s own')
    return float(value)
