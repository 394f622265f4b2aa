"""From an offer to a talking picture, and all the ways in which an offer can be wrong."""

import asyncio
import random
import socket

import numpy as np
import pytest
from aiortc import RTCSessionDescription
from aiortc.sdp import SessionDescription

from tests.server.peer import Peer
from webrtc_avatar.errors import AvatarServerError
from webrtc_avatar.server.negotiation import read_offer

CODECS = ("VP8", "H264")


async def make_offer(speech):
    peer = Peer(None, speech)
    try:
        return await peer.offer()
    finally:
        await peer.aclose()


async def refusal(response):
    return response.status, (await response.json())["error"]


async def test_an_offer_brings_picture_and_the_spoken_sound(server, make_peer):
    peer = make_peer(server)
    await peer.join()
    await peer.until(lambda: len(peer.pictures) >= 25 and len(peer.sounds) >= 50)
    print(f"first picture {1000 * (peer.first_picture_s - peer.offered_s):.0f} ms after the offer")
    assert peer.pictures[-1].shape == (768, 512)
    assert np.abs(peer.sounds[-1]).max() > 0
    assert not np.array_equal(peer.pictures[0], peer.pictures[-1])


async def test_states_are_told_from_idle_to_closed(server, make_peer):
    peer = make_peer(server)
    session_id = await peer.join()
    assert (await peer.event(type="state", state="idle"))["session_id"] == session_id
    await peer.event(type="avatar", name="iris")
    await peer.event(type="state", state="speaking")
    stats = await peer.event(type="stats")
    assert {"fps", "held_frames", "delay_ms", "lateness_ms"} <= stats.keys()
    assert (await server.client.delete(f"/api/sessions/{session_id}")).status == 204
    await peer.event(type="state", state="closed")


async def test_sound_and_picture_are_one_stream_reachable_without_any_ice_server(server, make_peer):
    peer = make_peer(server)
    response = await peer.post_offer()
    answer = SessionDescription.parse((await response.json())["sdp"])
    sections = {media.kind: media for media in answer.media}
    assert sections["audio"].msid.split()[0] == sections["video"].msid.split()[0]
    assert sections["audio"].ssrc[0].cname == sections["video"].ssrc[0].cname
    assert sections["audio"].direction == "sendrecv"
    assert sections["video"].direction == "sendonly"
    assert {item.type for item in sections["audio"].ice_candidates} == {"host"}
    assert [codec.name for codec in sections["audio"].rtp.codecs] == ["opus"]


@pytest.mark.parametrize(("settings", "expected"), [(("VP8", "H264"), "VP8"), (("H264", "VP8"), "H264")])
async def test_the_video_codec_follows_the_settings(start, make_peer, settings, expected):
    server = await start(video_codecs=settings)
    peer = make_peer(server)
    await peer.join()
    video = SessionDescription.parse(peer.pc.remoteDescription.sdp).media[1]
    assert video.rtp.codecs[0].name == expected
    await peer.until(lambda: len(peer.pictures) >= 5)


async def test_a_peer_with_h264_only_gets_h264(server, make_peer):
    peer = make_peer(server)
    video = peer.pc.getTransceivers()[1]
    capabilities = video.receiver.getCapabilities("video").codecs
    video.setCodecPreferences([codec for codec in capabilities if codec.name == "H264"])
    await peer.join()
    await peer.until(lambda: len(peer.pictures) >= 5)


async def test_an_ice_server_that_is_silent_holds_nobody_up(start, make_peer):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        server = await start(ice_servers=[{"urls": f"stun:127.0.0.1:{silent.getsockname()[1]}"}])
        config = await (await server.client.get("/api/config")).json()
        assert config["ice_servers"] == [{"urls": f"stun:127.0.0.1:{silent.getsockname()[1]}"}]
        peer = make_peer(server)
        async with asyncio.timeout(4):  # aioice alone would wait for 5 s
            await peer.join()
        await peer.until(lambda: peer.pictures)


