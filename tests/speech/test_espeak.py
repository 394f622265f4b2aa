from __future__ import annotations

import shutil
import stat
from pathlib import Path

import numpy as np
import pytest

from webrtc_avatar.errors import NothingToSay, SpeechFailure, UnknownVoice, VoiceUnavailable
from webrtc_avatar.speech.voice import Failure, Pause, Piece, Say, Utterance
from webrtc_avatar.speech.voices.espeak import RATE_HZ, EspeakVoice

TEXT = "The weather will be sunny tomorrow."


def said(text: str, voice: str = "espeak/en-us", **parameters: object) -> np.ndarray:
    pieces = list(EspeakVoice().synthesize([Utterance.of_text(text, voice, **parameters)]))
    assert all(isinstance(piece, Piece) for piece in pieces), pieces
    assert [piece.last for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    return np.concatenate([piece.samples for piece in pieces])


def median_hz(samples: np.ndarray) -> float:
    """Return the pitch, from the autocorrelation of loud stretches."""
    found = []
    for first in range(0, len(samples) - 2048, 1024):
        part = samples[first : first + 2048] - samples[first : first + 2048].mean()
        if np.abs(part).max() < 0.2:
            continue
        again = np.correlate(part, part, "full")[2047:]
        low = RATE_HZ // 400
        lag = low + int(again[low : RATE_HZ // 50].argmax())
        if again[lag] > 0.5 * again[0]:
            found.append(RATE_HZ / lag)
    return float(np.median(found))


def test_it_lists_its_languages_with_their_tags_and_variants() -> None:
    infos = {info.id: info for info in EspeakVoice().voices()}
    assert len(infos) > 100
    assert infos["espeak/en-us"].language == "en-US"
    assert infos["espeak/en-us"].default
    assert infos["espeak/fr-be"].language == "fr-BE"
    assert "f2" in infos["espeak/de"].styles


@pytest.mark.parametrize(
    ("voice", "text"), [("de", "Guten Tag, wie geht es?"), ("ja", "こんにちは"), ("ru", "Привет, мир")]
)
def test_it_speaks_other_languages(voice: str, text: str) -> None:
    samples = said(text, f"espeak/{voice}")
    assert len(samples) > 0.4 * RATE_HZ
    assert samples.dtype == np.float32
    assert 0.05 < np.abs(samples).max() <= 1


def test_speed_and_pitch_are_followed() -> None:
    own = said(TEXT)
    assert len(said(TEXT, speed=2.0)) < 0.65 * len(own)
    assert len(said(TEXT, speed=0.5)) > 1.6 * len(own)
    for pitch in (1.5, 0.7):
        assert median_hz(said(TEXT, pitch=pitch)) / median_hz(own) == pytest.approx(pitch, rel=0.13)


def test_a_pitch_beyond_its_range_is_refused() -> None:
    (failure,) = EspeakVoice().synthesize([Utterance.of_text(TEXT, "espeak/en-us", pitch=2.0)])
    assert isinstance(failure, Failure)
    assert "0.64 to 1.67" in failure.error.message


def test_parts_are_said_in_their_manner_with_pauses_between() -> None:
    parts = (Say(text="one", volume_db=-20.0), Pause(1.0), Say(text="one"))
    pieces = list(EspeakVoice().synthesize([Utterance(parts=parts, voice="espeak/en-us")]))
    samples = np.concatenate([piece.samples for piece in pieces if isinstance(piece, Piece)])
    loud = np.concatenate([[0], np.cumsum(np.abs(samples) > 1e-3)])
    silent = np.flatnonzero(loud[RATE_HZ:] == loud[:-RATE_HZ])
    assert len(silent) > 0
    before, after = samples[: silent[0]], samples[silent[-1] + RATE_HZ :]
    assert np.abs(before).max() < 0.2 * np.abs(after).max()


def test_one_that_fails_leaves_the_others() -> None:
    batch = [
        Utterance.of_text("one", "espeak/en-us"),
        Utterance.of_text("👍 …", "espeak/en-us"),
        Utterance.of_text("two", "espeak/nowhere"),
        Utterance.of_text("three", "espeak/en-us"),
    ]
    results = list(EspeakVoice().synthesize(batch))
    failures = {part.index: type(part.error) for part in results if isinstance(part, Failure)}
    assert failures == {1: NothingToSay, 2: UnknownVoice}
    assert {part.index for part in results if isinstance(part, Piece) and part.last} == {0, 3}


def test_text_is_never_read_as_options_or_phonemes() -> None:
    assert len(said("--voices -w /tmp/x.wav")) > RATE_HZ
    assert len(said("$(reboot) `reboot`")) > RATE_HZ
    assert len(said("[[h@l'oU]]")) > 1.5 * len(said("hello"))


def test_a_program_that_hangs_is_ended(tmp_path: Path) -> None:
    program = tmp_path / "espeak-ng"
    program.write_text(
        f'#!/bin/sh\ncase "$*" in *--voices*) exec {shutil.which("espeak-ng")} "$@";; esac\nexec sleep 60\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    voice = EspeakVoice(program=str(program), timeout_s=0.3)
    (failure,) = voice.synthesize([Utterance.of_text("one", "espeak/en-us")])
    assert isinstance(failure, Failure)
    assert isinstance(failure.error, SpeechFailure)
    assert "longer than 0.3 s" in failure.error.message


def test_without_the_program_it_says_what_to_install() -> None:
    with pytest.raises(VoiceUnavailable, match="apt-get install espeak-ng"):
        EspeakVoice(program="no-such-program").voices()
