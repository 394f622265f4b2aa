"""The SDK of chunked sessions in a real browser: sound of every kind goes up, and the film plays while it grows."""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.web.conftest import Server

EXAMPLES = Path(__file__).parents[2] / "examples"
PHOTO = Path(__file__).parents[1] / "avatar" / "photos" / "astronaut.jpg"
SERVER_SETTINGS = {"grpc": "false"}
LIMIT_MS = 40_000

SDK = """async ({ code, data }) => {
  const sdk = await import("/sdk/chunked.js");
  const { HlsPlayer } = await import("/sdk/hls_player.js");
  const late = new Promise((_, reject) => setTimeout(() => reject(new Error("this takes too long")), 60_000));
  return await Promise.race([late, eval(`(async ({ sdk, HlsPlayer, data }) => { ${code} })`)({ sdk, HlsPlayer, data })]);
}"""

BEGIN = """const photo = await (await fetch("/api/avatars/iris/poster")).blob();
const client = new sdk.ChunkedStreamingClient();
const voice = Uint8Array.from(data ?? []);
const hum = (count, rate, loud = 0.5) => Float32Array.from({ length: count }, (_, at) => {
  const t = at / rate;
  return loud * (Math.sin(900 * t) + 0.5 * Math.sin(4400 * t)) / 1.5;
});
const video = document.body.appendChild(document.createElement("video"));
const ended = new Promise((resolve) => { video.onended = resolve; });
const refusal = (promise) => promise.then(() => null, (error) => [error.name, error.code ?? "", error.detail ?? error.message]);
"""

Run = Callable[..., Any]


def opened(browser: Browser, server: Server) -> Iterator[Run]:
    """Yield what runs code with the SDK in a page of a server."""
    context = browser.new_context(bypass_csp=True)
    page = context.new_page()
    page.goto(f"{server.url}health")
    yield lambda code, data=None: page.evaluate(SDK, {"code": BEGIN + code, "data": data})
    context.close()


@pytest.fixture
def sdk(browser: Browser, server: Server) -> Iterator[Run]:
    yield from opened(browser, server)


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """Another site, with the examples; its address."""
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(EXAMPLES))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield f"http://localhost:{made.server_port}"
        made.shutdown()


@pytest.fixture(scope="module")
def quick_server(site: str) -> Iterator[Server]:
    """A server whose films have low-latency parts, and that the other site's pages may use."""
    made = Server(grpc="false", hls_part_s=0.4, allowed_origins=f'["{site}"]')
    made.start()
    yield made
    made.stop()


@pytest.fixture
def quick_sdk(browser: Browser, quick_server: Server) -> Iterator[Run]:
    yield from opened(browser, quick_server)


@pytest.fixture(scope="module")
def voice(speech_folder: Path) -> Path:
    """The shortest recording, 3.3 s, 16 kHz."""
    return speech_folder / "sense_and_sensibility_01_austen_64kb-0930.wav"


PLAY = """await client.initSession(photo, { chunkDuration: 0.5 });
const player = client.attach(video);
const failed = new Promise((_, reject) => player.addEventListener("error", ({ detail }) => reject(detail)));
const codecs = new Promise((resolve) => player.addEventListener("codecs", ({ detail }) => resolve(detail)));
const playing = video.play();
const answers = [];
await client.feedFile(new Blob([voice]), { onAnswer: (answer) => answers.push(answer) });
await Promise.race([ended, failed]);
const status = await client.getStatus();
const played = { seconds: video.currentTime, duration: video.duration, frames: status.total_frames_generated,
  codecs: await codecs, size: [video.videoWidth, video.videoHeight], pieces: answers.length, ranges: video.buffered.length };
await client.cleanup();
return { ...played, after: [client.sessionId, client.hlsUrl, video.getAttribute("src"), await client.cleanup()] };"""


