"""An avatar on stage: its stream in the engine, its actor, and the ticks that are in the making."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field, replace

import numpy as np

from webrtc_avatar.audio.chunk import Chunk, silent_chunk
from webrtc_avatar.avatar.arkit import Values, blendshapes, head_degrees, weight_order
from webrtc_avatar.avatar.casting import AnyActor
from webrtc_avatar.avatar.package import AnyAvatar, Avatar
from webrtc_avatar.engine import AnyEngine, AnyStream, Face
from webrtc_avatar.session.line import Event, Weights, faded
from webrtc_avatar.speech.visemes import WEIGHTS

_BACKLOG_CHUNKS = 25


@dataclass(slots=True)
class Slot:
    """A tick in the making: a chunk that waits for its look-ahead, then for its face, then for its time.

    Attributes:
        index: number of the chunk.
        chunk: the sound that plays in this tick.
        epoch: the epoch in which it arrived.
        voiced: somebody speaks in it or close by, so a face was asked for.
        due_s: when it leaves, known once the look-ahead has arrived.
        face: the engine's answer.
        weights: the mouth where it is known before its sound is heard; see `Spoken`.
        events: what everybody is told when it plays.
    """

    index: int
    chunk: Chunk
    epoch: int
    voiced: bool = False
    due_s: float = 0.0
    face: asyncio.Future[Face] | None = field(default=None)
    weights: Weights | None = None
    events: tuple[Event, ...] = ()

    def silence(self, *, fading: bool = False) -> None:
        """Play nothing in this tick, or, `fading`, what dies away within 5 ms; and tell nothing."""
        silent = silent_chunk(self.chunk.media_time_s, self.chunk.arrived_s)
        self.chunk = replace(silent, sound=faded(self.chunk.sound)) if fading else silent
        self.weights, self.events = None, ()


class Performer:
    """Pairs chunks with faces. Lives on the event loop; the engine's thread only posts faces to it."""

    def __init__(self, avatar: AnyAvatar, actor: AnyActor, engine: AnyEngine, *, epoch: int) -> None:
        """Take an avatar whose model is loaded, and the actor that draws it: made elsewhere, since that takes a while."""
        self.avatar = avatar
        self.actor = actor
        self._weight_order = weight_order(avatar.model.weights) if isinstance(avatar, Avatar) else None
        self._loop = asyncio.get_running_loop()
        self._stream: AnyStream = engine.open(avatar, self._on_face)
        self._stream.reset(epoch)
        self._mouth_order = _mouth_order(avatar) if self._stream.takes_weights else None
        self._waiting: deque[Slot] = deque()
        self._asked: dict[tuple[int, int], asyncio.Future[Face]] = {}
        self._chunks_in_epoch = 0

    @property
    def chunks_after(self) -> int:
        """Chunks of look-ahead, by which the returned sound is delayed."""
        return self._stream.chunks_after

    @property
    def yields_blendshapes(self) -> bool:
        """Whether the model's mouth weights can be told as blendshapes."""
        return self._weight_order is not None

    def blendshapes(self, weights: Values | None) -> tuple[Values, Values] | None:
        """Return the face that the actor drew last, as `Blendshapes.values` and `head_deg`, if it can be told.

        Args:
            weights: the model's weights for the mouth that the actor was given last; None if it was given none yet.
        """
        pose = self.actor.pose
        if self._weight_order is None or pose is None:
            return None
        share = self.actor.mouth_share
        mouth = None if weights is None else share * weights[self._weight_order]
        return blendshapes(mouth, replace(pose, smile=(1 - share) * pose.smile)), head_degrees(pose)

    def add(self, slot: Slot, *, voiced: bool, due_s: float, deadline_s: float) -> Slot | None:
        """Take the newest chunk and return the slot that it completes, or None while look-ahead is missing.

        Args:
            slot: the newest chunk's.
            voiced: ask for the completed slot's face.
            due_s: when the completed slot leaves.
            deadline_s: when its face must be there.
        """
        self._waiting.append(slot)
        self._chunks_in_epoch += 1
        voiced = voiced and self._chunks_in_epoch > self.chunks_after
        ready = self._waiting.popleft() if len(self._waiting) > self.chunks_after else None
        if ready is not None:
            ready.voiced, ready.due_s = voiced, due_s
            if voiced:
                ready.face = self._loop.create_future()
                self._asked[(ready.epoch, ready.index)] = ready.face
                self._forget_old(ready.index)
        knows = ready is not None and voiced and ready.weights is not None and self._mouth_order is not None
        self._stream.push(
            slot.chunk.samples,
            index=slot.index,
            deadline_s=deadline_s if ready is not None and voiced and not knows else None,
            epoch=slot.epoch,
        )
        if knows and ready is not None and ready.weights is not None:
            mouth = np.ascontiguousarray(ready.weights[self._mouth_order])
            self._stream.show(mouth, index=ready.index, deadline_s=deadline_s, epoch=ready.epoch)
        return ready

    def _forget_old(self, index: int) -> None:
        for key in [key for key in self._asked if key[1] < index - _BACKLOG_CHUNKS]:
            self._asked.pop(key).cancel()

    def _on_face(self, face: Face) -> None:
        """Take a face on the engine's thread."""
        try:
            self._loop.call_soon_threadsafe(self._settle, face)
        except RuntimeError:
            return  # the loop is closed: the server is going down and nobody waits for this face

    def _settle(self, face: Face) -> None:
        future = self._asked.pop((face.epoch, face.index), None)
        if future is not None and not future.done():
            future.set_result(face)

    def interrupt(self, epoch: int, *, fading: bool = False) -> None:
        """Silence the sound, the first tick `fading`, and forget the faces that are on their way; the ticks go on."""
        self._stream.reset(epoch)
        self._chunks_in_epoch = 0
        for place, slot in enumerate(self._waiting):
            slot.silence(fading=fading and place == 0)
            slot.epoch = epoch
        for future in self._asked.values():
            future.cancel()
        self._asked.clear()

    def succeed(self, former: Performer) -> None:
        """Take over the sound that waits for its look-ahead, so that a change of avatar leaves no gap."""
        for slot in former._waiting:
            self._waiting.append(replace(slot, voiced=False, face=None))
        former._waiting.clear()
        while len(self._waiting) > self.chunks_after:
            self._waiting.popleft()  # this avatar looks less far ahead

    def close(self) -> None:
        """Leave the stage."""
        self._stream.close()
        self.interrupt(-1)


def _mouth_order(avatar: AnyAvatar) -> list[int] | None:
    """Return the places of a model's weights among those that phonemes give; None where it has others, or none."""
    if not isinstance(avatar, Avatar) or not set(avatar.model.weights) <= set(WEIGHTS):
        return None
    return [WEIGHTS.index(name) for name in avatar.model.weights]
