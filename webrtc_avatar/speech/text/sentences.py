# ruff: noqa: RUF001
"""Text into sentences while it is still arriving, token by token, as from a language model.

Whatever pieces the text comes in, the sentences are the same: a sentence ends only where what follows has been seen
far enough to be sure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

LONGEST = 400
"""Characters of a sentence; a longer one is cut at a comma, or between words."""
FIRST_CLAUSE = 32
"""Characters after which the first sentence may go out at a comma, so that the first sound comes soon."""

_CLOSERS = "\"'”’»)]}」』）】》"
_OPENERS = "\"'“‘«([{¿¡„"
_WIDE_ENDS = "。！？｡︒"
_ENDS = re.compile(
    rf"[.!?…‽؟۔।]+[{re.escape(_CLOSERS)}]*(?=\s)|[{_WIDE_ENDS}]+[{re.escape(_CLOSERS)}]*|\n[ \t]*(?=\n)|\n"
)
_CLAUSE = re.compile(r"[,;:—–](?=\s)|[，；：、]")
_LIST_MARK = re.compile(r"[-*•#>]|\d{1,3}[.)]\s")
_WORD_BEFORE = re.compile(r"[^\s\"'“”‘’«»(\[{]+$")
_NEVER_LAST = re.compile(
    r"(mr|mrs|ms|mx|dr|prof|rev|hon|st|gen|col|lt|sgt|capt|cmdr|adm|gov|sen|rep|pres|supt|mt|ft|messrs|mme|mlle|fr|vs"
    r"|approx|ca|cf|viz|e\.g|i\.e|bzw|z\.b|u\.a|d\.h|nr|hr|frl)",
    re.IGNORECASE,
)
"""Abbreviations that something always follows."""
_BEFORE_NUMBER = re.compile(
    r"(no|nos|fig|figs|eq|vol|ch|sec|pp?|ed|art|abs|str|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec)", re.IGNORECASE
)
"""Abbreviations if a number follows."""
_ORDINAL_DOTS = re.compile(r"(de|da|nb|nn|no|cs|sk|fi|et|hu|hr|sr|bs|sl|lv|is|fo|tr)(-|$)", re.IGNORECASE)
"""Languages that write "3." where English writes "3rd"."""


class Sentence(NamedTuple):
    """A stretch of text to be said in one go, without the spaces around it; `first` and `end` are its characters' range."""

    text: str
    first: int
    end: int


class SentenceSplitter:
    """Cuts arriving text. Sentences without a letter or a digit are left out."""

    def __init__(self, language: str = "en", *, first_early: bool = False, longest: int = LONGEST) -> None:
        """Take the text's language as a BCP 47 tag, and whether the first sentence may go out clause by clause."""
        self._ordinal_dots = _ORDINAL_DOTS.match(language) is not None
        self._early = first_early
        self._longest = longest
        self._text = ""
        self._offset = 0

    def feed(self, text: str) -> list[Sentence]:
        """Take more text; return the sentences that are sure to have ended."""
        self._text += text
        return list(self._finished(at_end=False))

    def finish(self) -> list[Sentence]:
        """Return what is left: nothing follows."""
        return list(self._finished(at_end=True))

    def _finished(self, *, at_end: bool) -> Iterator[Sentence]:
        while self._text:
            blank = len(self._text) - len(self._text.lstrip())
            self._drop(blank)
            end = self._end(at_end=at_end)
            if end is None:
                return
            text = self._text[:end].rstrip()
            if any(sign.isalnum() for sign in text):
                self._early = False
                yield Sentence(text, self._offset, self._offset + len(text))
            self._drop(end)

    def _drop(self, count: int) -> None:
        self._text = self._text[count:]
        self._offset += count

    def _end(self, *, at_end: bool) -> int | None:
        """Return where the first sentence ends; None: more text is needed to know."""
        limit = self._longest
        if self._early:
            for clause in _CLAUSE.finditer(self._text, FIRST_CLAUSE, limit):
                limit = clause.end()
                break
        for match in _ENDS.finditer(self._text):
            if match.end() > limit:
                break
            verdict = self._is_end(match, at_end=at_end)
            if verdict is None:
                return None
            if verdict:
                return match.end()
        if len(self._text) > limit + 1:
            return limit if limit < self._longest else self._cut()
        return len(self._text) if at_end and self._text else None

    def _is_end(self, match: re.Match[str], *, at_end: bool) -> bool | None:
        mark = match.group()
        rest = self._text[match.end() :]
        if mark[0] in _WIDE_ENDS:
            return True if rest or at_end else None
        after = rest.lstrip()
        gap = rest[: len(rest) - len(after)]
        begins_line = mark[0] == "\n" or "\n" in gap
        if len(after) < (len("100. ") if begins_line else 1) and not at_end:
            return None
        if mark[0] == "\n":
            return len(mark) > 1 or rest[:1] == "\n" or _LIST_MARK.match(after) is not None
        if begins_line and (_LIST_MARK.match(after) or "\n\n" in gap):
            return True
        following = after.lstrip(_OPENERS)[:1]
        if not following and not at_end:
            return None
        if following.islower():
            return False
        if mark[0] != "." or mark.startswith(".."):
            return True
        found = _WORD_BEFORE.search(self._text[: match.start()])
        word = found.group() if found else ""
        is_initial = len(word) == 1 and word.isupper() and word != "I"
        is_ordinal = self._ordinal_dots and word.isdigit() and len(word) <= 3
        is_short = _NEVER_LAST.fullmatch(word) or (_BEFORE_NUMBER.fullmatch(word) and following.isdigit())
        return not after or not (is_initial or is_ordinal or is_short)

    def _cut(self) -> int:
        """Return where to cut a sentence that is too long."""
        clauses = [match.end() for match in _CLAUSE.finditer(self._text, self._longest // 2, self._longest)]
        if clauses:
            return clauses[-1]
        space = max(self._text.rfind(" ", self._longest // 2, self._longest), 0)
        return space or self._longest


def split(text: str, language: str = "en") -> list[Sentence]:
    """Return the sentences of a whole text."""
    splitter = SentenceSplitter(language)
    return splitter.feed(text) + splitter.finish()
