"""How sessions end: by request, with the peer, or because nothing is heard of it."""

import asyncio

from webrtc_avatar.settings import Settings


async def test_delete_ends_a_session_once(server, make_peer):
    peer = make_peer(server)
    session_id = await peer.join()
    url = f"/api/sessions/{session_id}"
    assert (await server.client.get(url)).status == 200
    answers = await asyncio.gather(server.client.delete(url), server.client.delete(url))
    assert {answer.status for answer in answers} == {204}
    assert (await server.client.delete(url)).status == 404
    assert (await server.client.get(url)).status == 404
    assert (await (await server.client.get("/api/sessions")).json())["sessions"] == []


async def test_a_peer_that_hangs_up_ends_its_session(server, make_peer):
    peer = make_peer(server)
    ended = server.ended(await peer.join())
    await peer.until(lambda: peer.pictures)
    await peer.pc.close()
    assert "left" in await asyncio.wait_for(ended, 30)


async def test_a_peer_that_vanishes_ends_its_session(start, make_peer):
    server = await start(peer_timeout_s=1.0)
    peer = make_peer(server)
    ended = server.ended(await peer.join())
    await peer.until(lambda: peer.pictures)
    await peer.vanish()
    assert "nothing arrived" in await asyncio.wait_for(ended, 30)
    await server.live.aclose("test over")
    assert len(server.live) == 0


def test_by_default_a_vanished_peer_is_noticed_within_ten_seconds():
    assert Settings().peer_timeout_s + 1.0 <= 10


async def test_a_viewer_that_vanishes_frees_its_place(start, make_peer):
    server = await start(peer_timeout_s=2.0)
    speaker, viewer = make_peer(server), make_peer(server, microphone=False)
    session_id = await speaker.join()
    await viewer.watch(session_id)
    await viewer.until(lambda: viewer.pictures)
    await viewer.vanish()
    live = server.live.get(session_id)
    async with asyncio.timeout(30):
        while live.viewers:
            speaker.pictures.clear()
            await speaker.until(lambda: speaker.pictures)
    assert server.metric("webrtc_avatar_viewers") == 0


async def test_a_peer_that_only_watches_is_not_taken_for_vanished(start, make_peer):
    server = await start(peer_timeout_s=2.5)
    session_id = (await (await server.client.post("/api/sessions")).json())["session_id"]
    viewer = make_peer(server, microphone=False)
    await viewer.watch(session_id)
    seen = []
    while len(seen) < 100:
        await viewer.until(lambda: viewer.pictures)
        seen += viewer.pictures
        viewer.pictures.clear()
    assert server.live.get(session_id).viewers == 1


async def test_a_peer_that_never_connects_is_given_up(start, make_peer):
    server = await start(connect_timeout_s=0.3)
    response = await make_peer(server).post_offer()
    session_id = (await response.json())["session_id"]
    assert "did not connect" in await asyncio.wait_for(server.ended(session_id), 30)


async def test_the_server_goes_down_with_sessions_open(start, make_peer):
    server = await start()
    peer = make_peer(server)
    await peer.join()
    await peer.until(lambda: peer.pictures)
    await server.client.close()
    assert len(server.live) == 0
