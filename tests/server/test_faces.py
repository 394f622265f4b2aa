"""Uploaded faces over HTTP: real photos, a real engine, and peers that see them speak."""

import asyncio
import io
import os
import threading
import time
import zipfile

import aiohttp
import cv2
import numpy as np
import pytest

from tests.avatar.portrait_parts import astronaut_photo, iris_photo, turned
from webrtc_avatar.avatar.library import Library
from webrtc_avatar.server.app import LIPSYNC, PACKAGES
from webrtc_avatar.server.faces import UploadRate
from webrtc_avatar.server.uploaded_faces import FACES

RATE_HZ = 48_000


def jpeg(picture):
    return bytes(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes())


@pytest.fixture(scope="session")
def photo():
    return jpeg(astronaut_photo())


async def upload(server, image, **fields):
    """Send a photo; return status and answer."""
    form = aiohttp.FormData()
    if image is not None:
        form.add_field("image", image, filename="me.jpg", content_type="image/jpeg")
    for name, value in {"crop": "true", **fields}.items():
        form.add_field(name, value)
    answer = await server.client.post("/api/faces", data=form)
    return answer.status, await answer.json()


async def uploaded(server, image):
    status, body = await upload(server, image)
    assert status == 201, body
    return body


async def grey_of(server, path):
    answer = await server.client.get(path)
    assert answer.status == 200
    return cv2.imdecode(np.frombuffer(await answer.read(), np.uint8), cv2.IMREAD_GRAYSCALE)


def likeness(picture, photo):
    """Return how well the middle of a picture, eyes and nose, is found in a photo: 1 where it is the same face."""
    patch = picture[170:330, 150:360]
    scales = (cv2.resize(patch, None, fx=scale, fy=scale) for scale in np.geomspace(0.2, 1.6, 25))
    return max(float(cv2.matchTemplate(photo, scaled, cv2.TM_CCOEFF_NORMED).max()) for scaled in scales)


def motion(pictures, box):
    """Return how much the mouth of pictures, float 0..255, changes from one to the next."""
    left, top, right, bottom = box
    third = (right - left) // 4
    mouths = np.stack([picture[top:bottom, left + third : right - third] for picture in pictures]).astype(float)
    return float(np.abs(np.diff(mouths, axis=0)).mean())


async def test_the_uploaded_face_speaks_with_its_own_pixels(server, make_peer, speech, photo):
    face = await uploaded(server, photo)
    voice = np.concatenate([np.zeros(2 * RATE_HZ, np.float32), speech[: 3 * RATE_HZ]])
    peer = make_peer(server, voice=voice)
    await peer.join(avatar=face["name"])
    await peer.event(type="avatar", name=face["shown_as"])
    kept = {}
    for state in ("idle", "speaking"):
        await peer.event(type="state", state=state)
        peer.pictures.clear()
        await peer.until(lambda: len(peer.pictures) >= 30)
        kept[state] = [picture[:512] for picture in peer.pictures]
    grey = cv2.cvtColor(astronaut_photo(), cv2.COLOR_BGR2GRAY)
    iris = cv2.cvtColor(cv2.resize(iris_photo(), (512, 512)), cv2.COLOR_BGR2GRAY)
    seen = kept["idle"][-1]
    assert likeness(seen, grey) > 0.9
    assert likeness(seen, iris) < 0.8
    assert likeness(await grey_of(server, face["poster"]), grey) > 0.9
    box = server.client.app[FACES].get(face["name"]).avatar.mouth_box
    assert motion(kept["speaking"], box) > 3 * motion(kept["idle"], box)


