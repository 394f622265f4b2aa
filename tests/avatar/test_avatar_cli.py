"""The commands for avatars, as somebody types them."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from tests.avatar import footage_parts as parts
from tests.avatar.portrait_parts import ASTRONAUT, IRIS
from webrtc_avatar.avatar import cli
from webrtc_avatar.avatar.package import load_avatar
from webrtc_avatar.cli import app


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "home"))
    monkeypatch.setattr(cli.console, "_width", 200)
    return tmp_path / "home" / "webrtc-avatar" / "avatars"


@pytest.fixture
def source(tmp_path):
    return parts.make_video_package(tmp_path / "Sanders")


def run(*arguments):
    """Run a command and return its exit code and what it printed, with spaces and line ends as one space."""
    result = CliRunner().invoke(app, ["avatar", *map(str, arguments)])
    return result.exit_code, re.sub(r"\s+", " ", result.output)


def test_what_was_imported_is_found_by_its_name_alone(home, source):
    code, output = run("import", source, "--name", "sanders", "--license", "CC0-1.0")
    assert code == 0, output
    assert "Imported sanders from a video package." in output
    assert "6 frames of 160x120" in output
    assert "webrtc-avatar serve --avatar sanders" in output
    assert load_avatar(home / "sanders").license == "CC0-1.0"
    code, output = run("list")
    assert code == 0
    assert "sanders Painted Face footage 160x120 6 (0 s)" in output
    assert "iris Iris drawn 512x512" in output
    code, output = run("inspect", "sanders")
    assert code == 0
    assert "onnx_generator 328" in output
    assert "look-ahead 440 ms" in output
    assert run("inspect", home / "sanders") == (code, output)
    code, output = run("check", "sanders")
    assert code == 0, output
    assert "all 6 decode to 160x120" in output
    assert "loads and draws 2 frames of silence" in output


def test_a_name_that_is_taken_is_refused_unless_it_is_to_be_replaced(home, source):
    assert run("import", source)[0] == 0
    code, output = run("import", source)
    assert code == 1
    assert "sanders is there already" in output
    assert run("import", source, "--force", "--title", "Other")[0] == 0
    assert load_avatar(home / "sanders").title == "Other"


def test_another_folder_is_named_to_the_server(home, source, tmp_path):
    code, output = run("import", source, "--into", tmp_path / "mine")
    assert code == 0
    assert f"webrtc-avatar serve --avatar sanders --avatar-folder {tmp_path / 'mine'}" in output
    assert not home.exists()
    assert "sanders" in run("list", "--avatar-folder", tmp_path / "mine")[1]


def test_what_cannot_be_imported_is_said_in_one_line_and_nothing_is_left(home, source):
    (source / "full_body_video.mp4").write_bytes(b"no video")
    code, output = run("import", source)
    assert code == 1
    assert output.startswith("webrtc-avatar: Sanders/full_body_video.mp4 is not a readable MP4 file")
    assert not home.exists()


def test_a_broken_avatar_is_listed_with_what_is_wrong_and_found_by_check(home, source):
    run("import", source)
    (home / "sanders" / "frames" / "000002.jpg").write_bytes(b"no picture")
    code, output = run("check", "sanders")
    assert code == 1
    assert "fault frames 1 of 6 cannot be shown; the first: sanders/frames/000002.jpg" in output
    assert "ok features" in output
    manifest = home / "sanders" / "avatar.toml"
    manifest.write_text(manifest.read_text().replace("width = 160", "width = 1"))
    code, output = run("list")
    assert code == 0
    assert re.search(r"broken: .*sanders: sanders/avatar.toml: footage.width", output)


def test_check_notes_faces_of_other_frames_and_jumps(home, source):
    rectangles = json.loads((source / "cache" / "crop_rectangles.json").read_text())
    rectangles["3"]["rect"] = [0, 0, 40, 40]
    (source / "cache" / "crop_rectangles.json").write_text(json.dumps(rectangles))
    (source / "crops_328_video.mp4").unlink()
    (source / "aud_ave.bin").unlink()
    assert "Note: there is no aud_ave.npy" in run("import", source)[1]
    code, output = run("check", "sanders")
    assert code == 0
    assert "warning face boxes" in output
    assert "at frame 3 the face jumps" in output
    assert "warning features none" in output


def test_an_avatar_that_is_not_there_is_told_with_those_that_are(home):
    code, output = run("inspect", "nobody")
    assert code == 1
    assert "there is no avatar and no package 'nobody'; installed: " in output


def test_a_drawn_avatar_is_inspected_and_checked_as_well(home):
    assert "512x512 pixels" in run("inspect", "iris")[1]
    assert run("check", "iris")[0] == 0


@pytest.mark.skipif(os.name == "nt", reason="POSIX only")
def test_an_import_that_is_ended_by_a_signal_leaves_nothing_behind(tmp_path, source):
    frames = [parts.picture(number) for number in range(3)] * 400
    parts.write_video(source / "full_body_video.mp4", frames)
    for name in ("crops_328_video.mp4", "rois_320_video.mp4", "package_info.json", "aud_ave.bin"):
        (source / name).unlink()
    rectangles = {str(number): {"rect": [50, 40, 110, 100]} for number in range(len(frames))}
    (source / "cache" / "crop_rectangles.json").write_text(json.dumps(rectangles))
    into = tmp_path / "avatars"
    command = [sys.executable, "-m", "webrtc_avatar", "avatar", "import", str(source), "--into", str(into)]
    with subprocess.Popen(command) as process:
        while not list(into.glob(".*/frames/000010.jpg")):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 143
    assert not into.exists()


def test_a_photo_becomes_an_avatar_that_is_found_by_its_name(home):
    code, output = run("create", "--photo", ASTRONAUT, "--name", "eileen", "--license", "CC-PDDC")
    assert code == 0, output
    assert "open mouth" in output
    assert "webrtc-avatar serve --avatar eileen" in output
    assert load_avatar(home / "eileen").license == "CC-PDDC"
    assert run("check", "eileen")[0] == 0


@pytest.mark.parametrize("photo", [IRIS / "background.png", IRIS / "avatar.toml", IRIS / "nothing.jpg"])
def test_what_shows_no_face_becomes_none(home, photo):
    code, output = run("create", "--photo", photo, "--name", "nobody")
    assert code == 1
    assert "JPEG, PNG or WebP" in output or "no face" in output
    assert not home.exists()
