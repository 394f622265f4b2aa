"""The main page while all goes well: choices, switches, figures, the keyboard, a second tab, the end."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.web.conftest import Server, start_speaking
from webrtc_avatar.avatar.library import default_folders

LIMIT_MS = 15_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with two avatars: iris, and her twin."""
    folder = tmp_path_factory.mktemp("avatars")
    iris = next(path / "iris" for path in default_folders() if (path / "iris").is_dir())
    twin = Path(shutil.copytree(iris, folder / "twin", ignore=shutil.ignore_patterns("source")))
    manifest = (twin / "avatar.toml").read_text()
    manifest = re.sub(r'^name = ".*"$', 'name = "twin"', manifest, flags=re.M)
    (twin / "avatar.toml").write_text(re.sub(r'^title = ".*"$', 'title = "Twin"', manifest, flags=re.M))
    made = Server(avatar_folders=f'["{folder}"]')
    made.start()
    yield made
    made.stop()


def switch(page: Page, name: str):
    return page.get_by_role("switch", name=name)


def is_muted(page: Page) -> bool:
    return bool(page.evaluate("document.getElementById('face').muted"))


def wait_for_sessions(page: Page, server: Server, count: int) -> None:
    """Wait until the server holds so many sessions."""
    for _ in range(50):
        if len(server.sessions()) == count:
            return
        page.wait_for_timeout(100)
    assert len(server.sessions()) == count


def test_figures_are_alive(page: Page) -> None:
    start_speaking(page)
    for figure, unit in (("fps", ""), ("delay", " ms"), ("round-trip", " ms"), ("loss", " %")):
        expect(page.locator(f"#{figure}")).to_have_text(re.compile(rf"^\d+(\.\d)?{unit}$"), timeout=LIMIT_MS)


def test_meter_shows_the_voice(page: Page) -> None:
    start_speaking(page)
    expect(page.get_by_role("meter")).to_have_attribute("aria-valuenow", re.compile(r"^[2-9]\d$"), timeout=LIMIT_MS)


def test_face_says_when_it_speaks_and_when_it_listens(page: Page) -> None:
    start_speaking(page)
    for mood in ("Speaking", "Listening"):
        expect(page.locator("#mood-text")).to_have_text(mood, timeout=LIMIT_MS)


def test_stop_ends_the_session_on_the_server(page: Page, server: Server) -> None:
    wait_for_sessions(page, server, 0)
    start_speaking(page)
    wait_for_sessions(page, server, 1)
    page.get_by_role("button", name="Stop").click()
    wait_for_sessions(page, server, 0)
    assert page.evaluate("document.getElementById('face').srcObject?.active ?? false") is False
    expect(page.get_by_role("button", name="Start")).to_be_enabled()


def test_leaving_the_page_ends_the_session_on_the_server(page: Page, server: Server) -> None:
    start_speaking(page)
    wait_for_sessions(page, server, 1)
    page.goto("about:blank")
    wait_for_sessions(page, server, 0)


def test_returned_voice_is_off_until_asked_for(page: Page) -> None:
    start_speaking(page)
    assert is_muted(page)
    switch(page, "Returned voice").click()
    expect(switch(page, "Returned voice")).to_be_checked()
    assert not is_muted(page)


def test_muted_microphone_lets_the_face_rest(page: Page) -> None:
    start_speaking(page)
    switch(page, "Microphone").click()
    expect(switch(page, "Microphone")).not_to_be_checked()
    expect(page.locator("#mood-text")).to_have_text("Listening", timeout=LIMIT_MS)
    # Longer than the pauses in the speech.
    page.wait_for_timeout(3_000)
    expect(page.locator("#mood-text")).to_have_text("Listening")
    switch(page, "Microphone").click()
    expect(page.locator("#mood-text")).to_have_text("Speaking", timeout=LIMIT_MS)


def test_another_avatar_takes_over_while_speaking(page: Page, server: Server) -> None:
    start_speaking(page)
    page.get_by_role("combobox", name="Avatar").select_option(label="Twin")
    expect(page.get_by_role("heading", level=1)).to_have_text("Talk to Twin", timeout=LIMIT_MS)
    wait_for_sessions(page, server, 1)
    assert server.sessions()[0]["avatar"] == "twin"


def test_address_can_name_the_avatar(page: Page, server: Server) -> None:
    page.goto(f"{server.url}?avatar=twin")
    expect(page.get_by_role("heading", level=1)).to_have_text("Talk to Twin")


def test_microphones_are_listed_and_can_be_changed_while_speaking(page: Page) -> None:
    start_speaking(page)
    choice = page.get_by_role("combobox", name="Microphone")
    expect(choice.locator("option")).to_have_count(4)
    expect(choice.locator("option").last).to_have_text("None: I type")
    choice.select_option(label="Fake Audio Input 2")
    expect(page.locator("#notice")).to_be_hidden()
    # The second fake microphone speaks the same words.
    for mood in ("Listening", "Speaking"):
        expect(page.locator("#mood-text")).to_have_text(mood, timeout=LIMIT_MS)


def test_keyboard_alone_suffices(page: Page) -> None:
    expect(page.get_by_role("heading", level=1)).to_have_text("Talk to Iris")
    for name in ("avatar", "microphone", "own-choose", "go"):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == name
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    page.wait_for_selector("body[data-phase=live]", timeout=LIMIT_MS)
    assert page.evaluate("document.activeElement.id") == "go"
    expect(page.locator("#say")).to_be_visible(timeout=LIMIT_MS)
    behind = ("say-text", "say-voice", "microphone-switch")
    for name in behind:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == name
    page.keyboard.press("Space")
    expect(switch(page, "Microphone")).not_to_be_checked()
    for _ in behind:
        page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.locator("body")).to_have_attribute("data-phase", "still")


def test_second_tab_has_a_session_of_its_own(page: Page, context: BrowserContext, server: Server) -> None:
    start_speaking(page)
    other = context.new_page()
    other.goto(server.url)
    start_speaking(other)
    wait_for_sessions(page, server, 2)
    other.close(run_before_unload=True)
    wait_for_sessions(page, server, 1)
    expect(page.locator("body")).to_have_attribute("data-phase", "live")


def test_page_runs_under_its_own_content_security_policy(page: Page, server: Server) -> None:
    blocked: list[str] = []
    page.on("console", lambda message: blocked.append(message.text) if "Content Security" in message.text else None)
    page.reload()
    start_speaking(page)
    assert blocked == []


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_nothing_sticks_out_sideways(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 700})
    start_speaking(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
