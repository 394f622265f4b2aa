from __future__ import annotations

import pytest

from webrtc_avatar.errors import InvalidSsml
from webrtc_avatar.speech.text.ssml import LONGEST, read_ssml
from webrtc_avatar.speech.voice import Pause, Say


def test_prosody_multiplies_and_ends_with_its_element() -> None:
    inner = '<prosody rate="120%" pitch="+12st" volume="-6dB">in</prosody>'
    parts = read_ssml(f'<speak>a <prosody rate="slow">out {inner}</prosody> b</speak>')
    assert parts == (
        Say(text="a "),
        Say(text="out ", speed=0.8),
        Say(text="in", speed=pytest.approx(0.96), pitch=2.0, volume_db=-6.0),
        Say(text=" b"),
    )


def test_breaks_are_pauses() -> None:
    parts = read_ssml('<speak>a<break time="250ms"/>b<break strength="strong"/>c<break/></speak>')
    assert parts == (Say(text="a"), Pause(0.25), Say(text="b"), Pause(0.7), Say(text="c"), Pause(0.4))


def test_phonemes_keep_to_their_word_and_sub_says_its_alias() -> None:
    parts = read_ssml('<speak><phoneme alphabet="ipa" ph="ba">x</phoneme> <sub alias="World Wide">W</sub></speak>')
    assert parts == (Say(text="x", phonemes="ba"), Say(text=" World Wide"))


def test_paragraphs_and_sentences_end_sentences() -> None:
    assert read_ssml("<speak><p><s>one</s> <s>two</s></p>three</speak>") == (Say(text="one\n\ntwo\n\nthree"),)


def test_white_space_is_one_space_and_known_entities_are_read() -> None:
    assert read_ssml("<speak>\n  a\n\t b &lt;&#233;&amp; </speak>") == (Say(text="a b <é& "),)


@pytest.mark.parametrize(
    ("document", "line", "column", "says"),
    [
        ('<speak>\n  <audio src="file:///etc/passwd"/></speak>', 2, 3, "<prosody>"),
        ("<speak>a & b</speak>", 1, 11, "well-formed"),
        ("<speak>", 1, 8, "well-formed"),
        ("<p>a</p>", 1, 1, "expected <speak>"),
        ('<speak><break time="1h"/></speak>', 1, 8, "500ms"),
        ('<speak><break time="11s"/></speak>', 1, 8, "longer than 10"),
        ('<speak>\n\n<prosody rate="quick">a</prosody></speak>', 3, 1, "x-fast"),
        ('<speak><prosody pitch="200Hz">a</prosody></speak>', 1, 8, "-2st"),
        ('<speak><phoneme alphabet="x-sampa" ph="a">a</phoneme></speak>', 1, 8, "ipa"),
        ('<speak lang="en">a</speak>', 1, 1, "xml:lang"),
        ("<speak>&nbsp;</speak>", 1, 8, "undefined entity"),
        ("<speak><break>a</break></speak>", 1, 16, "no text"),
    ],
)
def test_what_is_not_understood_is_refused_with_its_place(document: str, line: int, column: int, says: str) -> None:
    with pytest.raises(InvalidSsml, match=f"line {line}, column {column}") as caught:
        read_ssml(document)
    assert (caught.value.line, caught.value.column) == (line, column)
    assert says in caught.value.message


def test_no_document_can_declare_entities_or_fetch_any() -> None:
    lol = "".join(f'<!ENTITY l{n} "{"&l" + str(n - 1) + ";" if n else "lol"}">' for n in range(10))
    for doctype in (f"<!DOCTYPE speak [{lol}]>", '<!DOCTYPE speak SYSTEM "file:///etc/passwd">'):
        with pytest.raises(InvalidSsml, match="DOCTYPE"):
            read_ssml(f"{doctype}<speak>&l9;</speak>")


def test_size_and_depth_are_bounded() -> None:
    with pytest.raises(InvalidSsml, match="deeper"):
        read_ssml("<speak>" + "<p>" * 40 + "</p>" * 40 + "</speak>")
    with pytest.raises(InvalidSsml, match="characters"):
        read_ssml(f"<speak>{'a' * LONGEST}</speak>")