async def test_its_name_opens_everything_and_is_shown_nowhere(server, make_peer, photo):
    face = await uploaded(server, photo)
    assert face["name"] != face["shown_as"]
    peer, viewer = make_peer(server), make_peer(server, microphone=False)
    await peer.join(avatar=face["name"])
    assert (await viewer.watch(peer.session_id)).status == 201
    await viewer.until(lambda: len(viewer.pictures) > 2)
    opened = await server.client.post("/api/sessions", json={"avatar": face["name"]})
    assert (await opened.json())["avatar"] == face["shown_as"]
    await peer.until(lambda: any(event["type"] == "stats" for event in peer.events))
    told = [str(peer.events), await (await server.client.get("/api/sessions")).text()]
    places = ("/api/config", f"/api/sessions/{peer.session_id}", "/metrics", "/ready")
    told += [await (await server.client.get(path)).text() for path in places]
    told.append(str(server.client.app[PACKAGES].list_models()))
    assert not [text for text in told if face["name"] in text]
    assert "face" not in told[-1]
    assert face["shown_as"] not in told[2]
    for name in (face["shown_as"], "face-0123456789abcdef0123456789abcdef", face["name"][:-1]):
        refused = await server.client.post("/api/sessions", json={"avatar": name})
        assert (refused.status, (await refused.json())["error"]["code"]) == (404, "unknown_avatar")
        for path in (f"/api/faces/{name}", f"/api/faces/{name}/package", f"/api/avatars/{name}/poster"):
            assert (await server.client.get(path)).status == 404
        assert (await server.client.delete(f"/api/faces/{name}")).status == 404


async def test_it_goes_with_its_session_after_a_grace_and_unused_after_a_while(start, photo):
    server = await start(face_grace_s=20, face_unused_timeout_s=100)
    faces = server.client.app[FACES]
    used, unused = await uploaded(server, photo), await uploaded(server, jpeg(iris_photo()))
    folders = [faces.get(face["name"]).avatar.folder for face in (used, unused)]
    session = await (await server.client.post("/api/sessions", json={"avatar": used["name"]})).json()
    now_s = time.monotonic()

    async def described():
        return await (await server.client.get(f"/api/faces/{used['name']}")).json()

    await faces.remove_unused(now_s + 99)
    assert len(faces) == 2
    assert (await described())["in_use"] is True
    await faces.remove_unused(now_s + 101)
    assert (await server.client.get(f"/api/faces/{unused['name']}")).status == 404
    assert [folder.exists() for folder in folders] == [True, False]
    await server.client.delete(f"/api/sessions/{session['session_id']}")
    assert (await described())["in_use"] is False
    await faces.remove_unused(now_s + 101 + 19)
    again = await server.client.post("/api/sessions", json={"avatar": used["name"]})
    assert again.status == 201, "who reconnects within the grace finds the face"
    await server.client.delete(again.headers["Location"])
    await faces.remove_unused(time.monotonic() + 21)
    assert len(faces) == 0
    assert not folders[0].exists()
    assert server.metric("webrtc_avatar_uploaded_faces") == 0
    gone = await server.client.post("/api/sessions", json={"avatar": used["name"]})
    assert (gone.status, (await gone.json())["error"]["code"]) == (404, "unknown_avatar")


async def test_the_server_itself_looks_for_what_nobody_uses(start, photo):
    server = await start(face_unused_timeout_s=0.2)
    face = await uploaded(server, photo)
    for _ in range(400):
        if (await server.client.get(f"/api/faces/{face['name']}")).status == 404:
            return
        await asyncio.sleep(0.05)
    pytest.fail("it is still there")


async def test_delete_removes_it_at_once_and_its_sessions_show_the_servers_avatar(server, make_peer, photo):
    face = await uploaded(server, photo)
    folder = server.client.app[FACES].get(face["name"]).avatar.folder
    peer = make_peer(server)
    await peer.join(avatar=face["name"])
    await peer.event(type="avatar", name=face["shown_as"])
    assert (await server.client.delete(f"/api/faces/{face['name']}")).status == 204
    await peer.event(type="avatar", name="iris")
    assert not folder.exists()
    models = server.client.app[LIPSYNC].engine.status().models
    assert face["shown_as"] not in [model.name for model in models]
    assert (await server.client.delete(f"/api/faces/{face['name']}")).status == 404
    peer.send({"type": "avatar", "name": face["name"]})
    assert (await peer.event(type="error"))["code"] == "unknown_avatar"


