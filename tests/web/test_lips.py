"""The face that a person sees, in a real browser, while real speech goes into the microphone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from playwright.sync_api import Browser

from tests.web.conftest import Server, start_speaking
from tests.web.lips import SCRIPT, Notes, watch

SERVER_SETTINGS = {"idle_seed": 1}

WATCH_S = 26.0
"""More than one round of the sentences and pauses."""


@pytest.fixture(scope="module")
def notes(browser: Browser, server: Server) -> Iterator[Notes]:
    page = browser.new_page()
    page.add_init_script(path=SCRIPT)
    page.goto(server.url)
    start_speaking(page)
    yield watch(page, seconds=WATCH_S)
    page.close()


def test_video_plays_at_24_frames_a_second_or_more(notes: Notes) -> None:
    rates = notes.frames_a_second()
    print(f"\nframes a second: median {np.median(rates):.1f}, mean {rates.mean():.1f}, lowest second {rates.min():.1f}")
    assert np.median(rates) >= 24


def test_mouth_moves_with_the_speech(notes: Notes) -> None:
    value, lag_s = notes.correlation(notes.spoken, lags_s=(-0.1, 1.0))
    print(f"\nmouth's opening and the microphone's loudness: correlation {value:.2f}, the mouth {1000 * lag_s:.0f} ms later")
    assert value > 0.4
    assert lag_s > 0


def test_mouth_moves_with_the_returned_voice(notes: Notes) -> None:
    value, lag_s = notes.correlation(notes.returned, lags_s=(-0.4, 0.4))
    print(f"\nmouth's opening and the returned voice: correlation {value:.2f}, the mouth {1000 * lag_s:.0f} ms later")
    assert value > 0.4
    assert abs(lag_s) < 0.3


def test_mouth_rests_in_silence(notes: Notes) -> None:
    silent, speaking = notes.stir()
    print(f"\nthe mouth's change from frame to frame: {silent:.2f} grey levels in silence, {speaking:.2f} in speech")
    assert silent < speaking / 3
