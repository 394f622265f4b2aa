import json

from typer.testing import CliRunner

from webrtc_avatar.evaluation import command, recordings
from webrtc_avatar.evaluation.command import eval_app
from webrtc_avatar.evaluation.gates import Gate


def test_one_table_tells_how_iris_speaks_looks_and_lives(tmp_path):
    report = tmp_path / "report.json"
    run = CliRunner().invoke(eval_app, ["iris", "--quick", "--look-aheads", "--json", str(report)])
    results = json.loads(report.read_text())
    rows = {(result["what"], result["on"].split(" (")[0]): result for result in results}
    assert "| lips closed on p b m | real speech" in run.output
    assert "| 0 (0 ms) | 1 (40 ms) | 2 (80 ms) | 3 (120 ms) |" in run.output
    for what, on in (
        ("lips closed on p b m", "real speech"),
        ("frames with the right viseme", "unseen voices"),
        ("mouth closed in silence", "noise, breath, keyboard, street, music"),
        ("seconds between blinks, median", "listening"),
    ):
        assert (what, on) in rows, (what, on)
    failed = [result for result in results if result["gate"] and not Gate(**result["gate"]).holds(result["value"])]
    assert run.exit_code == (1 if failed else 0)
    assert f"{len(results) - len(failed)} of {len(results)} rows" in run.output


def test_an_avatar_that_is_not_there_is_named():
    run = CliRunner().invoke(eval_app, ["nobody"])
    assert run.exit_code == 1
    assert "nobody" in run.output


def test_recordings_that_are_not_installed_are_left_out_and_said_so(tmp_path, monkeypatch):
    monkeypatch.setitem(recordings._WHERE, "asterisk", (tmp_path / "nowhere", ".g722", "asterisk-core-sounds-en-g722"))
    run = CliRunner().invoke(eval_app, ["iris", "--quick"])
    assert "apt-get install asterisk-core-sounds-en-g722" in run.output
    assert "LibriVox" in run.output
    assert "Asterisk prompts" not in run.output


def test_what_it_needs_is_named_with_the_extra_that_brings_it(monkeypatch):
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    run = CliRunner().invoke(eval_app, ["iris"])
    assert run.exit_code == 1
    assert "pip install -e .[eval]" in run.output
