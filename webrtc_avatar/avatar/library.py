"""The avatars that are installed, by name. One broken package never hides the others."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from webrtc_avatar.avatar.manifest import MANIFEST_NAME, AnyManifest, FootageManifest, read_manifest
from webrtc_avatar.avatar.package import AnyAvatar, load_avatar
from webrtc_avatar.errors import Forbidden, InvalidAvatar, UnknownAvatar

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AvatarInfo:
    """What a visitor needs to choose an avatar.

    Attributes:
        name: what to ask for.
        title: name for people.
        kind: `drawn`, or `footage` where somebody was filmed.
        width: of its frames in pixels.
        height: of its frames in pixels.
        frame_count: frames of footage; 0 where it is drawn.
    """

    name: str
    title: str
    kind: Literal["drawn", "footage"]
    width: int
    height: int
    frame_count: int

    @classmethod
    def of(cls, manifest: AnyManifest) -> AvatarInfo:
        """Return what a manifest tells."""
        if isinstance(manifest, FootageManifest):
            footage = manifest.footage
            width, height = footage.width - footage.width % 2, footage.height - footage.height % 2
            return cls(manifest.name, manifest.title, "footage", width, height, footage.frame_count)
        return cls(manifest.name, manifest.title, "drawn", manifest.frame_size, manifest.frame_size, 0)


def imported_folder() -> Path:
    """Return where `avatar import` puts avatars, which need not exist: `webrtc-avatar/avatars` in the user's data folder."""
    home = os.environ.get("LOCALAPPDATA" if os.name == "nt" else "XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(home) / "webrtc-avatar" / "avatars"


def default_folders() -> list[Path]:
    """Return the folders that are searched without being named: imported avatars, then those that ship with the project.

    In a checkout, which an editable install runs from, that is `models/` at its root. A built distribution that wants
    to bring avatars puts them into `webrtc_avatar/models/`, which goes first.
    """
    package = Path(__file__).resolve().parents[1]
    folders = (imported_folder(), package / "models", package.parent / "models")
    return [folder for folder in folders if folder.is_dir()]


class Library:
    """Finds packages when made, loads each on first use and keeps it; any thread may call it."""

    def __init__(self, folders: Sequence[Path] = (), *, shipped: bool = True) -> None:
        """Look for packages one level below each folder.

        Args:
            folders: searched in this order; of two avatars with one name the first is taken. A folder that cannot be
                listed is skipped with a warning.
            shipped: search `default_folders()` too, last.
        """
        self._lock = threading.Lock()
        self._infos: dict[str, AvatarInfo] = {}
        self._paths: dict[str, Path] = {}
        self._loaded: dict[str, AnyAvatar] = {}
        self._broken: dict[Path, str] = {}
        self._named, self._shipped = tuple(folders), shipped
        for folder in self._folders:
            self._scan(folder)

    @property
    def _folders(self) -> tuple[Path, ...]:
        """The folders that are searched; the one of imported avatars appears with the first of them."""
        return (*self._named, *(default_folders() if self._shipped else ()))

    def refresh(self) -> None:
        """Look for packages that were put into the folders since, and again at those that were broken."""
        with self._lock:
            self._broken.clear()
            for folder in self._folders:
                self._scan(folder)

    def named(self, place: str) -> str:
        """Return the name of the avatar whose package lies at `place`, a path inside one of the folders or relative to one.

        Raises:
            Forbidden: the path leads elsewhere.
            UnknownAvatar: there is no package.
            InvalidAvatar: it is broken, or another package has its name.
        """
        self.refresh()
        package = self._inside(place)
        with self._lock:
            name = next((name for name, path in self._paths.items() if path.resolve() == package), None)
            if name is not None:
                return name
            fault = next((fault for path, fault in self._broken.items() if path.resolve() == package), None)
        if fault is not None:
            raise InvalidAvatar(fault)
        if not (package / MANIFEST_NAME).is_file():
            raise UnknownAvatar(
                f"there is no avatar package at {place[:256]!r}: a package is a folder with {MANIFEST_NAME}, directly inside "
                "one of the server's avatar folders"
            )
        taken = read_manifest(package).name
        raise InvalidAvatar(
            f"the package at {place[:256]!r} is called {taken!r}, as another one; rename either of them"
        )

    def _inside(self, place: str) -> Path:
        try:
            for folder in self._folders:
                path: Path = (folder / place).resolve()
                if path.is_relative_to(folder.resolve()) and path.is_dir():
                    return path
        except (OSError, ValueError, RuntimeError):
            pass  # a null byte, a loop of links, a name that is too long: none of them is inside
        raise Forbidden(
            f"package_dir {place[:256]!r} is no folder inside the server's avatar folders; put the package into one of "
            "them (the setting avatar_folders), or give its name alone"
        )

    def infos(self) -> list[AvatarInfo]:
        """Return the avatars whose `avatar.toml` is sound and that have not failed to load, by name."""
        with self._lock:
            return [self._infos[name] for name in self._usable()]

    def broken(self) -> dict[Path, str]:
        """Return what is wrong with each package that cannot be used, by its folder. For the operator, not visitors."""
        with self._lock:
            return dict(self._broken)

    def folder(self, name: str) -> Path | None:
        """Return the package of a name, be it sound or not; None where there is none."""
        return self._paths.get(name)

    def get(self, name: str) -> AnyAvatar:
        """Return an avatar, loading it if nobody has asked for it yet.

        Raises:
            UnknownAvatar: there is none of that name; the message tells which there are.
            InvalidAvatar: its package is broken; the message tells how.
        """
        with self._lock:
            if name in self._loaded:
                return self._loaded[name]
            folder = self._paths.get(name)
            if folder is None:
                known = ", ".join(self._usable()) or "none"
                raise UnknownAvatar(f"there is no avatar {name[:64]!r}; installed: {known}")
            if folder in self._broken:
                raise InvalidAvatar(self._broken[folder])
            try:
                avatar = load_avatar(folder)
            except InvalidAvatar as error:
                self._note_broken(folder, error)
                raise
            self._loaded[name] = avatar
            return avatar

    def _usable(self) -> list[str]:
        return sorted(name for name, folder in self._paths.items() if folder not in self._broken)

    def _scan(self, folder: Path) -> None:
        try:
            # A hidden folder is a package in the making.
            visible = (path for path in folder.iterdir() if not path.name.startswith("."))
            packages = sorted(path for path in visible if (path / MANIFEST_NAME).is_file())
        except OSError as error:
            _log.warning("avatar folder skipped folder=%s reason=%s", folder, error.strerror)
            return
        for package in packages:
            if package in self._paths.values():
                continue
            try:
                manifest = read_manifest(package)
            except InvalidAvatar as error:
                self._note_broken(package, error)
                continue
            if manifest.name in self._infos:
                _log.info("avatar skipped name=%s folder=%s reason=name_taken", manifest.name, package)
                continue
            self._infos[manifest.name] = AvatarInfo.of(manifest)
            self._paths[manifest.name] = package

    def _note_broken(self, folder: Path, error: InvalidAvatar) -> None:
        self._broken[folder] = error.message
        _log.error("avatar broken folder=%s reason=%s", folder, error.message)
