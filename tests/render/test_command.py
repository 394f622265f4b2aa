import os
import signal
import subprocess
import sys
import time
import wave

import av
import pytest

from tests.media.test_signing import make_signer, manifest
from tests.watermark_parts import likeness
from webrtc_avatar.render.command import render_app

COMMAND = (sys.executable, "-m", "webrtc_avatar", "render")


def run(*arguments):
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False)


def test_render_makes_a_film_and_says_how_fast(tmp_path, speech_wav):
    done = run("--audio", speech_wav, "-o", tmp_path / "film.mp4", "--duration", 1, "--frame-px", 720, "--still")
    assert done.returncode == 0, done.stderr
    assert "25 frames, 1.0 s in " in done.stdout
    assert "times real time" in done.stdout
    with av.open(str(tmp_path / "film.mp4")) as container:
        codecs = [stream.codec_context.name for stream in container.streams]
        assert codecs == ["h264", "aac"]
        assert container.streams.video[0].width == 720


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--audio", "none.wav", "-o", "film.mp4"], 2, "none.wav is not a file; give a file with sound"),
        (["--audio", "SPEECH", "-o", "old.mp4"], 2, "old.mp4 is there already; name another file"),
        (["--audio", "SPEECH", "-o", "film.mp4", "--avatar", "nobody"], 2, "'nobody'"),
        (["--audio", "SPEECH", "-o", "film.mp4", "--preset", "best"], 2, "no preset 'best'; x264 has ultrafast"),
        (["--audio", "SPEECH", "-o", "film.mp4", "--start", "90"], 2, "nothing begins at 90.00 s"),
        (["--audio", "SPEECH", "-o", "film.mp4", "--frame-px", "513"], 2, "513 pixels cannot be encoded; give an even"),
        (["--audio", "SPEECH"], 2, "--output"),
    ],
)
def test_what_is_wrong_is_told_in_one_line_and_leaves_nothing(
    tmp_path, speech_wav, monkeypatch, capsys, arguments, status, words
):
    (tmp_path / "old.mp4").write_text("precious")
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as left:
            render_app(args=[argument.replace("SPEECH", str(speech_wav)) for argument in arguments])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert left.value.code == status
    assert words in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["old.mp4"]
    assert (tmp_path / "old.mp4").read_text() == "precious"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_film_leaves_no_half_file(tmp_path, number):
    with wave.open(str(tmp_path / "long.wav"), "wb") as target:
        target.setnchannels(1)
        target.setsampwidth(2)
        target.setframerate(16_000)
        target.writeframes(bytes(2 * 16_000 * 600))
    process = subprocess.Popen(
        [*COMMAND, "--audio", str(tmp_path / "long.wav"), "-o", str(tmp_path / "film.mp4")],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    try:
        until = time.monotonic() + 60
        while not any(path.name.endswith(".part") and path.stat().st_size for path in tmp_path.iterdir()):
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.05)
        process.send_signal(number)
        _, told = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "interrupted" in told
    assert "Traceback" not in told
    assert [path.name for path in tmp_path.iterdir()] == ["long.wav"]


def test_a_film_carries_the_watermark_that_is_asked_for(tmp_path, speech_wav):
    film = tmp_path / "film.mp4"
    done = run("--audio", speech_wav, "-o", film, "--duration", 1, "--watermark", "AI-generated")
    assert done.returncode == 0, done.stderr
    with av.open(str(film)) as container:
        assert all(likeness(frame.to_ndarray(format="gray")) > 0.95 for frame in container.decode(video=0))
        assert container.metadata["comment"].startswith("Synthetic media")
    assert b"avatar iris" in film.read_bytes()
    done = run("--audio", speech_wav, "-o", tmp_path / "other.mp4", "--watermark", "none.png")
    assert done.returncode != 0
    assert "'none.png' cannot be read" in done.stderr
    assert not (tmp_path / "other.mp4").exists()


def test_a_film_is_signed_where_a_certificate_is_set(tmp_path, speech_wav, monkeypatch):
    signer = make_signer(tmp_path)
    monkeypatch.setenv("WEBRTC_AVATAR_C2PA_CERTIFICATE", str(signer.certificate))
    monkeypatch.setenv("WEBRTC_AVATAR_C2PA_KEY", str(signer.key))
    done = run("--audio", speech_wav, "-o", tmp_path / "film.mp4", "--duration", 0.5)
    assert done.returncode == 0, done.stderr
    assert manifest(tmp_path / "film.mp4")["validation_state"] == "Valid"
    monkeypatch.delenv("WEBRTC_AVATAR_C2PA_KEY")
    done = run("--audio", speech_wav, "-o", tmp_path / "other.mp4", "--duration", 0.5)
    assert done.returncode != 0
    assert "c2pa_key is not set" in done.stderr
