"""What tests of several rooms share: real recorded speech."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.system_parts import SPEECH_FOLDER, SYSTEM_PARTS, packages

# Servers of tests, in processes of their own as well, must not collide.
os.environ.setdefault("WEBRTC_AVATAR_GRPC_PORT", "0")

_MAY_SKIP = ("raised by the client only", "POSIX only")
"""Reasons for which a test may be left out everywhere."""


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In continuous integration, fail where a test was left out because something is missing."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    missing = [report for report in skipped if not any(reason in str(report.longrepr) for reason in _MAY_SKIP)]
    if os.environ.get("CI") and missing:
        reporter.write_line("")
        reporter.write_line(
            f"{len(missing)} tests were skipped: in continuous integration nothing may be missing", red=True
        )
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _absent(path: str) -> None:
    """Skip where a developer has not installed a part; fail in continuous integration, where it must be there."""
    part = next(part for part in SYSTEM_PARTS if part.path == path)
    reason = f"{part.title} is not installed: python run.py test installs {packages([part], 'debian')[0]} on Debian"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def speech_folder() -> Path:
    """Five recordings of one reader of "Sense and Sensibility": WAV, 16 kHz, mono, int16, 3 to 7 s each."""
    folder = Path(SPEECH_FOLDER)
    if not folder.is_dir():
        _absent(SPEECH_FOLDER)
    return folder


@pytest.fixture(scope="session")
def speech_wav(speech_folder: Path) -> Path:
    """One of the recordings: a few seconds of a human voice."""
    return speech_folder / "sense_and_sensibility_01_austen_64kb-0870.wav"