async def test_a_peer_whose_addresses_are_hidden_connects(server, make_peer):
    peer = make_peer(server)
    offer = await peer.offer()
    hidden = "\r\n".join(
        line.replace(line.split()[4], "0f7b6b5e-6dd5-4f4a-9d3c-2f1f6f0f8d11.local")
        if line.startswith("a=candidate")
        else line
        for line in offer.split("\r\n")
    )
    response = await server.client.post("/offer", json={"sdp": hidden, "type": "offer"})
    answer = await response.json()
    await peer.pc.setRemoteDescription(RTCSessionDescription(answer["sdp"], "answer"))
    await peer.until(lambda: peer.pictures)


async def test_an_unknown_avatar_is_404_and_names_those_there_are(server, make_peer):
    status, error = await refusal(await make_peer(server).post_offer(avatar="nobody"))
    assert (status, error["code"]) == (404, "unknown_avatar")
    assert "iris" in error["message"]
    assert len(server.live) == 0


async def test_two_tabs_are_two_sessions(server, make_peer):
    tabs = [make_peer(server), make_peer(server)]
    ids = [await tab.join() for tab in tabs]
    for tab in tabs:
        await tab.until(lambda tab=tab: len(tab.pictures) >= 10)
    sessions = (await (await server.client.get("/api/sessions")).json())["sessions"]
    assert [session["session_id"] for session in sessions] == ids
    await server.client.delete(f"/api/sessions/{ids[0]}")
    tabs[1].pictures.clear()
    await tabs[1].until(lambda: len(tabs[1].pictures) >= 10)


async def test_a_muted_microphone_gets_an_idle_avatar_without_model_calls(server, make_peer):
    peer = make_peer(server, voice=np.zeros(96_000, np.float32))
    await peer.join()
    await peer.until(lambda: len(peer.pictures) >= 50)
    assert not np.array_equal(peer.pictures[0], peer.pictures[-1])
    assert server.metric("webrtc_avatar_frames_total", outcome="idle") >= 40
    assert not server.metric("webrtc_avatar_frames_total", outcome="rendered")


async def test_a_broken_avatar_is_refused_with_its_fault_and_the_others_serve(start, make_peer, second_avatar):
    (second_avatar / "juno" / "ear.onnx").write_bytes(b"not a network")
    server = await start(avatar_folders=[second_avatar])
    status, error = await refusal(await make_peer(server).post_offer(avatar="juno"))
    assert (status, error["code"]) == (422, "invalid_avatar")
    assert "ear" in error["message"]
    peer = make_peer(server)
    await peer.join(avatar="iris")
    await peer.until(lambda: peer.pictures)


async def test_a_full_server_says_when_to_come_again_and_leaves_those_inside_alone(start, make_peer):
    server = await start(max_sessions=1)
    first = make_peer(server)
    await first.join()
    response = await make_peer(server).post_offer()
    status, error = await refusal(response)
    assert (status, error["code"]) == (503, "server_full")
    assert int(response.headers["Retry-After"]) > 0
    await first.until(lambda: len(first.pictures) >= 5)
    assert server.metric("webrtc_avatar_sessions_refused_total", code="server_full") == 1


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ("{", "application/json"),
        ("[1]", "application/json"),
        ("{}", "application/json"),
        ('{"sdp": 5, "type": "offer"}', "application/json"),
        ('{"sdp": "v=0", "type": "answer"}', "application/json"),
        ('{"sdp": "v=0", "type": "offer", "avatar": ["iris"]}', "application/json"),
        ("[" * 100_000, "application/json"),
        ("\xff\xfe", "application/json"),
        ('{"sdp": "v=0", "type": "offer"}', "text/plain"),
    ],
)
async def test_a_body_that_is_no_offer_is_400(server, body, content_type):
    data = body.encode("latin-1")
    status, error = await refusal(await server.client.post("/offer", data=data, headers={"Content-Type": content_type}))
    assert (status, error["code"]) == (400, "invalid_request")
    assert "expected" in error["message"] or "local description" in error["message"]


async def test_a_body_without_end_is_413(start):
    server = await start(max_request_bytes=2048)
    status, error = await refusal(await server.client.post("/offer", json={"sdp": "x" * 5000, "type": "offer"}))
    assert (status, error["code"]) == (413, "too_large")


async def test_a_body_that_trickles_is_given_up(server, monkeypatch):
    monkeypatch.setattr("webrtc_avatar.server.middleware.BODY_TIMEOUT_S", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.client.port)
    writer.write(b"POST /offer HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{")
    assert b" 408 " in await asyncio.wait_for(reader.readline(), 30)
    writer.close()


