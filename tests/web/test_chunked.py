"""A chunked session's film in a real browser, which plays it by itself and through Media Source Extensions."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.web.conftest import Server
from webrtc_avatar.audio.decode import read
from webrtc_avatar.avatar.library import default_folders
from webrtc_avatar.client import ChunkedStreamingClient

SERVER_SETTINGS = {"grpc": "false"}

PLAY = """async (url) => {
  const video = document.body.appendChild(document.createElement("video"));
  video.src = url;
  const ended = new Promise((resolve, reject) => {
    video.onended = resolve;
    video.onerror = () => reject(new Error(video.error.message));
  });
  await video.play();
  await ended;
  const quality = video.getVideoPlaybackQuality();
  return { time: video.currentTime, size: [video.videoWidth, video.videoHeight], pictures: quality.totalVideoFrames };
}"""

APPEND = """async (url) => {
  const video = document.createElement("video");
  const source = new MediaSource();
  video.src = URL.createObjectURL(source);
  await new Promise((resolve) => { source.onsourceopen = resolve; });
  const buffer = source.addSourceBuffer('video/mp4; codecs="avc1.64001f,mp4a.40.2"');
  const text = await (await fetch(url)).text();
  for (const name of ["init.mp4", ...text.match(/^seg_.*$/gm)]) {
    buffer.appendBuffer(await (await fetch(new URL(name, url))).arrayBuffer());
    await new Promise((resolve, reject) => { buffer.onupdateend = resolve; buffer.onerror = reject; });
  }
  source.endOfStream();
  return Array.from({ length: video.buffered.length }, (_, n) => [video.buffered.start(n), video.buffered.end(n)]);
}"""


@pytest.fixture
def tab(browser: Browser, server: Server) -> Iterator[Page]:
    context = browser.new_context(bypass_csp=True)
    opened = context.new_page()
    opened.goto(server.url + "health")
    yield opened
    context.close()


@pytest.fixture
def client(server: Server) -> Iterator[ChunkedStreamingClient]:
    photo = next(folder / "iris" / "plate_1024.webp" for folder in default_folders() if (folder / "iris").is_dir())
    with ChunkedStreamingClient(server.url) as made:
        made.init_session(photo, audio_sample_rate=16_000)
        yield made


def test_a_browser_plays_a_film_to_its_end_that_is_still_being_fed(
    tab: Page, client: ChunkedStreamingClient, speech_wav: Path
) -> None:
    # Chromium's own player begins three segments before a live stream's end, and gives up where there are fewer.
    voice = read(speech_wav)
    client.feed_audio_chunk(voice)
    client.feed_audio_chunk(voice[:16_000])
    while client.get_status()["total_frames_generated"] < 190:
        time.sleep(0.05)
    tab.evaluate(f"(url) => {{ window.played = ({PLAY})(url); }}", client.hls_url)
    client.feed_audio_chunk(voice[16_000:32_000], is_final=True)
    played: dict[str, Any] = tab.evaluate("() => window.played")
    assert played["size"] == [512, 512]
    assert played["pictures"] > 50


def test_the_segments_join_without_a_gap_from_the_beginning_to_the_end(
    tab: Page, client: ChunkedStreamingClient, speech_wav: Path
) -> None:
    client.feed_audio_chunk(speech_wav, is_final=True)
    frames = client.wait()["total_frames_generated"]
    [[start, end]] = tab.evaluate(APPEND, client.hls_url)
    assert start == 0
    assert abs(end - frames / 25) < 0.05
