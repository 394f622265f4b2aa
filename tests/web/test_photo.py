"""A visitor's own photo on the main page: chosen, made smaller, sent, seen to speak, kept, removed, gone."""

from __future__ import annotations

import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.avatar.portrait_parts import IRIS, iris_photo, turned
from tests.web.conftest import Server, start_speaking
from tests.web.lips import SCRIPT, watch
from tests.web.test_kiosk import expect_view
from tests.web.test_page import wait_for_sessions
from webrtc_avatar.avatar.face_finder import find_face
from webrtc_avatar.avatar.library import Library

LIMIT_MS = 20_000
PHOTO = IRIS / "plate_1024.webp"
WATCH_S = 10.0
"""More than a sentence and a pause."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that may save faces."""
    folder = tmp_path_factory.mktemp("avatars")
    made = Server(idle_seed=1, save_faces="true", avatar_folders=f'["{folder}"]', face_uploads_per_minute=1000)
    made.start()
    yield made
    made.stop()


def choose(page: Page, photo: Path | None = PHOTO) -> None:
    """Open the dialog, choose a photo, and agree."""
    page.get_by_role("button", name="Use my photo").or_(page.get_by_role("button", name="Another photo")).click()
    if photo is not None:
        page.set_input_files("#photo-file", photo)
        expect(page.locator("#photo-picture")).to_be_visible()
    page.get_by_role("checkbox").check()


def use(page: Page, photo: Path = PHOTO) -> str:
    """Send a photo, and return the secret name of its face."""
    choose(page, photo)
    with page.expect_response("**/api/faces") as answer:
        page.get_by_role("button", name="Use this photo").click()
    expect(page.locator("#photo-dialog")).to_be_hidden()
    expect(page.get_by_role("heading", level=1)).to_have_text("Talk to your photo")
    return str(answer.value.json()["name"])


def is_there(server: Server, name: str) -> bool:
    try:
        server.get(f"api/faces/{name}")
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        return False
    return True


def expect_gone(page: Page, server: Server, name: str) -> None:
    for _ in range(50):
        if not is_there(server, name):
            return
        page.wait_for_timeout(100)
    pytest.fail("the server still has the photo")


def expect_frames(display: Page, video: str) -> None:
    """Wait until a video has shown some frames."""
    script = "id => document.getElementById(id).getVideoPlaybackQuality().totalVideoFrames > 10"
    display.wait_for_function(script, arg=video, timeout=LIMIT_MS)


def mouth_box(server: Server, name: str) -> tuple[int, int, int, int]:
    """Return where the lips are in the face's picture, by the face finder, in a box as large as that of iris."""
    with urllib.request.urlopen(f"{server.url}api/avatars/{name}/poster", timeout=10) as response:
        picture = cv2.imdecode(np.frombuffer(response.read(), np.uint8), cv2.IMREAD_COLOR)
    x, y = (int(value) for value in find_face(picture).landmarks[[13, 14], :2].mean(0))
    return x - 112, y - 80, x + 112, y + 80


def test_a_photo_speaks_on_all_screens_and_is_gone_with_its_session(browser: Browser, server: Server) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.add_init_script(path=SCRIPT)
    page.goto(server.url)
    name = use(page)
    box = mouth_box(server, name)
    start_speaking(page)
    notes = watch(page, seconds=WATCH_S, box=box)
    silent, speaking = notes.stir()
    value, lag_s = notes.correlation(notes.returned, lags_s=(-0.4, 0.4))
    print(
        f"\nthe mouth's change: {silent:.2f} in silence, {speaking:.2f} in speech; correlation {value:.2f}, {lag_s:.2f} s"
    )
    assert silent < speaking / 2
    assert value > 0.4
    (session,) = server.sessions()
    assert session["avatar"].startswith("face-")
    assert session["avatar"] != name

    display = context.new_page()
    display.goto(server.url + str(page.locator("#kiosk").get_attribute("href")))
    expect_view(display, "live")
    expect_frames(display, "live")

    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("heading", name="Your photo is gone from the server")).to_be_visible()
    expect_gone(page, server, name)
    expect_view(display, "dim")
    expect_frames(display, "idle")
    assert [session["avatar"] for session in server.sessions()] == ["iris"]
    display.close()

    start_speaking(page)
    expect(page.get_by_role("heading", level=1)).to_have_text("Talk to your photo")
    page.goto("about:blank")
    wait_for_sessions(page, server, 0)
    context.close()


def test_a_session_changes_to_a_photo_and_back(page: Page, server: Server) -> None:
    start_speaking(page)
    name = use(page)
    page.wait_for_function("() => document.getElementById('avatar').value === ':own'")
    shown = server.get(f"api/faces/{name}")["shown_as"]
    for _ in range(50):
        if server.sessions()[0]["avatar"] == shown:
            break
        page.wait_for_timeout(100)
    assert [session["avatar"] for session in server.sessions()] == [shown]
    page.get_by_role("button", name="Remove").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Talk to Iris")
    expect_gone(page, server, name)
    assert [session["avatar"] for session in server.sessions()] == ["iris"]
    expect(page.locator("#avatar option")).to_have_count(1)
    expect(page.locator("body")).to_have_attribute("data-phase", "live")