async def test_a_session_can_change_to_it(server, make_peer, photo):
    peer = make_peer(server)
    await peer.join()
    await peer.event(type="avatar", name="iris")
    face = await uploaded(server, photo)
    peer.send({"type": "avatar", "name": face["name"]})
    await peer.event(type="avatar", name=face["shown_as"])
    await server.client.app[FACES].remove_unused(time.monotonic() + 1_000)
    assert len(server.client.app[FACES]) == 1


async def test_two_visitors_with_one_picture_have_a_face_each(server, photo):
    first, second = await uploaded(server, photo), await uploaded(server, photo)
    assert first["name"] != second["name"]
    for face in (first, second):
        assert (await server.client.post("/api/sessions", json={"avatar": face["name"]})).status == 201
    await server.client.delete(f"/api/faces/{first['name']}")
    sessions = (await (await server.client.get("/api/sessions")).json())["sessions"]
    assert [session["avatar"] for session in sessions] == ["iris", second["shown_as"]]
    assert server.client.app[FACES].get(second["name"]).avatar.folder.is_dir()


async def test_what_cannot_be_a_face_is_refused_with_its_reason(start, photo):
    server = await start(chunked_max_image_bytes=60_000, chunked_max_image_pixels=300_000)
    grey = jpeg(np.full((200, 160, 3), 120, np.uint8))
    side = jpeg(turned(iris_photo(), 50))
    large = jpeg(cv2.resize(astronaut_photo(), (700, 700)))
    for image, fields, expected in (
        (grey, {}, (400, "no_face_found")),
        (side, {}, (400, "face_turned_away")),
        (b"GIF89a", {}, (400, "invalid_request")),
        (photo[:5_000] + b"x", {"crop": "maybe"}, (400, "invalid_request")),
        (None, {}, (400, "invalid_request")),
        (b"x" * 60_001, {}, (413, "too_large")),
        (large, {}, (413, "too_large")),
    ):
        status, body = await upload(server, image, **fields)
        assert (status, body["error"]["code"]) == expected, body
    assert len(server.client.app[FACES]) == 0
    status, body = await upload(server, grey, crop="false")
    assert status == 201
    assert "centred" in body["warnings"][0]
    wrong = await server.client.post("/api/faces", json={"image": "x"})
    assert wrong.status == 400
    alien = await server.client.post("/api/faces", headers={"Sec-Fetch-Site": "cross-site"})
    assert alien.status == 403


async def test_there_are_so_many_faces_and_no_more(start, photo):
    server = await start(max_faces=1)
    face = await uploaded(server, photo)
    form = aiohttp.FormData()
    form.add_field("image", photo, filename="me.jpg")
    full = await server.client.post("/api/faces", data=form)
    assert (full.status, (await full.json())["error"]["code"]) == (503, "server_full")
    assert full.headers["Retry-After"] == "30"
    await server.client.delete(f"/api/faces/{face['name']}")
    await uploaded(server, photo)


async def test_photos_wait_for_one_thread_and_only_a_few_of_them(server, photo):
    answers = await asyncio.gather(*(upload(server, photo) for _ in range(6)))
    assert sorted(status for status, _ in answers) == [201] * 4 + [503] * 2
    assert len(server.client.app[FACES]) == 4


async def test_a_server_may_take_no_photos(start, photo):
    server = await start(max_faces=0)
    assert (await (await server.client.get("/api/config")).json())["faces"] is None
    status, body = await upload(server, photo)
    assert (status, body["error"]["code"]) == (403, "forbidden")


async def test_one_address_may_send_so_many_photos_a_minute(start):
    server = await start(face_uploads_per_minute=2)
    statuses = [(await upload(server, b"no picture"))[0] for _ in range(3)]
    assert statuses == [400, 400, 429]
    answer = await server.client.post("/api/faces")
    assert (await answer.json())["error"]["code"] == "too_many_requests"
    assert 1 <= int(answer.headers["Retry-After"]) <= 31


