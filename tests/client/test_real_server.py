"""The peer, its commands and the bench against the real server."""

import asyncio
import json
from contextlib import asynccontextmanager

import av
import pytest
from aiohttp import web

from webrtc_avatar.client import OfferRefused, Peer, load_speech
from webrtc_avatar.client.bench_live import as_json, bench_live, table
from webrtc_avatar.client.bench_speech import bench_speech, in_step_lag
from webrtc_avatar.client.cli import peer_app
from webrtc_avatar.server.app import create_app
from webrtc_avatar.settings import Settings


@pytest.fixture(scope="module")
def speech_file():
    with bench_speech(None) as path:
        yield path


@pytest.fixture(scope="module")
def speech(speech_file):
    return load_speech(speech_file, lead_in_s=0.5, gap_s=0.8)


@asynccontextmanager
async def server(**settings):
    runner = web.AppRunner(create_app(Settings(**settings)), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("codec", ["VP8", "H264"])
async def test_the_lips_follow_the_voice(speech, codec, tmp_path):
    path = tmp_path / "out.mp4"
    async with server() as url, Peer(url, audio=speech, codec=codec, record=path) as peer:
        await peer.run(10)
        report = peer.report()
    assert report.voice_to_lips is not None
    assert report.voice_to_lips.correlation > 0.4
    assert report.audio_video is not None
    assert abs(report.audio_video.lag_ms) < 150
    assert report.events["state"] >= 2
    assert report.server["type"] == "stats"
    with av.open(str(path)) as file:
        assert file.streams.video[0].width == 512
        assert sum(1 for _ in file.decode(file.streams.video[0])) > 100


async def test_a_viewer_sees_what_the_speaker_sees(speech):
    async with server() as url, Peer(url, audio=speech) as speaker:
        async with Peer(url, watch=speaker.session_id) as viewer:
            await viewer.run(4)
            report = viewer.report()
        await speaker.run(0.2)
    assert report.session_id == speaker.session_id
    assert report.frames_received > 40
    assert report.audio_video is not None


async def test_too_many_sessions_are_refused_with_a_time(speech):
    async with server(max_sessions=1) as url, Peer(url, audio=speech):
        with pytest.raises(OfferRefused, match="try again in") as caught:
            await Peer(url, audio=speech).start()
    assert caught.value.http_status == 503
    assert caught.value.retry_after_s is not None
    assert caught.value.retry_after_s > 0


async def test_an_unknown_avatar_and_an_unknown_session_are_refused():
    async with server() as url:
        with pytest.raises(OfferRefused) as caught:
            await Peer(url, avatar="nobody").start()
        assert (caught.value.http_status, caught.value.refusal) == (404, "unknown_avatar")
        with pytest.raises(OfferRefused) as caught:
            await Peer(url, watch="nothing").start()
        assert caught.value.http_status == 404


async def test_the_peer_command_writes_figures_and_a_recording(speech_file, tmp_path):
    figures, film = tmp_path / "report.json", tmp_path / "out.mp4"
    arguments = ["--audio", speech_file, "--json", figures, "--record", film, "--seconds", 3]
    async with server() as url:
        code = await asyncio.to_thread(_command, [*arguments, url])
    assert code == 0
    report = json.loads(figures.read_text())
    assert report["frames_received"] > 25
    assert report["first_frame_ms"] > 0
    assert film.stat().st_size > 10_000


def test_the_peer_command_says_what_is_wrong(tmp_path, capsys):
    assert _command(["http://127.0.0.1:9"]) == 1
    assert "no server answers at http://127.0.0.1:9/" in capsys.readouterr().err
    assert _command(["--audio", tmp_path / "none.wav", "http://127.0.0.1:9"]) == 2
    assert "is not a file" in capsys.readouterr().err


def _command(arguments):
    try:
        peer_app(args=[str(argument) for argument in arguments], prog_name="peer")
    except SystemExit as end:
        return end.code
    return 0


async def test_the_bench_counts_on_both_sides(speech_file):
    outcomes = await bench_live(
        sessions=[2], seconds=4, audio=speech_file, loss_percent=0, settings=Settings(log_level="warning")
    )
    (outcome,) = outcomes
    assert len(outcome.reports) == 2
    assert outcome.fps_least is not None
    assert outcome.late_p99_ms is not None
    assert 0 < outcome.cpu_percent < 100
    assert outcome.frames["rendered"] + outcome.frames["idle"] > 0
    assert outcome.model_ms is not None
    assert outcome.in_step_ms is not None
    assert json.loads(as_json(outcomes))["runs"][0]["sessions"] == 2
    assert table(outcomes).row_count > 10


async def test_lips_in_step_by_construction_read_a_small_offset(speech_file):
    from webrtc_avatar.avatar.library import Library

    lag = await asyncio.to_thread(in_step_lag, Library([]).get("iris"), speech_file)
    assert lag is not None
    assert abs(lag.lag_ms) < 60
    assert lag.correlation > 0.5