def check_film(played: dict[str, Any]) -> None:
    assert played["size"] == [512, 512]
    assert re.fullmatch(r'video/mp4; codecs="avc1\.[0-9a-f]{6},mp4a\.40\.2"', played["codecs"])
    assert played["ranges"] == 1
    assert played["pieces"] == 4
    assert played["frames"] == 83
    assert played["duration"] == pytest.approx(83 / 25, abs=0.06)
    assert played["seconds"] == pytest.approx(played["duration"], abs=0.05)
    assert played["after"] == [None] * 4


def test_a_file_is_fed_in_pieces_and_its_film_plays_from_the_first_segment_to_the_end(sdk: Run, voice: Path) -> None:
    check_film(sdk(PLAY, list(voice.read_bytes())))


def test_a_film_with_parts_plays_part_by_part(quick_sdk: Run, voice: Path) -> None:
    check_film(quick_sdk(PLAY, list(voice.read_bytes())))


def test_sound_of_every_kind_is_spoken_in_the_order_of_the_calls(sdk: Run, voice: Path) -> None:
    made = sdk(
        """await client.initSession(photo.slice().arrayBuffer ? await photo.arrayBuffer() : photo, { audio_sample_rate: 16000 });
      const stereo = new AudioBuffer({ length: 44100, sampleRate: 44100, numberOfChannels: 2 });
      stereo.copyToChannel(hum(44100, 44100, 0.6), 0);
      stereo.copyToChannel(hum(44100, 44100, 0.6), 1);
      const short = Int16Array.from(hum(8000, 8000, 0.25), (value) => Math.round(32767 * value));
      const answers = await Promise.all([
        client.feedAudioChunk(hum(16000, 16000, 0.1)),
        client.feedAudioChunk(short, false, { sampleRate: 8000 }),
        client.feedAudioChunk(stereo),
        client.feedAudioChunk(voice.buffer),
        client.feedAudioChunk(new Float32Array(0), true),
      ]);
      return [(await client.wait()).total_frames_generated, client.hlsUrl, answers.map(({ status }) => status)];""",
        list(voice.read_bytes()),
    )
    assert made[0] == 75 + 83
    assert made[2] == ["success"] * 5
    with av.open(made[1]) as film:
        heard = np.concatenate([frame.to_ndarray()[0] for frame in film.decode(audio=0)])
    loud = [np.sqrt(np.mean(heard[at + 6_000 : at + 42_000] ** 2)) for at in (0, 48_000, 96_000)]
    expected = [level / 1.5 * np.sqrt((1 + 0.25) / 2) for level in (0.1, 0.25, 0.6)]
    assert loud == pytest.approx(expected, rel=0.1)


def test_refusals_are_typed_and_say_what_the_server_says(sdk: Run) -> None:
    told = sdk(
        """const told = [];
      told.push(await refusal(client.initSession(new Blob(["no picture"]))));
      told.push(await refusal(client.initSession(photo, { nfe: 99 })));
      told.push(await refusal(client.initSession(photo, { colour: "red" })));
      told.push(await refusal(Promise.resolve().then(() => client.feedAudioChunk(hum(100, 16000)))));
      await client.initSession(photo);
      const both = [client.feedAudioChunk(new Blob(["no sound"])), client.feedAudioChunk(hum(48000, 24000))];
      told.push(await refusal(both[0]), await refusal(both[1]));
      const giveUp = new AbortController();
      const late = client.feedAudioChunk(hum(24000, 24000), false, { signal: giveUp.signal });
      giveUp.abort();
      told.push(await refusal(late));
      await client.feedAudioChunk(null, true);
      told.push(await refusal(client.feedAudioChunk(hum(24000, 24000))));
      const { total_frames_generated: frames } = await client.wait();
      await client.cleanup();
      told.push(await refusal(new sdk.ChunkedStreamingClient("http://127.0.0.1:9").initSession(photo)));
      return [told, frames];"""
    )
    entries, frames = told
    codes = [entry and tuple(entry[:2]) for entry in entries]
    assert codes == [
        ("ChunkedError", "invalid_request"),
        ("ChunkedError", "invalid_request"),
        ("TypeError", ""),
        ("ChunkedError", "no_session"),
        ("ChunkedError", "unreadable_sound"),
        None,
        ("AbortError", 20),
        ("ChunkedError", "session_finished"),
        ("ChunkedError", "unreachable"),
    ]
    assert "nfe" in entries[1][2]
    assert "colour" in entries[2][2]
    assert frames == 50


