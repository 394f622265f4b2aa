"""The painter of any avatar, made once for all who ask."""

from __future__ import annotations

import threading
from weakref import ReferenceType, WeakKeyDictionary, ref

from webrtc_avatar.avatar.drawn_painter import DrawnPainter
from webrtc_avatar.avatar.package import AnyAvatar, Avatar
from webrtc_avatar.avatar.painter import Painter

_painters: WeakKeyDictionary[AnyAvatar, ReferenceType[Painter]] = WeakKeyDictionary()
"""References, for a painter may hold its avatar, which would then never go."""

_lock = threading.Lock()


def painter_of(avatar: AnyAvatar) -> Painter:
    """Return the avatar's painter, the same one as long as somebody holds it; any number of threads share it.

    Raises:
        InvalidAvatar: its pictures cannot be drawn.
    """
    with _lock:
        known = _painters.get(avatar)
        painter = known() if known is not None else None
        if painter is None:
            painter = _make(avatar)
            _painters[avatar] = ref(painter)
        return painter


def _make(avatar: AnyAvatar) -> Painter:
    if isinstance(avatar, Avatar):
        return DrawnPainter(avatar)
    from webrtc_avatar.avatar.footage_painter import FootagePainter

    return FootagePainter(avatar)
