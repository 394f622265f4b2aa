# ruff: noqa: RUF001
from __future__ import annotations

import random

import pytest

from webrtc_avatar.speech.text.sentences import LONGEST, Sentence, SentenceSplitter, split

TEXTS = [
    "Hello there. How are you? I'm fine! Dr. Smith paid $3.50 on Jan. 5 to J. K. Rowling, e.g. for books. "
    '"Stop!" he said. Wait... what? Yes... No. See https://a.b/c.d?x=1. He lives in the U.S. He likes it!',
    "今日は。元気ですか？「はい。」そうです。",
    "First\nsecond line wraps\n\nNew paragraph\n- item one\n- item two\n1. one\n2. two",
    "This is a rather long first clause, which goes on, and on. Then the next.",
    "a" * 900,
    "word " * 180,
    'I am I. You are you. 👍 Great! 👍👍 ... "“‘«([{¿ x',
    "Am 3. Mai war es z.B. gut. Nr. 5 lebt.",
]


def sentences(text: str, cuts: list[int], **options: object) -> list[Sentence]:
    splitter = SentenceSplitter(**options)  # type: ignore[arg-type]
    found: list[Sentence] = []
    for first, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        found += splitter.feed(text[first:end])
    return found + splitter.finish()


@pytest.mark.parametrize("options", [{}, {"first_early": True}, {"language": "de"}, {"longest": 50}])
@pytest.mark.parametrize("text", TEXTS)
def test_sentences_are_the_same_however_the_text_arrives(text: str, options: dict[str, object]) -> None:
    draw = random.Random(text)
    whole = sentences(text, [], **options)
    assert sentences(text, list(range(len(text))), **options) == whole
    for _ in range(15):
        count = draw.randint(1, len(text))
        assert sentences(text, sorted(draw.sample(range(len(text)), count)), **options) == whole


def test_no_mixture_of_signs_is_cut_otherwise_in_pieces() -> None:
    draw = random.Random(3)
    signs = [*'aBI 3.!?,;()"“”。？…—-*#\n', "\n\n", "1. ", "12.5", "Dr.", "no.", "e.g.", "U.S.", "...", "word ", "👍"]
    for _ in range(1500):
        text = "".join(draw.choice(signs) for _ in range(draw.randint(1, 40)))
        options = {"longest": draw.randint(5, 60), "first_early": draw.random() < 0.3}
        whole = sentences(text, [], **options)
        assert sentences(text, list(range(len(text))), **options) == whole, text
        assert sentences(text, sorted(draw.sample(range(len(text)), len(text) // 3)), **options) == whole, text


@pytest.mark.parametrize("text", TEXTS)
def test_nothing_that_can_be_said_is_lost_and_ranges_fit(text: str) -> None:
    found = split(text)
    assert all(text[sentence.first : sentence.end] == sentence.text for sentence in found)
    kept = "".join(sentence.text for sentence in found)
    assert [sign for sign in kept if sign.isalnum()] == [sign for sign in text if sign.isalnum()]
    assert all(len(sentence.text) <= LONGEST for sentence in found)


def test_abbreviations_numbers_and_quotes_end_no_sentence() -> None:
    assert [sentence.text for sentence in split(TEXTS[0])] == [
        "Hello there.",
        "How are you?",
        "I'm fine!",
        "Dr. Smith paid $3.50 on Jan. 5 to J. K. Rowling, e.g. for books.",
        '"Stop!" he said.',
        "Wait... what?",
        "Yes...",
        "No.",
        "See https://a.b/c.d?x=1.",
        "He lives in the U.S.",
        "He likes it!",
    ]


def test_wide_punctuation_needs_no_space() -> None:
    assert [sentence.text for sentence in split(TEXTS[1])] == ["今日は。", "元気ですか？", "「はい。」", "そうです。"]


def test_lists_and_paragraphs_are_sentences_but_wrapped_lines_are_not() -> None:
    found = [sentence.text for sentence in split(TEXTS[2])]
    assert found == ["First\nsecond line wraps", "New paragraph", "- item one", "- item two", "1. one", "2. two"]


def test_a_day_is_no_sentence_in_german() -> None:
    assert [sentence.text for sentence in split("Am 3. Mai war es. Gut.", "de-DE")] == ["Am 3. Mai war es.", "Gut."]


def test_a_sentence_comes_as_soon_as_the_next_one_has_begun() -> None:
    splitter = SentenceSplitter()
    assert splitter.feed("Hello there. ") == []
    assert [sentence.text for sentence in splitter.feed("H")] == ["Hello there."]


def test_only_the_first_sentence_goes_out_clause_by_clause_and_only_a_long_one() -> None:
    first = SentenceSplitter(first_early=True)
    found = first.feed(TEXTS[3]) + first.finish()
    assert [sentence.text for sentence in found] == [
        "This is a rather long first clause,",
        "which goes on, and on.",
        "Then the next.",
    ]
    short = SentenceSplitter(first_early=True)
    assert short.feed("Well, yes, it is so, I am ") == []
