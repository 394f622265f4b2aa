"""One caller's stream when engines are elsewhere: it keeps the newest sound, so that any engine can go on with it at any time.

When an engine goes away, frames that somebody waits for in real time fail at once; bulk frames are asked for again. The next chunk
goes to another engine, or to the same one when it is back, after the sound that a frame there must have heard.
"""

from __future__ import annotations

import logging
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from webrtc_avatar.audio.chunk import CHUNK_SAMPLES
from webrtc_avatar.engine.model import WINDOW_CHUNKS_AFTER, WINDOW_CHUNKS_BEFORE, Floats
from webrtc_avatar.engine.remote_connection import RemoteModel
from webrtc_avatar.engine.remote_link import Link, Question
from webrtc_avatar.engine.request import Face
from webrtc_avatar.errors import AvatarServerError, EngineFailure, InvalidAudio
from webrtc_avatar.rpc import engine_pb2 as messages
from webrtc_avatar.rpc.engine_wire import from_face

if TYPE_CHECKING:
    from webrtc_avatar.engine.remote import RemoteEngine

log = logging.getLogger(__name__)

_MARGIN_CHUNKS = 4
"""Kept beyond what a model says that it hears: spectra reach a little further."""
_MOST_LOSSES = 3
"""So many engines in a row may go away over a bulk frame before it counts as the frame's fault."""
_WAIT_FOR_ANOTHER_S = 10.0
_MOST_ASKED = 256
"""Frames of a live stream that may wait for their faces: ten seconds of them."""


class RemoteStream:
    """A caller's hand on a stream; see `engine.stream.Stream`. One that is forgotten gets its answers, and then closes."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._forget = weakref.finalize(self, caller.forget)
        self._forget.atexit = False

    @property
    def chunks_after(self) -> int:
        """Chunks of look-ahead."""
        return self._caller.chunks_after

    def push(
        self, samples: Floats, *, index: int, deadline_s: float | None, epoch: int, base: int | None = None
    ) -> None:
        """Hand over a chunk; see `Stream.push`."""
        if samples.shape != (CHUNK_SAMPLES,) or samples.dtype != np.float32:
            raise InvalidAudio(f"a chunk is float32 ({CHUNK_SAMPLES},) at 16 kHz; got {samples.dtype} {samples.shape}")
        chunk = messages.Chunk(index=index, samples=np.asarray(samples, "<f4").tobytes(), base=base)
        question = Question(messages.Ask(chunk=chunk, epoch=epoch), deadline_s, index)
        self._caller.post(self._caller.hear, question)

    takes_weights = False

    def show(self, weights: Floats, *, index: int, deadline_s: float, epoch: int) -> None:
        """Refuse: engines on other machines hear the sound themselves."""
        raise EngineFailure("an engine on another machine makes mouths of sound alone; push the sound")

    def finish(
        self,
        *,
        index: int,
        deadline_s: float,
        epoch: int,
        frames: range | None = None,
        bases: Callable[[int], int] | None = None,
    ) -> None:
        """End the sound; see `Stream.finish`."""
        every = range(index, index + self.chunks_after)
        wanted = every if frames is None else range(max(index, frames.start), min(every.stop, frames.stop))
        finish = messages.Finish(
            index=index,
            bases=[bases(frame) if bases is not None and frame in wanted else frame for frame in every],
            first=wanted.start,
            end=wanted.stop,
        )
        self._caller.post(self._caller.end, Question(messages.Ask(finish=finish, epoch=epoch), deadline_s), wanted)

    def request(self, frame: int, *, index: int, deadline_s: float, epoch: int, base: int) -> None:
        """Ask for a frame with the package's features; see `Stream.request`."""
        ask = messages.Ask(frame=messages.Frame(frame=frame, index=index, base=base), epoch=epoch)
        self._caller.post(self._caller.look_up, Question(ask, deadline_s), index)

    def reset(self, epoch: int) -> None:
        """Begin a new epoch; see `Stream.reset`."""
        self._caller.epoch = epoch
        self._caller.post(self._caller.begin, epoch)

    def close(self) -> None:
        """Drop what waits; see `Stream.close`."""
        self._forget.detach()
        self._caller.closed = True
        self._caller.post(self._caller.leave)


class Caller:
    """What a stream is on the engine's loop; only `epoch` and `closed` are written elsewhere.

    Args:
        engine: finds engines.
        name: the avatar's.
        fingerprint: of its package.
        model: what engines say of it.
        on_face, on_batch, on_stop, first_chunk, windowed, bulk: see `Engine.open`.
    """

    def __init__(
        self,
        engine: RemoteEngine,
        name: str,
        fingerprint: bytes,
        model: RemoteModel,
        *,
        on_face: Callable[[Face], None],
        on_batch: Callable[[], None] | None,
        on_stop: Callable[[], None] | None,
        first_chunk: int,
        windowed: bool,
        bulk: bool,
    ) -> None:
        self.epoch = 0
        self.closed = False
        self.name = name
        self.on_stop = on_stop
        self.chunks_after = WINDOW_CHUNKS_AFTER if windowed else model.chunks_after
        before = WINDOW_CHUNKS_BEFORE if windowed else model.chunks_before
        self._heard_by_a_frame = before + 1 + self.chunks_after + _MARGIN_CHUNKS
        self._engine = engine
        self._fingerprint = fingerprint
        self._on_face = on_face
        self._on_batch = on_batch
        self._first_chunk = first_chunk
        self._windowed = windowed
        self._bulk = bulk
        self._link: Link | None = None
        self._sound_epoch = 0
        self._sound_start: int | None = None
        self._heard = 0
        self._kept: deque[Question] = deque()
        self._asked: dict[tuple[int, int], Question] = {}
        self._losses = 0
        self._forgotten = False
        self.post = engine.post

    def hear(self, question: Question) -> None:
        """Take the next chunk."""
        epoch, index = question.ask.epoch, question.index
        if self.closed or epoch != self.epoch or index is None:
            return
        if epoch != self._sound_epoch or self._sound_start is None:
            self._sound_epoch, self._sound_start = epoch, index
            self._heard = 0
            self._kept.clear()
        self._heard += 1
        self._kept.append(question)
        if self._heard <= self.chunks_after:
            question.deadline_s = None
        keys = [] if question.deadline_s is None else [(epoch, index - self.chunks_after)]
        self._hand_over(question, keys)
        self._drop_old_sound(index)

    def end(self, question: Question, wanted: range) -> None:
        """Take the end of the sound."""
        if self.closed or question.ask.epoch != self.epoch:
            return
        lacking = range(wanted.start, min(wanted.stop, question.ask.finish.index + self._heard))
        self._hand_over(question, [(question.ask.epoch, frame) for frame in lacking])

    def look_up(self, question: Question, index: int) -> None:
        """Take a question for a frame with the package's features."""
        if not self.closed and question.ask.epoch == self.epoch:
            self._hand_over(question, [(question.ask.epoch, index)])

    def begin(self, epoch: int) -> None:
        """Begin an epoch."""
        self._kept.clear()
        self._asked.clear()
        self._sound_start = None
        if self._link is not None:
            self._link.send(Question(messages.Ask(reset=epoch)))

    def leave(self) -> None:
        """End the stream; calling it twice is fine."""
        self.closed = True
        self._asked.clear()
        self._kept.clear()
        if self._link is not None:
            self._link.close()
            self._link = None
        self._engine.forget(self)

    def forget(self) -> None:
        """Take the news that nobody holds the stream any more."""
        self.post(self._leave_when_answered)

    def fail(self, error: AvatarServerError) -> None:
        """Answer everything that is asked for with an error."""
        faces = [Face(index=index, epoch=epoch, error=error) for epoch, index in self._asked]
        self._asked.clear()
        self._answer(faces)

    def _leave_when_answered(self) -> None:
        self._forgotten = True
        if not self._asked:
            self.leave()

    def _hand_over(self, question: Question, keys: Sequence[tuple[int, int]]) -> None:
        link = self._link
        leaving = link is not None and link.connection.status.draining
        if link is not None and leaving and not self._asked and self._engine.choose(self.name):
            link.close()  # nothing waits there, and another one is well
            self._link = link = None
        self._asked.update(dict.fromkeys(keys, question))
        if link is not None:
            link.send(question)
        elif not self._attach() and keys:
            self._without_engine()

    def _attach(self) -> bool:
        """Go on with an engine that is well, if there is one."""
        connection = self._engine.choose(self.name)
        if connection is None:
            return False
        first_chunk = self._first_chunk
        if self._kept and self._sound_start is not None:
            first_chunk += self._kept[0].ask.chunk.index - self._sound_start
        asked = {id(question) for question in self._asked.values()}
        again = [question if id(question) in asked else Question(question.ask) for question in self._kept]
        kept = {id(question) for question in self._kept}
        others = {id(question): question for question in self._asked.values() if id(question) not in kept}
        self._link = Link(
            connection,
            messages.Open(
                avatar=self.name,
                fingerprint=self._fingerprint,
                first_chunk=first_chunk,
                windowed=self._windowed,
                bulk=self._bulk,
                epoch=self.epoch,
            ),
            [*again, *others.values()],
            on_faces=self._take,
            on_end=self._lost,
        )
        return True

    def _take(self, faces: Sequence[messages.Face]) -> None:
        wanted = [face for face in faces if self._asked.pop((face.epoch, face.index), None) is not None]
        if wanted:
            self._losses = 0
            self._answer([from_face(face) for face in wanted])
        if self._forgotten and not self._asked:
            self.leave()

    def _lost(self, link: Link, error: AvatarServerError) -> None:
        link.connection.refused(self.name, error)
        if link is not self._link:
            return
        self._link = None
        if self.closed or not self._asked:
            return
        self._losses += 1
        if not self._bulk or self._losses >= _MOST_LOSSES:
            self.fail(error)
        elif not self._attach():
            self._without_engine()

    def _without_engine(self) -> None:
        """Fail what somebody waits for in real time; let bulk work wait a little for an engine."""
        if not self._bulk:
            self.fail(self._engine.no_engine(self.name))
            return
        self._engine.when_ready(self.name, _WAIT_FOR_ANOTHER_S, self._resume)

    def _resume(self, error: AvatarServerError | None) -> None:
        if self.closed or self._link is not None or not self._asked or self._attach():
            return
        self.fail(error or self._engine.no_engine(self.name))

    def _answer(self, faces: Sequence[Face]) -> None:
        try:
            for face in faces:
                if not self.closed and face.epoch == self.epoch:
                    self._engine.count(face)
                    self._on_face(face)
            if self._on_batch is not None:
                self._on_batch()
        except Exception:  # a receiver that went away must not stop the others' faces
            log.exception("a face could not be delivered")

    def _drop_old_sound(self, newest: int) -> None:
        """Forget the sound that no frame that is asked for, or will be, has to hear again."""
        while len(self._asked) > _MOST_ASKED and not self._bulk:
            self._asked.pop(next(iter(self._asked)))  # whoever asked in real time has long ceased to wait
        oldest = newest
        for (_, frame), question in self._asked.items():
            oldest = frame + self.chunks_after if question.index is not None else newest
            break
        while self._kept and (self._kept[0].index or 0) < oldest - self._heard_by_a_frame + 1:
            self._kept.popleft()
