"""The SDK of chunked sessions in a real browser: sound of every kind goes up, and the film plays while it grows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.web.conftest import Server

SERVER_SETTINGS = {"grpc": "false"}

SDK = """async ({ code, data }) => {
  const sdk = await import("/sdk/chunked.js");
  const { HlsPlayer } = await import("/sdk/hls_player.js");
  return await eval(`(async ({ sdk, HlsPlayer, data }) => { ${code} })`)({ sdk, HlsPlayer, data });
}"""

BEGIN = """const photo = await (await fetch("/api/avatars/iris/poster")).blob();
const client = new sdk.ChunkedStreamingClient();
const voice = Uint8Array.from(data ?? []);
const hum = (count, rate) => Float32Array.from({ length: count }, (_, at) => {
  const t = at / rate;
  return 0.25 * Math.abs(Math.sin(4 * t)) * (Math.sin(900 * t) + 0.5 * Math.sin(4400 * t));
});
const video = document.body.appendChild(document.createElement("video"));
const ended = new Promise((resolve) => { video.onended = resolve; });
"""

Run = Callable[..., Any]


def opened(browser: Browser, server: Server) -> Iterator[Run]:
    """Run code with the SDK in a page of a server; every session that it leaves is ended."""
    context = browser.new_context(bypass_csp=True)
    page = context.new_page()
    page.goto(f"{server.url}health")
    yield lambda code, data=None: page.evaluate(SDK, {"code": BEGIN + code, "data": data})
    context.close()


@pytest.fixture
def sdk(browser: Browser, server: Server) -> Iterator[Run]:
    yield from opened(browser, server)


@pytest.fixture(scope="module")
def quick_server() -> Iterator[Server]:
    """A server whose films have low-latency parts."""
    made = Server(grpc="false", hls_part_s=0.4)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def quick_sdk(browser: Browser, quick_server: Server) -> Iterator[Run]:
    yield from opened(browser, quick_server)


@pytest.fixture(scope="module")
def voice(speech_folder: Path) -> list[int]:
    """The shortest recording, 3.3 s, 16 kHz."""
    return list((speech_folder / "sense_and_sensibility_01_austen_64kb-0930.wav").read_bytes())


PLAY = """await client.initSession(photo, { chunkDuration: 0.5 });
const player = client.attach(video, data2);
const failed = new Promise((_, reject) => player.addEventListener("error", ({ detail }) => reject(detail)));
const codecs = new Promise((resolve) => player.addEventListener("codecs", ({ detail }) => resolve(detail)));
const startedMs = performance.now();
let pictureMs = null;
video.requestVideoFrameCallback(() => { pictureMs = performance.now() - startedMs; });
const playing = video.play();
const answers = [];
await client.feedFile(new Blob([voice]), { onAnswer: (answer) => answers.push(answer) });
await Promise.race([ended, failed]);
const status = await client.getStatus();
const played = { seconds: video.currentTime, duration: video.duration, frames: status.total_frames_generated,
  codecs: await codecs, size: [video.videoWidth, video.videoHeight], pieces: answers.length, pictureMs,
  shown: video.getVideoPlaybackQuality().totalVideoFrames, ranges: video.buffered.length };
await client.cleanup();
return played;"""


def check_film(played: dict[str, Any]) -> None:
    assert played["size"] == [512, 512]
    assert played["codecs"].startswith('video/mp4; codecs="avc1.64')
    assert played["codecs"].endswith(',mp4a.40.2"')
    assert played["ranges"] == 1
    assert played["pieces"] == 4
    assert played["duration"] == pytest.approx(played["frames"] / 25, abs=0.06)
    assert played["seconds"] == pytest.approx(played["duration"], abs=0.05)


def test_a_file_is_fed_in_pieces_and_its_film_plays_from_the_first_segment_to_the_end(
    sdk: Run, voice: list[int]
) -> None:
    check_film(sdk(f"const data2 = {{}}; {PLAY}", voice))


def test_a_film_with_parts_plays_part_by_part(quick_sdk: Run, voice: list[int]) -> None:
    check_film(quick_sdk(f"const data2 = {{}}; {PLAY}", voice))
