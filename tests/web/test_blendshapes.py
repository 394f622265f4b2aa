"""The page of bars: all 52, in step with the picture, for a microphone, a recording and somebody else's conversation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.web.conftest import Server, start_speaking
from tests.web.lips import MOUTH_BOX
from tests.web.test_page import wait_for_sessions
from webrtc_avatar.avatar.arkit import ARKIT_NAMES

LIMIT_MS = 20_000
VALUE = "Number(document.querySelector('[data-name={}]').style.getPropertyValue('--value'))"
JAW = VALUE.format("jawOpen")


@pytest.fixture
def bars(browser: Browser, server: Server) -> Iterator[Page]:
    """The page, not yet open; a script error or a violation of its policy fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if "Content Security" in message.text else None)
    yield page
    context.close()
    assert errors == []


def wait_until(page: Page, condition: str) -> None:
    """Wait until a JavaScript expression holds; the page's policy forbids Playwright's own way of doing so."""
    script = f"""async limitMs => {{
      for (const endMs = performance.now() + limitMs; !({condition}); await new Promise(requestAnimationFrame)) {{
        if (performance.now() > endMs) return false;
      }}
      return true;
    }}"""
    assert page.evaluate(script, LIMIT_MS), condition


def speak(bars: Page, server: Server) -> None:
    bars.goto(f"{server.url}blendshapes.html")
    bars.get_by_role("button", name="Speak to it").click()
    bars.wait_for_selector("body[data-phase=live]", timeout=LIMIT_MS)


def test_speech_moves_the_jaw_and_silence_lets_it_rest(bars: Page, server: Server) -> None:
    speak(bars, server)
    for _ in range(2):
        wait_until(bars, f"{JAW} > 0.2")
        wait_until(bars, f"{JAW} === 0")
    expect(bars.get_by_role("meter", name="jawOpen")).to_have_attribute("aria-valuenow", "0.00", timeout=LIMIT_MS)


def test_there_is_a_bar_for_every_blendshape_and_each_angle(bars: Page, server: Server) -> None:
    bars.goto(f"{server.url}blendshapes.html")
    names = bars.locator(".bar").evaluate_all("bars => bars.map(({ dataset }) => dataset.name)")
    assert sorted(names) == sorted([*ARKIT_NAMES, "pitch", "yaw", "roll"])
    assert bars.get_by_role("meter").count() == 55


def test_figures_count_25_faces_a_second(bars: Page, server: Server) -> None:
    speak(bars, server)
    wait_until(bars, "document.getElementById('time').textContent.startsWith('4.')")
    assert 20 < float(bars.locator("#rate").inner_text()) < 30


NOTES = """async ({ box, count }) => {
  const video = document.getElementById("face");
  const [left, top, right, bottom] = box;
  const scale = video.videoWidth / 512;
  const [width, height] = [(right - left) / 8, (bottom - top) / 8];
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  const rows = [];
  await new Promise((resolve) => {
    const note = () => {
      const place = [left, top, right - left, bottom - top].map((length) => length * scale);
      context.drawImage(video, ...place, 0, 0, width, height);
      const pixels = [...context.getImageData(0, 0, width, height).data].filter((_, at) => at % 4 === 1);
      rows.push([JAW, pixels]);
      if (rows.length < count) video.requestVideoFrameCallback(note);
      else resolve();
    };
    video.requestVideoFrameCallback(note);
  });
  return JSON.stringify(rows);
}""".replace("JAW", JAW)


def test_bars_show_the_face_of_the_very_picture_beside_them(bars: Page, server: Server) -> None:
    speak(bars, server)
    wait_until(bars, f"{JAW} > 0.2")
    notes = json.loads(bars.evaluate(NOTES, {"box": list(MOUTH_BOX), "count": 300}))
    jaw, mouths = np.array([row[0] for row in notes]), np.array([row[1] for row in notes], np.float64)
    correlations = {lag: told_from(mouths, jaw, lag) for lag in range(-3, 4)}
    assert max(correlations, key=lambda lag: correlations[lag]) == 0, correlations
    assert correlations[0] > 0.85, correlations


def told_from(mouths: np.ndarray, jaw: np.ndarray, lag: int) -> float:
    """Return how well pictures tell the jaw's bar `lag` pictures before: correlation, least squares on 15 components."""
    pictures = mouths[max(lag, 0) : len(mouths) + min(lag, 0)]
    told = jaw[max(-lag, 0) : len(jaw) - max(lag, 0)]
    pictures, told = pictures - pictures.mean(0), told - told.mean()
    learn = np.arange(len(told)) % 50 < 35
    left, spread, right = np.linalg.svd(pictures[learn], full_matrices=False)
    weights = right[:15].T @ ((left[:, :15].T @ told[learn]) / spread[:15])
    return float(np.corrcoef(pictures[~learn] @ weights, told[~learn])[0, 1])


def test_a_recording_speaks_in_the_microphone_s_place(bars: Page, server: Server, speech_wav: Path) -> None:
    bars.goto(f"{server.url}blendshapes.html")
    bars.locator("#recording").set_input_files(speech_wav)
    bars.wait_for_selector("body[data-phase=live]", timeout=LIMIT_MS)
    expect(bars.locator("#status")).to_contain_text(speech_wav.name)
    wait_until(bars, f"{JAW} > 0.2")
    assert bars.evaluate("document.getElementById('face').muted") is False


def test_a_file_without_sound_is_told_in_words(bars: Page, server: Server, tmp_path: Path) -> None:
    bars.goto(f"{server.url}blendshapes.html")
    (tmp_path / "letter.wav").write_text("Dear reader")
    bars.locator("#recording").set_input_files(tmp_path / "letter.wav")
    expect(bars.get_by_role("alert")).to_contain_text("letter.wav is no sound file")
    expect(bars.get_by_role("button", name="Speak to it")).to_be_enabled()


def test_the_page_for_talking_links_to_the_bars_of_its_own_conversation(page: Page, server: Server) -> None:
    expect(page.get_by_role("link", name="See the face as numbers")).to_have_attribute("href", "blendshapes.html")
    start_speaking(page)
    with page.expect_popup() as popup:
        page.get_by_role("link", name="See the face as numbers").click()
    watching = popup.value
    watching.wait_for_selector("body[data-phase=live]", timeout=LIMIT_MS)
    wait_until(watching, f"{JAW} > 0.2")
    (session,) = server.sessions()
    assert session["viewers"] == 1
    expect(watching.get_by_role("button", name="Speak to it")).to_be_hidden()


def test_stop_ends_the_session_and_brings_the_bars_to_rest(bars: Page, server: Server) -> None:
    wait_for_sessions(bars, server, 0)
    speak(bars, server)
    wait_until(bars, f"{JAW} > 0.2")
    bars.get_by_role("button", name="Stop").click()
    wait_for_sessions(bars, server, 0)
    values = bars.locator(".bar").evaluate_all("bars => bars.map(({ style }) => style.getPropertyValue('--value'))")
    assert set(values) == {"0"}
    expect(bars.locator("#rate")).to_have_text("\N{EN DASH}")


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_nothing_sticks_out_sideways(bars: Page, server: Server, width: int) -> None:
    bars.set_viewport_size({"width": width, "height": 700})
    speak(bars, server)
    assert bars.evaluate("document.documentElement.scrollWidth") <= width
