import asyncio
import os
import threading
from pathlib import Path

import av
import numpy as np
import pytest
from aiohttp import web

from tests.client.echo_server import EchoServer
from webrtc_avatar.client import (
    ConnectionLost,
    NotMedia,
    NotWritable,
    OfferRefused,
    Peer,
    ServerUnreachable,
    load_speech,
    measure,
)
from webrtc_avatar.client.mouth import chroma_planes, opening

SPEECH = Path("/usr/share/pocketsphinx/test/data/librivox/sense_and_sensibility_01_austen_64kb-0880.wav")


@pytest.fixture(scope="module")
def speech():
    if not SPEECH.is_file():
        pytest.skip("real speech is missing: install the package pocketsphinx-testdata")
    return load_speech(SPEECH, lead_in_s=1.0, gap_s=0.8)


@pytest.fixture(scope="module")
def faces():
    return EchoServer()


async def test_the_figures_are_the_delays_of_the_server(speech):
    server = EchoServer(delay_s=0.2, skew_s=0.06)
    async with server.running() as url, Peer(url, audio=speech) as peer:
        await peer.run(12)
        report = peer.report()
    # The middle of a 40 ms chunk is 20 ms old when its last packet comes; the picture leaves 260 ms after that; Opus
    # delays by 6 ms, and what the event loop adds is a few more.
    assert report.voice_to_lips is not None
    assert report.voice_to_lips.lag_ms == pytest.approx(289, abs=12)
    assert report.onset_delays is not None
    assert report.onset_delays.p50_ms == pytest.approx(289, abs=60)
    assert report.audio_video is not None
    assert report.audio_video.lag_ms == pytest.approx(60, abs=15)
    assert report.fps == pytest.approx(25, abs=0.3)
    assert report.frames_received >= 280
    assert report.packets_lost == 0
    assert 0 < report.first_frame_ms < 2000


async def test_a_recording_shows_the_offset_on_its_own_timestamps(speech, tmp_path):
    path = tmp_path / "out.mp4"
    async with EchoServer(skew_s=0.08).running() as url, Peer(url, audio=speech, record=path) as peer:
        await peer.run(10)
    pictures, mouths, levels = [], [], []
    with av.open(str(path)) as file:
        assert file.streams.video[0].codec_context.name == "h264"
        assert file.streams.audio[0].codec_context.name == "aac"
        for frame in file.decode(file.streams.video[0]):
            pictures.append(frame.time)
            mouths.append(opening(*chroma_planes(frame)))
    with av.open(str(path)) as file:
        blocks = list(file.decode(file.streams.audio[0]))
    start_s = blocks[0].time
    sound = (np.concatenate([block.to_ndarray().reshape(-1) for block in blocks]).clip(-1, 1) * 32767).astype(np.int16)
    levels = measure.level_dbfs(sound)
    lag = measure.audio_video_offset(
        start_s + np.arange(levels.size) * 0.01, levels, np.array(pictures), np.array(mouths)
    )
    assert lag is not None
    assert lag.lag_ms == pytest.approx(80, abs=20)
    assert len(pictures) >= 230


async def test_frames_outlive_lost_packets(speech):
    async with EchoServer().running() as url, Peer(url, audio=speech, loss_percent=5, seed=3) as peer:
        await peer.run(8)
        report = peer.report()
    assert report.dropped_on_purpose > 0
    assert report.packets_lost > 0
    assert report.frames_received > 150


async def test_a_muted_peer_sends_silence_and_knows_it(speech):
    async with EchoServer().running() as url, Peer(url, audio=speech, muted=True) as peer:
        await peer.run(2)
        assert not peer._track.spoken().any()
        assert max(level for _, level in peer._decoding.levels) < -60


async def test_messages_go_both_ways_on_the_data_channel(speech):
    server = EchoServer()
    async with server.running() as url, Peer(url, audio=speech) as peer:
        while not peer.events:
            await peer.event("state")
        peer.interrupt()
        await peer.run(0.3)
    assert peer.events[0]["state"] == "idle"
    assert server.received == ['{"type": "interrupt"}']


async def test_leaving_ends_the_session_and_leaves_nothing_behind(speech):
    server = EchoServer()
    async with server.running() as url:
        async with Peer(url, audio=speech):
            pass
        for connection in server.connections:
            await connection.close()
        tasks, threads, files = _held()
        for _ in range(3):
            async with Peer(url, audio=speech) as peer:
                pass
            await peer.aclose()
            for connection in server.connections:
                await connection.close()
        assert server.ended == ["echo-1"] * 4
        after = _held()
    assert after[0] <= tasks
    assert after[1] <= threads
    assert after[2] <= files + 1


def _held():
    # The loop's own pool of threads grows as it likes.
    own = [thread for thread in threading.enumerate() if not thread.name.startswith("asyncio_")]
    return len(asyncio.all_tasks()), len(own), len(os.listdir("/proc/self/fd"))


async def test_a_server_that_ends_the_connection_is_reported(speech):
    server = EchoServer()
    async with server.running() as url, Peer(url, audio=speech) as peer:
        for connection in server.connections:
            await connection.close()
        with pytest.raises(ConnectionLost, match="closed by the server"):
            await peer.run(15)


async def test_an_unreachable_server_is_named():
    with pytest.raises(ServerUnreachable, match=r"no server answers at http://127\.0\.0\.1:9/"):
        await Peer("127.0.0.1:9").start()


async def test_a_full_server_says_when_to_come_back():
    full = web.json_response(
        {"error": {"code": "server_full", "message": "all 16 places are taken"}},
        status=503,
        headers={"Retry-After": "5"},
    )
    async with EchoServer(answer=full).running() as url:
        with pytest.raises(OfferRefused, match="all 16 places are taken; try again in 5 s") as caught:
            await Peer(url).start()
    assert (caught.value.http_status, caught.value.refusal, caught.value.retry_after_s) == (503, "server_full", 5.0)


async def test_an_unknown_avatar_is_refused_with_the_servers_words():
    unknown = web.json_response({"error": {"code": "unknown_avatar", "message": "no avatar 'x'"}}, status=404)
    async with EchoServer(answer=unknown).running() as url:
        with pytest.raises(OfferRefused, match="404: no avatar 'x'"):
            await Peer(url, avatar="x").start()


async def test_another_web_server_is_not_taken_for_an_avatar_server():
    async with EchoServer(answer=web.Response(text="<html>")).running() as url:
        with pytest.raises(ServerUnreachable, match="check the URL"):
            await Peer(url).start()


async def test_a_file_without_sound_is_refused_before_connecting(tmp_path):
    text = tmp_path / "speech.wav"
    text.write_text("this is not sound")
    with pytest.raises(NotMedia, match="cannot be read as sound"):
        await Peer("127.0.0.1:9", audio=text).start()
    with pytest.raises(NotMedia, match="is not a file"):
        await Peer("127.0.0.1:9", audio=tmp_path / "missing.wav").start()


async def test_a_recording_that_cannot_be_written_is_refused(speech, tmp_path):
    with pytest.raises(NotWritable, match="cannot be written"):
        await Peer("127.0.0.1:9", audio=speech, record=tmp_path / "no" / "out.mp4").start()
