"""A package in the making: it grows in a hidden folder beside its place and moves there whole, or leaves nothing behind."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import cv2
import numpy as np

from webrtc_avatar.avatar.footage_frames import Picture
from webrtc_avatar.avatar.manifest import MANIFEST_NAME
from webrtc_avatar.avatar.package import load_avatar
from webrtc_avatar.errors import AvatarExists, CannotImport

Progress = Callable[[str, int, int], None]
"""Takes what is being done, how much of it is done, and how much there is."""

JPEG_QUALITY = 95
_SPARE_BYTES = 256 * 1024 * 1024

Table = Mapping[str, str | int]


class Draft:
    """A folder that becomes `into/name`.

    Args:
        into: the folder of packages; made where it does not exist.
        name: of the avatar.
        force: take the place of a package that is there.

    Attributes:
        folder: where the package's files go meanwhile.
        warnings: what people should know about what was read.

    Raises:
        AvatarExists: the place is taken.
        CannotImport: the place cannot be written to.
    """

    def __init__(self, into: Path, name: str, *, force: bool) -> None:
        self._place, self._force = into / name, force
        self._made = [folder for folder in (into, *into.parents) if not folder.exists()]
        self._refuse_taken()
        try:
            into.mkdir(parents=True, exist_ok=True)
            self.folder = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=into))
            self.folder.chmod(0o755)
        except OSError as error:
            raise CannotImport(
                f"{into} cannot be written to: {error.strerror}; choose another folder with --into"
            ) from error
        self.warnings: list[str] = []

    def _refuse_taken(self) -> None:
        if not self._force and (self._place.exists() or self._place.is_symlink()):
            raise AvatarExists(f"{self._place} is there already; choose another --name, or replace it with --force")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.folder.exists():
            shutil.rmtree(self.folder)
            for folder in self._made:
                if not any(folder.iterdir()):
                    folder.rmdir()
        if isinstance(error, OSError):
            raise CannotImport(
                f"{error.filename or self.folder} cannot be read or written: {error.strerror}"
            ) from error

    def need_bytes(self, needed: int) -> None:
        """Raise CannotImport where the disk does not hold so much."""
        free = shutil.disk_usage(self.folder).free
        if needed + _SPARE_BYTES > free:
            raise CannotImport(
                f"the package takes about {needed / 1e9:.1f} GB, {self.folder.parent} has {free / 1e9:.1f} GB free; "
                "make room, or choose another folder with --into"
            )

    def write_frame(self, number: int, picture: Picture) -> None:
        """Write a frame, BGR, as JPEG."""
        _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        self.copy_frame(number, np.asarray(data).tobytes(), "jpg")

    def copy_frame(self, number: int, data: bytes, frame_type: str) -> None:
        """Write a frame as it was found."""
        path = self.folder / "frames" / f"{number:06d}.{frame_type}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)

    def write_manifest(self, top: Table, sections: Mapping[str, Table]) -> None:
        """Write `avatar.toml`."""
        lines = [f"{key} = {_toml(value)}" for key, value in top.items()]
        for title, section in sections.items():
            lines += ["", f"[{title}]", *(f"{key} = {_toml(value)}" for key, value in section.items())]
        (self.folder / MANIFEST_NAME).write_text("\n".join(lines) + "\n", encoding="utf-8")

    def finish(self) -> Path:
        """Check the package as a server would, move it to its place, and return that.

        Raises:
            AvatarExists: the place was taken meanwhile.
            InvalidAvatar: what was made is no sound package.
        """
        load_avatar(self.folder)
        self._refuse_taken()
        former: Path | None = None
        if self._place.exists() or self._place.is_symlink():
            former = Path(tempfile.mkdtemp(prefix=f".{self._place.name}-former-", dir=self._place.parent)) / "former"
            self._place.rename(former)
        try:
            self.folder.rename(self._place)
        except OSError:
            if former is not None:
                former.rename(self._place)
                former.parent.rmdir()
            raise
        if former is not None:
            shutil.rmtree(former.parent)
        return self._place


def _toml(value: str | int) -> str:
    return str(value) if isinstance(value, int) else json.dumps(value, ensure_ascii=False)
