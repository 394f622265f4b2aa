"""A real server in a process of its own, and a real Chromium whose microphone speaks recorded sentences."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.system_parts import SYSTEM_PARTS

pytest.importorskip("playwright.sync_api", reason="pip install -e .[test] brings playwright")

from playwright.sync_api import Browser, BrowserContext, Page, Playwright, sync_playwright

SENTENCES = ("0870", "0880", "0890")
SENTENCE_S = 6.0
PAUSE_S = 2.0
START_LIMIT_S = 60

_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    # A name that is not localhost is what makes a page on plain http insecure.
    "--host-resolver-rules=MAP avatar.test 127.0.0.1",
)
_FAKE_MICROPHONE = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
_MAY_PLAY = "--autoplay-policy=no-user-gesture-required"


class Server:
    """`webrtc-avatar serve` on a port that stays the same over restarts."""

    def __init__(self, **settings: object) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        settings = {"drain_timeout_s": 0, **settings}
        self._settings = {f"WEBRTC_AVATAR_{name.upper()}": str(value) for name, value in settings.items()}
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "webrtc_avatar", "serve", "--port", str(self.port)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | self._settings)
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if self.url in line:
                return
        pytest.fail(f"the server ended with status {self._process.wait()} before it listened")

    def kill(self) -> None:
        """End it without a goodbye to anybody."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        if self._process is not None:
            self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(timeout=START_LIMIT_S)
        self._process = None

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=10) as response:
            return json.load(response)

    def sessions(self) -> list[dict[str, Any]]:
        """Return what the server tells about its sessions."""
        sessions: list[dict[str, Any]] = self.get("api/sessions")["sessions"]
        return sessions


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """One server for a module, with the settings of its `SERVER_SETTINGS`."""
    made = Server(**getattr(request.module, "SERVER_SETTINGS", {}))
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    """For a module and no longer: its event loop would be in the way of other modules' asynchronous tests."""
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="session")
def chromium_path() -> str:
    part = next(part for part in SYSTEM_PARTS if part.title == "Chromium")
    for command in part.commands:
        if path := shutil.which(command):
            return path
    reason = "Chromium is not installed: python run.py test installs it on Debian and Ubuntu"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def speech_and_silence(speech_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a WAV of sentences with pauses between them; Chromium's fake microphone plays it over and over."""
    path = tmp_path_factory.mktemp("speech") / "microphone.wav"
    parts: list[np.ndarray] = []
    rate_hz = 0
    for sentence in SENTENCES:
        with wave.open(str(speech_folder / f"sense_and_sensibility_01_austen_64kb-{sentence}.wav")) as source:
            rate_hz = source.getframerate()
            samples = np.frombuffer(source.readframes(source.getnframes()), np.int16)
        parts += [samples[: int(SENTENCE_S * rate_hz)], np.zeros(int(PAUSE_S * rate_hz), np.int16)]
    with wave.open(str(path), "wb") as target:
        target.setnchannels(1)
        target.setsampwidth(2)
        target.setframerate(rate_hz)
        target.writeframes(np.concatenate(parts).tobytes())
    return path


Launch = Callable[..., Browser]


@pytest.fixture(scope="module")
def launch(playwright: Playwright, chromium_path: str, speech_and_silence: Path) -> Iterator[Launch]:
    """Return a function that starts a Chromium; all are closed with the module."""
    open_browsers: list[Browser] = []

    def start(*, microphone: bool = True, prompts: bool = False, autoplay: bool = True) -> Browser:
        flags = [*_FLAGS, f"--use-file-for-fake-audio-capture={speech_and_silence}"]
        flags += [flag for flag in _FAKE_MICROPHONE[0:1] if microphone]
        flags += [flag for flag in _FAKE_MICROPHONE[1:2] if not prompts]
        flags += [_MAY_PLAY] if autoplay else []
        browser = playwright.chromium.launch(executable_path=chromium_path, args=flags)
        open_browsers.append(browser)
        return browser

    yield start
    for browser in open_browsers:
        browser.close()


@pytest.fixture(scope="module")
def browser(launch: Launch) -> Browser:
    """A Chromium that lets pages use its microphone."""
    return launch()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    made = browser.new_context(viewport={"width": 1280, "height": 800})
    yield made
    made.close()


@pytest.fixture
def page(context: BrowserContext, server: Server) -> Iterator[Page]:
    """The main page, open; a script error in it fails the test."""
    opened = context.new_page()
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.goto(server.url)
    yield opened
    opened.close()
    assert errors == []


def start_speaking(page: Page) -> None:
    """Press Start, and wait until the face moves."""
    page.get_by_role("button", name="Start").click()
    page.wait_for_selector("body[data-phase=live]", timeout=20_000)