def test_outlives_a_restart_of_the_server(page: Page, server: Server) -> None:
    name = use(page)
    start_speaking(page)
    server.kill()
    page.wait_for_selector("body:not([data-phase=live])", timeout=LIMIT_MS)
    server.start()
    page.wait_for_selector("body[data-phase=live]", timeout=LIMIT_MS)
    expect(page.get_by_role("heading", level=1)).to_have_text("Talk to your photo")
    assert not is_there(server, name)
    assert server.sessions()[0]["avatar"].startswith("face-")


def test_the_photo_is_made_small_upright_and_stripped_before_it_is_sent(page: Page, tmp_path: Path) -> None:
    lying = cv2.rotate(cv2.resize(iris_photo(), (3000, 4000)), cv2.ROTATE_90_COUNTERCLOCKWISE)
    jpeg = bytes(cv2.imencode(".jpg", lying)[1].tobytes())
    turned_by_exif = b"\xff\xe1\x00\x22Exif\x00\x00MM\x00\x2a\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00"
    path = tmp_path / "phone.jpg"
    path.write_bytes(jpeg[:2] + turned_by_exif + jpeg[2:])
    page.evaluate("""() => {
      const send = XMLHttpRequest.prototype.send;
      XMLHttpRequest.prototype.send = function (form) {
        window.sentPhoto = form.get("image");
        send.call(this, form);
      };
    }""")
    use(page, path)
    file = bytes(page.evaluate("async () => [...new Uint8Array(await window.sentPhoto.arrayBuffer())]"))
    assert file.startswith(b"\xff\xd8")
    assert b"Exif" not in file
    picture = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (2048, 1536, 3)
    assert abs(find_face(picture).roll_deg) < 10


def test_what_is_no_face_is_said_and_another_photo_can_be_chosen(page: Page, tmp_path: Path) -> None:
    grey, side, text = tmp_path / "grey.png", tmp_path / "side.png", tmp_path / "me.jpg"
    cv2.imwrite(str(grey), np.full((300, 300, 3), 120, np.uint8))
    cv2.imwrite(str(side), turned(iris_photo(), 50))
    text.write_text("not a picture")
    button = page.get_by_role("button", name="Use this photo")
    choose(page, None)
    page.set_input_files("#photo-file", text)
    expect(page.get_by_role("alert")).to_contain_text("This file is no picture")
    expect(button).to_be_disabled()
    for path, words in ((grey, "No face found"), (side, "seen from the side")):
        page.set_input_files("#photo-file", path)
        expect(page.get_by_role("alert")).to_be_hidden()
        button.click()
        expect(page.get_by_role("alert")).to_contain_text(words)
    page.set_input_files("#photo-file", PHOTO)
    page.get_by_role("checkbox").uncheck()
    expect(button).to_be_disabled()
    page.get_by_role("checkbox").check()
    button.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Talk to your photo")


def test_a_photo_can_be_dropped_anywhere_and_the_keyboard_does_the_rest(page: Page) -> None:
    expect(page.get_by_role("button", name="Use my photo")).to_be_visible()
    drop = """async path => {
      const file = new File([await (await fetch(path)).blob()], "me.jpg", { type: "image/jpeg" });
      const dataTransfer = new DataTransfer();
      dataTransfer.items.add(file);
      for (const type of ["dragover", "drop"]) document.body.dispatchEvent(new DragEvent(type, { dataTransfer, bubbles: true, cancelable: true }));
    }"""
    page.evaluate(drop, "api/avatars/iris/poster")
    expect(page.locator("#photo-picture")).to_be_visible()
    expect(page.get_by_role("checkbox")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#photo-dialog")).to_be_hidden()
    page.locator("#own-choose").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("checkbox")).to_be_focused()
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Use this photo")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Talk to your photo")


def test_it_can_be_taken_home_or_saved(page: Page, server: Server, tmp_path: Path) -> None:
    name = use(page)
    page.get_by_role("button", name="Keep it").click()
    page.get_by_role("textbox", name="Name").fill("Not A Name")
    page.get_by_role("button", name="Download").click()
    expect(page.locator("#keep-notice")).to_be_hidden()
    page.get_by_role("textbox", name="Name").fill("mine")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    assert download.value.suggested_filename == "mine.zip"
    zipfile.ZipFile(download.value.path()).extractall(tmp_path)
    assert Library([tmp_path], shipped=False).get("mine").title == "mine"
    page.get_by_role("button", name="Save on this server").click()
    expect(page.locator("#keep-notice")).to_contain_text("Saved as “mine”")
    page.get_by_role("button", name="Save on this server").click()
    expect(page.locator("#keep-notice")).to_contain_text("This name is taken")
    page.get_by_role("button", name="Close").click()
    page.get_by_role("button", name="Remove").click()
    expect_gone(page, server, name)
    page.get_by_role("combobox", name="Avatar").select_option(label="mine")
    expect(page.get_by_role("heading", level=1)).to_have_text("Talk to mine")


def test_dialog_and_page_fit_on_phones(page: Page) -> None:
    choose(page)
    for width in (320, 390, 1280):
        page.set_viewport_size({"width": width, "height": 640})
        dialog = page.locator("#photo-dialog").bounding_box()
        assert dialog is not None
        assert dialog["x"] >= 0
        assert dialog["x"] + dialog["width"] <= width
        assert page.locator("#photo-dialog").evaluate("dialog => dialog.scrollWidth <= dialog.clientWidth")
    page.get_by_role("button", name="Use this photo").click()
    expect(page.locator("#own-remove")).to_be_visible()
    for width in (320, 390):
        page.set_viewport_size({"width": width, "height": 640})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
