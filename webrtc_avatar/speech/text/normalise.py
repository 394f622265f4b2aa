"""What voices stumble over becomes words or goes: addresses, markdown, emoji, control characters, endless numbers.

Numbers, dates and abbreviations are left to the engines, each of which reads them in its own languages (hibari: hibari's
normaliser; espeak and piper: espeak-ng's).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from difflib import SequenceMatcher

_ADDRESS = re.compile(r"(?:https?|ftp|wss?)://[^\s<>\"”]+|www\.[^\s<>\"”]+", re.I)
_MAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_LINK = re.compile(r"!?\[([^\]\n]+)\]\([^)\s]*\)")
_MARKDOWN = re.compile(r"(\*{1,3}|_{2,3}|~~|`{1,3})(?=\S)([^\n]+?)(?<=\S)\1")
_LINE_MARK = re.compile(r"^[ \t]*(?:#{1,6}|[-*•>]|\|)[ \t]+", re.M)
_LONG_NUMBER = re.compile(r"\d{16,}")
_TRAILING = ".,;:!?)]}'\""
_SIGNS = {".": "dot", "/": "slash", "-": "dash", "_": "underscore", "@": "at", "?": "question mark", "=": "equals"}
_SIGNS |= {"&": "and", "#": "hash", "%": "percent", "+": "plus", ":": "colon", "~": "tilde"}
_HIDDEN = frozenset(["Cc", "Cf", "Cn", "Co", "Cs"])
_JOINERS = "\u200c\u200d"


def normalise(text: str, language: str = "en") -> str:
    """Return the text without what cannot be said. Addresses are spelled out in English only; other languages drop their scheme."""
    text = "".join(map(_kept, text, f" {text}"))
    text = _LINE_MARK.sub("", _MARKDOWN.sub(r"\2", _LINK.sub(r"\1", text)))
    read = _read_address if language.split("-", maxsplit=1)[0].lower() == "en" else _bare_address
    text = _ADDRESS.sub(_before_punctuation(read), text)
    text = _MAIL.sub(_before_punctuation(read), text)
    return _LONG_NUMBER.sub(lambda match: " ".join(match.group()), text)


def align(written: list[str], spoken: list[str]) -> list[int]:
    """Return for each spoken word the number of the written word that it stands for: never falling, in 0..len(written) - 1."""
    if not written:
        return []
    one, other = ([word.casefold().strip(_TRAILING + "(") for word in words] for words in (written, spoken))
    found: list[int] = []
    for _, first, end, spoken_first, spoken_end in SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
        count, spoken_count = end - first, spoken_end - spoken_first
        for number in range(spoken_count):
            place = first + number * count // spoken_count if count else first - 1
            found.append(min(max(place, 0), len(written) - 1))
    return found


def _kept(sign: str, before: str) -> str:
    """Return a sign, a space for a picture, or nothing for what has no sound."""
    if sign in "\n\t":
        return sign
    if sign in _JOINERS:
        return sign if unicodedata.category(before)[0] in "LM" else ""
    category = unicodedata.category(sign)
    if category in _HIDDEN or "\ufe00" <= sign <= "\ufe0f":
        return ""
    is_picture = category == "So" and sign not in "°©®™" and not unicodedata.normalize("NFKC", sign).isalnum()
    return " " if is_picture or "\U0001f3fb" <= sign <= "\U0001f3ff" else sign


def _before_punctuation(read: Callable[[str], str]) -> Callable[[re.Match[str]], str]:
    """Make what replaces an address, leaving the punctuation behind it."""

    def replace(match: re.Match[str]) -> str:
        address = match.group().rstrip(_TRAILING)
        return read(address) + match.group()[len(address) :]

    return replace


def _bare_address(address: str) -> str:
    return re.sub(r"^\w+://", "", address)


def _read_address(address: str) -> str:
    address = _bare_address(address).rstrip("/")
    parts = re.split(r"([./\-_@?=&#%+:~])", address)
    return " ".join(_SIGNS.get(part, part) for part in parts if part)
