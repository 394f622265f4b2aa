"""What two machines must hold alike of an avatar, in 32 bytes: the manifest, the networks, where the faces are."""

from __future__ import annotations

import hashlib
import threading
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

from webrtc_avatar.avatar.manifest import MANIFEST_NAME
from webrtc_avatar.engine.kinds import network_files

if TYPE_CHECKING:
    from webrtc_avatar.avatar.package import AnyAvatar

_BLOCK_BYTES = 1 << 20

_lock = threading.Lock()
_known: weakref.WeakKeyDictionary[AnyAvatar, bytes] = weakref.WeakKeyDictionary()


def content_fingerprint(avatar: AnyAvatar) -> bytes:
    """Return the SHA-256 of an avatar's manifest, networks, features, boxes and number of frames.

    Pictures are not read, for there may be gigabytes of them: of footage, the boxes of all frames tell one from another. The
    first call reads the networks; calls after it are free.

    Raises:
        OSError: a file is gone.
    """
    with _lock:
        known = _known.get(avatar)
        if known is not None:
            return known
        digest = hashlib.sha256()
        manifest = avatar.folder / MANIFEST_NAME
        _add(digest, MANIFEST_NAME, manifest.read_bytes().replace(b"\r\n", b"\n"))
        features = getattr(avatar.model, "features", None)
        paths = {*network_files(avatar.model), *([features] if isinstance(features, Path) else [])}
        for path in sorted(paths):
            _add(digest, path.relative_to(avatar.folder).as_posix(), _content(path))
        boxes = getattr(avatar, "boxes", None)
        if boxes is not None:
            _add(digest, f"boxes of {len(boxes)} frames", boxes.astype("<i4").tobytes())
        _known[avatar] = digest.digest()
        return _known[avatar]


def _content(path: Path) -> bytes:
    content = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            content.update(block)
    return content.digest()


def _add(digest: hashlib._Hash, name: str, content: bytes) -> None:
    """Add a part in such a way that no other parts give the same bytes."""
    digest.update(f"{len(name)} {name} {len(content)} ".encode())
    digest.update(content)
