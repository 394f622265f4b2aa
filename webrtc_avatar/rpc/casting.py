"""Avatars that are ready to perform for calls, by name, and what is counted of each."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from concurrent.futures import Executor
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from webrtc_avatar.avatar.arkit import weight_order
from webrtc_avatar.avatar.library import Library
from webrtc_avatar.avatar.package import AnyAvatar, Avatar
from webrtc_avatar.avatar.painter import Painter
from webrtc_avatar.avatar.painters import painter_of
from webrtc_avatar.avatar.watermark import NO_WATERMARKS, Watermark, Watermarks
from webrtc_avatar.engine import AnyEngine, Face
from webrtc_avatar.errors import InvalidRequest
from webrtc_avatar.media.marking import OF_NOBODY, Marking


@dataclass(slots=True)
class Counts:
    """What was rendered of one avatar for calls.

    Attributes:
        frames: asked for and answered, failed ones included.
        rendered: those that a model made.
        total_s: sum of the times of the model calls that made them, one a frame.
        min_s: shortest of those calls; 0 before the first.
        max_s: longest.
    """

    frames: int = 0
    rendered: int = 0
    total_s: float = 0.0
    min_s: float = 0.0
    max_s: float = 0.0

    def add(self, face: Face) -> None:
        """Count one answer of the engine."""
        self.frames += 1
        if face.crop is None:
            return
        self.min_s = min(self.min_s, face.run_s) if self.rendered else face.run_s
        self.max_s = max(self.max_s, face.run_s)
        self.total_s += face.run_s
        self.rendered += 1


@dataclass(frozen=True, slots=True, eq=False)
class Cast:
    """An avatar with all that calls need of it.

    Attributes:
        avatar: the package.
        painter: draws its frames.
        chunks_before: chunks before a frame's own that its model hears, of those that it is given.
        chunks_after: chunks after it that it waits for in live sessions.
        weight_order: where the mouth weights that become blendshapes are among the model's; None: it yields others, or none.
        counts: see `Counts`.
        marking: what its pictures say of their origin.
        watermark: burned into whole frames; None: none is.
    """

    avatar: AnyAvatar
    painter: Painter
    chunks_before: int
    chunks_after: int
    weight_order: npt.NDArray[np.intp] | None = None
    counts: Counts = field(default_factory=Counts)
    marking: Marking = OF_NOBODY
    watermark: Watermark | None = None


class Casting:
    """Loads avatars when they are first asked for. Lives on the event loop.

    Args:
        library: what is installed.
        engine: a started engine.
        pool: threads for what reads files.
        watermarks: what is burned into whole frames.
    """

    def __init__(
        self, library: Library, engine: AnyEngine, pool: Executor, watermarks: Watermarks = NO_WATERMARKS
    ) -> None:
        self._library = library
        self._engine = engine
        self._pool = pool
        self._watermarks = watermarks
        self._casts: dict[str, Cast] = {}
        self._counts: defaultdict[str, Counts] = defaultdict(Counts)

    async def get(self, name: str) -> Cast:
        """Return an avatar whose model is loaded.

        Raises:
            InvalidRequest: no name.
            UnknownAvatar: no avatar of that name is installed; the message names those that are.
            InvalidAvatar: its package or its networks are broken.
        """
        if not name:
            installed = ", ".join(info.name for info in self._library.infos())
            raise InvalidRequest(f"model_name is missing; installed: {installed or 'none'}")
        cast = self._casts.get(name)
        if cast is not None:
            # No thread is asked where all is there: that would cost a call of one frame a tenth of its time.
            loading = self._engine.load(cast.avatar)
            if loading.done() and loading.exception() is None:
                return cast
        avatar = await asyncio.get_running_loop().run_in_executor(self._pool, self._library.get, name)
        # Shielded: a caller that goes away must not cancel the load for those who wait beside it.
        model = await asyncio.shield(asyncio.wrap_future(self._engine.load(avatar)))
        cast = self._casts.get(name)  # callers who came at the same time may have made it meanwhile
        if cast is None or cast.avatar is not avatar:
            painter = await asyncio.get_running_loop().run_in_executor(self._pool, painter_of, avatar)
            order = weight_order(avatar.model.weights) if isinstance(avatar, Avatar) else None
            reach = (model.chunks_before, model.chunks_after)
            cast = self._casts[name] = Cast(
                avatar, painter, *reach, weight_order=order, counts=self._counts[name],
                marking=Marking(name), watermark=self._watermarks.of(avatar),
            )  # fmt: skip
        return cast

    def known(self, name: str) -> Cast | None:
        """Return an avatar that was asked for before, or None."""
        return self._casts.get(name)

    def loaded(self) -> list[str]:
        """Return the names of the avatars whose networks are in memory; faces that visitors uploaded are nobody else's business."""
        models = self._engine.status().models
        return sorted(model.name for model in models if model.devices and self._library.folder(model.name) is not None)
