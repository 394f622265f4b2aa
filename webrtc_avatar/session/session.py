"""A session: chunks of sound in, ticks of picture and sound out, on one clock that the sound sets.

Tick n plays chunk n and shows frame n. The sound is delayed by exactly the model's look-ahead, so both leave together. A
face that is late is not waited for: the last one is held and the sound goes on. While nobody speaks no model is called
and the avatar idles. A session knows neither where its sound comes from nor who is watching.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from enum import StrEnum
from functools import partial

import numpy as np
import numpy.typing as npt

from webrtc_avatar.audio.chunk import CHUNK_S, Chunk, silent_chunk
from webrtc_avatar.avatar.casting import AnyActor
from webrtc_avatar.avatar.package import AnyAvatar
from webrtc_avatar.avatar.style import Style
from webrtc_avatar.engine import AnyEngine
from webrtc_avatar.errors import AvatarServerError, NoBlendshapes, SessionClosed
from webrtc_avatar.metrics import Metrics
from webrtc_avatar.session.audience import Audience, Event
from webrtc_avatar.session.drawing import Drawing
from webrtc_avatar.session.figures import Figures
from webrtc_avatar.session.intake import Intake
from webrtc_avatar.session.line import SpeechLine
from webrtc_avatar.session.performer import Performer, Slot
from webrtc_avatar.session.subscription import Blendshapes, Subscription, Tick
from webrtc_avatar.session.timeline import COMPOSE_S, Timeline, budget_s
from webrtc_avatar.session.voice import Voice
from webrtc_avatar.settings import Settings

log = logging.getLogger(__name__)

_STARVED_S = 0.120
"""Without sound for so long, the session supplies silence itself, so that picture and clock never stop."""
_STATS_INTERVAL_S = 1.0
_MAX_BACKLOG = 25


class State(StrEnum):
    """Where a session is in its life."""

    CONNECTING = "connecting"
    IDLE = "idle"
    SPEAKING = "speaking"
    CLOSED = "closed"


class Session:
    """One conversation. Everything is called on the event loop's thread; nothing blocks it."""

    def __init__(
        self,
        *,
        session_id: str,
        avatar: AnyAvatar,
        actor: AnyActor,
        load: Callable[[str, Style], Awaitable[tuple[AnyAvatar, AnyActor]]],
        engine: AnyEngine,
        pool: Executor,
        settings: Settings,
        metrics: Metrics,
    ) -> None:
        """Create a session in the state `connecting`.

        Args:
            session_id: unguessable name.
            avatar: who performs; its model is loaded in the engine.
            actor: what draws it.
            load: returns a loaded avatar and a new actor in a style, for `set_avatar`.
            engine: renders faces.
            pool: threads that compose pictures.
            settings: see `Settings`.
            metrics: see `Metrics`.
        """
        self.id = session_id
        self.epoch = 0
        self.state = State.CONNECTING
        self.figures = Figures()
        self._load = load
        self._engine = engine
        self._drawing = Drawing(pool, metrics)
        self._settings = settings
        self._metrics = metrics
        self._performer = Performer(avatar, actor, engine, epoch=0)
        self._voice = Voice()
        self._cut = False
        self._listening = False
        self._intake = Intake(silence_dbfs=settings.silence_dbfs, microphone_drives=settings.microphone == "drives")
        self._hearers: set[Callable[[Chunk], None]] = set()
        self._timeline = Timeline(budget_s=budget_s(settings, engine.status(), avatar.name))
        self._failing = False
        self._chunk_count = 0
        self._fed_s = 0.0
        self._ready: deque[Slot] = deque()
        self._ready_event = asyncio.Event()
        self._crop: npt.NDArray[np.uint8] | None = None
        self._frame: npt.NDArray[np.uint8] | None = None
        self._weights: npt.NDArray[np.float32] | None = None
        self._shapes: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]] | None = None
        self._audience = Audience(session_id)
        self._tasks: list[asyncio.Task[None]] = []
        self._closing: asyncio.Task[None] | None = None
        metrics.sessions.labels(self.state.value).inc()

    @property
    def avatar(self) -> AnyAvatar:
        """Who performs."""
        return self._performer.avatar

    @property
    def avatar_name(self) -> str:
        """The name of who performs."""
        return self._performer.avatar.name

    @property
    def yields_blendshapes(self) -> bool:
        """Whether the avatar's model yields mouth weights that can be told as blendshapes."""
        return self._performer.yields_blendshapes

    @property
    def lookahead_s(self) -> float:
        """By how much the returned sound is delayed for the model's look-ahead."""
        return self._performer.chunks_after * CHUNK_S

    def start(self) -> None:
        """Set the clock's origin: from here on ticks leave. Calling it again changes nothing."""
        if self.state is not State.CONNECTING:
            return
        self._set_state(State.IDLE)
        self._fed_s = time.monotonic()
        self._tasks = [
            asyncio.create_task(self._run(), name=f"clock-{self.id}"),
            asyncio.create_task(self._pulse(), name=f"pulse-{self.id}"),
        ]

    def feed(self, chunk: Chunk) -> None:
        """Take the next 40 ms of sound; what comes before `start` or after the end is dropped."""
        if self.state not in (State.IDLE, State.SPEAKING):
            return
        now_s = time.monotonic()
        self._fed_s = now_s
        self._metrics.stage_wait.labels("sink").observe(max(0.0, now_s - chunk.arrived_s))
        self._metrics.chunks.labels("filled" if chunk.synthetic else "received").inc()
        index, self._chunk_count = self._chunk_count, self._chunk_count + 1
        for hear in list(self._hearers):
            hear(chunk)
        driving = self._intake.choose(chunk)
        due_s = self._timeline.due(index, now_s, silent=not driving.voiced)
        slot = self._performer.add(
            Slot(index=index, chunk=driving.chunk, epoch=self.epoch, weights=driving.weights, events=driving.events),
            voiced=driving.voiced and bool(self._audience),
            due_s=due_s,
            deadline_s=due_s - COMPOSE_S,
        )
        if slot is None:
            return
        self._ready.append(slot)
        if len(self._ready) > _MAX_BACKLOG:
            self._ready.popleft()
            self._metrics.chunks.labels("late").inc()
        self._ready_event.set()

    def interrupt(self) -> None:
        """Silence whatever is on its way, at once: a new epoch begins."""
        if self.state is State.CLOSED:
            return
        self.epoch += 1
        self._performer.interrupt(self.epoch, fading=not self._ready)
        self._intake.interrupt()
        self._cut = True
        for place, slot in enumerate(self._ready):
            slot.silence(fading=place == 0)
            slot.voiced, slot.face = False, None
        self._set_state(State.IDLE if self.state is State.SPEAKING else self.state)
        self.tell({"type": "interrupted", "epoch": self.epoch})

    @property
    def style(self) -> Style:
        """How the face is held."""
        return self._performer.actor.style

    def set_style(self, style: Style) -> None:
        """Turn head and eyes another way, gently, and tell everybody (the event `style`)."""
        self._performer.actor.style = style
        self.tell({"type": "style", **style.to_json()})

    def set_listening(self, on: bool) -> None:
        """Say whether somebody else is speaking: while it does not speak itself, the avatar listens."""
        self._listening = on

    async def set_avatar(self, name: str) -> None:
        """Change who performs, between two ticks.

        Raises:
            UnknownAvatar: no avatar of that name; the present one stays.
            InvalidAvatar: its package or its networks are broken; the present one stays.
            SessionClosed: the session ended meanwhile.
        """
        avatar, actor = await self._load(name, self.style)
        if self.state is State.CLOSED:
            raise SessionClosed(f"session {self.id} has ended; open a new one with POST /offer")
        self.epoch += 1
        former = self._performer
        actor.style = self.style
        self._performer = Performer(avatar, actor, self._engine, epoch=self.epoch)
        self._timeline.budget_s = budget_s(self._settings, self._engine.status(), avatar.name)
        self._crop = self._weights = None
        for slot in self._ready:
            slot.face = None  # another avatar's face fits none of this one's frames
        self._performer.succeed(former)
        former.close()
        self.tell({"type": "avatar", "name": avatar.name})

    def subscribe(self, *, blendshapes: bool = False) -> Subscription:
        """Return a new iterator of ticks from now on.

        Args:
            blendshapes: the ticks are to carry the face as blendshapes. If the avatar changes to one whose model yields
                none, they carry None until it changes again.

        Raises:
            SessionClosed: the session has ended.
            NoBlendshapes: they are asked for, and the avatar's model yields none.
        """
        if self.state is State.CLOSED:
            raise SessionClosed(f"session {self.id} has ended; open a new one with POST /offer")
        if blendshapes and not self.yields_blendshapes:
            raise NoBlendshapes(self.avatar_name)
        return self._audience.subscribe(blendshapes=blendshapes)

    def listen(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        """Call `callback` with each event (`state`, `stats`, `avatar`, `style`, `interrupted`, `error`, and those of what is said).

        Returns how to stop it.
        """
        return self._audience.listen(callback)

    def hear(self, callback: Callable[[Chunk], None]) -> Callable[[], None]:
        """Call `callback` with each chunk of the microphone, or of the silence in its place, whatever drives the face.

        Returns how to stop it.
        """
        self._hearers.add(callback)
        return lambda: self._hearers.discard(callback)

    @property
    def line(self) -> SpeechLine:
        """What it is about to say: what is put here is said in place of what its microphone hears."""
        return self._intake.line

    def tell(self, event: Event) -> None:
        """Tell everybody who listens."""
        self._audience.tell((event,))

    def stats(self) -> Event:
        """Return the session's figures, JSON-ready."""
        return {
            "session_id": self.id,
            "avatar": self.avatar_name,
            "state": self.state.value,
            "epoch": self.epoch,
            "lookahead_ms": round(1000 * self.lookahead_s),
            **self.figures.snapshot(),
        }

    async def aclose(self, reason: str) -> None:
        """End the session; any further call waits for the same end."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(reason), name=f"close-{self.id}")
        await asyncio.shield(self._closing)

    async def _close(self, reason: str) -> None:
        self._set_state(State.CLOSED, reason=reason)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._performer.close()
        self._intake.interrupt()
        self._audience.close()
        self._hearers.clear()
        self._ready.clear()
        self._metrics.sessions.labels(State.CLOSED.value).dec()
        log.info(
            "session ended session=%s reason=%s ticks=%d held=%d",
            self.id,
            reason,
            self.figures.ticks,
            self.figures.held,
        )

    def _set_state(self, state: State, **details: str) -> None:
        if state is self.state:
            return
        self._metrics.sessions.labels(self.state.value).dec()
        self._metrics.sessions.labels(state.value).inc()
        self.state = state
        self.tell({"type": "state", "state": state.value, "session_id": self.id, **details})

    async def _run(self) -> None:
        """The clock: one tick after the other, each at its time."""
        stats_s = time.monotonic() + _STATS_INTERVAL_S
        while True:
            while not self._ready:
                self._ready_event.clear()
                await self._ready_event.wait()
            slot = self._ready.popleft()
            self._set_state(State.SPEAKING if slot.voiced else State.IDLE)
            if self._audience:
                await self._show(slot)
            await _sleep_until(slot.due_s)
            self._publish(slot)
            if time.monotonic() >= stats_s:
                stats_s += _STATS_INTERVAL_S
                self.tell({"type": "stats", **self.stats()})

    async def _show(self, slot: Slot) -> None:
        """Make the picture of a tick, or keep the last one if there is no time for another."""
        epoch = self.epoch
        self._voice.note(slot.chunk.samples)
        await self._choose_crop(slot)
        if epoch != self.epoch:
            self._crop = None  # interrupted meanwhile: nothing of the old epoch is shown
        now_s = time.monotonic()
        if self._frame is not None and now_s > slot.due_s and self._ready:
            self._metrics.frames.labels("held").inc()
            self.figures.held += 1
            return
        performer, weights = self._performer, self._weights
        cut, self._cut = self._cut, False
        cue = partial(self._voice.cue, self._voice.take(), speaking=slot.voiced, listening=self._listening, cut=cut)
        try:
            self._frame = await self._drawing.draw(performer.actor, slot.index, self._crop, cue)
        except AvatarServerError as error:
            self._metrics.frames.labels("failed").inc()
            self._fail(error)
            return
        self._shapes = performer.blendshapes(weights) if self._audience.wants_blendshapes else None

    async def _choose_crop(self, slot: Slot) -> None:
        if slot.face is None:
            self._crop = None
            self.figures.idle += 1
            self._metrics.frames.labels("idle").inc()
            return
        remaining_s = max(0.0, slot.due_s - COMPOSE_S - time.monotonic())
        done, _ = await asyncio.wait({slot.face}, timeout=remaining_s)
        face = slot.face.result() if done and not slot.face.cancelled() else None
        if face is not None and face.crop is not None:
            self._crop, self._weights = face.crop, face.weights
            self._failing = False
            self.figures.rendered += 1
            return
        if face is not None and face.error is not None:
            self.figures.failed += 1
            if not self._failing:  # told once, however many frames in a row fail
                self.tell({"type": "error", "code": face.error.code, "message": face.error.message})
            self._failing = True
            return
        self.figures.held += 1
        self._metrics.frames.labels("held").inc()

    def _fail(self, error: AvatarServerError) -> None:
        self.figures.failed += 1
        self.tell({"type": "error", "code": error.code, "message": error.message})

    def _publish(self, slot: Slot) -> None:
        left_s = time.monotonic()
        self._audience.tell({**event, "time_s": round(slot.index * CHUNK_S, 3)} for event in slot.events)
        self.figures.record(left_s=left_s, due_s=slot.due_s, arrived_s=slot.chunk.arrived_s)
        if self._frame is None:
            return
        blendshapes = self._shapes and Blendshapes(slot.index, round(slot.index * CHUNK_S, 3), *self._shapes)
        self._audience.show(Tick(slot.index, slot.chunk.sound, self._frame, slot.due_s, blendshapes))

    async def _pulse(self) -> None:
        """Supply silence in real time while no sound comes: before the microphone, without one, and after it."""
        while True:
            await _sleep_until(self._fed_s + _STARVED_S)
            next_s = self._fed_s + _STARVED_S
            if time.monotonic() < next_s:
                continue
            fed_s = self._fed_s
            next_s = time.monotonic()
            while self._fed_s == fed_s:
                self.feed(silent_chunk(media_time_s=next_s, arrived_s=time.monotonic()))
                fed_s = self._fed_s
                next_s += CHUNK_S
                await _sleep_until(next_s)


async def _sleep_until(time_s: float) -> None:
    await asyncio.sleep(max(0.0, time_s - time.monotonic()))
