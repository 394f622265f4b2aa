from __future__ import annotations

import sys
import textwrap
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from webrtc_avatar.errors import UnknownVoice, VoiceUnavailable
from webrtc_avatar.settings import Settings
from webrtc_avatar.speech import registry as registry_module
from webrtc_avatar.speech.registry import IN_THE_BOX, Registry
from webrtc_avatar.speech.voice import ENTRY_POINTS, Piece, Utterance

ROOT = Path(__file__).resolve().parents[2]


def test_the_default_voice_is_there_and_an_engine_stands_for_its_default() -> None:
    registry = Registry(Settings())
    assert registry.find().id == "hibari/heart"
    assert registry.find("hibari").id == "hibari/heart"
    assert registry.find("hibari/heart") in registry.voices()


def test_unknown_voices_are_told_what_there_is() -> None:
    registry = Registry(Settings())
    with pytest.raises(UnknownVoice, match="espeak, hibari, openai, piper"):
        registry.find("festival/kal")
    with pytest.raises(UnknownVoice, match="hibari has hibari/heart"):
        registry.find("hibari/nobody")


def test_an_engine_that_cannot_be_used_says_why() -> None:
    registry = Registry(Settings())
    assert "speech_openai_url" in registry.unavailable()["openai"]
    with pytest.raises(VoiceUnavailable, match="speech_openai_url"):
        registry.find("openai/alloy")
    assert "openai" not in Registry(Settings(speech_openai_url="http://127.0.0.1:9/v1")).unavailable()


def test_the_box_and_the_package_name_the_same_factories() -> None:
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    table = text.partition(f'[project.entry-points."{ENTRY_POINTS}"]\n')[2].partition("\n\n")[0]
    told = dict(line.replace('"', "").split(" = ") for line in table.splitlines())
    assert told == IN_THE_BOX


def documented_plug_in() -> str:
    text = (ROOT / "docs" / "speech.md").read_text("utf-8")
    return text.partition("```python\n# beeps.py\n")[2].partition("```")[0]


def test_the_documented_plug_in_works_and_broken_ones_harm_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "beeps.py").write_text(documented_plug_in())
    (tmp_path / "broken_voice.py").write_text(
        textwrap.dedent(
            """
            def create(settings):
                raise RuntimeError("out of order")
            """
        )
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    points = [
        EntryPoint("beeps", "beeps:create", ENTRY_POINTS),
        EntryPoint("broken", "broken_voice:create", ENTRY_POINTS),
        EntryPoint("missing", "no_such_module:create", ENTRY_POINTS),
    ]
    monkeypatch.setattr(registry_module, "entry_points", lambda group: points if group == ENTRY_POINTS else [])
    registry = Registry(Settings())
    assert registry.factories["beeps"] == "beeps:create"
    info = registry.find("beeps")
    assert "out of order" in registry.unavailable()["broken"]
    assert "no_such_module" in registry.unavailable()["missing"]
    assert registry.find("hibari").id == "hibari/heart"
    voice = sys.modules["beeps"].create(Settings())
    pieces = list(voice.synthesize([Utterance.of_text("one two", info.id), Utterance.of_text("three", info.id)]))
    assert [piece.index for piece in pieces if isinstance(piece, Piece) and piece.last] == [0, 1]
    voice.close()
