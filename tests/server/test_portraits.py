"""Faces of photos in live and chunked sessions: an avatar among others, and gone when they are."""

import gc
import weakref

import cv2
import numpy as np
import pytest

from tests.avatar.portrait_parts import IRIS, astronaut_photo, iris_photo
from tests.server.chunked_parts import Caller, wav
from webrtc_avatar.avatar.arkit import ARKIT_NAMES
from webrtc_avatar.avatar.face_finder import find_face
from webrtc_avatar.avatar.package import load_avatar
from webrtc_avatar.avatar.portrait import PortraitOptions, create_portrait
from webrtc_avatar.avatar.portrait_lips import measure
from webrtc_avatar.chunked.faces import Faces
from webrtc_avatar.server.app import LIPSYNC

JAW = ARKIT_NAMES.index("jawOpen")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("avatars")
    create_portrait(astronaut_photo(), PortraitOptions(folder, "eileen", "Eileen"), load_avatar(IRIS))
    return folder


def gap(picture):
    """Return how far the lips of a picture, I420, are apart, in half mouths."""
    return measure(find_face(cv2.cvtColor(picture, cv2.COLOR_YUV2BGR_I420)).landmarks)[0].gap


def best_likeness(one, other, most_lag):
    """Return the highest correlation of two signals, one of them shifted by up to so many frames."""
    size = min(len(one), len(other)) - most_lag
    return max(np.corrcoef(one[lag : lag + size], other[-size:])[0, 1] for lag in range(len(one) - size + 1))


async def test_a_face_of_a_photo_speaks_live_in_step_with_its_blendshapes(start, make_peer, folder):
    server = await start(avatar_folders=[str(folder)])
    config = await (await server.client.get("/api/config")).json()
    listed = next(avatar for avatar in config["avatars"] if avatar["name"] == "eileen")
    assert (listed["kind"], listed["width"], listed["height"]) == ("drawn", 512, 512)
    peer = make_peer(server)
    await peer.join(avatar="eileen")
    await peer.event(type="avatar", name="eileen")
    peer.send({"type": "blendshapes", "on": True})
    await peer.event(type="state", state="speaking")
    peer.pictures.clear()
    peer.events.clear()
    await peer.until(lambda: len(peer.pictures) >= 99)
    jaw = np.array([event["values"][JAW] for event in peer.events if event["type"] == "blendshapes"])
    gaps = np.array([gap(picture) for picture in peer.pictures])
    assert gaps.max() > 0.3
    assert best_likeness(jaw, gaps, 20) > 0.6


async def test_a_live_session_can_change_to_it_and_be_watched(start, make_peer, folder):
    server = await start(avatar_folders=[str(folder)])
    peer, viewer = make_peer(server), make_peer(server, microphone=False)
    await peer.join()
    await peer.event(type="avatar", name="iris")
    peer.send({"type": "avatar", "name": "eileen"})
    await peer.event(type="avatar", name="eileen")
    assert (await viewer.watch(peer.session_id)).status == 201
    await viewer.until(lambda: len(viewer.pictures) > 10)
    seen = cv2.cvtColor(viewer.pictures[-1], cv2.COLOR_YUV2BGR_I420).astype(int)
    assert np.abs(seen - load_avatar(folder / "eileen").plate).mean() < 12


async def test_sessions_with_many_photos_leave_no_face_behind(server, talk, monkeypatch):
    made = []
    take = Faces.take

    def noted(*arguments, **options):
        face = take(*arguments, **options)
        made.append(weakref.ref(face.avatar))
        return face

    monkeypatch.setattr(Faces, "take", noted)
    engine = server.client.app[LIPSYNC].engine
    before = {model.name for model in engine.status().models}
    small = cv2.resize(iris_photo(), (320, 320), interpolation=cv2.INTER_AREA)
    for number in range(6):
        photo = bytes(cv2.imencode(".jpg", cv2.convertScaleAbs(small, alpha=1, beta=number))[1].tobytes())
        caller = Caller(server, photo)
        session_id = await caller.init()
        await caller.feed(session_id, wav(talk[: 640 * 10]), final=number % 2 == 0)
        if number % 2 == 0:
            await caller.until(session_id)
        # Every other one goes while its frames are under way.
        await server.client.delete(f"/api/audio-driven/chunked/session/{session_id}")
        assert {model.name for model in engine.status().models} == before
    gc.collect()
    assert len(made) == 6
    assert sum(avatar() is not None for avatar in made) <= 1, "a thread may still hold the last one"
