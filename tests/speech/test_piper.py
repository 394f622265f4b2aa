from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from webrtc_avatar.errors import NothingToSay, UnknownVoice, VoiceUnavailable
from webrtc_avatar.speech.voice import Failure, Pause, Piece, Say, Utterance
from webrtc_avatar.speech.voices.piper import PiperVoice


@pytest.fixture(scope="module")
def voice() -> PiperVoice:
    return PiperVoice()


def said(voice: PiperVoice, utterance: Utterance) -> list[Piece]:
    pieces = list(voice.synthesize([utterance]))
    assert all(isinstance(piece, Piece) for piece in pieces), pieces
    assert [piece.last for piece in pieces if isinstance(piece, Piece)] == [False] * (len(pieces) - 1) + [True]
    return [piece for piece in pieces if isinstance(piece, Piece)]


def test_it_speaks_and_tells_its_phonemes(voice: PiperVoice) -> None:
    first, second = said(voice, Utterance.of_text("Papa sat. He ate.", "piper/joe"))
    begin_s = len(first.samples) / first.rate_hz
    assert "p" in [phoneme.symbol for phoneme in first.phonemes]
    assert second.phonemes[1].start_s > begin_s - 0.05
    for piece in (first, second):
        assert 0.2 < np.abs(piece.samples).max() <= 0.51
        assert all(
            one.start_s <= two.start_s + 1e-6 for one, two in zip(piece.phonemes, piece.phonemes[1:], strict=False)
        )


def test_speed_volume_and_pauses_are_followed(voice: PiperVoice) -> None:
    parts = (Say(text="One moment please.", volume_db=-20.0), Pause(0.5), Say(text="Fine.", speed=0.5))
    quiet, pause, slow = said(voice, Utterance(parts=parts, voice="piper/joe"))
    assert np.abs(quiet.samples).max() < 0.06
    assert len(pause.samples) == round(pause.rate_hz / 2)
    (own,) = said(voice, Utterance.of_text("Fine.", "piper/joe"))
    assert len(slow.samples) > 1.5 * len(own.samples)


def test_one_that_fails_leaves_the_others(voice: PiperVoice) -> None:
    texts = [("Yes.", "joe"), ("👍", "joe"), ("Yes.", "nobody")]
    results = list(voice.synthesize([Utterance.of_text(text, f"piper/{name}") for text, name in texts]))
    errors = {part.index: type(part.error) for part in results if isinstance(part, Failure)}
    assert errors == {1: NothingToSay, 2: UnknownVoice}


def test_voices_of_a_folder_are_listed_and_a_damaged_one_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"no model")
    told = {"audio": {"sample_rate": 16_000}, "language": {"code": "de_DE"}, "speaker_id_map": {"b": 1, "a": 0}}
    (tmp_path / "x.onnx.json").write_text(json.dumps(told))
    (tmp_path / "y.onnx").write_bytes(b"no description")
    voice = PiperVoice(folders=[tmp_path])
    infos = {info.id: info for info in voice.voices()}
    assert set(infos) == {"piper/x", "piper/joe"}
    assert (infos["piper/x"].language, infos["piper/x"].styles) == ("de-DE", ("a", "b"))
    (failure,) = voice.synthesize([Utterance.of_text("Ja.", "piper/x")])
    assert isinstance(failure, Failure)
    assert isinstance(failure.error, VoiceUnavailable)
