"""The data channel: commands, events, and messages that make no sense."""

import asyncio

import pytest


@pytest.fixture
async def joined(server, make_peer):
    peer = make_peer(server)
    await peer.join()
    await peer.event(type="avatar", name="iris")
    return peer


async def test_a_ping_comes_back_with_what_it_carried(joined):
    joined.send({"type": "ping", "t": {"any": [1, "thing"]}})
    assert (await joined.event(type="pong"))["t"] == {"any": [1, "thing"]}


@pytest.mark.parametrize(
    "message",
    [
        "{",
        "[]",
        '"text"',
        "null",
        "{}",
        '{"type": 5}',
        '{"type": "dance"}',
        '{"type": "avatar"}',
        "[" * 4000,
        "x" * 5000,
    ],
)
async def test_a_message_that_makes_no_sense_is_answered_with_an_error(joined, message):
    joined.send(message)
    error = await joined.event(type="error")
    assert error["code"] == "invalid_request"
    assert error["message"]
    joined.send({"type": "ping", "t": 1})
    await joined.event(type="pong")


async def test_bytes_are_answered_too(joined):
    joined.control.send(b"\xff\x00\xfe")
    assert (await joined.event(type="error"))["code"] == "invalid_request"


async def test_an_interrupt_reaches_the_session(server, joined):
    await joined.event(type="state", state="speaking")
    joined.send({"type": "interrupt"})
    await joined.event(type="state", state="idle")
    assert (await joined.event(type="interrupted"))["epoch"] == 1
    joined.sounds.clear()
    await joined.until(lambda: joined.sounds)
    assert server.live.get(joined.session_id).session.epoch == 1


async def test_the_avatar_changes_while_the_picture_goes_on(start, make_peer, second_avatar):
    server = await start(avatar_folders=[second_avatar])
    peer = make_peer(server)
    session_id = await peer.join()
    await peer.event(type="avatar", name="iris")
    peer.send({"type": "avatar", "name": "juno"})
    await peer.event(type="avatar", name="juno")
    peer.pictures.clear()
    await peer.until(lambda: len(peer.pictures) >= 10)
    assert (await (await server.client.get(f"/api/sessions/{session_id}")).json())["avatar"] == "juno"


async def test_an_unknown_avatar_is_an_error_and_the_present_one_stays(joined):
    joined.send({"type": "avatar", "name": "nobody"})
    assert (await joined.event(type="error"))["code"] == "unknown_avatar"
    joined.pictures.clear()
    await joined.until(lambda: len(joined.pictures) >= 5)


async def test_a_flood_is_ignored_after_one_warning(joined):
    for number in range(300):
        joined.send({"type": "ping", "t": number})
    error = await joined.event(type="error")
    assert error["code"] == "too_many_messages"
    joined.pictures.clear()
    await joined.until(lambda: len(joined.pictures) >= 50)
    joined.send({"type": "ping", "t": "after"})
    await joined.event(type="pong", t="after")
    assert not [event for event in joined.events if event["type"] == "error"]


async def test_a_viewer_gets_events_but_cannot_command(server, joined, make_peer):
    viewer = make_peer(server, microphone=False)
    viewer.control = viewer.pc.createDataChannel("control")
    viewer.control.on("message", viewer._on_message)
    await viewer.watch(joined.session_id)
    await viewer.event(type="state")
    viewer.send({"type": "interrupt"})
    error = await viewer.event(type="error")
    assert "viewer" in error["message"]


async def test_the_channel_may_open_late(server, make_peer, speech):
    peer = make_peer(server)
    await peer.join()
    await peer.until(lambda: peer.pictures)
    second = peer.pc.createDataChannel("something else")
    opened = asyncio.Event()
    second.on("open", opened.set)
    await asyncio.wait_for(opened.wait(), 30)
    second.send("ignored")
    peer.send({"type": "ping", "t": 2})
    await peer.event(type="pong", t=2)
