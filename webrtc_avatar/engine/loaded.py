"""A model that is loaded: on which devices, at what cost, and who uses it."""

from __future__ import annotations

from collections.abc import Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from webrtc_avatar.engine.capacity import Capacity
from webrtc_avatar.engine.model import Model

if TYPE_CHECKING:
    from webrtc_avatar.avatar.package import AnyAvatar

Fingerprint = tuple[tuple[str, int, int], ...]


@dataclass(eq=False, slots=True)
class Place:
    """A model's copy on one device.

    Attributes:
        model: what renders there.
        capacity: what it costs there.
        memory_bytes: what it holds there.
    """

    model: Model
    capacity: Capacity
    memory_bytes: int = 0


def _coming() -> Future[Model]:
    """Return a future that nobody who waits for it can cancel: others wait for it too."""
    future: Future[Model] = Future()
    future.set_running_or_notify_cancel()
    return future


@dataclass(eq=False, slots=True, weakref_slot=True)
class Loaded:
    """One avatar's model; requests for it share batches. `residency` alone writes it.

    Attributes:
        name: the avatar's.
        kind: the model's.
        avatar: the package it came from; None in tests.
        fingerprint: of the package's files when they were loaded.
        places: its copies by the device's number.
        reserved: bytes put by on a device for a copy that is being loaded.
        users: open streams.
        used_s: when it was asked for last.
        future: done once the first copy is there.
        evicted: it is gone, and whoever still holds it must load again.
        unwanted: it goes with its last user.
        company: see `SharingModel`; None: its frames share calls with each other alone.
    """

    name: str
    kind: str = ""
    avatar: AnyAvatar | None = None
    fingerprint: Fingerprint = ()
    places: dict[int, Place] = field(default_factory=dict)
    reserved: dict[int, int] = field(default_factory=dict)
    users: int = 0
    used_s: float = 0.0
    future: Future[Model] = field(default_factory=_coming)
    evicted: bool = False
    unwanted: bool = False
    company: Hashable | None = None

    @property
    def label(self) -> str:
        """What figures call it: those that share calls are one."""
        return self.name if self.company is None else self.kind

    @property
    def model(self) -> Model:
        """The copy that makes tracks and features."""
        return next(iter(self.places.values())).model
