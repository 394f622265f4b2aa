"""Where settings come from, and that commands import only what they use."""

import subprocess
import sys

import pytest

from webrtc_avatar.cli import load_settings
from webrtc_avatar.errors import InvalidSettings


def test_flags_win_over_the_environment_and_the_environment_over_the_file(tmp_path, monkeypatch):
    file = tmp_path / "settings.toml"
    file.write_text('port = 1\nmax_sessions = 2\nmax_viewers = 3\n[[ice_servers]]\nurls = "stun:example.org"\n')
    monkeypatch.setenv("WEBRTC_AVATAR_PORT", "11")
    monkeypatch.setenv("WEBRTC_AVATAR_MAX_SESSIONS", "12")
    settings = load_settings(file, {"port": 21})
    assert (settings.port, settings.max_sessions, settings.max_viewers) == (21, 12, 3)
    assert settings.ice_servers[0].urls == "stun:example.org"


def test_a_list_of_ice_servers_can_come_from_the_environment(monkeypatch):
    monkeypatch.setenv(
        "WEBRTC_AVATAR_ICE_SERVERS", '[{"urls": "turn:example.org", "username": "a", "credential": "b"}]'
    )
    assert load_settings(None, {}).ice_servers[0].username == "a"


@pytest.mark.parametrize("text", ["port = 'many'", "prot = 8080", "port = ", "ice_servers = 5"])
def test_a_file_that_cannot_be_followed_is_named_with_its_fault(tmp_path, text):
    file = tmp_path / "settings.toml"
    file.write_text(text)
    with pytest.raises(InvalidSettings, match="settings cannot"):
        load_settings(file, {})


def imported_by(code):
    script = f"import sys; {code}; print(*sys.modules)"
    return set(
        subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()
    )


def test_help_imports_no_media():
    modules = imported_by("import webrtc_avatar.cli")
    assert not modules & {"aiortc", "av", "cv2", "numpy", "onnxruntime", "pydantic", "torch", "aiohttp"}


def test_serving_imports_neither_the_client_nor_torch_nor_training():
    modules = imported_by("import webrtc_avatar.cli, webrtc_avatar.server.serve")
    assert not modules & {"torch", "onnx", "scipy", "webrtc_avatar.client", "webrtc_avatar.training", "rich"}


@pytest.mark.parametrize(
    "command",
    [["--help"], ["serve", "--help"], ["engine", "--help"], ["peer", "--help"], ["bench", "--help"], ["--version"]],
)
def test_every_command_explains_itself(command):
    result = subprocess.run(
        [sys.executable, "-m", "webrtc_avatar", *command], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout
