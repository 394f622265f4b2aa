"""`webrtc-avatar bench chunked`: a small run of it, with a server in a process of its own."""

import asyncio
import io
import json
from dataclasses import replace

import pytest
from aiohttp import web
from rich.console import Console
from typer.testing import CliRunner

from webrtc_avatar.client import bench_chunked
from webrtc_avatar.client.bench_chunked_calls import is_segment, listed
from webrtc_avatar.client.bench_chunked_report import as_json, tables
from webrtc_avatar.client.cli import bench_app
from webrtc_avatar.server.app import create_app
from webrtc_avatar.settings import Settings


@pytest.fixture(scope="module")
def plan(speech_wav):
    return bench_chunked.Plan(speech_wav, sessions=2, seconds=1.0, repeats=1, at_once_s=1.02, nfes=(5,))


@pytest.fixture(scope="module")
def steps():
    return []


@pytest.fixture(scope="module")
def outcome(plan, steps):
    return asyncio.run(bench_chunked.bench_chunked(plan, on_progress=steps.append))


def test_the_figures_hold_together(outcome, steps):
    assert [(start.part_s, start.paced) for start in outcome.starts] == [
        (None, True), (None, False), (0.4, True), (0.4, False),
    ]  # fmt: skip
    paced, _, with_parts, _ = outcome.starts
    assert paced.three_s[0] > 2, "three segments hold sound that was not fed yet"
    assert 0 < paced.seconds[0] < paced.three_s[0]
    assert with_parts.seconds[0] > 0.3, "a part holds sound that was not fed yet"
    assert with_parts.three_s == []
    (run,) = outcome.at_once
    assert run.frames == 26
    assert 0 < run.frames_s[0] <= run.end_s[0]
    assert run.cpu_ms > 0
    assert [side.sessions for side in outcome.together] == [1, 2]
    for side in outcome.together:
        assert side.sound_s == 1.0
        assert side.late_lag_s <= side.lag_s > 0
        assert side.filled == 0
        assert side.memory_mb > outcome.idle_mb > 50
    assert outcome.session_mb == outcome.together[1].memory_mb - outcome.together[0].memory_mb
    assert "2 sessions side by side for 1 s" in steps


def test_the_tables_and_the_file_show_every_figure(outcome):
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(tables(outcome))
    text = console.export_text()
    for shown in ("part of 0.4 s", "1.02 s at once, nfe 5: 26 frames", "2 sessions", "by session beyond the first"):
        assert shown in text
    assert len(json.loads(as_json(outcome))["together"]) == 2


async def test_a_server_that_runs_already_is_measured_as_it_is_set(plan, monkeypatch):
    monkeypatch.setattr(bench_chunked, "_WITHOUT_PARTS", bench_chunked._WITHOUT_PARTS[1:])
    runner = web.AppRunner(create_app(Settings(grpc=False)), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        figures = await bench_chunked.bench_chunked(replace(plan, url=url, sessions=1, seconds=0.5, nfes=()))
    finally:
        await runner.cleanup()
    assert figures.session_mb is None
    assert [(start.part_s, start.paced) for start in figures.starts] == [(None, False)]
    assert figures.together[0].memory_mb is None


def test_segments_and_parts_are_told_with_their_ends():
    text = (
        '#EXTM3U\n#EXT-X-PART:DURATION=0.40000,URI="seg_0.0.m4s",INDEPENDENT=YES\n#EXTINF:0.80000,\nseg_0.m4s\n'
        '#EXT-X-PART:DURATION=0.40000,URI="seg_1.0.m4s"\n#EXT-X-PRELOAD-HINT:TYPE=PART,URI="seg_1.1.m4s"\n'
    )
    media = listed(text)
    assert media == [("seg_0.0.m4s", 0.4), ("seg_0.m4s", 0.8), ("seg_1.0.m4s", pytest.approx(1.2))]
    assert [is_segment(name) for name, _ in media] == [False, True, False]


def test_what_cannot_be_measured_is_told(tmp_path, speech_wav):
    call = ["chunked", "--audio", str(speech_wav), "--url"]
    nobody = CliRunner().invoke(bench_app, [*call, "http://127.0.0.1:9"])
    assert (nobody.exit_code, "no avatar server answers" in nobody.output) == (1, True)
    (tmp_path / "photo.jpg").write_text("no photo")
    faceless = CliRunner().invoke(bench_app, [*call, "http://127.0.0.1:9", "--photo", str(tmp_path / "photo.jpg")])
    assert (faceless.exit_code, "is no picture" in faceless.output) == (2, True)
