"""SSML 1.1 as far as voices can follow it: the markup becomes parts, each said in one manner.

https://www.w3.org/TR/speech-synthesis11/. Entities cannot be declared, nothing is fetched, and what is not understood
is refused with its place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NoReturn
from xml.parsers import expat

from webrtc_avatar.errors import InvalidSsml
from webrtc_avatar.speech.voice import LONGEST_PAUSE_S, Part, Pause, Say

LONGEST = 100_000
"""Characters of a document."""
_DEEPEST = 32
_SENTENCE_END = "\n\n"

_ATTRIBUTES: Mapping[str, frozenset[str]] = {
    "speak": frozenset({"version", "xml:lang", "xmlns", "xmlns:xsi", "xsi:schemaLocation"}),
    "p": frozenset({"xml:lang"}),
    "s": frozenset({"xml:lang"}),
    "break": frozenset({"time", "strength"}),
    "prosody": frozenset({"rate", "pitch", "volume"}),
    "phoneme": frozenset({"alphabet", "ph"}),
    "sub": frozenset({"alias"}),
}
_RATES = {"x-slow": 0.6, "slow": 0.8, "medium": 1.0, "default": 1.0, "fast": 1.25, "x-fast": 1.6}
_PITCHES = {"x-low": 0.75, "low": 0.87, "medium": 1.0, "default": 1.0, "high": 1.15, "x-high": 1.33}
_VOLUMES_DB = {
    "silent": -60.0,
    "x-soft": -12.0,
    "soft": -6.0,
    "medium": 0.0,
    "default": 0.0,
    "loud": 4.0,
    "x-loud": 8.0,
}
_STRENGTHS_S = {"none": 0.0, "x-weak": 0.1, "weak": 0.2, "medium": 0.4, "strong": 0.7, "x-strong": 1.0}
_NUMBER = r"(\d+(?:\.\d*)?|\.\d+)"
_PERCENT = re.compile(rf"([+-]?){_NUMBER}%")
_SEMITONES = re.compile(rf"([+-]?{_NUMBER})st")
_DECIBELS = re.compile(rf"([+-]?{_NUMBER})dB", re.I)
_TIME = re.compile(rf"{_NUMBER}(ms|s)")


def read_ssml(text: str) -> tuple[Part, ...]:
    """Return what a document says.

    Raises:
        InvalidSsml: it is no XML, is too long or too deep, or has an element, an attribute or a value that is not
            understood; with line and column.
    """
    if len(text) > LONGEST:
        raise InvalidSsml(f"the document has {len(text):,} characters; at most {LONGEST:,} are taken")
    return _Reader().read(text)


@dataclass(slots=True)
class _Open:
    name: str
    manner: Say
    alias: str | None = None


class _Reader:
    """Follows a document element by element."""

    def __init__(self) -> None:
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        self._parser.StartDoctypeDeclHandler = self._doctype
        self._open: list[_Open] = []
        self._parts: list[Part] = []

    def read(self, text: str) -> tuple[Part, ...]:
        try:
            self._parser.Parse(text.encode("utf-8", "replace"), True)
        except expat.ExpatError as error:
            message = f"SSML, line {error.lineno}, column {error.offset + 1}: {expat.errors.messages[error.code]}"
            raise InvalidSsml(f"{message}; send well-formed XML", line=error.lineno, column=error.offset + 1) from error
        return tuple(self._parts)

    def _refuse(self, problem: str) -> NoReturn:
        line, column = self._parser.CurrentLineNumber, self._parser.CurrentColumnNumber + 1
        raise InvalidSsml(f"SSML, line {line}, column {column}: {problem}", line=line, column=column)

    def _doctype(self, *_: object) -> None:
        self._refuse("a DOCTYPE is not taken; leave it out")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._check(name, attributes)
        opened = _Open(name, self._open[-1].manner if self._open else Say(text=""))
        if name in ("p", "s"):
            self._sentence_end()
        elif name == "break":
            self._parts.append(Pause(self._pause(attributes)))
        elif name == "prosody":
            opened.manner = self._prosody(opened.manner, attributes)
        elif name == "phoneme":
            if attributes.get("alphabet", "ipa") != "ipa" or not attributes.get("ph", "").strip():
                self._refuse('<phoneme> takes ph="..." in alphabet="ipa"')
            opened.manner = replace(opened.manner, phonemes=attributes["ph"].strip())
        elif name == "sub":
            if not attributes.get("alias", "").strip():
                self._refuse('<sub> takes alias="...", what is said instead')
            opened.alias = attributes["alias"]
        self._open.append(opened)

    def _check(self, name: str, attributes: dict[str, str]) -> None:
        if not self._open and name != "speak":
            self._refuse(f"the document begins with <{name}>; expected <speak>")
        if name not in _ATTRIBUTES or (name == "speak" and self._open):
            known = ", ".join(f"<{known}>" for known in _ATTRIBUTES)
            self._refuse(f"<{name}> is not understood here; understood are {known}")
        for attribute in attributes:
            if attribute not in _ATTRIBUTES[name]:
                known = ", ".join(sorted(_ATTRIBUTES[name]))
                self._refuse(f"<{name}> has no attribute {attribute!r} here; it takes {known}")
        if len(self._open) >= _DEEPEST:
            self._refuse(f"elements lie deeper than {_DEEPEST} in each other")
        inside = self._open[-1].name if self._open else ""
        if inside in ("break", "phoneme", "sub"):
            self._refuse(f"<{inside}> holds no elements")

    def _end(self, name: str) -> None:
        closed = self._open.pop()
        if closed.alias is not None:
            self._add(closed.alias, closed.manner)
        if name in ("p", "s"):
            self._sentence_end()

    def _characters(self, text: str) -> None:
        inside = self._open[-1]
        if inside.name == "break" and text.strip():
            self._refuse("<break> holds no text")
        if inside.alias is None and inside.name != "break":
            self._add(text, inside.manner)

    def _add(self, text: str, manner: Say) -> None:
        before = self._parts[-1] if self._parts else None
        text = re.sub(r"\s+", " ", text)
        if text.startswith(" ") and (not isinstance(before, Say) or before.text[-1:].isspace()):
            text = text[1:]
        if not text:
            return
        if isinstance(before, Say) and manner.phonemes is None and replace(before, text="") == manner:
            self._parts[-1] = replace(before, text=before.text + text)
        else:
            self._parts.append(replace(manner, text=text))

    def _sentence_end(self) -> None:
        before = self._parts[-1] if self._parts else None
        if isinstance(before, Say) and not before.text.endswith(_SENTENCE_END):
            self._parts[-1] = replace(before, text=before.text.rstrip() + _SENTENCE_END)

    def _pause(self, attributes: dict[str, str]) -> float:
        if "time" not in attributes:
            return self._named(attributes.get("strength", "medium"), _STRENGTHS_S, "strength")
        found = _TIME.fullmatch(attributes["time"].strip())
        if found is None:
            self._refuse(f'time is {attributes["time"]!r}; expected as "500ms" or "1.5s"')
        seconds = float(found.group(1)) * (1e-3 if found.group(2) == "ms" else 1)
        if seconds > LONGEST_PAUSE_S:
            self._refuse(f"a break of {seconds:g} s is longer than {LONGEST_PAUSE_S:g} s")
        return seconds

    def _prosody(self, manner: Say, attributes: dict[str, str]) -> Say:
        readers: Mapping[str, Callable[[str], float]] = {
            "rate": self._rate,
            "pitch": self._pitch,
            "volume": self._volume,
        }
        values = {name: readers[name](value.strip()) for name, value in attributes.items()}
        return replace(
            manner,
            speed=manner.speed * values.get("rate", 1.0),
            pitch=manner.pitch * values.get("pitch", 1.0),
            volume_db=manner.volume_db + values.get("volume", 0.0),
        )

    def _rate(self, value: str) -> float:
        percent = _PERCENT.fullmatch(value)
        if percent is not None:
            share = float(percent.group(2)) / 100
            return {"": share, "+": 1 + share, "-": 1 - share}[percent.group(1)]
        if re.fullmatch(_NUMBER, value):
            return float(value)
        return self._named(value, _RATES, "rate", "80%, +20%")

    def _pitch(self, value: str) -> float:
        percent, semitones = _PERCENT.fullmatch(value), _SEMITONES.fullmatch(value)
        if percent is not None:
            share = float(percent.group(2)) / 100
            return {"": share, "+": 1 + share, "-": 1 - share}[percent.group(1)]
        if semitones is not None:
            return float(2 ** (float(semitones.group(1)) / 12))
        return self._named(value, _PITCHES, "pitch", "+10%, -2st")

    def _volume(self, value: str) -> float:
        decibels = _DECIBELS.fullmatch(value)
        return self._named(value, _VOLUMES_DB, "volume", "-6dB") if decibels is None else float(decibels.group(1))

    def _named(self, value: str, names: Mapping[str, float], attribute: str, also: str = "") -> float:
        if value not in names:
            self._refuse(f"{attribute} is {value!r}; expected {', '.join(filter(None, [*names, also]))}")
        return names[value]
