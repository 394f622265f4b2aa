"""The page of chunked sessions: a photo and a voice become a film that plays with sound, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.web.conftest import Server

SERVER_SETTINGS = {"grpc": "false"}
LIMIT_MS = 40_000
PHOTO = Path(__file__).parents[1] / "avatar" / "photos" / "astronaut.jpg"


@pytest.fixture
def tab(browser: Browser, server: Server) -> Iterator[Page]:
    """The page, open on a phone; a script error or a violation of its policy fails the test."""
    context = browser.new_context(viewport={"width": 390, "height": 844})
    opened = context.new_page()
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("console", lambda message: errors.append(message.text) if "Content Security" in message.text else None)
    opened.goto(f"{server.url}chunked.html")
    yield opened
    context.close()
    assert errors == []


@pytest.fixture(scope="module")
def short_wav(speech_folder: Path) -> Path:
    """The shortest recording, 3.3 s."""
    return speech_folder / "sense_and_sensibility_01_austen_64kb-0930.wav"


def film_of(page: Page) -> dict[str, Any]:
    return page.evaluate(
        """() => {
          const film = document.getElementById("film");
          return { duration: film.duration, sound: film.webkitAudioDecodedByteCount, muted: film.muted,
            shown: film.getVideoPlaybackQuality().totalVideoFrames };
        }"""
    )


def test_a_photo_says_a_recording_and_the_film_can_be_kept_or_deleted(
    tab: Page, server: Server, short_wav: Path, tmp_path: Path
) -> None:
    sessions: list[str] = []
    tab.on(
        "response",
        lambda answer: sessions.append(answer.json()["session_id"]) if answer.url.endswith("/init") else None,
    )
    expect(tab.get_by_text("Use only faces of people who agreed to it.")).to_be_visible()
    tab.get_by_label("Choose a photo").set_input_files(PHOTO)
    expect(tab.get_by_text("Choose another photo")).to_be_visible()
    tab.get_by_label("Play a recording").set_input_files(short_wav)
    tab.wait_for_selector("body[data-film=seen]", timeout=LIMIT_MS)
    expect(tab.locator("#frames")).to_have_text(re.compile(r"\d+"))
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    expect(tab.get_by_role("button", name="Play again")).to_be_focused(timeout=LIMIT_MS)
    film = film_of(tab)
    assert film["duration"] == pytest.approx(83 / 25, abs=0.06)
    assert film["sound"] > 0
    assert not film["muted"]
    assert film["shown"] > 20
    expect(tab.locator("#state")).to_have_text("complete")
    with tab.expect_download() as saved:
        tab.get_by_role("button", name="Save the film").click()
    saved.value.save_as(tmp_path / "film.mp4")
    capture = cv2.VideoCapture(str(tmp_path / "film.mp4"))
    assert sum(1 for _ in iter(capture.grab, False)) == 83
    tab.get_by_role("button", name="Delete and start over").click()
    expect(tab.get_by_label("Play a recording")).to_be_focused()
    assert tab.request.get(f"{server.url}api/audio-driven/chunked/status/{sessions[0]}").status == 404


def test_a_microphone_is_followed_live_and_the_rest_is_shown_when_that_was_all(tab: Page) -> None:
    tab.get_by_role("button", name="Speak to it").click()
    tab.wait_for_selector("body[data-film=seen]", timeout=LIMIT_MS)
    assert film_of(tab)["muted"], "the microphone would hear it"
    tab.get_by_role("button", name="That was all").click()
    expect(tab.get_by_role("button", name="Play again")).to_be_visible(timeout=LIMIT_MS)
    assert not film_of(tab)["muted"]
    assert film_of(tab)["duration"] > 1


def test_a_photo_without_a_face_is_explained_and_the_way_out_is_open(
    tab: Page, short_wav: Path, tmp_path: Path
) -> None:
    gradient = np.linspace(0, 255, 300, dtype=np.uint8)[None, :, None].repeat(300, 0).repeat(3, 2)
    cv2.imwrite(str(tmp_path / "sky.png"), gradient)
    tab.get_by_label("Choose a photo").set_input_files(tmp_path / "sky.png")
    expect(tab.get_by_text("Choose another photo")).to_be_visible()
    tab.get_by_label("Play a recording").set_input_files(short_wav)
    expect(tab.get_by_role("heading", name="No face found in this photo")).to_be_visible(timeout=LIMIT_MS)
    tab.get_by_label("Find the face and cut it out").uncheck()
    tab.get_by_label("Play a recording").set_input_files(short_wav)
    expect(tab.get_by_role("heading", name="About this photo")).to_be_visible(timeout=LIMIT_MS)
    tab.get_by_role("button", name="Stop").click()
    expect(tab.get_by_label("Play a recording")).to_be_focused()


def test_a_file_that_is_no_picture_leaves_the_one_that_was_chosen(tab: Page, tmp_path: Path) -> None:
    tab.get_by_label("Choose a photo").set_input_files(PHOTO)
    expect(tab.get_by_text("Choose another photo")).to_be_visible()
    width = tab.evaluate("document.getElementById('photo').width")
    (tmp_path / "text.jpg").write_text("no picture")
    tab.get_by_label("Choose another photo").set_input_files(tmp_path / "text.jpg")
    expect(tab.get_by_role("heading", name="This file is no picture")).to_be_visible()
    assert tab.evaluate("document.getElementById('photo').width") == width


def test_options_out_of_range_are_shown_and_nothing_is_sent(tab: Page, short_wav: Path) -> None:
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url) if request.method == "POST" else None)
    tab.get_by_text("Options", exact=True).click()
    tab.get_by_label("Up").fill("7")
    tab.get_by_text("Options", exact=True).click()
    tab.get_by_label("Play a recording").set_input_files(short_wav)
    expect(tab.get_by_label("Up")).to_be_focused()
    assert asked == []
    tab.get_by_role("button", name="Reset the options").click()
    expect(tab.get_by_label("Up")).to_have_value("0")


def test_the_main_page_leads_here(page: Page) -> None:
    expect(page.get_by_role("link", name="Make a film of a photo")).to_have_attribute("href", "chunked.html")
