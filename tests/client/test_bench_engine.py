"""`webrtc-avatar bench engine`: figures that hold together, in every form that it can give them."""

import io
import json
import re
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console
from typer.testing import CliRunner

from webrtc_avatar.avatar.library import Library, default_folders
from webrtc_avatar.client import bench_engine
from webrtc_avatar.client.bench_engine_report import plot, tables
from webrtc_avatar.client.cli import bench_app
from webrtc_avatar.engine import kinds
from webrtc_avatar.engine.viseme import VisemeModel
from webrtc_avatar.settings import Settings


@pytest.fixture(scope="module")
def outcome():
    steps = []
    iris = Library(default_folders()).get("iris")
    measured = bench_engine.bench_engine(
        [iris], batches=[1, 4], sessions=[2], seconds=0.3, settings=Settings(device="cpu"), on_progress=steps.append
    )
    assert steps == ["iris: batches of 1", "iris: batches of 4", "iris: eight callers", "iris: 2 sessions"]
    return measured


def test_the_figures_hold_together(outcome):
    assert outcome.runtime == "onnxruntime:cpu"
    assert [(row.avatar, row.batch) for row in outcome.throughput] == [("iris", 1), ("iris", 4)]
    for row in outcome.throughput:
        assert 1 <= row.batch_mean <= row.batch
        assert 0 < row.network_p50_ms <= row.network_p99_ms
        assert 0 < row.engine_p50_ms <= row.engine_p99_ms
        assert min(row.network_fps, row.engine_fps, row.sound_fps) > 0
        assert -1 < row.overhead < 10
        assert -1 < row.cpu_overhead < 10
    (pair,) = outcome.shared
    assert pair.ratio > 0.2
    (live,) = outcome.sessions
    assert 0 <= live.late <= 1
    assert live.fps == pytest.approx(25 * (1 - live.late))


def test_the_avatars_model_is_itself_again_afterwards(outcome):
    assert kinds.factory_of("viseme_kernel", "iris") is VisemeModel


def test_the_table_shows_every_figure(outcome):
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(tables(outcome))
    text = console.export_text()
    assert "onnxruntime:cpu" in text
    assert "eight callers" in text
    assert "live sessions" in text
    assert text.count("iris") == 4


def test_the_plot_has_a_line_for_the_networks_and_one_for_the_engine(outcome):
    picture = ET.fromstring(plot(outcome))
    lines = [mark for mark in picture.iter("{http://www.w3.org/2000/svg}polyline") if mark.get("stroke-width") == "2"]
    assert len(lines) == 4  # two in the plot, two in its legend
    assert {"iris, networks", "iris, engine"} <= {
        mark.text for mark in picture.iter("{http://www.w3.org/2000/svg}text")
    }
    points = [re.findall(r"[\d.]+,[\d.]+", line.get("points")) for line in lines]
    assert all(0 <= float(number) <= 760 for line in points for point in line for number in point.split(","))


def test_the_command_writes_what_it_was_told_to(tmp_path):
    options = ["engine", "--batch", "2", "--sessions", "0", "--seconds", "0.1", "--device", "cpu"]
    done = CliRunner().invoke(
        bench_app, [*options, "--json", str(tmp_path / "figures.json"), "--plot", str(tmp_path / "figures.svg")]
    )
    assert done.exit_code == 0, done.output
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert [row["batch"] for row in figures["throughput"]] == [2]
    assert (tmp_path / "figures.svg").read_text().startswith("<svg")
    assert "networks" in done.output


def test_an_avatar_that_is_not_installed_is_told():
    done = CliRunner().invoke(bench_app, ["engine", "--avatar", "nobody", "--seconds", "0.1"])
    assert done.exit_code == 1
    assert "there is no avatar 'nobody'" in done.output
