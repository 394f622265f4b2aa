"""The watermark in what leaves a server: live sessions, their viewers, chunked sessions, posters."""

import cv2
import numpy as np
import pytest

from tests.server.chunked_parts import Caller, pictures_of
from tests.watermark_parts import likeness
from webrtc_avatar.avatar.watermark import Watermark

OWN = Watermark("KI-generiert", "top_left")


@pytest.mark.parametrize("codec", ["VP8", "H264"])
async def test_live_pictures_carry_it_for_the_speaker_and_for_viewers(start, make_peer, codec):
    server = await start(watermark="AI-generated", video_codecs=(codec,))
    speaker = make_peer(server)
    session_id = await speaker.join()
    viewer = make_peer(server, microphone=False)
    assert (await viewer.watch(session_id)).status == 201
    for peer in (speaker, viewer):
        await peer.until(lambda peer=peer: len(peer.pictures) >= 10)
        assert likeness(peer.pictures[-1][:512]) > 0.9


async def test_films_of_uploaded_faces_carry_their_own_and_nobody_elses(start, photo, talk, tmp_path):
    server = await start(watermark_portraits="KI-generiert", watermark_place="top_left")
    caller = Caller(server, photo)
    session_id = await caller.init()
    await caller.feed(session_id, (np.round(talk[:32_000] * 32767).astype("<i2").tobytes(), "audio/l16"), final=True)
    await caller.until(session_id)
    film = pictures_of(await caller.film(session_id, tmp_path))
    assert len(film) > 25
    assert min(likeness(picture, OWN) for picture in film) > 0.9
    poster = await (await server.client.get("/api/avatars/iris/poster")).read()
    assert likeness(cv2.imdecode(np.frombuffer(poster, np.uint8), 1), OWN) < 0.5


async def test_a_poster_carries_it_and_says_what_it_is(start):
    server = await start(watermark="AI-generated")
    poster = await (await server.client.get("/api/avatars/iris/poster")).read()
    assert likeness(cv2.imdecode(np.frombuffer(poster, np.uint8), 1)) > 0.9
    assert b"compositeWithTrainedAlgorithmicMedia" in poster
