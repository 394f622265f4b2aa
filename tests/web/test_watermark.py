"""The watermark on the pages, whose frames crop and fade pictures where there is none."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, Page

from tests.watermark_parts import contrast, likeness
from tests.web.conftest import Server, start_speaking

SERVER_SETTINGS = {"grpc": "false", "watermark": "AI-generated"}


@pytest.fixture
def tab(browser: Browser, server: Server) -> Iterator[Page]:
    context = browser.new_context()
    yield context.new_page()
    context.close()


def shown(tab: Page, video: str) -> np.ndarray:
    """Return what is seen of the square picture in a video's place, 512x512."""
    tab.evaluate(
        """(id) => new Promise((resolve) => {
          const video = document.getElementById(id);
          let left = 20;
          const count = () => (left-- ? video.requestVideoFrameCallback(count) : resolve());
          count();
        })""",
        video,
    )
    tab.wait_for_function("(id) => getComputedStyle(document.getElementById(id)).opacity === '1'", arg=video)
    picture = cv2.imdecode(np.frombuffer(tab.locator(f"#{video}").screenshot(), np.uint8), cv2.IMREAD_COLOR)
    high, wide = picture.shape[:2]
    side = min(high, wide)
    left, top = (wide - side) // 2, (high - side) // 2
    return cv2.resize(picture[top : top + side, left : left + side], (512, 512))


def check(picture: np.ndarray) -> None:
    assert likeness(picture, slack_px=6) > 0.8
    assert contrast(picture) > 0.7


@pytest.mark.parametrize("size", [(1280, 800), (390, 560)], ids=["desk", "small phone"])
def test_the_page_and_the_display_show_it_whole(tab: Page, server: Server, size: tuple[int, int]) -> None:
    tab.set_viewport_size({"width": size[0], "height": size[1]})
    tab.goto(server.url)
    start_speaking(tab)
    video = tab.evaluate("() => document.querySelector('.frame > video').id")
    check(shown(tab, video))
    tab.goto(f"{server.url}kiosk.html")
    tab.wait_for_selector("body[data-view=live]", timeout=40_000)
    check(shown(tab, "live"))
