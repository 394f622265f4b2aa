"""A page that another server serves uses this one with `fetch`, a WebSocket and the SDK, in a real browser."""

from __future__ import annotations

import base64
import functools
import json
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import cv2
import pytest
from playwright.sync_api import Browser, Page

from tests.web.conftest import Server
from webrtc_avatar.avatar.library import default_folders

USE = """async ({ server, photo }) => {
  const said = {};
  const attempt = async (name, act) => {
    try { said[name] = await act(); } catch (error) { said[name] = error.name; }
  };
  const form = (fields) => {
    const made = new FormData();
    for (const [name, value] of Object.entries(fields)) made.append(name, value);
    return made;
  };
  const chunked = server + "api/audio-driven/chunked/";
  let id = "none", location = "api/sessions/none";
  await attempt("init", async () => {
    const image = new Blob([Uint8Array.from(atob(photo), (letter) => letter.charCodeAt(0))], { type: "image/jpeg" });
    const answer = await (await fetch(chunked + "init", { method: "POST", body: form({ image }) })).json();
    id = answer.session_id;
    return answer.status;
  });
  await attempt("feed", async () => {
    const body = form({ session_id: id, audio_chunk: new Blob([new Int16Array(48000)], { type: "audio/l16" }) });
    return (await (await fetch(chunked + "feed", { method: "POST", body })).json()).status;
  });
  await attempt("status", async () => (await (await fetch(chunked + "status/" + id)).json()).session_id === id);
  await attempt("end", async () => (await fetch(chunked + "session/" + id, { method: "DELETE" })).status);
  await attempt("open", async () => {
    const headers = { "Content-Type": "application/json" };
    const answer = await fetch(server + "api/sessions", { method: "POST", headers, body: "{}" });
    location = answer.headers.get("Location").slice(1);
    return answer.status;
  });
  await attempt("close", async () => (await fetch(server + location, { method: "DELETE" })).status);
  await attempt("socket", () => new Promise((resolve) => {
    const socket = new WebSocket(server.replace("http", "ws") + "ws/lipsync");
    socket.onopen = () => { socket.close(); resolve("open"); };
    socket.onerror = () => resolve("refused");
  }));
  await attempt("sdk", async () => typeof (await import(server + "sdk/avatar.js")).AvatarSession);
  await attempt("cookies", async () => (await fetch(server + "api/config", { credentials: "include" })).status);
  await attempt("watch", async () => (await fetch(server + "hls/none/playlist.m3u8")).status);
  await attempt("watch live", async () => (await fetch(server + "whep/none", {
    method: "POST", headers: { "Content-Type": "application/sdp" }, body: "v=0",
  })).status);
  return said;
}"""

REFUSED = {
    **dict.fromkeys(("init", "feed", "status", "end", "open", "close", "sdk", "cookies"), "TypeError"),
    "socket": "refused",
    "watch": 404,
    "watch live": 404,
}
ALLOWED = {
    "init": "success",
    "feed": "success",
    "status": True,
    "end": 200,
    "open": 201,
    "close": 204,
    "socket": "open",
    "sdk": "function",
    "cookies": "TypeError",
    "watch": 404,
    "watch live": 404,
}


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a server with an empty page."""
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "page.html").write_text("<!doctype html><title>Another site</title>")
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(folder))
    pages = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=pages.serve_forever)
    thread.start()
    yield pages.server_address[1]
    pages.shutdown()
    pages.server_close()
    thread.join()


@pytest.fixture(scope="module")
def server(elsewhere: int) -> Iterator[Server]:
    """A server that lists one of the three names under which the page can be had."""
    made = Server(grpc="false", allowed_origins=json.dumps([f"http://avatar.test:{elsewhere}"]))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def tab(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    yield context.new_page()
    context.close()


@pytest.fixture(scope="module")
def photo() -> str:
    """A face as JPEG, base64."""
    plate = next(folder / "iris" / "plate_1024.webp" for folder in default_folders() if (folder / "iris").is_dir())
    small = cv2.resize(cv2.imread(str(plate)), (512, 512), interpolation=cv2.INTER_AREA)
    return base64.b64encode(cv2.imencode(".jpg", small)[1].tobytes()).decode()


@pytest.mark.parametrize(
    ("host", "expected"),
    [("avatar.test", ALLOWED), ("localhost", REFUSED), ("127.0.0.1", REFUSED)],
    ids=["listed", "another site", "another port"],
)
def test_a_page_of_another_server_does_what_its_origin_allows(
    tab: Page, server: Server, elsewhere: int, photo: str, host: str, expected: dict[str, Any]
) -> None:
    tab.goto(f"http://{host}:{elsewhere}/page.html")
    assert tab.evaluate(USE, {"server": server.url, "photo": photo}) == expected
    assert server.sessions() == []
