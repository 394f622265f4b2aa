"""Blendshapes over a data channel: for who asks, in step with the picture, until told to stop, never piling up."""

import asyncio
import shutil

import numpy as np
import pytest
from aiortc.mediastreams import MediaStreamError

from webrtc_avatar.avatar.arkit import ARKIT_NAMES
from webrtc_avatar.avatar.library import default_folders
from webrtc_avatar.server import blendshapes
from webrtc_avatar.session import Session

JAW = ARKIT_NAMES.index("jawOpen")
TICK_RTP = 3600
"""40 ms at the 90 kHz of the picture's RTP clock."""


@pytest.fixture
async def joined(server, make_peer):
    peer = make_peer(server)
    await peer.join()
    await peer.event(type="avatar", name="iris")
    return peer


def faces(peer):
    return [event for event in peer.events if event["type"] == "blendshapes"]


async def faces_of(peer, count):
    await peer.until(lambda: len(faces(peer)) >= count)
    return faces(peer)


async def test_nobody_is_sent_what_nobody_asked_for(joined):
    await joined.until(lambda: len(joined.pictures) >= 40)
    assert not [event for event in joined.events if event["type"].startswith("blendshape")]


async def test_who_asks_gets_the_names_and_then_25_faces_a_second(joined):
    joined.send({"type": "blendshapes", "on": True})
    names = await joined.event(type="blendshape_names")
    assert names["names"] == list(ARKIT_NAMES)
    told = await faces_of(joined, 100)
    assert np.diff([face["index"] for face in told]).tolist() == [1] * (len(told) - 1)
    assert [face["time"] for face in told] == pytest.approx([0.04 * face["index"] for face in told])
    for face in told:
        assert len(face["values"]) == 52
        assert all(0 <= value <= 1 for value in face["values"])
        assert len(face["head"]) == 3
    assert max(face["values"][JAW] for face in told) > 0.2, "somebody reads aloud into this microphone"


