"""A live session of an avatar that was filmed: the footage plays, and speech puts the network's face into it."""

import pytest

from tests.avatar import footage_parts as parts
from webrtc_avatar.avatar.compose import bgr

WIDTH, HEIGHT = 640, 360


@pytest.fixture
def folder(tmp_path):
    parts.make_footage(tmp_path / "painted", count=30, width=WIDTH, height=HEIGHT)
    return tmp_path


def face_level(picture):
    """The mean of what is always within the face's box, of a picture in BGR."""
    return picture[HEIGHT // 2 : HEIGHT * 2 // 3, WIDTH // 2 : WIDTH // 2 + 60].mean()


async def test_a_peer_gets_footage_in_its_own_shape_and_the_networks_face_while_it_speaks(start, make_peer, folder):
    server = await start(avatar_folders=[folder], avatar="painted", render_budget_ms=100)
    peer = make_peer(server)
    levels = []
    await peer.join()
    await peer.until(lambda: len(peer.pictures) >= 90)
    assert {picture.shape for picture in peer.pictures} == {(HEIGHT * 3 // 2, WIDTH)}
    levels = [face_level(bgr(picture)) for picture in peer.pictures]
    filmed = [face_level(parts.picture(number, WIDTH, HEIGHT)) for number in range(30)]
    assert any(min(filmed) - 5 < level < max(filmed) + 5 for level in levels)
    # The network halves the light of what it sees before it adds the sound's.
    assert any(level < min(filmed) - 20 or level > max(filmed) + 20 for level in levels)


async def test_a_session_may_change_between_drawn_and_filmed_avatars(start, make_peer, folder):
    server = await start(avatar_folders=[folder])
    peer = make_peer(server)
    await peer.join()
    await peer.event(type="avatar", name="iris")
    for name, shape in (("painted", (HEIGHT * 3 // 2, WIDTH)), ("iris", (768, 512))):
        peer.send({"type": "avatar", "name": name})
        await peer.event(type="avatar", name=name)
        await peer.until(lambda shape=shape: peer.pictures and peer.pictures[-1].shape == shape)


async def test_an_avatar_that_was_filmed_has_a_poster_and_is_listed(start, folder):
    server = await start(avatar_folders=[folder])
    response = await server.client.get("/api/avatars/painted/poster")
    assert response.status == 200
    assert (await response.read())[:3] == b"\xff\xd8\xff"
    listed = (await (await server.client.get("/api/config")).json())["avatars"]
    assert {
        "name": "painted",
        "title": "Painted",
        "kind": "footage",
        "width": 640,
        "height": 360,
        "frame_count": 30,
    } in listed
