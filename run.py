#!/usr/bin/env python3
"""Start here: `python run.py` installs what is needed into `.venv` beside this file, then serves.

    python run.py                     the same as `python run.py serve`
    python run.py test [pytest ...]   installs what the tests need as well, then runs them
    python run.py lint                ruff and mypy
    python run.py ANYTHING ELSE       the command `webrtc-avatar ANYTHING ELSE`

Only the first start needs a network. It uses the standard library alone, so any Python from 3.11 on will do.
`WEBRTC_AVATAR_TORCH=1` installs PyTorch as well, `0` does not; without it, a Linux machine with an NVIDIA GPU gets it.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import importlib.util
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

OLDEST_PYTHON = (3, 11)
ROOT = Path(__file__).resolve().parent
COMMAND = "webrtc-avatar"
TEST_EXTRAS = ("test", "torch")
WELCOME_EXTRAS = {"portrait": "faces of photos", "vad": "barge-in"}
"""What the server can do without, and every visitor likes to have: installed where pip finds it for this machine."""

_started = time.monotonic()


class SetupError(Exception):
    """Something that a person has to put right; the message says what and how."""


def say(line: str) -> None:
    """Write one step with the time since the start; to stderr, so that a command's own output stays clean."""
    print(f"[{time.monotonic() - _started:6.1f} s] {line}", file=sys.stderr, flush=True)


# ---------------------------------------------------------------------------------------------- what is asked for


