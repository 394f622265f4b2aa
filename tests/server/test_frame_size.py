"""The setting `frame_px`: what a peer receives."""

import pytest


@pytest.mark.parametrize("codec", ["VP8", "H264"])
async def test_a_peer_gets_pictures_of_the_size_that_is_set(start, make_peer, codec):
    server = await start(frame_px=720, video_codecs=(codec,))
    peer = make_peer(server)
    await peer.join()
    await peer.until(lambda: len(peer.pictures) >= 15)
    assert {picture.shape for picture in peer.pictures} == {(1080, 720)}
