"""Pages outlive the server's restarts and the network's pauses."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.web.conftest import Server, start_speaking

LIMIT_MS = 40_000


def playing_time_s(page: Page) -> float:
    return float(page.evaluate("document.querySelector('video[id=face], video[id=live]').currentTime"))


def expect_to_play(page: Page) -> None:
    before_s = playing_time_s(page)
    page.wait_for_timeout(1_000)
    assert playing_time_s(page) > before_s


@pytest.mark.parametrize("goodbye", [False, True], ids=["killed", "terminated"])
def test_page_reconnects_after_the_server_restarts(page: Page, server: Server, goodbye: bool) -> None:
    start_speaking(page)
    expect_to_play(page)
    before = page.locator("#kiosk").get_attribute("href")
    (server.stop if goodbye else server.kill)()
    page.wait_for_selector("body[data-phase=waiting]", timeout=LIMIT_MS)
    expect(page.get_by_role("alert")).not_to_be_empty()
    server.start()
    page.wait_for_selector("body[data-phase=live]", timeout=LIMIT_MS)
    expect(page.locator("#notice")).to_be_hidden()
    expect_to_play(page)
    assert page.locator("#kiosk").get_attribute("href") != before
    # The microphone is still the one that was opened.
    expect(page.locator("#mood-text")).to_have_text("Speaking", timeout=LIMIT_MS)


def test_page_joins_again_when_the_server_ended_its_session(page: Page, server: Server) -> None:
    start_speaking(page)
    (session,) = server.sessions()
    page.evaluate("id => fetch(`api/sessions/${id}`, { method: 'DELETE' })", session["session_id"])
    expect(page.get_by_role("alert")).not_to_be_empty(timeout=LIMIT_MS)
    page.wait_for_selector("body[data-phase=live]", timeout=LIMIT_MS)
    (other,) = server.sessions()
    assert other["session_id"] != session["session_id"]


def test_page_opened_while_the_server_is_away_fills_itself_later(page: Page, server: Server) -> None:
    page.route("**/api/config", lambda route: route.abort())
    page.reload()
    expect(page.get_by_role("alert")).to_contain_text("The server does not answer")
    page.unroute("**/api/config")
    expect(page.get_by_role("combobox", name="Avatar")).to_have_value("iris", timeout=LIMIT_MS)
    expect(page.locator("#notice")).to_be_hidden()
