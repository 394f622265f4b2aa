"""Programs and files that the tests need and pip cannot bring: which are missing, and how to get them.

Standard library alone: `run.py test` uses it before anything is installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

SPEECH_FOLDER = "/usr/share/pocketsphinx/test/data/librivox"
PROMPTS_FOLDER = "/usr/share/asterisk/sounds/en_US_f_Allison"


@dataclass(frozen=True)
class SystemPart:
    """A program or a set of files that the tests need and pip cannot bring.

    Attributes:
        title: what to call it.
        purpose: what it is for in the tests.
        commands: any one of them on the path will do.
        path: or this file or folder.
        debian: package name on Debian.
        ubuntu: package name on Ubuntu, where it differs.
        elsewhere: how to get it on other systems.
    """

    title: str
    purpose: str
    commands: tuple[str, ...]
    debian: str
    elsewhere: str
    path: str = ""
    ubuntu: str = ""

    def is_there(self) -> bool:
        """Tell whether it is installed."""
        return any(map(shutil.which, self.commands)) or bool(self.path and os.path.exists(self.path))


SYSTEM_PARTS = (
    SystemPart(
        title="Chromium",
        purpose="the page is tested in a real browser",
        commands=("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"),
        debian="chromium",
        ubuntu="chromium-browser",
        elsewhere="brew install --cask chromium, or your system's package",
    ),
    SystemPart(
        title="FFmpeg",
        purpose="recordings are checked with it",
        commands=("ffmpeg",),
        debian="ffmpeg",
        elsewhere="brew install ffmpeg, or your system's package",
    ),
    SystemPart(
        title="espeak-ng",
        purpose="speaks the sentences that training learns from",
        commands=("espeak-ng",),
        debian="espeak-ng",
        elsewhere="brew install espeak-ng, or your system's package",
    ),
    SystemPart(
        title="recorded speech of the CMU Sphinx project",
        purpose="a human voice for the avatar to speak",
        commands=(),
        path=SPEECH_FOLDER,
        debian="pocketsphinx-testdata",
        elsewhere=f"the folder test/data/librivox of pocketsphinx 5prealpha, laid to {SPEECH_FOLDER}",
    ),
    SystemPart(
        title="Flite",
        purpose="speaks the sentences that training learns from",
        commands=("flite",),
        debian="flite",
        elsewhere="your system's package",
    ),
    SystemPart(
        title="an English voice of Festival",
        purpose="speaks the sentences that training learns from",
        commands=(),
        path="/usr/share/festival/voices/english/kal_diphone",
        debian="festvox-kallpc16k",
        elsewhere="your system's package of Festival and its voice kal_diphone",
    ),
    SystemPart(
        title="a Finnish voice of Festival",
        purpose="speaks a language whose letters are not ASCII",
        commands=(),
        path="/usr/share/festival/voices/finnish/suo_fi_lj_diphone",
        debian="festvox-suopuhe-lj",
        elsewhere="your system's package of Festival and its voice suo_fi_lj_diphone",
    ),
    SystemPart(
        title="prompts of the telephone system Asterisk",
        purpose="a human voice that the ear is tested on",
        commands=(),
        path=PROMPTS_FOLDER,
        debian="asterisk-core-sounds-en-g722",
        elsewhere=f"asterisk-core-sounds-en-g722 of Asterisk, laid to {PROMPTS_FOLDER}",
    ),
    SystemPart(
        title="ExifTool",
        purpose="what films and pictures say of their origin is read with it",
        commands=("exiftool",),
        debian="libimage-exiftool-perl",
        elsewhere="brew install exiftool, or your system's package",
    ),
)


def linux_family(os_release: str) -> str:
    """Return "debian" or "ubuntu" (or what builds on one of them) from the text of /etc/os-release, else ""."""
    fields = dict(line.split("=", 1) for line in os_release.splitlines() if "=" in line)
    names = [fields.get("ID", "").strip('"'), *fields.get("ID_LIKE", "").strip('"').split()]
    return next((name for name in ("ubuntu", "debian") if name in names), "")


def packages(missing: Sequence[SystemPart], family: str) -> list[str]:
    """Return the names of the packages that bring `missing` on Debian or Ubuntu."""
    return [part.ubuntu if family == "ubuntu" and part.ubuntu else part.debian for part in missing]


def apt_commands(missing: Sequence[SystemPart], *, family: str, is_root: bool) -> list[list[str]]:
    """Return the commands that install `missing`; none where this is no Debian or Ubuntu, or not root."""
    if not missing or not family or not is_root:
        return []
    apt = ["apt-get", "-q", "-o", "Acquire::Retries=3", "-o", "DPkg::Lock::Timeout=120"]
    return [[*apt, "update"], [*apt, "install", "-y", "--no-install-recommends", *packages(missing, family)]]


def missing_report(missing: Sequence[SystemPart], *, family: str) -> str:
    """Return what is missing, what for, and how to install it."""
    lines = ["Missing for the tests (those that need it will be skipped or fail):"]
    lines += [f"  {part.title}: {part.purpose}" + ("" if family else f"; {part.elsewhere}") for part in missing]
    if family:
        lines.append("Install with: sudo apt-get install -y " + " ".join(packages(missing, family)))
    return "\n".join(lines)


def install_system_parts(say: Callable[[str], None]) -> None:
    """Install what the tests need where that can be done without asking, else name it, each step through `say`."""
    missing = [part for part in SYSTEM_PARTS if not part.is_there()]
    if not missing:
        return
    try:
        family = linux_family(Path("/etc/os-release").read_text("utf-8"))
    except OSError:
        family = ""
    surroundings = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in apt_commands(missing, family=family, is_root=hasattr(os, "geteuid") and os.geteuid() == 0):
        say(" ".join(command))
        subprocess.run(command, env=surroundings, stdin=subprocess.DEVNULL, stdout=sys.stderr.fileno(), check=False)
    if missing := [part for part in missing if not part.is_there()]:
        say(missing_report(missing, family=family))