def test_the_rate_is_kept_for_each_address_and_forgotten_afterwards():
    from webrtc_avatar.errors import TooManyRequests

    rate = UploadRate(6)
    for _ in range(6):
        rate.take("here", 0)
    rate.take("there", 0)
    with pytest.raises(TooManyRequests, match="again in 10 s"):
        rate.take("here", 0.5)
    rate.take("here", 10)
    with pytest.raises(TooManyRequests):
        rate.take("here", 10)
    for _ in range(6):
        rate.take("here", 200)
    assert list(rate._due_s) == ["here"]


async def test_the_package_can_be_taken_home_and_is_an_avatar_there(server, photo, tmp_path):
    face = await uploaded(server, photo)
    answer = await server.client.get(face["package"], params={"name": "me", "title": 'I "myself"'})
    assert answer.status == 200
    assert answer.headers["Content-Disposition"] == 'attachment; filename="me.zip"'
    assert answer.headers["Cache-Control"] == "no-store"
    zipfile.ZipFile(io.BytesIO(await answer.read())).extractall(tmp_path)
    avatar = Library([tmp_path], shipped=False).get("me")
    assert avatar.title == 'I "myself"'
    assert np.array_equal(avatar.plate, server.client.app[FACES].get(face["name"]).avatar.plate)
    for name in ("Me", "../me", "a" * 65):
        assert (await server.client.get(face["package"], params={"name": name})).status == 400


async def test_saving_on_the_server_is_for_operators_to_allow(start, photo, tmp_path, make_peer):
    server = await start(avatar_folders=[tmp_path / "mine"])
    face = await uploaded(server, photo)
    refused = await server.client.post(f"/api/faces/{face['name']}/save", json={"name": "me"})
    assert (refused.status, (await refused.json())["error"]["code"]) == (403, "forbidden")

    server = await start(avatar_folders=[tmp_path / "mine"], save_faces=True)
    face = await uploaded(server, photo)
    place = f"/api/faces/{face['name']}/save"
    for body in ({}, {"name": "../me"}, {"name": "me", "title": 5}, {"name": "me", "title": " "}):
        assert (await server.client.post(place, json=body)).status == 400
    saved = await server.client.post(place, json={"name": "me", "title": "Me"})
    assert (saved.status, await saved.json()) == (201, {"name": "me", "title": "Me"})
    taken = await server.client.post(place, json={"name": "me"})
    assert (taken.status, (await taken.json())["error"]["code"]) == (409, "avatar_exists")
    await server.client.delete(f"/api/faces/{face['name']}")
    config = await (await server.client.get("/api/config")).json()
    assert ("me", "Me") in [(info["name"], info["title"]) for info in config["avatars"]]
    assert (await server.client.post("/api/sessions", json={"avatar": "me"})).status == 201
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["me"]


async def test_without_an_avatar_folder_it_is_saved_beside_imported_avatars(start, photo, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME" if os.name != "nt" else "LOCALAPPDATA", str(tmp_path))
    server = await start(save_faces=True)
    face = await uploaded(server, photo)
    assert (await server.client.post(f"/api/faces/{face['name']}/save", json={"name": "me"})).status == 201
    assert (tmp_path / "webrtc-avatar" / "avatars" / "me" / "avatar.toml").is_file()
    assert (await server.client.post("/api/sessions", json={"avatar": "me"})).status == 201


async def test_nothing_is_left_on_disk_when_the_server_goes(start, photo, tmp_path):
    server = await start(hls_folder=tmp_path)
    face = await uploaded(server, photo)
    await server.client.post("/api/sessions", json={"avatar": face["name"]})
    assert list(tmp_path.rglob("avatar.toml"))
    await server.client.close()
    assert list(tmp_path.iterdir()) == []
    assert "faces-unused" not in [task.get_name() for task in asyncio.all_tasks()]
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("faces")]
