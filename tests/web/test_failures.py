"""Whatever goes wrong, the page says in plain words what it was and what to do, and recovers where it can."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.web.conftest import Launch, Server, start_speaking

SERVER_SETTINGS = {"max_sessions": 1}

LIMIT_MS = 30_000

FAIL_MICROPHONE = """
  MediaDevices.prototype.getUserMedia = async () => { throw new DOMException("%s", "%s"); };
"""


def expect_notice(page: Page, title: str) -> None:
    expect(page.get_by_role("alert")).to_contain_text(title, timeout=LIMIT_MS)


def expect_ready_to_start(page: Page) -> None:
    expect(page.get_by_role("button", name="Start")).to_be_enabled()
    expect(page.locator("body")).to_have_attribute("data-phase", "still")


@pytest.fixture(scope="module")
def asking_browser(launch: Launch) -> Browser:
    """A Chromium that asks before it lets a page use the microphone; nobody is there to allow it."""
    return launch(prompts=True)


@pytest.fixture(scope="module")
def deaf_browser(launch: Launch) -> Browser:
    """A Chromium without any microphone."""
    return launch(microphone=False)


def test_permission_denied(asking_browser: Browser, server: Server) -> None:
    page = asking_browser.new_page()
    page.goto(server.url)
    page.get_by_role("button", name="Start").click()
    expect_notice(page, "The microphone is blocked")
    expect_ready_to_start(page)
    assert server.sessions() == []


def test_no_microphone(deaf_browser: Browser, server: Server) -> None:
    page = deaf_browser.new_page()
    page.goto(server.url)
    page.get_by_role("button", name="Start").click()
    expect_notice(page, "No microphone found")
    expect_ready_to_start(page)


@pytest.mark.parametrize(
    ("name", "message", "title"),
    [
        ("NotReadableError", "Could not start audio source", "The microphone is in use"),
        ("NotAllowedError", "Permission dismissed", "The microphone was not allowed"),
        ("NotAllowedError", "Permission denied by system", "Your system withholds the microphone"),
    ],
)
def test_microphone_that_cannot_be_had(page: Page, name: str, message: str, title: str) -> None:
    page.add_init_script(FAIL_MICROPHONE % (message, name))
    page.reload()
    page.get_by_role("button", name="Start").click()
    expect_notice(page, title)
    expect_ready_to_start(page)


def test_stop_while_the_browser_asks_lets_go_of_the_microphone(page: Page) -> None:
    page.add_init_script(
        """
        const ask = MediaDevices.prototype.getUserMedia;
        MediaDevices.prototype.getUserMedia = async function (wish) {
          const stream = await ask.call(this, wish);
          await new Promise((resolve) => { window.allow = resolve; });
          return (window.microphoneOfTest = stream);
        };
        """
    )
    page.reload()
    page.get_by_role("button", name="Start").click()
    page.get_by_role("button", name="Stop").click()
    page.evaluate(
        "async () => { while (!window.allow) await new Promise((resolve) => setTimeout(resolve, 10)); allow(); }"
    )
    assert (
        page.evaluate("() => new Promise((r) => setTimeout(() => r(microphoneOfTest.getTracks()[0].readyState)))")
        == "ended"
    )
    expect_ready_to_start(page)


def test_microphone_that_is_unplugged_leaves_the_face_there(page: Page) -> None:
    page.add_init_script(
        """
        const ask = MediaDevices.prototype.getUserMedia;
        MediaDevices.prototype.getUserMedia = async function (wish) {
          if (window.unplugged) throw new DOMException("Requested device not found", "NotFoundError");
          return (window.microphoneOfTest = await ask.call(this, wish));
        };
        const list = MediaDevices.prototype.enumerateDevices;
        MediaDevices.prototype.enumerateDevices = async function () { return window.unplugged ? [] : list.call(this); };
        """
    )
    page.reload()
    start_speaking(page)
    page.evaluate("() => { unplugged = true; microphoneOfTest.getTracks()[0].dispatchEvent(new Event('ended')); }")
    expect_notice(page, "The microphone is gone")
    expect(page.locator("body")).to_have_attribute("data-phase", "live")
    page.evaluate("() => { unplugged = false; navigator.mediaDevices.dispatchEvent(new Event('devicechange')); }")
    expect(page.locator("#notice")).to_be_hidden()
    expect(page.locator("#mood-text")).to_have_text("Speaking", timeout=LIMIT_MS)


def test_page_that_is_not_in_a_secure_context(browser: Browser, server: Server) -> None:
    page = browser.new_page()
    page.goto(f"http://avatar.test:{server.port}/")
    expect_notice(page, "The browser hides the microphone here")
    expect(page.get_by_role("button", name="Start")).to_be_disabled()


def test_browser_without_webrtc(page: Page) -> None:
    page.add_init_script("delete window.RTCPeerConnection;")
    page.reload()
    expect_notice(page, "This browser cannot make calls")
    expect(page.get_by_role("button", name="Start")).to_be_disabled()


def test_full_server_lets_the_next_one_in_by_itself(page: Page, browser: Browser, server: Server) -> None:
    first = browser.new_page()
    first.goto(server.url)
    start_speaking(first)
    page.get_by_role("button", name="Start").click()
    expect_notice(page, "All places are taken")
    expect(page.locator("#countdown")).to_have_text(re.compile(r"Trying again in \d+ s"))
    first.get_by_role("button", name="Stop").click()
    page.wait_for_selector("body[data-phase=live]", timeout=LIMIT_MS)
    expect(page.locator("#notice")).to_be_hidden()
    first.close()


def test_waiting_for_a_place_can_be_given_up(page: Page, browser: Browser, server: Server) -> None:
    first = browser.new_page()
    first.goto(server.url)
    start_speaking(first)
    page.get_by_role("button", name="Start").click()
    expect_notice(page, "All places are taken")
    page.get_by_role("button", name="Stop").click()
    expect_ready_to_start(page)
    expect(page.locator("#notice")).to_be_hidden()
    first.close()


def test_server_that_drains(page: Page) -> None:
    def refuse(route: Route) -> None:
        error = {"error": {"code": "server_draining", "message": "the server is shutting down"}}
        route.fulfill(status=503, headers={"Retry-After": "20"}, json=error)

    page.route("**/offer", refuse)
    page.get_by_role("button", name="Start").click()
    expect_notice(page, "The server is about to restart")
    expect(page.locator("#countdown")).to_contain_text(re.compile(r"(20|19|18) s"))


def test_avatar_that_is_not_installed(page: Page) -> None:
    add = "document.getElementById('avatar').add(new Option('Nobody', 'nobody', true, true))"
    expect(page.get_by_role("heading", level=1)).to_have_text("Talk to Iris")
    page.evaluate(add)
    page.get_by_role("button", name="Start").click()
    expect_notice(page, "This avatar is not installed here")
    expect_ready_to_start(page)


def test_avatar_that_is_not_installed_leaves_the_running_one(page: Page) -> None:
    start_speaking(page)
    page.evaluate("document.getElementById('avatar').add(new Option('Nobody', 'nobody'))")
    choice = page.get_by_role("combobox", name="Avatar")
    choice.select_option("nobody")
    expect_notice(page, "This avatar is not installed here")
    expect(choice).to_have_value("iris")
    expect(page.locator("body")).to_have_attribute("data-phase", "live")


def test_address_that_names_an_avatar_that_is_not_installed(page: Page, server: Server) -> None:
    page.goto(f"{server.url}?avatar=nobody")
    expect_notice(page, "There is no avatar “nobody” here")
    expect(page.get_by_role("button", name="Start")).to_be_enabled()


def test_media_that_finds_no_way(page: Page) -> None:
    """A firewall that blocks UDP: the answer's candidates lead nowhere."""

    def misdirect(route: Route) -> None:
        answer = route.fetch().json()
        answer["sdp"] = re.sub(r"^a=candidate:.*\r\n", "", answer["sdp"], flags=re.M)
        answer["sdp"] = re.sub(r"a=ice-pwd:.*", "a=ice-pwd:" + "x" * 22, answer["sdp"])
        route.fulfill(json=answer)

    page.route("**/offer", misdirect)
    page.get_by_role("button", name="Start").click()
    expect_notice(page, "Sound and picture find no way")
