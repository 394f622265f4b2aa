"""What a chunked session is asked to be, read from the fields of a form. Source: the seed document on chunked audio sessions."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from webrtc_avatar.avatar.style import DEFAULT_STYLE, Style, read_style
from webrtc_avatar.errors import InvalidRequest

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TRUE, _FALSE = {"true", "1", "yes", "on"}, {"false", "0", "no", "off"}
_STRENGTH_PER_SCALE, _MOTION_PER_SCALE = 0.15, 0.2
_MOST_SEED = 2**63 - 1

RANGES: Mapping[str, tuple[float, float]] = {
    "seed": (-_MOST_SEED, _MOST_SEED),
    "nfe": (5, 50),
    "cfg_scale": (1, 5),
    "chunk_duration": (0.1, 10),
    "audio_sample_rate": (8_000, 192_000),
}
"""Least and most value of each field that is a number; their defaults are those of `ChunkedOptions`."""


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


def read_options(form: Mapping[str, str], style: Style = DEFAULT_STYLE) -> ChunkedOptions:
    """Return what a form's fields ask for; those that are absent or empty keep their defaults.

    Args:
        form: texts by name.
        style: the one that `pose_style` and `gaze_style` change.

    Raises:
        InvalidRequest: a field is malformed or out of its range.
    """
    told = {name: text.strip() for name, text in form.items() if text.strip()}
    session_id = told.get("session_id")
    if session_id is not None and not _NAME.fullmatch(session_id):
        raise InvalidRequest(f"session_id is 1 to 64 letters, digits, - and _; got {session_id[:80]!r}")
    lists: dict[str, object] = {name: _json(name, told[name]) for name in ("pose_style", "gaze_style") if name in told}
    return ChunkedOptions(
        session_id=session_id,
        crop=read_flag("crop", told.get("crop"), default=True),
        seed=_whole("seed", told),
        nfe=_whole("nfe", told),
        cfg_scale=_number("cfg_scale", told),
        chunk_duration=_number("chunk_duration", told),
        audio_sample_rate=_whole("audio_sample_rate", told),
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


def default_of(name: str) -> Any:
    """Return the default of a field of `ChunkedOptions`."""
    return next(field.default for field in fields(ChunkedOptions) if field.name == name)


def _whole(name: str, told: Mapping[str, str]) -> int:
    least, most = (int(bound) for bound in RANGES[name])
    if name not in told:
        return int(default_of(name))
    text = told[name]
    try:
        value = int(text) if len(text) <= 40 else most + 1
    except ValueError:
        raise InvalidRequest(f"{name} is a whole number from {least} to {most}; got {text[:40]!r}") from None
    if not least <= value <= most:
        raise InvalidRequest(f"{name} is a whole number from {least} to {most}; got {text[:40]}")
    return value


def _number(name: str, told: Mapping[str, str]) -> float:
    least, most = RANGES[name]
    text = told.get(name)
    try:
        value = float(default_of(name) if text is None else text)
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