async def test_faces_go_with_the_pictures_of_the_same_media_time(server, make_peer):
    peer = make_peer(server)
    times_rtp, arrived = [], []

    async def receive(track):
        while track.kind == "video":
            try:
                times_rtp.append((await track.recv()).pts)
            except MediaStreamError:
                return
            arrived.append(len(faces(peer)))
            await peer._tell()

    peer._receive = receive
    await peer.join()
    await peer.event(type="avatar")
    peer.send({"type": "blendshapes", "on": True})
    await faces_of(peer, 10)
    first = len(times_rtp)
    await peer.until(lambda: len(times_rtp) >= first + 60)
    shown, told = times_rtp[first:], faces(peer)
    # RTP starts anywhere: the offset that most pictures have to the newest face at their arrival is that of the clocks.
    offsets = [
        time_rtp - TICK_RTP * told[count - 1]["index"] for time_rtp, count in zip(shown, arrived[first:], strict=True)
    ]
    offset = max(set(offsets), key=offsets.count)
    indices = {face["index"] for face in told}
    assert all((time_rtp - offset) % TICK_RTP == 0 for time_rtp in shown)
    assert all((time_rtp - offset) // TICK_RTP in indices for time_rtp in shown[:-5])
    lags = (np.array(offsets) - offset) // TICK_RTP
    assert abs(lags[0]) <= 3 >= abs(lags[-1]), "the face neither runs ahead of the picture nor falls behind it"


async def test_they_stop_when_switched_off_and_come_back(server, joined):
    joined.send({"type": "blendshapes", "on": True})
    await faces_of(joined, 5)
    joined.send({"type": "blendshapes", "on": False})
    joined.send({"type": "ping", "t": "off"})
    await joined.event(type="pong", t="off")
    sent = server.metric("webrtc_avatar_blendshapes_total", outcome="sent")
    joined.pictures.clear()
    await joined.until(lambda: len(joined.pictures) >= 25)
    assert faces(joined) == []
    assert server.metric("webrtc_avatar_blendshapes_total", outcome="sent") == sent
    joined.send({"type": "blendshapes", "on": False})
    joined.send({"type": "blendshapes", "on": True})
    assert await joined.event(type="blendshape_names")
    assert await faces_of(joined, 5)


async def test_off_and_on_in_one_breath_leaves_them_on_and_asking_twice_sends_them_once(joined):
    for on in (True, False, True, True):
        joined.send({"type": "blendshapes", "on": on})
    told = await faces_of(joined, 30)
    assert np.diff([face["index"] for face in told]).tolist() == [1] * (len(told) - 1)


@pytest.mark.parametrize("on", ["yes", 1, None, [], {}])
async def test_anything_but_true_or_false_is_an_error(joined, on):
    joined.send({"type": "blendshapes", "on": on})
    error = await joined.event(type="error")
    assert error["code"] == "invalid_request"
    assert "true or false" in error["message"]


async def test_a_viewer_may_ask_too(server, joined, make_peer):
    viewer = make_peer(server, microphone=False)
    viewer.control = viewer.pc.createDataChannel("control")
    viewer.control.on("message", viewer._on_message)
    await viewer.watch(joined.session_id)
    await viewer.event(type="state")
    viewer.send({"type": "blendshapes", "on": True})
    assert await faces_of(viewer, 10)
    assert faces(joined) == [], "the other peer did not ask"


async def test_a_channel_that_is_behind_misses_faces_instead_of_piling_them_up(server, joined, monkeypatch):
    joined.send({"type": "blendshapes", "on": True})
    await faces_of(joined, 3)
    monkeypatch.setattr(blendshapes, "MAX_BUFFERED_BYTES", -1)
    await joined.until(lambda: (server.metric("webrtc_avatar_blendshapes_total", outcome="skipped") or 0) >= 10)
    monkeypatch.undo()
    joined.events.clear()
    told = await faces_of(joined, 5)
    assert np.diff([face["index"] for face in told]).tolist() == [1] * (len(told) - 1)


async def test_an_avatar_without_mouth_weights_says_that_it_yields_none(start, make_peer, tmp_path):
    source = next(folder / "iris" for folder in default_folders() if (folder / "iris").is_dir())
    copy = shutil.copytree(source, tmp_path / "mime", ignore=shutil.ignore_patterns("source"))
    manifest = (copy / "avatar.toml").read_text().replace('name = "iris"', 'name = "mime"')
    (copy / "avatar.toml").write_text(manifest.replace('"pucker"', '"component_2"'))
    server = await start(avatar_folders=[tmp_path])
    peer = make_peer(server)
    await peer.join(avatar="mime")
    await peer.event(type="avatar", name="mime")
    peer.send({"type": "blendshapes", "on": True})
    error = await peer.event(type="error")
    assert error["code"] == "no_blendshapes"
    assert "'mime'" in error["message"]
    peer.send({"type": "avatar", "name": "iris"})
    await peer.event(type="avatar", name="iris")
    peer.send({"type": "blendshapes", "on": True})
    await faces_of(peer, 5)
    peer.send({"type": "avatar", "name": "mime"})
    assert (await peer.event(type="error"))["code"] == "no_blendshapes"
    peer.send({"type": "avatar", "name": "iris"})
    await peer.event(type="avatar", name="iris")
    assert await faces_of(peer, 5)


async def test_nothing_of_them_outlives_the_peer(server, joined):
    session: Session = server.live.get(joined.session_id).session
    joined.send({"type": "blendshapes", "on": True})
    await faces_of(joined, 3)
    ended = server.ended(joined.session_id)
    await joined.pc.close()
    await asyncio.wait_for(ended, 30)
    feeds = [task for task in asyncio.all_tasks() if task.get_name() == "blendshapes"]
    if feeds:
        await asyncio.wait(feeds, timeout=30)
    assert all(task.done() for task in feeds)
    await session.aclose("over")
    assert not session._audience
