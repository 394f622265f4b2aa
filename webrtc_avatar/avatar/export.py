"""Copies a package under another name: into a folder of packages, or as a ZIP for somebody to take away."""

from __future__ import annotations

import io
import json
import re
import shutil
import zipfile
from pathlib import Path

from webrtc_avatar.avatar.importing.draft import Draft
from webrtc_avatar.avatar.manifest import MANIFEST_NAME, NAME_PATTERN
from webrtc_avatar.errors import AvatarExists, CannotImport, CannotWrite, InvalidRequest

MAX_TITLE_CHARS = 80


def check_name(name: str, title: str) -> None:
    """Check what an avatar shall be called.

    Raises:
        InvalidRequest: the name is none, or the title is empty or too long.
    """
    if not re.match(NAME_PATTERN, name):
        raise InvalidRequest(f"an avatar's name has 1 to 64 of a-z 0-9 _ -; got {name[:80]!r}; choose another")
    if not 0 < len(title.strip()) <= MAX_TITLE_CHARS or not title.isprintable():
        raise InvalidRequest(f"a title has 1 to {MAX_TITLE_CHARS} printable characters; got {title[:80]!r}")


def zip_package(package: Path, name: str, title: str) -> bytes:
    """Return a ZIP with one folder, called as the avatar, which only has to be unpacked into a folder of packages.

    Args:
        package: a sound one.
        name: of the copy; see `check_name`.
        title: of the copy.

    Raises:
        FileNotFoundError: the package is gone.
    """
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr(f"{name}/{MANIFEST_NAME}", _renamed(package, name, title))
        for path in _others(package):
            # Pictures are compressed as they are.
            packed = zipfile.ZIP_STORED if path.suffix in (".png", ".webp", ".npz") else zipfile.ZIP_DEFLATED
            archive.write(path, f"{name}/{path.relative_to(package).as_posix()}", packed)
    return target.getvalue()


def copy_package(package: Path, into: Path, name: str, title: str) -> Path:
    """Write a copy into a folder of packages, whole or not at all; return where it lies.

    Args:
        package: a sound one.
        into: the folder; made where it does not exist.
        name: of the copy; see `check_name`.
        title: of the copy.

    Raises:
        AvatarExists: the name is taken there.
        CannotWrite: the folder cannot be written to.
    """
    try:
        with Draft(into, name, force=False) as draft:
            for path in _others(package):
                place = draft.folder / path.relative_to(package)
                place.parent.mkdir(exist_ok=True)
                shutil.copyfile(path, place)
            (draft.folder / MANIFEST_NAME).write_text(_renamed(package, name, title), encoding="utf-8")
            return draft.finish()
    except AvatarExists as error:
        raise AvatarExists(f"there is an avatar {name!r} already; choose another name") from error
    except CannotImport as error:
        raise CannotWrite(f"the avatar cannot be saved: {error.message}") from error


def _others(package: Path) -> list[Path]:
    return sorted(path for path in package.rglob("*") if path.is_file() and path.name != MANIFEST_NAME)


def _renamed(package: Path, name: str, title: str) -> str:
    """Return the manifest with another name and title, which stand before its first section."""
    top, mark, sections = (package / MANIFEST_NAME).read_text(encoding="utf-8").partition("\n[")
    kept = [line for line in top.splitlines() if not line.startswith(("name = ", "title = "))]
    called = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in (("name", name), ("title", title))]
    return "\n".join([*kept, *called, ""]) + mark + sections
