import ctypes
import tomllib
from collections import Counter
from fnmatch import fnmatch
from importlib.resources import files
from pathlib import Path

import pytest

from webrtc_avatar.speech.phonemes import viseme_segments, visemes_of
from webrtc_avatar.speech.visemes import VISEME_NAMES
from webrtc_avatar.training.sentences import SENTENCES

PACKAGE = "webrtc_avatar.training.sentences"
LONGEST = 140
EACH_VISEME_IN_ENGLISH = 200
ENGLISH_NAMES_IN_BETWEEN = {"de": ("E-Mail",)}
"""Words that a voice reads the English way, as its speakers do."""


def _has_espeak() -> bool:
    try:
        ctypes.CDLL("libespeak-ng.so.1")
    except OSError:
        return False
    return True


needs_espeak = pytest.mark.skipif(not _has_espeak(), reason="needs libespeak-ng1: apt install espeak-ng")


def test_there_are_enough_sentences_in_enough_languages():
    assert len(SENTENCES) >= 8
    assert sum(map(len, SENTENCES.values())) >= 800
    assert len(SENTENCES["en"]) >= 320
    assert min(map(len, SENTENCES.values())) >= 20


def test_no_sentence_stands_twice():
    counts = Counter(text.casefold() for sentences in SENTENCES.values() for text in sentences)
    assert [text for text, count in counts.items() if count > 1] == []


def test_every_line_is_one_sentence_of_a_speakable_length():
    for language, sentences in SENTENCES.items():
        for text in sentences:
            assert text == text.strip(), language
            assert 1 < len(text) <= LONGEST, text


def test_languages_come_in_the_order_of_their_names():
    assert list(SENTENCES) == sorted(SENTENCES)


def test_the_files_are_part_of_the_built_package():
    names = {file.name for file in files(PACKAGE).iterdir() if file.name.endswith(".txt")}
    assert names == {f"{language}.txt" for language in SENTENCES}
    settings = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))
    patterns = settings["tool"]["setuptools"]["package-data"][PACKAGE]
    assert all(any(fnmatch(name, pattern) for pattern in patterns) for name in names)


@needs_espeak
@pytest.mark.parametrize("language", SENTENCES)
def test_espeak_speaks_the_language_without_falling_back_to_english(language):
    from webrtc_avatar.training.espeak import speak

    for text in SENTENCES[language]:
        samples, _, phonemes = speak(text, language)
        symbols = [phoneme.symbol for phoneme in phonemes]
        assert len(samples) > 0
        assert any(visemes_of(symbol) for symbol in symbols), text
        if not any(name in text for name in ENGLISH_NAMES_IN_BETWEEN.get(language, ())):
            assert not any(symbol.startswith("(") for symbol in symbols), text


@needs_espeak
def test_english_has_every_viseme_often():
    from webrtc_avatar.training.espeak import speak

    counts = Counter(segment.viseme for text in SENTENCES["en"] for segment in viseme_segments(speak(text, "en-us")[2]))
    scarce = {name: counts[name] for name in VISEME_NAMES if name != "sil" and counts[name] < EACH_VISEME_IN_ENGLISH}
    assert scarce == {}
