"""The display without controls: a session of its own, somebody's session, and the time in between."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.web.conftest import Launch, Server, start_speaking
from tests.web.test_page import wait_for_sessions

LIMIT_MS = 40_000


@pytest.fixture
def kiosk(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    yield context.new_page()
    context.close()


def expect_view(kiosk: Page, view: str) -> None:
    kiosk.wait_for_selector(f"body[data-view={view}]", timeout=LIMIT_MS)


def expect_motion(kiosk: Page, video: str) -> None:
    """Wait for frames of a video that is shown."""
    script = """async id => {
      const video = document.getElementById(id);
      for (let count = 0; count < 10; count++) await new Promise((resolve) => video.requestVideoFrameCallback(resolve));
    }"""
    kiosk.evaluate(script, video)


def test_without_a_session_it_opens_its_own(kiosk: Page, server: Server) -> None:
    kiosk.goto(f"{server.url}kiosk.html")
    expect_view(kiosk, "live")
    expect_motion(kiosk, "live")
    (session,) = server.sessions()
    assert session["viewers"] == 1
    assert not session["microphone"]
    expect(kiosk.locator("#hint")).to_be_empty()
    kiosk.goto("about:blank")
    wait_for_sessions(kiosk, server, 0)


def test_own_session_is_made_anew_when_it_ends(kiosk: Page, server: Server) -> None:
    kiosk.goto(f"{server.url}kiosk.html")
    expect_view(kiosk, "live")
    (session,) = server.sessions()
    kiosk.evaluate("id => fetch(`api/sessions/${id}`, { method: 'DELETE' })", session["session_id"])
    expect_view(kiosk, "dim")
    expect_view(kiosk, "live")
    expect_motion(kiosk, "live")


def test_shows_the_session_of_the_page_that_links_to_it(page: Page, kiosk: Page, server: Server) -> None:
    start_speaking(page)
    with page.expect_popup() as popup:
        page.get_by_role("link", name="Show on a second screen").click()
    display = popup.value
    expect_view(display, "live")
    expect_motion(display, "live")
    (session,) = server.sessions()
    assert session["viewers"] == 1


def test_dims_to_a_resting_avatar_when_the_session_ends(page: Page, kiosk: Page, server: Server) -> None:
    start_speaking(page)
    href = page.locator("#kiosk").get_attribute("href")
    kiosk.goto(server.url + str(href))
    expect_view(kiosk, "live")
    page.get_by_role("button", name="Stop").click()
    expect_view(kiosk, "dim")
    expect_motion(kiosk, "idle")
    expect(kiosk.locator("#hint")).to_have_text("Waiting for the conversation to begin", timeout=LIMIT_MS)
    (session,) = server.sessions()
    assert session["avatar"] == "iris"
    assert not session["microphone"]


def test_unknown_session_is_waited_for_with_a_resting_avatar(kiosk: Page, server: Server) -> None:
    kiosk.goto(f"{server.url}kiosk.html?session=nobody")
    expect(kiosk.locator("#hint")).to_have_text("Waiting for the conversation to begin", timeout=LIMIT_MS)
    expect_motion(kiosk, "idle")
    expect_view(kiosk, "dim")


def test_outlives_a_restart_of_the_server(kiosk: Page, server: Server) -> None:
    kiosk.goto(f"{server.url}kiosk.html")
    expect_view(kiosk, "live")
    server.kill()
    expect_view(kiosk, "dim")
    server.start()
    expect_view(kiosk, "live")
    expect_motion(kiosk, "live")


def test_sound_waits_for_a_touch_where_the_browser_demands_one(launch: Launch, server: Server) -> None:
    page = launch(autoplay=False).new_page()
    # Looking into the page counts as a touch: until it has tried to play, only the console may be read.
    page.add_init_script(
        """
        const play = HTMLMediaElement.prototype.play;
        HTMLMediaElement.prototype.play = function () {
          const playing = play.call(this);
          playing.then(() => this.muted && console.info("plays muted"));
          return playing;
        };
        """
    )
    with page.expect_console_message(lambda message: message.text == "plays muted"):
        page.goto(f"{server.url}kiosk.html")
    expect_view(page, "live")
    expect(page.locator("#sound")).to_be_visible()
    expect_motion(page, "live")
    muted = "document.getElementById('live').muted"
    assert page.evaluate(muted)
    page.keyboard.press("Space")
    expect(page.locator("#sound")).to_be_hidden()
    assert not page.evaluate(muted)
