"""The commands `say` and `render --text`."""

from __future__ import annotations

import io
import subprocess
import sys
import wave
from pathlib import Path

import av
import pytest

from webrtc_avatar.render.command import render_app
from webrtc_avatar.speech.command import say_app


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        say_app(args=list(arguments))
    return int(left.value.code or 0)


def test_say_makes_a_file_and_tells_how_long_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("Good morning.", "-o", str(tmp_path / "a.wav"), "--speed", "1.2") == 0
    with wave.open(str(tmp_path / "a.wav")) as read:
        assert 0.4 < read.getnframes() / read.getframerate() < 2
    assert "s of sound in" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


def test_say_reads_standard_input_and_writes_opus(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "webrtc_avatar", "say", "-", "-o", str(tmp_path / "a.ogg")]
    subprocess.run(command, input="Good morning.", text=True, check=True, timeout=60)
    with av.open(io.BytesIO((tmp_path / "a.ogg").read_bytes())) as container:
        assert container.streams.audio[0].codec_context.name in ("opus", "libopus")


def test_say_lists_the_voices(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--voices") == 0
    assert "hibari/heart" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["Hello."], "a text and the file to make are needed"),
        (["Hello.", "-o", "a.xyz"], "ends in .wav, .ogg"),
        ([" ", "-o", "a.wav"], "the text is empty"),
        (["Hello.", "-o", "a.wav", "--voice", "nobody"], "nobody"),
        (["Hello.", "-o", "none/a.wav"], "cannot be written"),
        (["<speak>a<x/></speak>", "-o", "a.wav"], "line 1"),
    ],
)
def test_what_is_wrong_is_told_and_leaves_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_render_makes_a_film_of_a_text(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as left:
        render_app(args=["--text", "Hello.", "-o", str(tmp_path / "film.mp4"), "-q"])
    assert not left.value.code
    with av.open(str(tmp_path / "film.mp4")) as container:
        assert container.streams.video[0].frames > 10
    with pytest.raises(SystemExit) as left:
        render_app(args=["--text", "Hello.", "--audio", "a.wav", "-o", str(tmp_path / "other.mp4")])
    assert left.value.code == 2
