"""run.py: what it decides, and a real install of a very small project."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{path.stem}_under_test", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


run = load(ROOT / "run.py")
parts = load(ROOT / "tests" / "system_parts.py")


# what is asked for


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ("command", ["serve"])),
        (["serve", "--port", "0"], ("command", ["serve", "--port", "0"])),
        (["peer", "test"], ("command", ["peer", "test"])),
        (["--help"], ("command", ["--help"])),
        (["test"], ("test", [])),
        (["test", "-k", "lint", "tests/audio"], ("test", ["-k", "lint", "tests/audio"])),
        (["lint"], ("lint", [])),
    ],
)
def test_arguments_pass_through_and_none_means_serve(arguments: list[str], expected: tuple[str, list[str]]) -> None:
    assert run.split_arguments(arguments) == expected


def test_only_the_standard_library_is_imported() -> None:
    for path in (ROOT / "run.py", ROOT / "tests" / "system_parts.py"):
        lines = [line.split() for line in path.read_text("utf-8").splitlines()]
        names = {words[1].split(".")[0] for words in lines if len(words) > 1 and words[0] in ("import", "from")}
        assert names - set(sys.stdlib_module_names) <= {"tests"}


@pytest.mark.parametrize(("value", "choice"), [("", None), ("1", True), ("0", False), (" 1 ", True)])
def test_torch_is_chosen_by_the_environment(value: str, choice: bool | None) -> None:
    assert run.torch_choice({"WEBRTC_AVATAR_TORCH": value}) is choice
    assert run.torch_choice({}) is None


def test_a_wrong_torch_choice_is_refused_with_what_to_do() -> None:
    with pytest.raises(run.SetupError, match=r"'yes'.*set it to 1"):
        run.torch_choice({"WEBRTC_AVATAR_TORCH": "yes"})


def test_a_gpu_is_seen_by_its_device_node_or_by_nvidia_smi() -> None:
    def nodes(found: list[str]):
        return {"list_paths": lambda pattern: found}

    h100 = "GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-0)\n"
    assert run.has_nvidia_gpu("Linux", **nodes(["/dev/nvidia3"]), nvidia_smi=lambda: pytest.fail("asked needlessly"))
    assert run.has_nvidia_gpu("Linux", **nodes([]), nvidia_smi=lambda: h100)
    assert not run.has_nvidia_gpu("Linux", **nodes([]), nvidia_smi=lambda: "")
    assert not run.has_nvidia_gpu("Linux", **nodes([]), nvidia_smi=lambda: "No devices were found")
    assert not run.has_nvidia_gpu("Darwin", **nodes([]), nvidia_smi=lambda: h100)
    assert not run.has_nvidia_gpu("Windows", **nodes([]), nvidia_smi=lambda: h100)


# what is installed


PYPROJECT = """
[build-system]
requires = []
[project]
name = "a"
dependencies = ["b>=1"]
[tool.ruff]
line-length = 100
"""


def test_the_fingerprint_follows_requirements_and_folder_but_not_linter_settings() -> None:
    first = run.fingerprint(PYPROJECT, Path("/x"))
    assert run.fingerprint(PYPROJECT.replace("100", "120"), Path("/x")) == first
    assert run.fingerprint(PYPROJECT.replace("b>=1", "b>=2"), Path("/x")) != first
    assert run.fingerprint(PYPROJECT, Path("/y")) != first


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"fingerprint": 1, "python": 2, "extras": 3}', "\xff"])
def test_a_stamp_that_cannot_be_read_counts_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "stamp.json").write_text(content, "latin-1")
    assert run.Stamp.read(tmp_path / "stamp.json") is None
    assert run.Stamp.read(tmp_path / "absent.json") is None


def test_a_stamp_survives_writing_and_reading(tmp_path: Path) -> None:
    stamp = run.Stamp("f", "3.11", frozenset({"torch", "test"}), frozenset({"av"}))
    stamp.write(tmp_path / "stamp.json")
    assert run.Stamp.read(tmp_path / "stamp.json") == stamp
    assert [path.name for path in tmp_path.iterdir()] == ["stamp.json"]


def make_distribution(site: Path, name: str, *files: str) -> Path:
    folder = site / f"{name}-1.0.dist-info"
    folder.mkdir(parents=True)
    for file in files:
        (site / file).parent.mkdir(parents=True, exist_ok=True)
        (site / file).write_text("")
    (folder / "METADATA").write_text("")
    record = [*files, f"{folder.name}/METADATA", f"{name}/__pycache__/gone.cpython-311.pyc"]
    (folder / "RECORD").write_text("".join(f"{file},sha256=x,1\n" for file in record))
    return folder


def test_torn_and_holed_packages_are_found_and_whole_ones_are_not(tmp_path: Path) -> None:
    site = tmp_path / "site-packages"
    make_distribution(site, "whole", "whole/__init__.py", "../bin/whole")
    torn = make_distribution(site, "torn", "torn/__init__.py")
    (torn / "RECORD").unlink()
    holed = make_distribution(site, "holed", "holed/__init__.py", "holed/core.so")
    (site / "holed" / "core.so").unlink()
    without_script = make_distribution(site, "without_script", "../bin/script")
    (tmp_path / "bin" / "script").unlink()
    assert run.damaged_distributions(site) == [holed, torn, without_script]


class Recorder(run.Environment):
    """An environment whose installs only happen on paper."""

    def __init__(self, root: Path, broken: frozenset[str] = frozenset()) -> None:
        super().__init__(root)
        (root / "pyproject.toml").write_text(PYPROJECT)
        self.broken = broken
        self.installed: list[set[str]] = []

    def python_version(self) -> str | None:
        return "3.11"

    def install(self, extras: frozenset[str]) -> None:
        self.installed.append(set(extras))
        self.stamp.unlink(missing_ok=True)
        if extras & self.broken:
            raise run.SetupError("no network")
        self.folder.mkdir(exist_ok=True)
        run.Stamp(run.fingerprint(PYPROJECT, self.root), "3.11", extras, frozenset()).write(self.stamp)


def test_an_install_happens_once_and_again_for_new_extras(tmp_path: Path) -> None:
    environment = Recorder(tmp_path)
    for _ in range(2):
        run.make_ready(environment, frozenset())
    run.make_ready(environment, frozenset({"test"}))
    run.make_ready(environment, frozenset())
    assert environment.installed == [set(), {"test"}]


def test_changed_requirements_keep_the_extras(tmp_path: Path) -> None:
    environment = Recorder(tmp_path)
    run.make_ready(environment, frozenset({"test"}))
    (tmp_path / "pyproject.toml").write_text(PYPROJECT.replace("b>=1", "b>=2"))
    run.make_ready(environment, frozenset())
    assert environment.installed == [{"test"}, {"test"}]


def test_without_torch_the_server_starts_all_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    environment = Recorder(tmp_path, broken=frozenset({"torch"}))
    run.make_ready(environment, frozenset(), optional=frozenset({"torch"}))
    assert environment.installed == [set(), {"torch"}]
    assert environment.why_not_ready(frozenset()) is None
    assert "GPU stays unused: no network" in capsys.readouterr().err


def test_what_is_welcome_comes_with_the_first_install(tmp_path: Path) -> None:
    environment = Recorder(tmp_path)
    for _ in range(2):
        run.make_ready(environment, frozenset(), welcome=frozenset({"portrait", "vad"}))
    assert environment.installed == [{"portrait", "vad"}]


def test_what_is_welcome_but_cannot_be_had_is_tried_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    environment = Recorder(tmp_path, broken=frozenset({"portrait"}))
    for _ in range(2):
        run.make_ready(environment, frozenset(), welcome=frozenset({"portrait"}))
    assert environment.installed == [{"portrait"}, set()]
    assert "Installed without faces of photos" in capsys.readouterr().err
    (tmp_path / "pyproject.toml").write_text(PYPROJECT.replace("b>=1", "b>=2"))
    run.make_ready(environment, frozenset(), welcome=frozenset({"portrait"}))
    assert environment.installed[2:] == [{"portrait"}, set()]


def test_what_is_welcome_does_not_hide_that_nothing_installs(tmp_path: Path) -> None:
    environment = Recorder(tmp_path, broken=frozenset({"portrait", "torch"}))
    with pytest.raises(run.SetupError):
        run.make_ready(environment, frozenset({"torch"}), welcome=frozenset({"portrait"}))


def test_torch_that_was_asked_for_must_install(tmp_path: Path) -> None:
    environment = Recorder(tmp_path, broken=frozenset({"torch"}))
    with pytest.raises(run.SetupError):
        run.make_ready(environment, frozenset({"torch"}))


# what the tests need


@pytest.mark.parametrize(
    ("text", "family"),
    [
        ('ID=debian\nVERSION="12"\n', "debian"),
        ("ID=ubuntu\nID_LIKE=debian\n", "ubuntu"),
        ('ID=linuxmint\nID_LIKE="ubuntu debian"\n', "ubuntu"),
        ("ID=raspbian\nID_LIKE=debian\n", "debian"),
        ('ID=fedora\nPRETTY_NAME="not debian"\n', ""),
        ("", ""),
    ],
)
def test_the_linux_family_is_read_from_os_release(text: str, family: str) -> None:
    assert parts.linux_family(text) == family


def test_root_on_debian_installs_only_what_is_missing() -> None:
    chromium, ffmpeg = parts.SYSTEM_PARTS[:2]
    update, install = parts.apt_commands([chromium, ffmpeg], family="debian", is_root=True)
    assert update[-1] == "update"
    assert install[-2:] == ["chromium", "ffmpeg"]
    assert "-y" in install
    assert parts.apt_commands([chromium], family="ubuntu", is_root=True)[1][-1] == "chromium-browser"
    assert parts.apt_commands([], family="debian", is_root=True) == []


def test_others_are_told_what_is_missing_and_how_to_get_it() -> None:
    missing = parts.SYSTEM_PARTS
    assert parts.apt_commands(missing, family="debian", is_root=False) == []
    assert parts.apt_commands(missing, family="", is_root=True) == []
    on_debian = parts.missing_report(missing, family="debian")
    assert "sudo apt-get install -y chromium ffmpeg espeak-ng pocketsphinx-testdata flite" in on_debian
    elsewhere = parts.missing_report(missing, family="")
    for part in missing:
        assert part.title in on_debian
        assert f"{part.title}: {part.purpose}; {part.elsewhere}" in elsewhere


def test_a_part_is_there_when_any_of_its_commands_or_its_folder_is(tmp_path: Path) -> None:
    def part(commands: tuple[str, ...], path: str = ""):
        return parts.SystemPart("t", "p", commands, "d", "e", path)

    assert part(("no-such-command", "sh" if os.name != "nt" else "cmd")).is_there()
    assert not part(("no-such-command",)).is_there()
    assert part((), str(tmp_path)).is_there()
    assert not part((), str(tmp_path / "absent")).is_there()


# the real thing, with a project that needs nothing from the network

TINY_PYPROJECT = """
[build-system]
requires = []
build-backend = "tiny_backend"
backend-path = ["."]
[project]
name = "tiny"
version = "1.0"
requires-python = ">=3.11"
"""

TINY_BACKEND = """
import os, zipfile

