"""What is being said, with the time of each word, as events for those who watch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from webrtc_avatar.speech.voice import Piece, Word

Event = dict[str, Any]

_WORD = re.compile(r"\S+")


class Captions:
    """Makes the captions of one sentence from the pieces of its sound.

    Args:
        turn: id of what is being said.
        text: the sentence.
    """

    def __init__(self, turn: int, text: str) -> None:
        self._turn, self._text = turn, text
        self._begun = False
        self._said_s = 0.0

    def of(self, piece: Piece) -> list[Event]:
        """Return the events that are due when a piece begins to be heard.

        The first has the sentence as `text`; each has `words` with `start_s` and `end_s` from that moment on. Where a voice that says
        the sentence in one piece does not tell its words, they are `estimated` from their lengths.
        """
        words = [
            word._replace(start_s=word.start_s - self._said_s, end_s=word.end_s - self._said_s) for word in piece.words
        ]
        is_whole = not self._begun and piece.last
        length_s = len(piece.samples) / piece.rate_hz
        event: Event = {"type": "caption", "id": self._turn}
        if not self._begun:
            event["text"] = self._text
        if not words and is_whole:
            words = spread(self._text, length_s)
            event["estimated"] = True
        event["words"] = [
            {"text": word.text, "start_s": round(word.start_s, 3), "end_s": round(word.end_s, 3)} for word in words
        ]
        tells = bool(words) or not self._begun
        self._begun = True
        self._said_s += length_s
        return [event] if tells else []


def spread(text: str, length_s: float) -> list[Word]:
    """Return the words of a text, each with a share of the time that its letters have of all letters."""
    found: Sequence[re.Match[str]] = list(_WORD.finditer(text))
    total = sum(len(match.group()) for match in found)
    words, at_s = [], 0.0
    for match in found:
        end_s = at_s + length_s * len(match.group()) / total
        words.append(Word(at_s, end_s, match.group(), match.start(), match.end()))
        at_s = end_s
    return words
