# ruff: noqa: RUF001
from __future__ import annotations

import shutil
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr
from hibari import Hibari, dsp
from hibari.voices import ASSETS
from pocketsphinx import Config, Decoder

from webrtc_avatar.errors import NothingToSay, UnknownVoice, VoiceUnavailable
from webrtc_avatar.speech.voice import Failure, Pause, Piece, Say, Utterance
from webrtc_avatar.speech.voices import hibari_vocoder
from webrtc_avatar.speech.voices.hibari import HibariVoice
from webrtc_avatar.speech.voices.hibari_vocoder import RATE_HZ

VOICE = "hibari/heart"
TEXTS = [
    "Hello there, how are you?",
    "Yes!",
    "The quick brown fox jumps over the lazy dog by the river bank.",
    "Please wait a moment. I am looking that up for you right now, and it will not take long.",
    "It costs $12.50, and the train leaves at 7:45.",
]


@pytest.fixture(scope="module")
def voice() -> HibariVoice:
    return HibariVoice()


def pieces(voice: HibariVoice, *utterances: Utterance) -> dict[int, list[Piece]]:
    found: dict[int, list[Piece]] = {index: [] for index in range(len(utterances))}
    for part in voice.synthesize(utterances):
        assert isinstance(part, Piece), part
        found[part.index].append(part)
    for parts in found.values():
        assert [part.last for part in parts] == [False] * (len(parts) - 1) + [True]
    return found


def said(voice: HibariVoice, text: str, **parameters: Any) -> np.ndarray:
    return np.concatenate([part.samples for part in pieces(voice, Utterance.of_text(text, VOICE, **parameters))[0]])


def median_hz(samples: np.ndarray) -> float:
    found = []
    for first in range(0, len(samples) - 2048, 1024):
        part = samples[first : first + 2048] - samples[first : first + 2048].mean()
        again = np.correlate(part, part, "full")[2047:]
        lag = 48 + int(again[48:480].argmax())
        if np.abs(part).max() > 0.1 and again[lag] > 0.5 * again[0]:
            found.append(RATE_HZ / lag)
    return float(np.median(found))


def test_a_batch_sounds_as_its_utterances_do_alone(voice: HibariVoice) -> None:
    texts = [*TEXTS, "No.", "Go on!", "Oh?", "Fine, thanks."]
    utterances = [Utterance.of_text(text, VOICE, seed=number) for number, text in enumerate(texts)]
    together = pieces(voice, *utterances)
    for index, utterance in enumerate(utterances):
        alone = pieces(voice, utterance)[0]
        assert len(alone) == len(together[index])
        for one, other in zip(alone, together[index], strict=True):
            np.testing.assert_allclose(one.samples, other.samples, atol=2**-15)
            assert one.phonemes == other.phonemes
            assert one.words == other.words


def test_sentences_of_like_length_go_through_the_network_in_one_call(voice: HibariVoice) -> None:
    pieces(voice, Utterance.of_text("Hello.", VOICE))
    session = voice._models["heart"].session
    sizes: list[int] = []

    class Counting:
        def run(self, outputs: None, inputs: dict[str, np.ndarray]) -> Any:
            sizes.append(len(inputs["ids"]))
            return session.run(outputs, inputs)

    voice._models["heart"].session = Counting()
    try:
        pieces(
            voice, *(Utterance.of_text(f"Sentence number {word}.", VOICE) for word in ("one", "two", "three", "four"))
        )
        assert sizes == [4]
        sizes.clear()
        pieces(voice, Utterance.of_text("Yes.", VOICE), Utterance.of_text(f"{TEXTS[2][:-1]} and {TEXTS[2]}", VOICE))
        assert sizes == [1, 1]
    finally:
        voice._models["heart"].session = session


def test_first_sentences_of_all_come_before_second_ones(voice: HibariVoice) -> None:
    batch = [Utterance.of_text("One. Two. Three.", VOICE), Utterance.of_text("Four. Five.", VOICE)]
    order = [part.index for part in voice.synthesize(batch) if isinstance(part, Piece)]
    assert sorted(order[:2]) == sorted(order[2:4]) == [0, 1]
    assert order[4] == 0


def test_what_it_says_can_be_understood(voice: HibariVoice) -> None:
    decoder = Decoder(Config(logfn="/dev/null"))
    right = total = 0
    for text in (
        "the weather in london will be sunny tomorrow",
        "she had your dark suit in greasy wash water all year",
    ):
        sound = soxr.resample(said(voice, f"{text.capitalize()}."), RATE_HZ, 16_000)
        padded = np.pad(sound / np.abs(sound).max() * 0.6, 8_000)
        decoder.start_utt()
        decoder.process_raw((padded * 32_767).astype("<i2").tobytes(), full_utt=True)
        decoder.end_utt()
        heard = decoder.hyp().hypstr.split()
        right += sum(word in heard for word in text.split())
        total += len(text.split())
    assert right / total > 0.75