def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    name = "tiny-1.0-py3-none-any.whl"
    info = "tiny-1.0.dist-info"
    files = {
        "tiny.pth": os.getcwd() + chr(10),
        info + "/METADATA": "Metadata-Version: 2.1\\nName: tiny\\nVersion: 1.0\\n",
        info + "/WHEEL": "Wheel-Version: 1.0\\nGenerator: tiny\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
        info + "/entry_points.txt": "[console_scripts]\\nwebrtc-avatar = tiny:main\\n",
    }
    record = "".join(file + ",,\\n" for file in [*files, info + "/RECORD"])
    with zipfile.ZipFile(os.path.join(wheel_directory, name), "w") as wheel:
        for file, text in {**files, info + "/RECORD": record}.items():
            wheel.writestr(file, text)
    return name
"""

TINY_PACKAGE = """
import json, os, signal, sys

def main():
    print(json.dumps({"pid": os.getpid(), "arguments": sys.argv[1:], "prefix": sys.prefix}), flush=True)
    if sys.argv[1] == "wait":
        signal.signal(signal.SIGTERM, lambda number, frame: os._exit(23))
        print("ready", flush=True)
        signal.pause()
    return 7
"""

needs_exec = pytest.mark.skipif(os.name == "nt", reason="POSIX only: exec and signals")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with the real run.py and a project that builds without a network."""
    root = tmp_path_factory.mktemp("tiny checkout")
    shutil.copy(ROOT / "run.py", root)
    (root / "pyproject.toml").write_text(TINY_PYPROJECT)
    (root / "tiny_backend.py").write_text(TINY_BACKEND)
    (root / "tiny.py").write_text(TINY_PACKAGE)
    return root


