"""The model of portraits: the ear of drawn avatars, and a mouth that is the photo's own, moved (`avatar.portrait_mouth`).

All portraits with the same ear render together: sound is heard in one call, and on a GPU that torch runs, all mouths are sampled by one.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

import numpy as np
import numpy.typing as npt

from webrtc_avatar.avatar.compose import i420
from webrtc_avatar.avatar.files import read_arrays
from webrtc_avatar.avatar.package import Avatar
from webrtc_avatar.avatar.portrait_lips import WEIGHTS
from webrtc_avatar.avatar.portrait_mouth import STEP_PX, MouthArt, MouthPainter
from webrtc_avatar.engine.model import Crops, Floats, Job, Rendered
from webrtc_avatar.engine.runtime import Network, Precision, Runtime
from webrtc_avatar.engine.viseme import VisemeModel
from webrtc_avatar.errors import InvalidAvatar

Drawer = Callable[[Sequence[Any], Floats], list[Crops]]
"""Draws mouths, I420 uint8 (height * 3 / 2, width) each: of whom each is, all of one kind, and of weights (frames, 12)."""


class PortraitModel(VisemeModel):
    """The model of one portrait; see `SharingModel` for how several work together.

    Attributes:
        company: those with the same ear.
        memory_bytes: of its mouth; the ear is its company's.
    """

    def __init__(self, avatar: Avatar, runtime: Runtime) -> None:
        """Load the mouth, and the ear unless another portrait has brought it; see `VisemeModel`."""
        ears = _Ears(runtime)
        super().__init__(avatar, ears)
        self.company: Hashable = ("portrait", ears.digest, avatar.model.chunks_after, avatar.model.evaluations)

    def render_for(self, models: Sequence[PortraitModel], jobs: Sequence[Job]) -> list[Rendered]:
        """Return the mouths of several portraits; see `SharingModel.render_for`."""
        mouths = self.mouths(jobs)
        weights = np.stack([model._stronger(row) for model, row in zip(models, mouths, strict=True)])
        crops = self._draw_together([model._mouth for model in models], weights)
        return [Rendered(crop, pose) for crop, pose in zip(crops, weights, strict=True)]

    def _drawer(self, avatar: Avatar, runtime: Runtime) -> Callable[[Floats], Crops]:
        if avatar.model.weights != WEIGHTS:
            raise InvalidAvatar(
                f"avatar {avatar.name!r}: a portrait's mouth moves by the weights {', '.join(WEIGHTS)}, in this order; "
                f"avatar.toml has {', '.join(avatar.model.weights)}; create it again"
            )
        self._mouth: Any
        if runtime.name.startswith("torch") and runtime.device != "cpu":
            from webrtc_avatar.engine.portrait_torch import TorchMouth

            self._mouth = TorchMouth(read_art(avatar), _fine(avatar), runtime.device)
            self._draw_together: Drawer = _drawn_on_device
        else:
            self._mouth = MouthPainter(read_art(avatar), _fine(avatar))
            self._draw_together = _drawn_here
        self.memory_bytes: int = self._mouth.memory_bytes
        # Without a circle, so that its memory goes when its last user does.
        mouth, draw = self._mouth, self._draw_together
        return lambda weights: np.stack(draw([mouth] * len(weights), weights))


def _drawn_on_device(mouths: Sequence[Any], weights: Floats) -> list[Crops]:
    from webrtc_avatar.engine.portrait_torch import draw_mouths

    return [i420(np.ascontiguousarray(crop)) for crop in draw_mouths(mouths, weights)]


def _drawn_here(mouths: Sequence[Any], weights: Floats) -> list[Crops]:
    return [i420(mouth.draw(row)) for mouth, row in zip(mouths, weights, strict=True)]


class _SharedEar:
    """A network that several models use, on threads of their own."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._lock = threading.Lock()

    def __call__(self, inputs: Mapping[str, npt.NDArray[np.float32]]) -> Mapping[str, npt.NDArray[Any]]:
        with self._lock:
            return self._network(inputs)


_shared: WeakKeyDictionary[Runtime, WeakValueDictionary[bytes, _SharedEar]] = WeakKeyDictionary()
_shared_lock = threading.Lock()


class _Ears:
    """A runtime that loads the same ear once, whichever package it comes from.

    Attributes:
        digest: of the ear that was loaded.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.name, self.device, self.precision = runtime.name, runtime.device, runtime.precision
        self.base_cache_mb = runtime.base_cache_mb
        self.digest = b""

    name: str
    device: str
    precision: Precision
    base_cache_mb: int

    def load(self, path: Path, architecture: str) -> Network:
        """Return a network that others may use as well; see `Runtime.load`."""
        try:
            self.digest = hashlib.blake2b(path.read_bytes(), digest_size=16).digest()
        except OSError as error:
            raise InvalidAvatar(f"{path.name} cannot be read: {error.strerror}; create the avatar again") from error
        with _shared_lock:
            known = _shared.setdefault(self._runtime, WeakValueDictionary())
            ear = known.get(self.digest)
            if ear is None:
                ear = known[self.digest] = _SharedEar(self._runtime.load(path, architecture))
            return ear


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