async def test_another_sites_page_cannot_open_a_session(server):
    headers = {"Sec-Fetch-Site": "cross-site"}
    assert (await server.client.post("/api/sessions", headers=headers)).status == 403
    assert len(server.live) == 0


def without(offer, start):
    return "\r\n".join(line for line in offer.split("\r\n") if not line.startswith(start))


def section(offer, kind):
    """Return the offer with the sections of one kind only."""
    head, *sections = offer.split("m=")
    return head + "".join("m=" + text for text in sections if text.startswith(kind))


FAULTS = {
    "garbage": (lambda offer: "hello", 400),
    "empty": (lambda offer: "", 400),
    "no sections": (lambda offer: offer.split("m=")[0], 400),
    "no ICE password": (lambda offer: without(offer, "a=ice-pwd"), 400),
    "no fingerprint": (lambda offer: without(offer, "a=fingerprint"), 400),
    "no DTLS role": (lambda offer: without(offer, "a=setup"), 400),
    "no section names": (lambda offer: without(offer, "a=mid"), 400),
    "not bundled": (lambda offer: without(offer, "a=group"), 400),
    "no rtcp-mux": (lambda offer: without(offer, "a=rtcp-mux"), 400),
    "no sctp port": (lambda offer: without(offer, "a=sctp-port"), 400),
    "bad port": (lambda offer: offer.replace("m=video ", "m=video x"), 400),
    "data only": (lambda offer: section(offer, "application"), 415),
    "picture only": (lambda offer: section(offer, "video"), 415),
    "text section": (lambda offer: offer.replace("m=application", "m=text"), 415),
    "two pictures": (lambda offer: offer + section(offer, "video")[offer.index("m=") :], 415),
    "nothing received": (lambda offer: offer.replace("sendrecv", "sendonly").replace("recvonly", "sendonly"), 415),
    "nothing sent": (lambda offer: offer.replace("sendrecv", "recvonly"), 415),
    "no known picture codec": (lambda offer: offer.replace("VP8/", "VP7/").replace("H264/", "H261/"), 415),
    "no opus": (lambda offer: offer.replace("opus/", "vorbis/"), 415),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_faulty_sdp_is_refused_with_what_to_do(server, speech, fault):
    spoil, expected = FAULTS[fault]
    body = {"sdp": spoil(await make_offer(speech)), "type": "offer"}
    status, error = await refusal(await server.client.post("/offer", json=body))
    assert status == expected, error
    assert len(error["message"]) > 30
    assert len(server.live) == 0


async def test_no_mutation_of_an_offer_makes_the_reader_fail_otherwise_than_by_its_errors(speech):
    lines = (await make_offer(speech)).split("\r\n")
    chance = random.Random(7)
    read, refused = 0, set()
    for _ in range(2000):
        mutant = list(lines)
        for _ in range(chance.randint(1, 4)):
            number = chance.randrange(len(mutant))
            match chance.randrange(4):
                case 0:
                    del mutant[number]
                case 1:
                    mutant.insert(number, chance.choice(lines))
                case 2:
                    text = mutant[number]
                    cut = chance.randrange(len(text) + 1)
                    mutant[number] = (
                        text[:cut] + chance.choice(["", "0", " ", "é", "-1", "99999999999"]) + text[cut + 1 :]
                    )
                case 3:
                    other = chance.randrange(len(mutant))
                    mutant[number], mutant[other] = mutant[other], mutant[number]
        try:
            read_offer("\r\n".join(mutant), CODECS)
            read += 1
        except AvatarServerError as error:
            refused.add(error.status)
    assert read > 100
    assert refused == {400, 415}


async def test_offers_mutated_at_random_leave_no_session_behind(server, speech):
    lines = (await make_offer(speech)).split("\r\n")
    chance = random.Random(11)
    statuses = set()
    for _ in range(60):
        mutant = [line for line in lines if chance.random() > 0.03]
        response = await server.client.post("/offer", json={"sdp": "\r\n".join(mutant), "type": "offer"})
        statuses.add(response.status)
        if response.status == 200:
            await server.client.delete(f"/api/sessions/{(await response.json())['session_id']}")
    assert statuses <= {200, 400, 415}
    assert len(server.live) == 0
