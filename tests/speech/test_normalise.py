from __future__ import annotations

import pytest

from webrtc_avatar.speech.text.normalise import align, normalise


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("See https://example.com/a-b?x=1.", "See example dot com slash a dash b question mark x equals 1."),
        ("Mail bob.smith@example.co.uk!", "Mail bob dot smith at example dot co dot uk!"),
        ("**Bold** and `code` and [a link](http://x.y).", "Bold and code and a link."),
        ("# Title\n- item\n> quote", "Title\nitem\nquote"),
        ("5 * 3 * 2 in snake_case_name", "5 * 3 * 2 in snake_case_name"),
        ("a\x00b\u200b\ufeffc", "abc"),
        ("Card 1234567890123456", "Card 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6"),
        ("20 °C, ½, © 2024", "20 °C, ½, © 2024"),
    ],
)
def test_what_voices_stumble_over_becomes_words_or_goes(text: str, said: str) -> None:
    assert normalise(text) == said


def test_emoji_go_and_leave_the_words_around_them() -> None:
    assert normalise("Great 👍🏽 work 👨‍👩‍👧!").split() == ["Great", "work", "!"]


def test_scripts_that_join_letters_keep_their_joiners() -> None:
    assert normalise("می‌خواهم", "fa") == "می‌خواهم"


def test_other_languages_are_given_no_english_words() -> None:
    assert normalise("Siehe https://example.de/a.", "de-DE") == "Siehe example.de/a."


def test_spoken_words_find_the_written_ones() -> None:
    written = ["It", "costs", "$3.50,", "on", "Jan.", "5"]
    spoken = ["It", "costs", "three", "dollars", "and", "fifty", "cents", "on", "January", "fifth"]
    assert align(written, spoken) == [0, 1, 2, 2, 2, 2, 2, 3, 4, 5]
    assert align([], ["word"]) == []
    assert align(["a"], ["x", "y", "z"]) == [0, 0, 0]
    assert align(["a", "b"], []) == []
