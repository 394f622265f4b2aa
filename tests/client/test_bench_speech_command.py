"""`webrtc-avatar bench speech`: a small run of it, with a server in a process of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from webrtc_avatar.client.cli import bench_app


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    path = tmp_path_factory.mktemp("bench") / "out.json"
    arguments = ["--batch", "2", "--requests", "4", "--rounds", "1", "--workers", "1", "--json", str(path)]
    return CliRunner().invoke(bench_app, ["speech", *arguments]), path


def test_the_figures_hold_together(run: tuple[Result, Path]) -> None:
    result, path = run
    assert result.exit_code == 0, result.output
    told = json.loads(path.read_text())
    kinds = [(each["kind"], each["batch_size"]) for each in told["throughput"]]
    assert kinds == [("short", 0), ("long", 0), ("short", 2), ("long", 2)]
    for each in told["throughput"]:
        assert each["per_s"][0] > 0.5
        assert 0 < each["wait"]["p50_ms"] <= each["wait"]["p99_ms"]
        assert each["wait"]["p50_ms"] <= each["done"]["p99_ms"]
        assert each["wait"]["count"] == 4
    assert told["throughput"][0]["batch"] == 1
    assert told["throughput"][2]["batch"] > 1
    assert all(call["ms"] > 1 for call in told["calls"])
    heard = told["heard"]
    assert len(heard["first_ms"]) == 2
    assert min(heard["first_ms"]) > 30
    assert max(heard["silent_ms"]) < 2000


def test_the_tables_show_them(run: tuple[Result, Path]) -> None:
    result, _ = run
    for words in (
        "Many requests at once",
        "up to 2",
        "against off",
        "request to first sound",
        "interrupt to last sound",
    ):
        assert words in result.output


def test_a_server_that_is_not_there_is_told() -> None:
    arguments = ["--batch", "1", "--requests", "1", "--rounds", "1", "--workers", "1", "--url", "http://127.0.0.1:9"]
    result = CliRunner().invoke(bench_app, ["speech", *arguments])
    assert result.exit_code == 1
    assert "no server answers" in result.output
