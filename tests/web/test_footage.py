"""Footage that is not square: pages show all of it, where the square faces of drawn avatars fill their frame."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.avatar.footage_parts import make_footage
from tests.web.conftest import Server, start_speaking

WIDTH, HEIGHT = 640, 360
FIT = "id => getComputedStyle(document.querySelector(id)).objectFit"


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("avatars")
    make_footage(folder / "painted", count=30, width=WIDTH, height=HEIGHT)
    made = Server(avatar_folders=json.dumps([str(Path(folder))]), avatar="painted")
    made.start()
    yield made
    made.stop()


@pytest.fixture
def tab(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    yield context.new_page()
    context.close()


def test_the_page_shows_all_of_wide_footage(tab: Page, filmed: Server) -> None:
    tab.goto(filmed.url)
    start_speaking(tab)
    tab.wait_for_selector("#face[data-shape=other]")
    assert tab.evaluate(FIT, "#face") == "contain"


def test_the_display_shows_all_of_wide_footage_on_the_whole_screen(tab: Page, filmed: Server) -> None:
    tab.goto(f"{filmed.url}kiosk.html")
    tab.wait_for_selector("body[data-view=live]", timeout=40_000)
    tab.wait_for_selector("#live[data-shape=other]")
    assert tab.evaluate(FIT, "#live") == "contain"
    assert tab.evaluate("document.getElementById('live').getBoundingClientRect().width") == 1280


def test_the_face_of_a_drawn_avatar_fills_its_frame(page: Page) -> None:
    start_speaking(page)
    page.wait_for_selector("#face[data-shape=square]")
    assert page.evaluate(FIT, "#face") == "cover"
