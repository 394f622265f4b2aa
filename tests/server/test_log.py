"""Log records, one line each, with the session they belong to."""

import asyncio
import json
import logging

import pytest

from webrtc_avatar import log
from webrtc_avatar.settings import Settings


@pytest.fixture
def written(capsys):
    """Configure the log as asked; read what was written. The tests' own handlers come back afterwards."""
    root = logging.getLogger()
    before = root.handlers[:], root.level

    def configure(**settings):
        log.configure(Settings(**settings))
        return lines

    def lines():
        return capsys.readouterr().err.splitlines()

    yield configure
    root.handlers[:], level = before
    root.setLevel(level)


def test_text_is_one_line_with_its_fields(written):
    lines = written()
    logging.getLogger("webrtc_avatar.server.x").info("came\nin", extra={"remote": "a b", "ms": 3})
    (line,) = lines()
    assert line.endswith('INFO server.x: came\\nin remote="a b" ms=3')


def test_json_can_be_parsed_whatever_is_said(written):
    lines = written(log_format="json")
    try:
        raise ValueError('"quoted"\nand broken')
    except ValueError:
        logging.getLogger("x").exception("failed on %r", "\n")
    (line,) = lines()
    record = json.loads(line)
    assert record["level"] == "error"
    assert "ValueError" in record["traceback"]


async def test_records_of_a_sessions_tasks_carry_its_id_and_others_do_not(written):
    lines = written(log_format="json")

    async def work():
        await asyncio.sleep(0)
        logging.getLogger("x").info("inside")

    with log.session_context("abc"):
        task = asyncio.create_task(work())
    logging.getLogger("x").info("outside")
    await task
    outside, inside = map(json.loads, lines())
    assert inside["session"] == "abc"
    assert "session" not in outside


def test_the_level_hides_what_is_less_severe(written):
    lines = written(log_level="warning")
    logging.getLogger("x").info("no")
    logging.getLogger("x").warning("yes")
    assert [line.split()[-1] for line in lines()] == ["yes"]