def test_a_session_that_was_given_up_while_its_face_was_made_does_not_stay(sdk: Run) -> None:
    name, taken = sdk(
        """const giveUp = new AbortController();
      // A photo that nobody else uses, so that its face takes a while to make.
      const fresh = new Blob([photo, crypto.getRandomValues(new Uint8Array(8))]);
      const begun = refusal(client.initSession(fresh, { session_id: "late", signal: giveUp.signal }));
      setTimeout(() => giveUp.abort(), 20);
      const [name] = await begun;
      let last;
      for (let tried = 0; tried < 100; tried++) {
        last = await refusal(client.initSession(photo, { session_id: "late" }));
        if (!last) break;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      await client.cleanup();
      return [name, last];"""
    )
    assert name == "AbortError"
    assert taken is None


def test_microphones_and_calls_are_fed_as_they_come_and_watched_live(quick_sdk: Run) -> None:
    made = quick_sdk(
        """const microphone = await navigator.mediaDevices.getUserMedia({ audio: true });
      const [near, far] = [new RTCPeerConnection(), new RTCPeerConnection()];
      const heard = new Promise((resolve) => { far.ontrack = ({ track }) => resolve(track); });
      near.onicecandidate = ({ candidate }) => far.addIceCandidate(candidate);
      far.onicecandidate = ({ candidate }) => near.addIceCandidate(candidate);
      near.addTrack(microphone.getAudioTracks()[0]);
      await near.setLocalDescription();
      await far.setRemoteDescription(near.localDescription);
      await far.setLocalDescription();
      await near.setRemoteDescription(far.localDescription);
      const made = [];
      for (const begin of [() => client.feedStream(microphone), async () => client.feedTrack(await heard, { pieceS: 0.25 })]) {
        await client.initSession(photo, { chunk_duration: 0.25 });
        client.attach(video, { live: true });
        const played = new Promise((resolve) => { video.ontimeupdate = () => video.currentTime > 2 && resolve(); });
        const feed = await begin();
        video.play();
        await played;
        const last = await feed.end();
        const status = await client.wait();
        made.push([last.status, status.total_frames_generated, client.hlsUrl]);
      }
      return made;"""
    )
    for status, frames, url in made:
        assert status == "success"
        assert frames >= 50
        with av.open(url) as film:
            sound = np.concatenate([frame.to_ndarray()[0] for frame in film.decode(audio=0)])
        assert np.abs(sound).max() > 0.02


def test_a_session_is_watched_by_webrtc_too(sdk: Run) -> None:
    shown, size = sdk(
        """await client.initSession(photo, { chunk_duration: 0.25 });
      client.watchLive(video);
      const feed = await client.feedStream(await navigator.mediaDevices.getUserMedia({ audio: true }), { pieceS: 0.25 });
      await new Promise((resolve) => { video.ontimeupdate = () => video.currentTime > 1 && resolve(); });
      const shown = [video.getVideoPlaybackQuality().totalVideoFrames, [video.videoWidth, video.videoHeight]];
      feed.cancel();
      await client.cleanup();
      return shown;"""
    )
    assert shown > 10
    assert size == [512, 512]


