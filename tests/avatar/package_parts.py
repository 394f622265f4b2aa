"""A copy of the shipped avatar that a test may break."""

import shutil
from pathlib import Path

from webrtc_avatar.avatar.library import default_folders

IRIS = next(folder / "iris" for folder in default_folders() if (folder / "iris").is_dir())


def copy_iris(folder: Path) -> Path:
    """Copy the package, all but its sources and with a stand-in for each network, and return where."""
    shutil.copytree(IRIS, folder, ignore=shutil.ignore_patterns("source", "*.onnx"))
    for name in ("ear.onnx", "mouth.onnx"):
        (folder / name).write_bytes(b"network")
    return folder


def edit(package: Path, before: str, after: str) -> None:
    """Replace text in `avatar.toml`; it must be there."""
    manifest = package / "avatar.toml"
    text = manifest.read_text()
    assert before in text
    manifest.write_text(text.replace(before, after, 1))
