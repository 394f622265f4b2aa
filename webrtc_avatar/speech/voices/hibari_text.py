# ruff: noqa: RUF001
"""From an utterance to what hibari's network takes: sentence by sentence, phonemes that know their word and their manner."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

from webrtc_avatar.errors import SpeechRefused
from webrtc_avatar.speech.text.normalise import align, normalise
from webrtc_avatar.speech.text.sentences import split
from webrtc_avatar.speech.voice import Pause, Say, Utterance

LONGEST_PHONEMES = 400
PAD = 0
"""Silence, which every sentence begins and ends with."""

_IPA_TO_MISAKI = {
    **{"eɪ": "A", "aɪ": "I", "aʊ": "W", "ɔɪ": "Y", "oʊ": "O", "əʊ": "Q", "tʃ": "ʧ", "dʒ": "ʤ", "ɝ": "ɜɹ", "ɚ": "əɹ"},
    **{"g": "ɡ", "r": "ɹ", "'": "ˈ", "ɫ": "l", "ʍ": "w", "͡": "", ".": "", "ɾ": "T"},
}
_IPA = re.compile("|".join(sorted(map(re.escape, _IPA_TO_MISAKI), key=len, reverse=True)))
_UNREADABLE = (IndexError, KeyError, ValueError, TypeError, AttributeError)
"""What hibari's reader raises at text that it was not made for."""


class WrittenWord(NamedTuple):
    """A word as it was written, and its range of characters in the utterance's text."""

    text: str
    first: int
    end: int


class _Symbol(NamedTuple):
    sign: str
    word: int
    """Its number in the sentence; -1 for silence."""
    manner: Say


@dataclass(slots=True)
class Phrase:
    """A sentence, or a pause if there are no `ids`.

    Attributes:
        ids: phonemes in the network's numbering, with `PAD` at both ends.
        words: the written words.
        word_of: for each id the number of its word; -1: none.
        manners: for each id how it is said.
        pause_s: silence instead.
    """

    ids: list[int] = field(default_factory=list)
    words: list[WrittenWord] = field(default_factory=list)
    word_of: list[int] = field(default_factory=list)
    manners: list[Say] = field(default_factory=list)
    pause_s: float = 0.0


def phrases_of(utterance: Utterance, g2p: Any, vocabulary: Mapping[str, int]) -> Iterator[Phrase]:
    """Read an utterance, phrase by phrase.

    Args:
        utterance: what to say.
        g2p: `hibari.g2p.G2P`.
        vocabulary: the network's number of each phoneme's sign.

    Raises:
        SpeechRefused: a text that hibari's reader breaks at.
    """
    run: list[tuple[int, Say]] = []
    at = 0
    for part in utterance.parts:
        if isinstance(part, Pause):
            yield from _phrases_of_run(run, g2p, vocabulary)
            run = []
            yield Phrase(pause_s=part.seconds)
        else:
            run.append((at, part))
            at += len(part.text)
    yield from _phrases_of_run(run, g2p, vocabulary)


def _phrases_of_run(run: list[tuple[int, Say]], g2p: Any, vocabulary: Mapping[str, int]) -> Iterator[Phrase]:
    text = "".join(say.text for _, say in run)
    for sentence in split(text):
        words: list[WrittenWord] = []
        symbols: list[_Symbol] = []
        for stretch, first, said in _stretches(run, sentence.first, sentence.end):
            written = [WrittenWord(m.group(), first + m.start(), first + m.end()) for m in re.finditer(r"\S+", stretch)]
            if symbols and written:
                symbols.append(_Symbol(" ", -1, said[0][1]))
            symbols += _read(stretch, written, len(words), said, g2p)
            words += written
        yield from _cut(words, [symbol for symbol in symbols if symbol.sign in vocabulary], vocabulary)


def _stretches(run: list[tuple[int, Say]], first: int, end: int) -> Iterator[tuple[str, int, list[tuple[int, Say]]]]:
    """Return what is read in one go: all that lies together and has no pronunciation of its own.

    Each is its text, where that begins in the utterance's text, and who says what from which character on.
    """
    base = run[0][0]
    text, start, said = "", 0, list[tuple[int, Say]]()
    for at, say in run:
        low, high = max(at - base, first), min(at - base + len(say.text), end)
        if low >= high:
            continue
        piece = say.text[low - (at - base) : high - (at - base)]
        if said and (say.phonemes is not None or said[-1][1].phonemes is not None):
            yield text, start, said
            text, said = "", []
        if not said:
            start = low + base
        said.append((low + base, say))
        text += piece
    if said:
        yield text, start, said


def _read(
    stretch: str, written: list[WrittenWord], offset: int, said: list[tuple[int, Say]], g2p: Any
) -> Iterator[_Symbol]:
    manner = said[0][1]
    if manner.phonemes is not None:
        misaki = _IPA.sub(lambda match: _IPA_TO_MISAKI[match.group()], manner.phonemes)
        yield from (_Symbol(sign, offset, manner) for sign in misaki)
        return
    try:
        tokens = _tokens(stretch, g2p)
    except _UNREADABLE as error:
        raise SpeechRefused(f"hibari cannot read {stretch[:80]!r}; say it in other words") from error
    spoken = [""]
    for text, _, space in tokens:
        spoken[-1] += text
        if space:
            spoken.append("")
    places = align([word.text for word in written], spoken)
    number = 0
    for _, phonemes, space in tokens:
        place = places[number] if places else 0
        if written:
            manner = next(say for at, say in reversed(said) if at <= written[place].first or at == said[0][0])
        # A word ends with its last sound; the silence of a full stop is nobody's.
        yield from (_Symbol(sign, offset + place if sign.isalpha() else -1, manner) for sign in phonemes)
        if space:
            yield _Symbol(" ", -1, manner)
            number += 1


def _tokens(text: str, g2p: Any) -> list[tuple[str, str, bool]]:
    """Return what is read: text, phonemes, and whether a space follows."""
    from hibari.g2p.normalize import normalize

    tokens = g2p.phonemize_tokens(g2p.tokenize(normalize(normalise(text))))
    return [(token.text, token.phonemes or "", bool(token.whitespace)) for token in tokens]


def _cut(words: list[WrittenWord], symbols: list[_Symbol], vocabulary: Mapping[str, int]) -> Iterator[Phrase]:
    """Return a sentence as a phrase, or as several where it has more phonemes than the network takes."""
    while symbols and symbols[0].sign == " ":
        symbols = symbols[1:]
    while symbols:
        end = len(symbols)
        if end > LONGEST_PHONEMES:
            places = [
                place for place, (one, two) in enumerate(pairwise(symbols[:LONGEST_PHONEMES]), 1) if two.sign == " "
            ]
            clauses = [place for place in places if symbols[place - 1].sign in ",;:—" and place > LONGEST_PHONEMES // 2]
            end = (clauses or places or [LONGEST_PHONEMES])[-1]
        part, symbols = symbols[:end], symbols[end:]
        while part and part[-1].sign == " ":
            part = part[:-1]
        if any(symbol.sign.isalpha() for symbol in part):
            yield Phrase(
                ids=[PAD, *(vocabulary[symbol.sign] for symbol in part), PAD],
                words=words,
                word_of=[-1, *(symbol.word for symbol in part), -1],
                manners=[part[0].manner, *(symbol.manner for symbol in part), part[-1].manner],
            )
        while symbols and symbols[0].sign == " ":
            symbols = symbols[1:]
