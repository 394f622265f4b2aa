import json
import subprocess
import sys


def savings(*arguments):
    command = [sys.executable, "-m", "webrtc_avatar", "savings", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, env={"COLUMNS": "120"}).stdout


def test_the_table_is_that_of_the_seeds():
    lines = savings().splitlines()
    rows = [line.replace("│", " ").split() for line in lines if line.startswith("│")]
    assert ["4", "64", "19", "45", "70.3", "%", "112.5", "KiB"] in rows
    assert ["240", "3,840", "255", "3,585", "93.4", "%", "8.75", "MiB"] in rows
    assert [row[0] for row in rows] == ["1", "2", "4", "8", "20", "100", "240", "500"]


def test_other_counts_may_be_asked_for_and_programs_get_json():
    assert json.loads(savings("25", "--json")) == [
        {
            "frames": 25,
            "redundant_chunks": 400,
            "chunks": 40,
            "saved_chunks": 360,
            "saved_bytes": 921_600,
            "saved_share": 0.9,
        }
    ]
