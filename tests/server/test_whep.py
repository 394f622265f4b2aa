"""Watching: viewers of a microphone's session, and of sessions without one."""

import asyncio

import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

SDP = {"Content-Type": "application/sdp"}


async def error_of(response):
    return response.status, (await response.json())["error"]["code"]


@pytest.fixture
async def speaker(server, make_peer):
    peer = make_peer(server)
    await peer.join()
    return peer


async def test_two_viewers_see_and_hear_the_speaker(server, speaker, make_peer):
    viewers = [make_peer(server, microphone=False) for _ in range(2)]
    for viewer in viewers:
        response = await viewer.watch(speaker.session_id)
        assert response.status == 201
        assert response.content_type == "application/sdp"
        assert viewer.location.startswith(f"/whep/{speaker.session_id}/")
    for viewer in viewers:
        await viewer.until(lambda viewer=viewer: len(viewer.pictures) >= 10 and len(viewer.sounds) >= 10)
    assert server.metric("webrtc_avatar_viewers") == 2


async def test_delete_ends_a_viewer_and_nobody_else(server, speaker, make_peer):
    viewer = make_peer(server, microphone=False)
    await viewer.watch(speaker.session_id)
    await viewer.until(lambda: viewer.pictures)
    assert (await server.client.delete(viewer.location)).status == 200
    assert await error_of(await server.client.delete(viewer.location)) == (404, "unknown_session")
    assert server.metric("webrtc_avatar_viewers") == 0
    speaker.pictures.clear()
    await speaker.until(lambda: len(speaker.pictures) >= 5)


async def test_viewers_go_when_the_speaker_goes(server, speaker, make_peer):
    viewer = make_peer(server, microphone=False)
    await viewer.watch(speaker.session_id)
    await viewer.until(lambda: viewer.pictures)
    closed = asyncio.Event()
    viewer.pc.on("connectionstatechange", lambda: viewer.pc.connectionState == "closed" and closed.set())
    await speaker.pc.close()
    await asyncio.wait_for(closed.wait(), 30)
    assert await error_of(await viewer.client.post(f"/whep/{speaker.session_id}", data="v=0", headers=SDP)) == (
        404,
        "unknown_session",
    )


async def test_requests_that_are_no_offer_are_refused(server, speaker):
    url = f"/whep/{speaker.session_id}"
    assert await error_of(await server.client.post(url, data="v=0")) == (415, "unsupported_media")
    assert await error_of(await server.client.post(url, data="hello", headers=SDP)) == (400, "invalid_request")
    assert await error_of(await server.client.post("/whep/none", data="v=0", headers=SDP)) == (404, "unknown_session")
    assert await error_of(await server.client.delete(url + "/none")) == (404, "unknown_session")
    assert server.live.get(speaker.session_id).viewers == 0


async def test_trickle_is_declined_with_what_is_allowed(server, speaker):
    response = await server.client.patch(f"/whep/{speaker.session_id}/viewer", data="")
    assert response.status == 405
    assert set(response.headers["Allow"].split(",")) == {"DELETE", "OPTIONS"}


async def test_players_on_other_sites_may_watch(server, speaker):
    headers = {"Origin": "https://example.org", "Sec-Fetch-Site": "cross-site"}
    preflight = await server.client.options(f"/whep/{speaker.session_id}", headers=headers)
    assert preflight.status == 204
    assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
    answer = await server.client.post(f"/whep/{speaker.session_id}", data="hello", headers={**headers, **SDP})
    assert answer.status == 400
    for response in (preflight, answer):
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert "Location" in response.headers["Access-Control-Expose-Headers"]
    assert "Access-Control-Allow-Origin" not in (await server.client.get("/api/config", headers=headers)).headers


async def test_there_are_no_more_viewers_than_the_settings_say(start, make_peer):
    server = await start(max_viewers=1)
    speaker = make_peer(server)
    await speaker.join()
    first = make_peer(server, microphone=False)
    assert (await first.watch(speaker.session_id)).status == 201
    response = await make_peer(server, microphone=False).watch(speaker.session_id)
    assert await error_of(response) == (503, "server_full")
    assert int(response.headers["Retry-After"]) > 0
    await server.client.delete(first.location)
    assert (await make_peer(server, microphone=False).watch(speaker.session_id)).status == 201


async def test_a_session_without_a_microphone_is_watched_and_ends_unwatched(start, make_peer):
    server = await start(unwatched_timeout_s=0.5)
    response = await server.client.post("/api/sessions", json={"avatar": "iris"})
    assert response.status == 201
    session_id = (await response.json())["session_id"]
    assert response.headers["Location"] == f"/api/sessions/{session_id}"
    viewer = make_peer(server, microphone=False)
    assert (await viewer.watch(session_id)).status == 201
    ended = server.ended(session_id)
    await viewer.until(lambda: len(viewer.pictures) >= 30 and len(viewer.sounds) >= 30)
    assert not ended.done()
    await server.client.delete(viewer.location)
    assert "watched" in await asyncio.wait_for(ended, 30)


async def test_a_session_that_nobody_ever_watches_ends(start):
    server = await start(unwatched_timeout_s=0.2)
    session_id = (await (await server.client.post("/api/sessions")).json())["session_id"]
    assert "watched" in await asyncio.wait_for(server.ended(session_id), 30)


async def test_a_picture_without_sound_can_be_watched(server, speaker, make_peer):
    viewer = make_peer(server, microphone=False)
    silent = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    silent.addTransceiver("video", "recvonly")
    silent.on("track", viewer._on_track)
    await silent.setLocalDescription()
    response = await server.client.post(f"/whep/{speaker.session_id}", data=silent.localDescription.sdp, headers=SDP)
    assert response.status == 201
    await silent.setRemoteDescription(RTCSessionDescription(await response.text(), "answer"))
    await viewer.until(lambda: viewer.pictures)
    await silent.close()
