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

WATCH = """async (url) => {
  const peer = (window.peer = new RTCPeerConnection());
  const stream = new MediaStream();
  peer.addTransceiver("audio", { direction: "recvonly" });
  peer.addTransceiver("video", { direction: "recvonly" });
  peer.ontrack = ({ track }) => stream.addTrack(track);
  await peer.setLocalDescription();
  await new Promise((resolve) => {
    peer.onicegatheringstatechange = () => peer.iceGatheringState === "complete" && resolve();
  });
  const headers = { "Content-Type": "application/sdp" };
  const answer = await fetch(url, { method: "POST", headers, body: peer.localDescription.sdp });
  await peer.setRemoteDescription({ type: "answer", sdp: await answer.text() });
  const video = document.body.appendChild(document.createElement("video"));
  video.srcObject = stream;
  await video.play();
}"""

STATS = """(async () => {
  const found = {};
  const report = await window.peer.getStats();
  for (const stats of report.values()) if (stats.type === "inbound-rtp") found[stats.kind] = stats;
  found.codec = report.get(found.video.codecId)?.mimeType;
  found.skew_ms = found.audio.estimatedPlayoutTimestamp - found.video.estimatedPlayoutTimestamp;
  return found;
})"""

APPEND = """async (url) => {
  const video = document.createElement("video");
  const source = new MediaSource();
  video.src = URL.createObjectURL(source);
  await new Promise((resolve) => { source.onsourceopen = resolve; });
  const buffer = source.addSourceBuffer('video/mp4; codecs="avc1.42c01f,mp4a.40.2"');
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


def test_a_browser_plays_a_film_to_its_end_that_was_opened_before_anything_was_fed(
    tab: Page, client: ChunkedStreamingClient, speech_wav: Path
) -> None:
    # Chromium's own player asks again at once, and gives up where the playlist names nothing new.
    tab.evaluate(f"(url) => {{ window.played = ({PLAY})(url); }}", client.hls_url)
    tab.wait_for_function("document.querySelector('video').currentTime > 0")
    voice = read(speech_wav)
    client.feed_audio_chunk(voice)
    while client.get_status()["buffer_samples"]:
        time.sleep(0.05)
    client.feed_audio_chunk(voice[:16_000], is_final=True)
    frames = client.wait()["total_frames_generated"]
    played: dict[str, Any] = tab.evaluate("() => window.played")
    assert played["size"] == [512, 512]
    assert abs(played["time"] - frames / 25) < 0.1
    assert played["pictures"] > 0.75 * frames


def test_a_browser_watches_the_same_film_over_webrtc_in_step(
    tab: Page, client: ChunkedStreamingClient, speech_wav: Path
) -> None:
    tab.evaluate(WATCH, f"/whep/{client.session_id}")
    client.feed_audio_chunk(read(speech_wav)[:64_000], is_final=True)
    frames = client.wait()["total_frames_generated"]
    stats = tab.evaluate(STATS)
    for _ in range(200):  # wait_for_function does not wait for promises
        if stats["video"]["framesDecoded"] > frames - 30:
            break
        tab.wait_for_timeout(100)
        stats = tab.evaluate(STATS)
    assert stats["video"]["frameWidth"] == 512
    assert stats["codec"] == "video/H264"
    assert stats["audio"]["totalAudioEnergy"] > 0
    # How far apart picture and sound are shown, as the browser's own clock has it; a busy machine may hold one of them back.
    assert abs(stats["skew_ms"]) < 250
    tab.wait_for_function("window.peer.connectionState !== 'connected'")


def test_the_segments_join_without_a_gap_from_the_beginning_to_the_end(
    tab: Page, client: ChunkedStreamingClient, speech_wav: Path
) -> None:
    client.feed_audio_chunk(speech_wav, is_final=True)
    frames = client.wait()["total_frames_generated"]
    [[start, end]] = tab.evaluate(APPEND, client.hls_url)
    assert start == 0
    assert abs(end - frames / 25) < 0.05