def split_arguments(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """Return (`test`, `lint` or `command`, the arguments that go on to it)."""
    if not arguments:
        return "command", ["serve"]
    if arguments[0] in ("test", "lint"):
        return arguments[0], list(arguments[1:])
    return "command", list(arguments)


def torch_choice(environment: Mapping[str, str]) -> bool | None:
    """Return what `WEBRTC_AVATAR_TORCH` says: true, false, or none where it is not set."""
    value = environment.get("WEBRTC_AVATAR_TORCH", "").strip()
    if value in ("", "0", "1"):
        return None if value == "" else value == "1"
    raise SetupError(f"WEBRTC_AVATAR_TORCH is {value!r}: set it to 1 (install PyTorch), to 0 (do not), or unset it.")


def has_nvidia_gpu(system: str, *, list_paths: Callable[[str], list[str]], nvidia_smi: Callable[[], str]) -> bool:
    """Tell whether PyTorch from the package index would find a GPU here: an NVIDIA one, on Linux.

    Args:
        system: as `platform.system()` says it.
        list_paths: `glob.glob`, for the device nodes.
        nvidia_smi: what `nvidia-smi -L` prints, "" where it fails; asked only where no device node is seen (WSL).
    """
    if system != "Linux":
        return False
    return bool(list_paths("/dev/nvidia[0-9]*")) or "GPU 0" in nvidia_smi()


def ask_nvidia_smi() -> str:
    """Return the GPUs that `nvidia-smi -L` lists, one a line; "" where there is no such command or it fails."""
    found = shutil.which("nvidia-smi")
    if found is None:
        return ""
    try:
        answer = subprocess.run(
            [found, "-L"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout if answer.returncode == 0 else ""


# -------------------------------------------------------------------------------------- what is already installed


@dataclass(frozen=True)
class Stamp:
    """What a finished install was made of; kept as JSON in the environment, absent while one is under way.

    Attributes:
        fingerprint: of the requirements in pyproject.toml and of the folder.
        python: version of the environment's Python, "3.11".
        extras: installed ones.
        distributions: names of everything that pip had installed.
        declined: extras that could not be installed, and are not tried again before the requirements change.
    """

    fingerprint: str
    python: str
    extras: frozenset[str]
    distributions: frozenset[str]
    declined: frozenset[str] = frozenset()

    @classmethod
    def read(cls, path: Path) -> Stamp | None:
        """Return the stamp at `path`, or none where there is none that can be read."""
        try:
            fields = json.loads(path.read_text("utf-8"))
            return cls(
                fingerprint=str(fields["fingerprint"]),
                python=str(fields["python"]),
                extras=frozenset(fields["extras"]),
                distributions=frozenset(fields["distributions"]),
                declined=frozenset(fields.get("declined", ())),
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, path: Path) -> None:
        """Write it whole or not at all."""
        fields = {name: sorted(v) if isinstance(v, frozenset) else v for name, v in vars(self).items()}
        draft = path.with_suffix(".draft")
        draft.write_text(json.dumps(fields, indent=1), "utf-8")
        draft.replace(path)


def fingerprint(pyproject: str, root: Path) -> str:
    """Return a hash of what an install depends on: how it is built, what it requires, and where it lies.

    The settings of linters and tests are left out, so that a change of those costs nobody an install.
    """
    import tomllib

    tables = tomllib.loads(pyproject)
    project = tables.get("project", {})
    keys = ("name", "dependencies", "optional-dependencies", "scripts", "requires-python")
    parts = [str(root), tables.get("build-system"), {key: project.get(key) for key in keys}]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def damaged_distributions(site_packages: Path) -> list[Path]:
    """Return the metadata folders of packages whose install was cut off or whose files are gone."""
    damaged = []
    for folder in sorted(site_packages.glob("*.dist-info")):
        try:
            record = (folder / "RECORD").read_text("utf-8")
        except OSError:
            damaged.append(folder)
            continue
        names = (line.rsplit(",", 2)[0].strip('"') for line in record.splitlines())
        wanted = (n for n in names if n.endswith((".py", ".so", ".pyd", ".pth", "METADATA")) or n.startswith(".."))
        if not all(os.path.exists(os.path.join(site_packages, name)) for name in wanted):
            damaged.append(folder)
    return damaged


def distribution_names(site_packages: Path) -> frozenset[str]:
    """Return the names of the packages in `site_packages`, as their metadata folders spell them."""
    return frozenset(folder.name.partition("-")[0] for folder in site_packages.glob("*.dist-info"))


class Environment:
    """The virtual environment `.venv` of the checkout at `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / ".venv"
        self.scripts = self.folder / ("Scripts" if os.name == "nt" else "bin")
        self.python = self.scripts / ("python.exe" if os.name == "nt" else "python")
        self.stamp = self.folder / "webrtc-avatar.json"

    def python_version(self) -> str | None:
        """Return its Python's version, "3.11", or none where it does not run."""
        program = "import sys; print('%d.%d' % sys.version_info[:2])"
        try:
            answer = subprocess.run(
                [self.python, "-ISc", program], capture_output=True, text=True, timeout=60, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return answer.stdout.strip() if answer.returncode == 0 else None

    def site_packages(self, version: str) -> Path:
        """Return the folder of its packages for a Python `version` such as "3.11"."""
        return self.folder / ("Lib" if os.name == "nt" else f"lib/python{version}") / "site-packages"

    def why_not_ready(self, extras: frozenset[str]) -> str | None:
        """Return what keeps it from running with `extras`, or none where nothing does."""
        stamp = Stamp.read(self.stamp)
        if stamp is None:
            return "the last install did not finish" if self.folder.exists() else "first start"
        if stamp.fingerprint != fingerprint((self.root / "pyproject.toml").read_text("utf-8"), self.root):
            return "the requirements or the folder have changed"
        if self.python_version() != stamp.python:
            return "its Python is gone or another one"
        if missing := extras - stamp.extras:
            return "wanted as well: " + ", ".join(sorted(missing))
        site = self.site_packages(stamp.python)
        gone = stamp.distributions - distribution_names(site)
        gone |= {folder.name.partition("-")[0] for folder in damaged_distributions(site)}
        return "packages are damaged: " + ", ".join(sorted(gone)) if gone else None

    def install(self, extras: frozenset[str]) -> None:
        """Make the environment where there is no usable one, and install the project with `extras` into it.

        Raises:
            SetupError: it cannot be made, or pip failed.
        """
        self.stamp.unlink(missing_ok=True)
        version = self.python_version()
        if (
            version is None
            or tuple(map(int, version.split("."))) < OLDEST_PYTHON
            or not self._pip("--version", quiet=True)
        ):
            self._make()
            version = self.python_version()
            if version is None:
                raise SetupError(f"The Python in {self.folder} does not run. Remove that folder and start again.")
        site = self.site_packages(version)
        for folder in damaged_distributions(site):
            shutil.rmtree(folder, ignore_errors=True)
        target = "." + (f"[{','.join(sorted(extras))}]" if extras else "")
        if not self._pip("install", "--no-input", "-e", target):
            raise SetupError(
                "pip could not install the project; its own message stands above. The usual causes are no network, a "
                "proxy that pip does not know (HTTPS_PROXY), or a full disk. The next start goes on where this one stopped."
            )
        if damaged := damaged_distributions(site):
            names = ", ".join(folder.name for folder in damaged)
            raise SetupError(f"The install is incomplete ({names}). Remove {self.folder} and start again.")
        Stamp(
            fingerprint=fingerprint((self.root / "pyproject.toml").read_text("utf-8"), self.root),
            python=version,
            extras=extras,
            distributions=distribution_names(site),
        ).write(self.stamp)

    def _make(self) -> None:
        """Make an empty environment with pip in it, in place of whatever lies there."""
        if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
            raise SetupError(
                "This Python cannot make virtual environments (venv and ensurepip are missing). On Debian and Ubuntu: "
                f"apt install python3-venv (or python3.{sys.version_info[1]}-venv). Then start again."
            )
        import venv

        say(f"Making .venv with Python {platform.python_version()}")
        try:
            venv.EnvBuilder(clear=True, with_pip=True, symlinks=os.name != "nt").create(self.folder)
        except (OSError, subprocess.CalledProcessError) as error:
            raise SetupError(
                f"Could not make {self.folder}: {error}. Is the folder writable, the disk full?"
            ) from error

    def _pip(self, *arguments: str, quiet: bool = False) -> bool:
        """Run pip, its progress going to stderr; return whether it succeeded."""
        quietly = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONWARNINGS": "ignore", "PIP_USER": "0"}
        output = subprocess.DEVNULL if quiet else sys.stderr.fileno()
        finished = subprocess.run(
            [self.python, "-m", "pip", *arguments],
            cwd=self.root,
            env={**os.environ, **quietly},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.DEVNULL if quiet else None,
            check=False,
        )
        return finished.returncode == 0


@contextlib.contextmanager
def one_at_a_time(file: Path) -> Iterator[None]:
    """Hold a lock on `file` so that two first starts do not install over each other (not on Windows)."""
    if os.name == "nt":
        yield
        return
    import fcntl

    with file.open("rb") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("Another start is installing; waiting for it")
            fcntl.flock(held, fcntl.LOCK_EX)
        yield


def make_ready(
    environment: Environment,
    extras: frozenset[str],
    *,
    optional: frozenset[str] = frozenset(),
    welcome: frozenset[str] = frozenset(),
) -> None:
    """Install what is missing; return at once where nothing is.

    Args:
        environment: the one to make ready.
        extras: must be there.
        optional: installed too where that works; where it does not, a line says so and things go on without.
        welcome: the same, but small, and not tried again once they could not be installed.
    """
    stamp = Stamp.read(environment.stamp)
    if stamp is not None and environment.why_not_ready(frozenset()) is None:
        welcome -= stamp.declined
    if environment.why_not_ready(extras | optional | welcome) is None:
        return
    with one_at_a_time(environment.root / "pyproject.toml"):
        reason = environment.why_not_ready(extras | welcome)
        stamp = Stamp.read(environment.stamp)
        kept = stamp.extras if stamp else frozenset()
        if reason is not None:
            say(f"Installing webrtc-avatar ({reason}); this needs the network and a few minutes")
            install_with(environment, extras | (kept - optional - welcome), welcome)
        if optional and environment.why_not_ready(extras | optional) is not None:
            say("Installing PyTorch for the GPU (several gigabytes, once); WEBRTC_AVATAR_TORCH=0 goes without")
            fallback = Stamp.read(environment.stamp)
            try:
                environment.install(extras | optional | kept)
            except SetupError as error:
                if fallback is None:
                    raise
                fallback.write(environment.stamp)
                say(f"PyTorch could not be installed, so the GPU stays unused: {error}")
        say("Installed. Later starts need no network")


def install_with(environment: Environment, extras: frozenset[str], welcome: frozenset[str]) -> None:
    """Install `extras` and, where that works, `welcome` ones with them.

    Raises:
        SetupError: `extras` alone cannot be installed.
    """
    try:
        environment.install(extras | welcome)
    except SetupError:
        if not welcome:
            raise
        environment.install(extras)
        stamp = Stamp.read(environment.stamp)
        if stamp is not None:
            replace(stamp, declined=welcome).write(environment.stamp)
        missing = " and ".join(WELCOME_EXTRAS.get(name, name) for name in sorted(welcome))
        say(f"Installed without {missing}: pip finds no packages for them here. Everything else works")


# --------------------------------------------------------------------------------------------------- what is run


def become(command: Sequence[str | Path]) -> int:
    """Turn this process into `command`; on Windows, which cannot, run it and return its exit code."""
    words = [str(word) for word in command]
    if os.name != "nt":
        os.execv(words[0], words)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return subprocess.Popen(words).wait()


def lint(environment: Environment) -> int:
    """Run the linters and the type checker, all of them; return 0 where none complains."""
    python = str(environment.python)
    checks = (["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"], ["mypy", "--strict", "run.py"])
    results = []
    for check in checks:
        say(" ".join(check))
        results.append(subprocess.run([python, "-m", *check], cwd=environment.root, check=False).returncode)
    return int(any(results))


def main(arguments: Sequence[str]) -> int:
    """Make everything ready and run what `arguments` ask for; return the exit code."""
    environment = Environment(ROOT)
    what, rest = split_arguments(arguments)
    if what == "command":
        choice, welcome = torch_choice(os.environ), frozenset(WELCOME_EXTRAS)
        if choice is None:
            gpu = has_nvidia_gpu(platform.system(), list_paths=glob.glob, nvidia_smi=ask_nvidia_smi)
            make_ready(environment, frozenset(), optional=frozenset({"torch"} if gpu else ()), welcome=welcome)
        else:
            make_ready(environment, frozenset({"torch"} if choice else ()), welcome=welcome)
        return become([environment.scripts / (COMMAND + (".exe" if os.name == "nt" else "")), *rest])
    make_ready(environment, frozenset(TEST_EXTRAS))
    if what == "lint":
        return lint(environment)
    from tests.system_parts import install_system_parts

    install_system_parts(say)
    os.chdir(environment.root)
    return become([environment.python, "-m", "pytest", *rest])


if __name__ == "__main__":
    if sys.version_info[:2] < OLDEST_PYTHON:
        sys.exit(
            f"webrtc-avatar needs Python 3.11 or newer; this is {platform.python_version()}. Install one (python.org, or "
            "your system's package) and start again with it, for example: python3.11 run.py"
        )
    try:
        sys.exit(main(sys.argv[1:]))
    except SetupError as problem:
        sys.exit(f"\n{problem}")
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. The next start goes on where this one stopped.")
