"""What sessions, calls and films see of an engine: the one in this process, or others on other machines."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Protocol

from webrtc_avatar.engine.model import Floats
from webrtc_avatar.engine.request import Face
from webrtc_avatar.engine.status import EngineStatus

if TYPE_CHECKING:
    from webrtc_avatar.avatar.package import AnyAvatar


class Reach(Protocol):
    """What a loaded model tells of itself, wherever it is.

    Attributes:
        chunks_before: chunks before a frame's own that reach it.
        chunks_after: chunks after it that a live frame waits for.
    """

    @property
    def chunks_before(self) -> int: ...  # noqa: D102

    @property
    def chunks_after(self) -> int: ...  # noqa: D102


class AnyStream(Protocol):
    """One caller's hand on an engine; see `engine.stream.Stream` for what the methods do. None of them waits."""

    @property
    def chunks_after(self) -> int:
        """Chunks of look-ahead: frame n is rendered when chunk n + chunks_after is pushed."""

    def push(
        self, samples: Floats, *, index: int, deadline_s: float | None, epoch: int, base: int | None = None
    ) -> None:
        """Hand over chunk `index`, and ask for frame `index - chunks_after` if there is a deadline."""

    def finish(
        self,
        *,
        index: int,
        deadline_s: float,
        epoch: int,
        frames: range | None = None,
        bases: Callable[[int], int] | None = None,
    ) -> None:
        """End the sound and ask for the frames that still lack chunks."""

    takes_weights: bool
    """Whether `show` can be called, for avatars whose model has weights."""

    def show(self, weights: Floats, *, index: int, deadline_s: float, epoch: int) -> None:
        """Ask for a frame with a mouth that is known."""

    def request(self, frame: int, *, index: int, deadline_s: float, epoch: int, base: int) -> None:
        """Ask for a frame with the features that the avatar's package brings."""

    def reset(self, epoch: int) -> None:
        """Begin a new epoch: whatever waits is stale from now on."""

    def close(self) -> None:
        """Drop what waits; calling it twice is fine."""


class AnyEngine(Protocol):
    """An engine; see `engine.engine.Engine` for what the methods do and raise. Any thread may call them."""

    @property
    def runtime_name(self) -> str:
        """What runs the networks, and where."""

    def start(self) -> None:
        """Begin to work. On an event loop's thread, an engine may use that loop until it is closed."""

    def close(self) -> None:
        """Stop, and tell those who wait; calling it twice is fine."""

    def load(self, avatar: AnyAvatar) -> Future[Any]:
        """Load an avatar's model; the future's result is a `Reach`, the same one as long as the same model serves."""

    def unload(self, avatar: AnyAvatar) -> None:
        """Let an avatar's model and its memory go, as soon as nobody uses it."""

    def open(
        self,
        avatar: AnyAvatar,
        on_face: Callable[[Face], None],
        *,
        first_chunk: int = 0,
        windowed: bool = False,
        bulk: bool = False,
        on_batch: Callable[[], None] | None = None,
        on_stop: Callable[[], None] | None = None,
    ) -> AnyStream:
        """Return a stream of an avatar whose `load` is done."""

    def submit(
        self,
        avatar: AnyAvatar,
        frames: Sequence[int],
        on_face: Callable[[Face], None],
        *,
        deadline_s: float = math.inf,
        bases: Sequence[int] | None = None,
    ) -> AnyStream:
        """Ask for frames in any order, with the features that the avatar's package brings."""

    def status(self) -> EngineStatus:
        """Return how the engine stands."""
