"""The kinds of model that there are, by the name that an avatar's package gives. Each is imported when one is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from webrtc_avatar.engine.model import Model
from webrtc_avatar.engine.runtime import Runtime
from webrtc_avatar.errors import InvalidAvatar

ModelFactory = Callable[[Any, Runtime], Model]
"""Makes the model of an avatar on a runtime; raises InvalidAvatar."""

_KINDS: dict[str, ModelFactory | str] = {
    "viseme_kernel": "webrtc_avatar.engine.viseme:VisemeModel",
    "portrait": "webrtc_avatar.engine.portrait:PortraitModel",
    "synctalk2d": "webrtc_avatar.engine.synctalk:SyncTalkModel",
    "onnx_generator": "webrtc_avatar.engine.synctalk:SyncTalkModel",
}


def register(kind: str, factory: ModelFactory) -> None:
    """Add a kind of model, or put another in its place."""
    _KINDS[kind] = factory


def factory_of(kind: str, avatar_name: str) -> ModelFactory:
    """Return what makes models of a kind.

    Raises:
        InvalidAvatar: there is no such kind.
    """
    factory = _KINDS.get(kind)
    if factory is None:
        raise InvalidAvatar(f"avatar {avatar_name!r} has a model of kind {kind!r}; known are {sorted(_KINDS)}")
    if isinstance(factory, str):
        module, _, name = factory.partition(":")
        found: ModelFactory = getattr(import_module(module), name)
        return found
    return factory


def network_files(spec: Any) -> list[Path]:
    """Return the files of networks that a package's model names, for what they weigh; `features` are none."""
    paths: list[Path] = []
    for name in getattr(spec, "__dataclass_fields__", {}):
        value = getattr(spec, name)
        named = list(value.values()) if isinstance(value, Mapping) else [value]
        paths += [path for path in named if isinstance(path, Path) and name != "features"]
    return paths
