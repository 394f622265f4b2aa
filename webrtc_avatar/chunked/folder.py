"""The folder of one server's streams: its own while it runs, and deleted by the next server if it could not do that itself."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from webrtc_avatar.errors import InvalidSettings

log = logging.getLogger(__name__)

_LOCK = ".lock"
_PREFIX = "server-"


def own_folder(parent: Path | None) -> tuple[Path, IO[bytes]]:
    """Return a new folder, and the lock that says that it is in use; delete those of servers that are gone.

    Any number of servers may share a parent, and start at the same time. A lock is gone with its process, however that ended. Where
    the system has no such locks (Windows), nothing of other servers is deleted.

    Args:
        parent: where it is made; none: a folder of this user's in the system's temporary one.

    Raises:
        InvalidSettings: nothing can be written there.
    """
    try:
        parent = parent or _of_this_user()
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _alone(parent):
            for folder in parent.glob(f"{_PREFIX}*"):
                if folder.is_dir() and not folder.is_symlink() and _is_abandoned(folder):
                    log.info("deleted what a server that is gone had left: %s", folder.name)
                    shutil.rmtree(folder, ignore_errors=True)
            own = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
            lock = (own / _LOCK).open("wb")
            _lock(lock.fileno(), wait=False)
            return own, lock
    except OSError as error:
        raise InvalidSettings(
            f"streams cannot be written to {parent} ({error.strerror or error}); set hls_folder to a folder that this user may write to"
        ) from error


def _of_this_user() -> Path:
    """Return a folder that nobody else could have prepared."""
    user = os.getuid() if hasattr(os, "getuid") else "all"
    folder = Path(tempfile.gettempdir()) / f"webrtc-avatar-hls-{user}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or (hasattr(os, "getuid") and folder.lstat().st_uid != user):
        return Path(tempfile.mkdtemp(prefix="webrtc-avatar-hls-"))
    return folder


@contextmanager
def _alone(parent: Path) -> Iterator[None]:
    """Keep other servers from looking meanwhile: a folder that is not locked yet would seem to be abandoned."""
    if os.name == "nt":
        yield
        return
    gate = os.open(parent, os.O_RDONLY)
    try:
        _lock(gate, wait=True)
        yield
    finally:
        os.close(gate)


def _is_abandoned(folder: Path) -> bool:
    if os.name == "nt":
        return False
    try:
        with (folder / _LOCK).open("rb+") as file:
            return _lock(file.fileno(), wait=False)
    except FileNotFoundError:
        return True  # its server went between making it and locking it
    except OSError:
        return False  # another user's


def _lock(file: int, *, wait: bool) -> bool:
    """Lock an open file or folder and return true, or false where another process has; it is unlocked when it is closed, or its process dies."""
    try:
        import fcntl
    except ImportError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True