def test_a_film_is_fetched_as_it_is_seen_and_from_where_it_is_sought(sdk: Run, voice: Path) -> None:
    before, sought, seen, second, fetched = sdk(
        """await client.initSession(photo);
      const file = new Blob([voice]);
      await client.feedFile(file, { isFinal: false });
      await client.feedFile(file);
      await client.wait();
      client.attach(video, { aheadS: 0.5 });
      await new Promise((resolve) => { video.oncanplay = resolve; });
      const before = video.buffered.end(0);
      video.currentTime = 5.5;
      await new Promise((resolve) => { video.onseeked = resolve; });
      const sought = Array.from({ length: video.buffered.length }, (_, n) => [video.buffered.start(n), video.buffered.end(n)]);
      await video.play();
      await ended;
      const seen = video.currentTime;
      video.currentTime = 3;
      await new Promise((resolve) => { video.onseeked = resolve; });
      const names = performance.getEntriesByType("resource").map(({ name }) => name.split("/").at(-1));
      return [before, sought, seen, video.currentTime, names.filter((name) => name.endsWith(".m4s"))];""",
        list(voice.read_bytes()),
    )
    assert before < 3.5
    assert len(sought) == 2
    assert sought[0][1] == pytest.approx(before)
    assert sought[1][0] <= 5.5 < sought[1][1]
    assert seen == pytest.approx(2 * 83 / 25, abs=0.06)
    assert second == 3
    assert len(set(fetched)) == len(fetched)


def test_a_film_that_is_gone_is_an_error_and_nothing_is_asked_again(sdk: Run) -> None:
    code, asked = sdk(
        """const player = new HlsPlayer(video, "/hls/nobody/playlist.m3u8");
      const { detail } = await new Promise((resolve) => player.addEventListener("error", resolve));
      return [detail.code, performance.getEntriesByType("resource").filter(({ name }) => name.includes("nobody")).length];"""
    )
    assert code == "unknown_session"
    assert asked == 1


def test_playlists_and_headers_are_read_as_the_standards_say(sdk: Run) -> None:
    playlist, broken, headers = sdk(
        """const { parsePlaylist } = await import("/sdk/hls_playlist.js");
      const { mimeType } = await import("/sdk/mp4_codecs.js");
      const failure = (make) => { try { return make(); } catch (error) { return error.name; } };
      const text = `#EXTM3U\\r\\n#EXT-X-TARGETDURATION:2\\n#EXT-X-MEDIA-SEQUENCE:7\\n#EXT-X-MAP:URI="init.mp4",BYTERANGE="9@0"
#EXT-X-SERVER-CONTROL:PART-HOLD-BACK=1.2,CAN-BLOCK-RELOAD=YES\\n#EXT-X-PART-INF:PART-TARGET=0.4
#EXTINF:2.0,a title\\nseg_7.m4s\\n#EXT-X-PART:DURATION=0.4,URI="seg_8.0.m4s",INDEPENDENT=YES\\n`;
      return [parsePlaylist(text, "http://here/hls/a/playlist.m3u8"), failure(() => parsePlaylist("<html>", "http://here/")),
        [failure(() => mimeType(new ArrayBuffer(0))), failure(() => mimeType(new Uint8Array([0, 0, 0, 90, 109, 111, 111, 118]).buffer))]];"""
    )
    assert playlist == {
        "segments": [
            {"number": 7, "uri": "http://here/hls/a/seg_7.m4s", "beginS": 0, "durationS": 2, "parts": []},
            {
                "number": 8,
                "uri": None,
                "beginS": 2,
                "durationS": 0.4,
                "parts": [{"uri": "http://here/hls/a/seg_8.0.m4s", "durationS": 0.4}],
            },
        ],
        "init": "http://here/hls/a/init.mp4",
        "targetS": 2,
        "partTargetS": 0.4,
        "canBlock": True,
        "ended": False,
    }
    assert broken == "SyntaxError"
    assert headers == ["SyntaxError", "SyntaxError"]


def test_another_sites_page_makes_a_film(browser: Browser, quick_server: Server, site: str, voice: Path) -> None:
    context = browser.new_context()
    page: Page = context.new_page()
    page.goto(f"{site}/chunked_browser.html?server={quick_server.url}")
    page.get_by_label("Photo").set_input_files(PHOTO)
    page.wait_for_load_state("networkidle")
    page.get_by_label("Recording").set_input_files(voice)
    expect(page.get_by_role("status")).to_contain_text("frames", timeout=LIMIT_MS)
    ended = """() => new Promise((resolve) => {
      const film = document.querySelector("video");
      if (film.ended) resolve(film.duration);
      else film.onended = () => resolve(film.duration);
    })"""
    assert page.evaluate(ended) == pytest.approx(83 / 25, abs=0.06)
    context.close()