def test_words_are_ranges_of_the_text_as_it_was_written(voice: HibariVoice) -> None:
    utterance = Utterance.of_text(TEXTS[4], VOICE)
    (piece,) = pieces(voice, utterance)[0]
    assert [word.text for word in piece.words] == TEXTS[4].split()
    for word, after in zip(piece.words, piece.words[1:], strict=False):
        assert utterance.text[word.first : word.end] == word.text
        assert word.start_s < word.end_s <= after.start_s + 1e-6
    assert piece.words[2].end_s - piece.words[2].start_s > 0.6  # "twelve dollars and fifty cents"
    last_heard_s = np.flatnonzero(np.abs(piece.samples) > 0.01)[-1] / RATE_HZ
    assert piece.words[-1].end_s == pytest.approx(last_heard_s, abs=0.08)


def test_lips_that_close_fall_on_silence(voice: HibariVoice) -> None:
    utterance = Utterance.of_text("Papa put a happy puppy upon a copper pipe. Papa.", VOICE)
    parts = pieces(voice, utterance)[0]
    samples = np.concatenate([part.samples for part in parts])
    loudness: dict[str, list[float]] = {"closed": [], "open": []}
    for phoneme in (phoneme for part in parts for phoneme in part.phonemes):
        heard = samples[max(0, round(phoneme.start_s * RATE_HZ)) : max(0, round(phoneme.end_s * RATE_HZ))]
        kind = "closed" if phoneme.symbol == "p" else "open"
        if len(heard) and phoneme.symbol in "pɑæʌAI":
            loudness[kind].append(float(np.sqrt(np.mean(heard**2))))
    assert len(loudness["closed"]) > 8
    assert np.median(loudness["closed"]) < 0.25 * np.median(loudness["open"])


def test_the_mouth_rests_when_the_sound_has_ended(voice: HibariVoice) -> None:
    for text in ("Hello there.", "Really?", "So, we had lunch with mom."):
        (piece,) = pieces(voice, Utterance.of_text(text, VOICE))[0]
        last = max(phoneme.end_s for phoneme in piece.phonemes if phoneme.symbol.isalpha() and phoneme.symbol != "_")
        assert last == pytest.approx(np.flatnonzero(np.abs(piece.samples) > 0.01)[-1] / RATE_HZ, abs=0.08)


def test_pieces_follow_each_other_in_time(voice: HibariVoice) -> None:
    at_s = 0.0
    for part in pieces(voice, Utterance.of_text("One two. Three four. Five six.", VOICE))[0]:
        end_s = at_s + len(part.samples) / RATE_HZ
        assert all(at_s - 0.1 <= word.start_s < word.end_s <= end_s for word in part.words)
        at_s = end_s


def test_it_begins_at_once(voice: HibariVoice) -> None:
    for text in TEXTS:
        assert np.flatnonzero(np.abs(said(voice, text)) > 0.01)[0] < 0.15 * RATE_HZ


def test_between_sentences_it_takes_a_breath_and_joins_without_a_click(voice: HibariVoice) -> None:
    first, second = pieces(voice, Utterance.of_text("The sun is up. Let us go.", VOICE))[0]
    loud = np.flatnonzero(np.abs(np.concatenate([first.samples, second.samples])) > 0.01) / RATE_HZ
    assert 0.3 < np.diff(loud).max() < 0.6
    for samples in (first.samples, second.samples):
        assert np.abs(samples[:24]).max() < 0.002
        assert np.abs(samples[-24:]).max() < 0.002


@pytest.mark.parametrize("ratio", [0.7, 1.4])
def test_pitch_is_followed_and_takes_no_longer(voice: HibariVoice, ratio: float) -> None:
    own, other = said(voice, TEXTS[2]), said(voice, TEXTS[2], pitch=ratio)
    assert len(own) == len(other)
    assert median_hz(other) / median_hz(own) == pytest.approx(ratio, rel=0.1)


def test_speed_is_followed(voice: HibariVoice) -> None:
    own = len(said(voice, TEXTS[2]))
    assert len(said(voice, TEXTS[2], speed=0.6)) / own == pytest.approx(1 / 0.6, rel=0.15)
    assert len(said(voice, TEXTS[2], speed=1.5)) < 0.8 * own


