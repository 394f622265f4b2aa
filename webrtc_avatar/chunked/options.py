"""What a chunked session is asked to be, read from the fields of a form. Source: the seed document on chunked audio sessions."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from webrtc_avatar.avatar.style import DEFAULT_STYLE, Style, read_style
from webrtc_avatar.errors import InvalidRequest

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TRUE, _FALSE = {"true", "1", "yes", "on"}, {"false", "0", "no", "off"}
_STRENGTH_PER_SCALE, _MOTION_PER_SCALE = 0.15, 0.2
_MOST_SEED = 2**63 - 1


@dataclass(frozen=True, slots=True)
class ChunkedOptions:
    """How one session is.

    Attributes:
        session_id: the name that the client wants; none: one is made.
        crop: look for the face and cut it out; false: the picture is a centred face already.
        seed: decides blinks, glances and sway.
        nfe: evaluations of the ear for each frame, 5 to 50; see `engine.refinement`.
        cfg_scale: strength of articulation and motion around neutral, 1 to 5; 1 is plain. See `strength` and `held`.
        chunk_duration: seconds of sound that are taken at a time, 0.1 to 10.
        audio_sample_rate: rate in Hz of sound that does not say its own.
        style: how the face is held.
    """

    session_id: str | None = None
    crop: bool = True
    seed: int = 42
    nfe: int = 10
    cfg_scale: float = 2.0
    chunk_duration: float = 1.0
    audio_sample_rate: int = 24_000
    style: Style = field(default=DEFAULT_STYLE)

    @property
    def strength(self) -> float:
        """How far the mouth moves: as the ear says at `cfg_scale` 1, 1.15 times as far at 2, 1.6 times at 5."""
        return 1 + _STRENGTH_PER_SCALE * (self.cfg_scale - 1)

    @property
    def held(self) -> Style:
        """How the face is held and how far it moves: sway, nods and brows as in live sessions at `cfg_scale` 1, 1.8 times as far at 5."""
        return replace(self.style, motion=1 + _MOTION_PER_SCALE * (self.cfg_scale - 1))


def read_options(fields: Mapping[str, str], style: Style = DEFAULT_STYLE) -> ChunkedOptions:
    """Return what a form's fields ask for; those that are absent or empty keep their defaults.

    Args:
        fields: texts by name.
        style: the one that `pose_style` and `gaze_style` change.

    Raises:
        InvalidRequest: a field is malformed or out of its range.
    """
    told = {name: text.strip() for name, text in fields.items() if text.strip()}
    session_id = told.get("session_id")
    if session_id is not None and not _NAME.fullmatch(session_id):
        raise InvalidRequest(f"session_id is 1 to 64 letters, digits, - and _; got {session_id[:80]!r}")
    lists: dict[str, object] = {name: _json(name, told[name]) for name in ("pose_style", "gaze_style") if name in told}
    return ChunkedOptions(
        session_id=session_id,
        crop=read_flag("crop", told.get("crop"), default=True),
        seed=_whole("seed", told.get("seed"), 42, -_MOST_SEED, _MOST_SEED),
        nfe=_whole("nfe", told.get("nfe"), 10, 5, 50),
        cfg_scale=_number("cfg_scale", told.get("cfg_scale"), 2.0, 1, 5),
        chunk_duration=_number("chunk_duration", told.get("chunk_duration"), 1.0, 0.1, 10),
        audio_sample_rate=_whole("audio_sample_rate", told.get("audio_sample_rate"), 24_000, 8_000, 192_000),
        style=read_style(lists, style),
    )


def read_flag(name: str, text: str | None, *, default: bool) -> bool:
    """Return what a text says, as forms write yes and no.

    Raises:
        InvalidRequest: it says neither.
    """
    if not text:
        return default
    if text.lower() not in _TRUE | _FALSE:
        raise InvalidRequest(f"{name} is true or false; got {text[:40]!r}")
    return text.lower() in _TRUE


def _whole(name: str, text: str | None, default: int, least: int, most: int) -> int:
    if text is None:
        return default
    try:
        value = int(text) if len(text) <= 40 else most + 1
    except ValueError:
        raise InvalidRequest(f"{name} is a whole number from {least} to {most}; got {text[:40]!r}") from None
    if not least <= value <= most:
        raise InvalidRequest(f"{name} is a whole number from {least} to {most}; got {text[:40]}")
    return value


def _number(name: str, text: str | None, default: float, least: float, most: float) -> float:
    try:
        value = default if text is None else float(text)
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        raise InvalidRequest(f"{name} is a number from {least:g} to {most:g}; got {str(text)[:40]!r}")
    return value


def _json(name: str, text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidRequest(f"{name} is a JSON list of numbers; got {text[:80]!r}") from None
