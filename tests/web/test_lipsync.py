"""The page and the SDK of the lip-sync service: sound of files and of the microphone becomes frames in a real browser."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.web.conftest import Server
from webrtc_avatar.audio.window import chunk, pad

SERVER_SETTINGS = {"grpc": "false"}
LIMIT_MS = 30_000

SDK = """async ({ code, data }) => {
  const sdk = await import("/sdk/lipsync.js");
  const sound = await import("/sdk/sound.js");
  return await eval(`(async ({ sdk, sound, data }) => { ${code} })`)({ sdk, sound, data });
}"""

HUM = """const hum = (count) => Float32Array.from({ length: count }, (_, at) => {
  const t = at / 16000;
  return 0.25 * Math.abs(Math.sin(4 * t)) * (Math.sin(900 * t) + 0.5 * Math.sin(4400 * t));
});
const model = "iris", output = { composition: "FACE_ONLY", format: "RAW_BGR" };
const client = new sdk.LipSyncClient();
const differ = (a, b) => a.reduce((most, value, at) => Math.max(most, Math.abs(value - b[at])), 0);
const apart = (a, b) => a.reduce((sum, value, at) => sum + Math.abs(value - b[at]), 0) / a.length;
const all = async (frames) => { const made = []; for await (const frame of frames) made.push(frame); return made; };
"""


@pytest.fixture(scope="module")
def short_wav(speech_folder: Path) -> Path:
    """The shortest recording, 3.3 s."""
    return speech_folder / "sense_and_sensibility_01_austen_64kb-0930.wav"


@pytest.fixture
def tab(browser: Browser, server: Server) -> Iterator[Page]:
    """The page, open; a script error in it fails the test."""
    context = browser.new_context(viewport={"width": 1100, "height": 800})
    opened = context.new_page()
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("console", lambda message: errors.append(message.text) if "Content Security" in message.text else None)
    # `eval` is for the tests' own code; the pages' policy forbids it.
    opened.goto(f"{server.url}lipsync.html")
    yield opened
    context.close()
    assert errors == []


@pytest.fixture
def sdk(browser: Browser, server: Server) -> Iterator[object]:
    """Run code with the SDK in a page of this server."""
    context = browser.new_context(bypass_csp=True)
    opened = context.new_page()
    opened.goto(f"{server.url}lipsync.html")
    yield lambda code, data=None: opened.evaluate(SDK, {"code": code, "data": data})
    context.close()


def mouth(page: Page) -> list[int]:
    """Return the green of some pixels around the mouth on the canvas."""
    pixels: list[int] = page.evaluate(
        """() => {
          const canvas = document.getElementById("face");
          const { data } = canvas.getContext("2d").getImageData(190, 300, 132, 90);
          return [...data].filter((_, at) => at % 16 === 1);
        }"""
    )
    return pixels


def wait_for_lips(page: Page) -> None:
    """Wait until the mouth moves from one look to the next."""
    before = mouth(page)
    for _ in range(LIMIT_MS // 100):
        page.wait_for_timeout(100)
        now = mouth(page)
        if any(before) and np.abs(np.subtract(now, before, dtype=float)).mean() > 2:
            return
        before = now
    pytest.fail("the mouth does not move")


def test_a_recording_is_drawn_while_it_is_heard_and_then_all_is_still(tab: Page, short_wav: Path) -> None:
    expect(tab.locator("#poster")).to_have_js_property("complete", True)
    tab.locator("#recording").set_input_files(short_wav)
    expect(tab.locator("#status")).to_contain_text(f"Playing {short_wav.name}", timeout=LIMIT_MS)
    wait_for_lips(tab)
    expect(tab.locator("#rate")).to_have_text(re.compile(r"\d"), timeout=LIMIT_MS)
    tab.wait_for_selector("body[data-phase=still]", timeout=LIMIT_MS)
    expect(tab.locator("#notice")).to_be_hidden()


def test_the_microphone_is_drawn_some_tenths_of_a_second_behind_the_voice(tab: Page) -> None:
    tab.get_by_role("button", name="Speak to it").click()
    expect(tab.locator("#lag")).to_have_text(re.compile("ms$"), timeout=LIMIT_MS)
    wait_for_lips(tab)
    assert int(tab.locator("#lag").inner_text().removesuffix(" ms")) >= 200, "a frame waits for 7 chunks, 280 ms"
    tab.get_by_role("button", name="Stop").click()
    expect(tab.get_by_role("button", name="Speak to it")).to_be_visible()


def test_a_file_without_sound_is_told_in_words(tab: Page, tmp_path: Path) -> None:
    (tmp_path / "letter.wav").write_text("Dear reader")
    tab.locator("#recording").set_input_files(tmp_path / "letter.wav")
    expect(tab.get_by_role("alert")).to_contain_text("letter.wav is no sound file")
    expect(tab.get_by_role("button", name="Speak to it")).to_be_enabled()


def test_an_avatar_that_is_not_there_is_told_in_words(tab: Page, server: Server, short_wav: Path) -> None:
    tab.goto(f"{server.url}lipsync.html?avatar=nobody")
    tab.locator("#recording").set_input_files(short_wav)
    expect(tab.get_by_role("alert")).to_contain_text("This avatar is not installed here", timeout=LIMIT_MS)


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_nothing_sticks_out_sideways(tab: Page, width: int) -> None:
    tab.set_viewport_size({"width": width, "height": 700})
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


def test_pad_chunk_and_window_are_those_of_python(sdk) -> None:
    code = """const samples = Float32Array.from({ length: data.length }, (_, at) => at);
      const padded = sdk.pad(samples, data.range);
      const view = sdk.window(padded, 2);
      return [[...padded].filter((_, at) => at % 640 < 2), view.length, view.buffer === padded.buffer, sdk.requiredChunks(4)];"""
    for length, start, count in ((3_000, 0, 5), (40 * 640, 20, 4), (30 * 640, 20, 10)):
        range_ = {"start": start, "frameCount": count}
        padded, window, shared, required = sdk(code, {"length": length, "range": range_})
        expected = pad(chunk(np.arange(length, dtype=np.float32)), start=start, frame_count=count)
        assert padded == expected[:, :2].reshape(-1).tolist()
        assert (window, shared, required) == (16 * 640, True, 19)


def test_frames_are_the_same_however_the_sound_is_cut_and_sent(sdk) -> None:
    code = (
        HUM
        + """const samples = hum(40 * 640), told = [];
      const whole = await all(client.speak(samples, { model, output }));
      const onProgress = (...news) => told.push(news);
      const cut = await all(client.speak(samples, { model, output, framesACall: 7, onProgress }));
      const short = await all(client.speak(samples, { model, output, encoding: "INT16" }));
      const live = client.live({ model, output });
      for (let at = 0; at < samples.length; at += 1000) live.push(samples.subarray(at, at + 1000));
      live.finish();
      const heard = await all(live);
      const single = await client.frame(20, { model, output, window: sdk.window(sdk.pad(samples), 20) });
      const ids = whole.map(({ frameId }) => frameId);
      client.close();
      return { ids, told: told.at(-1), single: differ(single.bytes, whole[20].bytes),
        int16: short.reduce((sum, frame, at) => sum + apart(frame.bytes, whole[at].bytes), 0) / short.length,
        most: [cut, heard].map((made) => Math.max(...made.map((frame, at) => differ(frame.bytes, whole[at].bytes)))),
        counts: [cut.length, short.length, heard.length], size: whole[0].bytes.length,
        box: (whole[0].bounds[2] - whole[0].bounds[0]) * (whole[0].bounds[3] - whole[0].bounds[1]),
        moved: differ(whole[20].bytes, whole[0].bytes) };"""
    )
    made = sdk(code)
    assert made["ids"] == list(range(40))
    assert made["counts"] == [40, 40, 40]
    assert made["told"] == [40, 40]
    assert made["single"] <= 2
    assert max(made["most"]) <= 2
    assert made["int16"] < 0.1, "what int16 rounds is heard a little where it is quiet"
    assert made["size"] == 3 * made["box"]
    assert made["moved"] > 20


def test_leaving_the_iteration_cancels_its_calls_and_the_socket_goes_on(sdk) -> None:
    code = (
        HUM
        + """let seen = 0;
      for await (const frame of client.speak(hum(750 * 640), { model })) if (++seen === 3) break;
      const about = await client.metadata(model);
      await new Promise((resolve) => setTimeout(resolve, 300));
      const before = (await client.stats(model)).total_requests;
      await new Promise((resolve) => setTimeout(resolve, 500));
      const after = (await client.stats(model)).total_requests;
      const footage = (await client.footage(5, model)).type, names = await client.models();
      client.close();
      return [seen, about.width, after - before, footage, names];"""
    )
    assert sdk(code) == [3, 512, 0, "image/jpeg", ["iris"]]


def test_what_the_server_refuses_is_an_error_with_its_words(sdk) -> None:
    code = (
        HUM
        + """const told = [];
      const note = (error) => told.push([error.name, error.code, error.message]);
      await all(client.speak(hum(640), { model: "nobody" })).catch(note);
      await all(client.frames([3], { model })).catch(note);
      await all(client.speak(new Float32Array(0), { model })).catch(note);
      const pending = all(client.speak(hum(750 * 640), { model }));
      client.close();
      await pending.catch(note);
      const again = await client.models();
      await new sdk.LipSyncClient({ url: "http://127.0.0.1:9" }).models().catch(note);
      return [told, again];"""
    )
    told, again = sdk(code)
    assert [entry[1] for entry in told if entry[0] == "LipSyncError"] == [
        "unknown_avatar",
        "no_features",
        "connection_lost",
        "unreachable",
    ], json.dumps(told)
    assert "nobody" in told[0][2]
    assert "the sound is empty" in told[2][2]
    assert again == ["iris"]


def test_files_and_microphones_of_any_rate_become_16_khz(sdk, short_wav: Path) -> None:
    code = """const at = (rate, count) => Float32Array.from({ length: count }, (_, n) => Math.sin(2 * Math.PI * 440 * n / rate));
      const results = [];
      for (const rate of [8000, 16000, 44100, 48000]) {
        const resampler = new sound.Resampler(rate), parts = [], source = at(rate, rate);
        for (let n = 0; n < source.length; n += 882) parts.push(...resampler.push(source.subarray(n, n + 882)));
        const expected = at(16000, 16000);
        let worst = 0;
        for (let n = 1000; n < parts.length - 100; n++) worst = Math.max(worst, Math.abs(parts[n] - expected[n]));
        results.push([parts.length, worst]);
      }
      return [results, (await sdk.decode(Uint8Array.from(data).buffer)).length];"""
    results, length = sdk(code, list(short_wav.read_bytes()))
    for count, worst in results:
        assert 15_900 <= count <= 16_000
        assert worst < 0.02
    assert length == (short_wav.stat().st_size - 44) // 2


def test_frames_bring_the_face_as_numbers_where_that_is_asked_for(sdk) -> None:
    told, plain = sdk(
        HUM
        + """const shapes = async (more) => (await all(client.speak(hum(9600), { model, output: { ...output, ...more } })))
          .map(({ frameId, blendshapes, headDeg, timeS }) => ({ frameId, blendshapes, headDeg, timeS }));
        return [await shapes({ blendshapes: true }), await shapes({})];"""
    )
    assert [frame["timeS"] for frame in told] == pytest.approx([0.04 * frame["frameId"] for frame in told])
    assert {(len(frame["blendshapes"]), len(frame["headDeg"])) for frame in told} == {(52, 3)}
    assert {(frame["blendshapes"], frame["headDeg"], frame["timeS"]) for frame in plain} == {(None, None, None)}