def test_manners_change_within_a_sentence(voice: HibariVoice) -> None:
    parts = (
        Say(text="Not that one, "),
        Say(text="this one", speed=0.6, pitch=1.3, volume_db=-20.0),
        Say(text=", please."),
    )
    (piece,) = pieces(voice, Utterance(parts=parts, voice=VOICE))[0]
    (own,) = pieces(voice, Utterance.of_text("Not that one, this one, please.", VOICE))[0]
    assert [word.text for word in piece.words] == [word.text for word in own.words]
    slow, usual = (words[4].end_s - words[3].start_s for words in (piece.words, own.words))
    assert slow > 1.35 * usual

    def loudest(part: Piece, first: int, last: int) -> float:
        begin, end = round(part.words[first].start_s * RATE_HZ), round(part.words[last].end_s * RATE_HZ)
        return float(np.abs(part.samples[max(0, begin) : end]).max())

    assert loudest(piece, 3, 4) < 0.3 * loudest(piece, 0, 2)


def test_pauses_are_silent_and_phonemes_are_said_as_given(voice: HibariVoice) -> None:
    parts = (Say(text="I say "), Say(text="tomato", phonemes="təˈmɑːtəʊ"), Pause(0.5), Say(text="Fine."))
    first, pause, last = pieces(voice, Utterance(parts=parts, voice=VOICE))[0]
    assert "".join(phoneme.symbol for phoneme in first.phonemes).endswith("təˈmɑːtQ_")
    assert len(pause.samples) == RATE_HZ // 2
    assert not pause.samples.any()
    assert [word.text for part in (first, last) for word in part.words] == ["I", "say", "tomato", "Fine."]


def test_the_seed_draws_the_breath(voice: HibariVoice) -> None:
    one, again, other = (said(voice, TEXTS[0], seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert 0 < np.abs(one - other).max() < 0.1
    assert len(said(voice, TEXTS[0], seed=-(2**70))) == len(one)


@pytest.mark.parametrize(
    "text",
    [
        "1" * 400,
        "x" * 2000,
        "a b " * 500,
        "½ €5 10kg ß é 你好",
        "[x](/abc/) y",
        "a\u0301\x00\ufeffb",
        "Ⅷ ① ٣",
        "#@$ 5%",
    ],
)
def test_odd_text_is_said_somehow(voice: HibariVoice, text: str) -> None:
    for part in pieces(voice, Utterance.of_text(text, VOICE))[0]:
        assert np.isfinite(part.samples).all()
        assert np.abs(part.samples).max() <= 1


def test_what_it_cannot_read_fails_alone(voice: HibariVoice) -> None:
    texts = ["Hello.", "你好", "👍", "...!", "Goodbye."]
    results = list(voice.synthesize([Utterance.of_text(text, VOICE) for text in texts]))
    errors = {part.index: type(part.error) for part in results if isinstance(part, Failure)}
    assert errors == {1: NothingToSay, 2: NothingToSay, 3: NothingToSay}
    assert {part.index for part in results if isinstance(part, Piece)} == {0, 4}


def test_the_network_says_what_hibari_itself_says(voice: HibariVoice) -> None:
    theirs = Hibari()
    for text in TEXTS[:3]:
        own_s, their_s = len(said(voice, text)) / RATE_HZ, len(theirs(text, seed=0)) / RATE_HZ
        assert own_s + 0.23 == pytest.approx(their_s, abs=0.15)


def test_the_vocoder_is_hibaris_but_for_the_noise() -> None:
    theirs = Hibari()
    ids = theirs.ids(theirs.phonemize("A voice without breath.")[0])
    *parts, f0 = (
        output[0]
        for output in theirs.sess.run(None, {"ids": np.array([ids], np.int64), "speed": np.ones(1, np.float32)})
    )
    parts[2] = np.full_like(parts[2], -50.0)
    expected = dsp.synth(*parts, f0, np.random.default_rng(0))
    found = hibari_vocoder.sound_of(np.concatenate([part.T for part in parts], axis=1), f0, 0)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_voices_come_from_folders_and_nothing_is_ever_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was to be downloaded")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setenv("HIBARI_HOME", str(tmp_path / "cache"))
    own = HibariVoice()
    assert [info.id for info in own.voices()] == [VOICE]
    with pytest.raises(UnknownVoice, match="speech_voice_folders"):
        list(own.synthesize([Utterance.of_text("Hello.", "hibari/emma")]))
    shutil.copy(Path(ASSETS) / "hibari.onnx", tmp_path / "bf_emma.int8.onnx")
    (tmp_path / "af_kore.int8.onnx").write_bytes(b"no model")
    found = HibariVoice(folders=[tmp_path])
    assert {info.id: info.language for info in found.voices()} == {
        "hibari/heart": "en-US",
        "hibari/emma": "en-GB",
        "hibari/kore": "en-US",
    }
    assert pieces(found, Utterance.of_text("Hello.", "hibari/emma"))
    with pytest.raises(VoiceUnavailable, match="af_kore"):
        list(found.synthesize([Utterance.of_text("Hello.", "hibari/kore")]))
