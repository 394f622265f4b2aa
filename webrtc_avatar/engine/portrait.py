"""The model of portraits: the ear of drawn avatars, and a mouth that is the photo's own, moved (`avatar.portrait_mouth`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from webrtc_avatar.avatar.compose import i420
from webrtc_avatar.avatar.files import read_arrays
from webrtc_avatar.avatar.package import Avatar
from webrtc_avatar.avatar.portrait_lips import WEIGHTS
from webrtc_avatar.avatar.portrait_mouth import STEP_PX, MouthArt, MouthPainter
from webrtc_avatar.engine.model import Crops, Floats
from webrtc_avatar.engine.runtime import Runtime
from webrtc_avatar.engine.viseme import VisemeModel
from webrtc_avatar.errors import InvalidAvatar


class PortraitModel(VisemeModel):
    """The model of one portrait: the ear runs in one batch; mouths do on a GPU that torch runs, on a CPU one by one."""

    def _drawer(self, avatar: Avatar, runtime: Runtime) -> Callable[[Floats], Crops]:
        if avatar.model.weights != WEIGHTS:
            raise InvalidAvatar(
                f"avatar {avatar.name!r}: a portrait's mouth moves by the weights {', '.join(WEIGHTS)}, in this order; "
                f"avatar.toml has {', '.join(avatar.model.weights)}; create it again"
            )
        if runtime.name.startswith("torch") and runtime.device != "cpu":
            from webrtc_avatar.engine.portrait_torch import TorchMouthPainter

            batch = TorchMouthPainter(read_art(avatar), _fine(avatar), runtime.device)
            return lambda weights: np.stack([i420(picture) for picture in batch.draw(weights)])
        return drawer(avatar)


def drawer(avatar: Avatar) -> Callable[[Floats], Crops]:
    """Return what draws a portrait's mouths on the CPU: from weights (n, 12) to I420 uint8 (n, height * 3 / 2, width).

    Raises:
        InvalidAvatar: what it draws with is damaged or missing.
    """
    painter = MouthPainter(read_art(avatar), _fine(avatar))
    return lambda weights: np.stack([i420(painter.draw(row)) for row in np.asarray(weights, np.float32)])


def _fine(avatar: Avatar) -> Crops:
    if avatar.fine is None:
        raise InvalidAvatar(f"avatar {avatar.name!r}: a portrait needs [plate] fine; create it again")
    left, top, right, bottom = avatar.mouth_box
    return np.ascontiguousarray(avatar.fine[2 * top : 2 * bottom, 2 * left : 2 * right])


def read_art(avatar: Avatar) -> MouthArt:
    """Return what a portrait's mouth is drawn with.

    Raises:
        InvalidAvatar: a part is missing or has another shape or type.
    """
    path = avatar.model.mouth
    arrays = read_arrays(path.parent, path.name)
    width, height = avatar.model.crop_size
    inner = arrays.get("inner")
    if inner is None or inner.shape != (4,) or inner.dtype != np.int32:
        raise _wrong(avatar, "inner", inner, "int32 (4,)")
    left, top, right, bottom = (int(side) for side in inner)
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise _wrong(avatar, "inner", inner, f"a rectangle within {width}x{height}")
    size = (bottom - top, right - left)
    expected: dict[str, tuple[type[np.generic], tuple[int, ...]]] = {
        "fields": (np.float16, (2, len(WEIGHTS), -(-height // STEP_PX), -(-width // STEP_PX), 2)),
        "above": (np.uint8, (2 * height, 2 * width)),
        "cavity": (np.uint8, (*size, 3)),
        "upper_teeth": (np.uint8, (*size, 4)),
        "lower_teeth": (np.uint8, (*size, 4)),
        "tongue": (np.uint8, (*size, 4)),
        "axis": (np.float32, (4,)),
    }
    for name, (dtype, shape) in expected.items():
        found = arrays.get(name)
        if found is None or found.dtype != dtype or found.shape != shape:
            raise _wrong(avatar, name, found, f"{np.dtype(dtype)} {shape}")
    if (
        not np.isfinite(arrays["fields"]).all()
        or not np.isfinite(arrays["axis"]).all()
        or not 1 <= arrays["axis"][2] <= width
    ):
        raise _wrong(avatar, "fields", arrays["fields"], "finite numbers, and half the mouth's width within the box")
    return MouthArt(**{name: arrays[name] for name in ("inner", *expected)})


def _wrong(avatar: Avatar, name: str, found: npt.NDArray[Any] | None, expected: str) -> InvalidAvatar:
    got = "nothing" if found is None else f"{found.dtype} {found.shape}"
    return InvalidAvatar(
        f"avatar {avatar.name!r}: {avatar.model.mouth.name} has {got} as {name!r}, expected {expected}; create it again"
    )
