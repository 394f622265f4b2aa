"""A style from the offer, from a message, and from the settings; and what listens."""

import pytest


async def test_an_offer_chooses_how_the_face_is_held(server, make_peer):
    peer = make_peer(server)
    await peer.join(pose_style=[1, -30, 0], gaze_style=[0, -1])
    assert await peer.event(type="style") == {"type": "style", "pose_style": [1, -3.5, 0], "gaze_style": [0, -1]}
    assert server.live.get(peer.session_id).session.style.pose == (1, -3.5, 0)


@pytest.mark.parametrize("fields", [{"pose_style": [1, 2]}, {"pose_style": "up"}, {"gaze_style": [0, None]}])
async def test_a_style_that_makes_no_sense_is_refused_before_a_session_opens(server, make_peer, fields):
    peer = make_peer(server)
    for response in (await peer.post_offer(**fields), await server.client.post("/api/sessions", json=fields)):
        assert response.status == 400
        error = (await response.json())["error"]
        assert error["code"] == "invalid_request"
        assert next(iter(fields)) in error["message"]
    assert len(server.live) == 0


async def test_a_session_for_viewers_takes_a_style_too(server):
    response = await server.client.post("/api/sessions", json={"pose_style": [0, 2, 0]})
    assert response.status == 201
    session_id = (await response.json())["session_id"]
    assert server.live.get(session_id).session.style.pose == (0, 2, 0)


async def test_a_session_for_viewers_is_of_the_avatar_that_was_named(server):
    response = await server.client.post("/api/sessions", json={"avatar": "nobody"})
    assert response.status == 404
    assert (await server.client.post("/api/sessions")).status == 201


async def test_messages_turn_the_face_and_let_it_listen(server, make_peer):
    peer = make_peer(server)
    await peer.join()
    await peer.event(type="style", pose_style=[0, 0, 0])
    peer.send({"type": "style", "pose_style": [0, 3, -2]})
    await peer.event(type="style", pose_style=[0, 3, -2], gaze_style=[0, 0])
    peer.send({"type": "style", "gaze_style": [0.5, 0.5]})
    await peer.event(type="style", pose_style=[0, 3, -2], gaze_style=[0.5, 0.5])
    peer.send({"type": "listening", "on": True})
    peer.send({"type": "ping", "t": 1})
    await peer.event(type="pong", t=1)
    session = server.live.get(peer.session_id).session
    assert session._listening
    peer.send({"type": "listening", "on": False})
    peer.send({"type": "ping", "t": 2})
    await peer.event(type="pong", t=2)
    assert not session._listening


@pytest.mark.parametrize(
    "message",
    [
        {"type": "style"},
        {"type": "style", "pose_style": [1]},
        {"type": "style", "gaze_style": "left"},
        {"type": "listening"},
        {"type": "listening", "on": 1},
    ],
)
async def test_messages_that_make_no_sense_change_nothing(server, make_peer, message):
    peer = make_peer(server)
    await peer.join()
    await peer.event(type="style")
    peer.send(message)
    assert (await peer.event(type="error"))["code"] == "invalid_request"
    session = server.live.get(peer.session_id).session
    assert session.style.to_json() == {"pose_style": [0, 0, 0], "gaze_style": [0, 0]}
    assert not session._listening


async def test_settings_are_for_those_who_ask_for_nothing(start, make_peer):
    server = await start(alive=False, pose_style=(2, 0, 0))
    peer = make_peer(server)
    await peer.join(gaze_style=[1, 0])
    style = server.live.get(peer.session_id).session.style
    assert (style.alive, style.pose, style.gaze) == (False, (2, 0, 0), (1, 0))