def start(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    surroundings = {**os.environ, "WEBRTC_AVATAR_TORCH": "0", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": ""}
    return subprocess.run(
        [sys.executable, root / "run.py", *arguments],
        env=surroundings,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@needs_exec
def test_first_start_installs_and_later_ones_only_run(tiny: Path) -> None:
    first = start(tiny, "peer", "--audio", "a b.wav")
    assert first.returncode == 7, first.stderr
    assert "first start" in first.stderr
    answer = json.loads(first.stdout)
    assert answer["arguments"] == ["peer", "--audio", "a b.wav"]
    assert Path(answer["prefix"]).resolve() == (tiny / ".venv").resolve()

    later = start(tiny)
    assert json.loads(later.stdout)["arguments"] == ["serve"]
    assert later.stderr == ""


@needs_exec
def test_signals_reach_the_command_itself(tiny: Path) -> None:
    start(tiny, "once")
    surroundings = {**os.environ, "WEBRTC_AVATAR_TORCH": "0"}
    command = [sys.executable, str(tiny / "run.py"), "wait"]
    with subprocess.Popen(command, env=surroundings, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["pid"] == process.pid
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 23


@needs_exec
@pytest.mark.parametrize("damage", ["cut off", "script gone", "module gone", "python gone"])
def test_a_broken_install_is_noticed_and_repaired(tiny: Path, damage: str) -> None:
    start(tiny, "once")
    environment = run.Environment(tiny)
    site = environment.site_packages(environment.python_version())
    if damage == "cut off":
        environment.stamp.unlink()
        (site / "tiny-1.0.dist-info" / "RECORD").unlink()
    elif damage == "script gone":
        (environment.scripts / "webrtc-avatar").unlink()
    elif damage == "module gone":
        (site / "tiny.pth").unlink()
    else:
        environment.python.unlink()
    repaired = start(tiny, "again")
    assert repaired.returncode == 7, repaired.stderr
    assert "Installing" in repaired.stderr
    assert start(tiny, "later").stderr == ""


@needs_exec
def test_an_install_that_fails_says_so_and_leaves_no_stamp(tiny: Path) -> None:
    start(tiny, "once")
    stamp = run.Environment(tiny).stamp
    (tiny / "pyproject.toml").write_text(TINY_PYPROJECT + "dependencies = []\n")
    (tiny / "tiny_backend.py").write_text("raise RuntimeError('cannot build')\n")
    failed = start(tiny, "serve")
    assert failed.returncode == 1
    assert "pip could not install the project" in failed.stderr
    assert not stamp.exists()

    (tiny / "tiny_backend.py").write_text(TINY_BACKEND)
    assert start(tiny, "serve").returncode == 7
    assert stamp.exists()
