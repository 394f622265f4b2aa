"""The box for texts: what is typed is heard, seen, and silenced, with a microphone and without."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.web.conftest import Server, start_speaking

SERVER_SETTINGS = {"microphone": "listens", "speech_workers": 1}
LIMIT_MS = 30_000
SHORT = "Good morning."
LONG = "This is a long text that goes on for quite a while. " * 6


@pytest.fixture
def live(page: Page) -> Page:
    start_speaking(page)
    expect(page.locator("#say")).to_be_visible(timeout=LIMIT_MS)
    return page


def say(page: Page, text: str) -> None:
    page.get_by_role("textbox", name="Let the avatar say").fill(text)
    page.get_by_role("button", name="Say it").click()


def is_muted(page: Page) -> bool:
    return bool(page.evaluate("document.getElementById('face').muted"))


def test_a_text_is_said_with_its_caption_and_the_field_is_free_again(live: Page) -> None:
    say(live, SHORT)
    expect(live.locator("#caption")).to_have_text(SHORT, timeout=LIMIT_MS)
    expect(live.locator("#mood-text")).to_have_text("Speaking", timeout=LIMIT_MS)
    assert not is_muted(live), "what is typed is heard, whatever the switch says"
    expect(live.get_by_role("textbox", name="Let the avatar say")).to_have_value("")
    expect(live.locator("#caption .said")).to_have_count(2, timeout=LIMIT_MS)
    expect(live.locator("#caption")).to_be_hidden(timeout=LIMIT_MS)
    assert is_muted(live)


def test_interrupt_silences_and_enter_says_the_next_one(live: Page) -> None:
    button = live.get_by_role("button", name="Interrupt")
    expect(button).to_be_disabled()
    say(live, LONG)
    expect(live.locator("#mood-text")).to_have_text("Speaking", timeout=LIMIT_MS)
    button.click()
    expect(live.locator("#mood-text")).to_have_text("Listening", timeout=LIMIT_MS)
    expect(live.locator("#caption")).to_be_hidden(timeout=LIMIT_MS)
    expect(button).to_be_disabled()
    field = live.get_by_role("textbox", name="Let the avatar say")
    field.fill(SHORT)
    field.press("Enter")
    expect(live.locator("#caption")).to_have_text(SHORT, timeout=LIMIT_MS)


def test_what_the_voice_cannot_say_is_told_and_stays_in_the_field(live: Page) -> None:
    say(live, "<speak>Hello <dance/></speak>")
    trouble = live.locator("#say-trouble")
    expect(trouble).to_be_visible(timeout=LIMIT_MS)
    expect(trouble).to_contain_text("dance")
    expect(live.get_by_role("textbox", name="Let the avatar say")).to_have_value("<speak>Hello <dance/></speak>")
    say(live, SHORT)
    expect(trouble).to_be_hidden()


def test_the_voices_of_the_server_are_offered(live: Page, server: Server) -> None:
    offered = {voice["id"] for voice in server.get("api/voices")["voices"]}
    shown = set(live.locator("#say-voice option").evaluate_all("options => options.map((option) => option.value)"))
    assert shown == offered
    expect(live.locator("#say-voice")).to_have_value("hibari/heart")


def test_without_a_microphone_one_types(page: Page, server: Server) -> None:
    page.locator("#microphone").select_option(label="None: I type")
    page.get_by_role("button", name="Start").click()
    expect(page.locator("body")).to_have_attribute("data-phase", "live", timeout=LIMIT_MS)
    say(page, SHORT)
    expect(page.locator("#caption")).to_have_text(SHORT, timeout=LIMIT_MS)
    assert len(server.sessions()) == 1


def test_a_text_stream_of_the_sdk_says_what_is_still_being_written(live: Page) -> None:
    states = live.evaluate(
        """async () => {
          const { TextStream } = await import("/sdk/speech.js");
          const id = new URL(document.getElementById("kiosk").href).searchParams.get("session");
          const stream = new TextStream(id);
          const told = [];
          stream.addEventListener("speech", ({ detail }) => told.push(detail.state));
          stream.addEventListener("caption", ({ detail }) => told.push(detail.text));
          for (const token of ["Good mor", "ning. How a", "re you?"]) await stream.write(token);
          await stream.end();
          return told;
        }"""
    )
    assert states == ["queued", "started", "Good morning.", "How are you?", "finished"]
