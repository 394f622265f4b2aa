"""What one live session is asked to say: texts, texts that are still being written, and sound, one after the other.

Everything goes through the session's line. An interrupt, whoever asks for it, forgets all that waits here as well.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from webrtc_avatar.errors import AvatarServerError, ServerFull, SessionClosed
from webrtc_avatar.session import Session, State
from webrtc_avatar.session.line import Timed
from webrtc_avatar.speech.captions import Captions
from webrtc_avatar.speech.request import SpeechRequest
from webrtc_avatar.speech.service import SpeechService
from webrtc_avatar.speech.text.sentences import SentenceSplitter
from webrtc_avatar.speech.voice import Piece

log = logging.getLogger(__name__)

_MOST_WAITING = 64

Event = dict[str, Any]

_LAST = frozenset(("finished", "interrupted", "failed"))


@dataclass(slots=True, eq=False)
class Turn:
    """One thing to say.

    Attributes:
        id: counted in each session; events carry it.
        say: puts it on the line.
        begun: some of it is on the line.
    """

    id: int
    say: Callable[[Turn], Awaitable[None]]
    begun: bool = False


class Speaking:
    """The queue of one session. Lives on the event loop.

    Its events: `speech` with `id` and `state` (`queued`, `started` when the first of it is heard, `finished`, `interrupted`,
    `failed`), and `caption` with `id`, `text` and `words` as each sentence begins to be heard.

    Args:
        session: who speaks.
        service: the voices.
    """

    def __init__(self, session: Session, service: SpeechService) -> None:
        self._session, self._service = session, service
        self._ids = itertools.count(1)
        self._turns: deque[Turn] = deque()
        self._untold: dict[int, Turn] = {}
        self._runner: asyncio.Task[None] | None = None
        self._forget = session.listen(self._on_event)

    @property
    def is_busy(self) -> bool:
        """Whether something is being said, or about to be."""
        return bool(self._untold) or self._session.line.is_busy

    def say(self, request: SpeechRequest, *, interrupt: bool = False) -> int:
        """Say a text after what is there, or `interrupt` in place of it; returns its id.

        Raises:
            SpeechRefused, UnknownVoice, VoiceUnavailable: see `SpeechService.prepare`; nothing was interrupted.
            ServerFull: too much waits already.
            SessionClosed: the session has ended.
        """
        # What is wrong with it is told at once, not when its turn comes.
        language = self._service.prepare(request)[0].language

        async def say(turn: Turn) -> None:
            if request.is_ssml:
                await self._speak(turn, request)
                return
            splitter = SentenceSplitter(language, first_early=True)
            for sentence in (*splitter.feed(request.text), *splitter.finish()):
                await self._speak(turn, replace(request, text=sentence.text))

        return self._add(say, interrupt=interrupt)

    async def say_soon(self, request: SpeechRequest, *, interrupt: bool = False) -> int:
        """Say a text once the voices are listed; see `say`."""
        await self._service.ready()
        return self.say(request, interrupt=interrupt)

    def say_as_it_comes(self, texts: AsyncGenerator[str], request: SpeechRequest, *, interrupt: bool = False) -> int:
        """Say a text that is still being written, each sentence as soon as it is whole; returns its id.

        Args:
            texts: pieces of it, cut anywhere.
            request: who says it and how; its text is not looked at.
            interrupt: see `say`.

        Raises:
            UnknownVoice, VoiceUnavailable, ServerFull, SessionClosed: see `say`.
        """
        language = self._service.find(request.voice).language

        async def say(turn: Turn) -> None:
            splitter = SentenceSplitter(language, first_early=True)
            async with aclosing(texts):
                async for text in texts:
                    for sentence in splitter.feed(text):
                        await self._speak(turn, replace(request, text=sentence.text, ssml=False))
            for sentence in splitter.finish():
                await self._speak(turn, replace(request, text=sentence.text, ssml=False))

        return self._add(say, interrupt=interrupt)

    def play(self, sound: AsyncGenerator[npt.NDArray[np.float32]], rate_hz: int, *, interrupt: bool = False) -> int:
        """Play sound as if it were said; returns its id.

        Args:
            sound: pieces float32 (n,), mono, -1..1, without gaps.
            rate_hz: 8000 to 192000.
            interrupt: see `say`.

        Raises:
            ServerFull, SessionClosed: see `say`.
        """

        async def say(turn: Turn) -> None:
            async with aclosing(sound):
                async for samples in sound:
                    await self._put(turn, Piece(index=0, samples=samples, rate_hz=rate_hz))

        return self._add(say, interrupt=interrupt)

    async def aclose(self) -> None:
        """Forget everything; calling it twice is fine."""
        self._forget()
        self._drop("interrupted")
        if self._runner is not None:
            await asyncio.gather(self._runner, return_exceptions=True)

    def _add(self, say: Callable[[Turn], Awaitable[None]], *, interrupt: bool) -> int:
        if self._session.state is State.CLOSED:
            raise SessionClosed(f"session {self._session.id} has ended; open a new one with POST /offer")
        if interrupt and self.is_busy:
            self._session.interrupt()
        if len(self._turns) >= _MOST_WAITING:
            raise ServerFull(f"{_MOST_WAITING} texts wait to be said in this session; wait, or interrupt it")
        turn = Turn(next(self._ids), say)
        self._turns.append(turn)
        self._untold[turn.id] = turn
        self._session.line.open()
        self._tell(turn, "queued")
        if self._runner is None or self._runner.done() or self._runner.cancelling():
            self._runner = asyncio.create_task(self._run(), name=f"speaking-{self._session.id}")
        return turn.id

    async def _run(self) -> None:
        while self._turns:
            turn = self._turns.popleft()
            self._session.line.open()
            try:
                await turn.say(turn)
            except AvatarServerError as error:
                self._tell(turn, "failed", code=error.code, message=error.message)
            except Exception:
                log.exception("a text could not be said")
                self._tell(turn, "failed", code="internal", message="the server failed at this text")
            else:
                self._session.line.mark(self._event(turn, "finished"))
        self._session.line.close()

    async def _speak(self, turn: Turn, request: SpeechRequest) -> None:
        speech = self._service.speak(request, live=True)
        captions = Captions(turn.id, speech.text)
        said_s = 0.0
        async with aclosing(speech.pieces) as pieces:
            async for piece in pieces:
                phonemes = [
                    phoneme._replace(start_s=phoneme.start_s - said_s, end_s=phoneme.end_s - said_s)
                    for phoneme in piece.phonemes
                ]
                said_s += len(piece.samples) / piece.rate_hz
                await self._put(turn, piece, captions.of(piece), phonemes=phonemes, alphabet=speech.alphabet)

    async def _put(self, turn: Turn, piece: Piece, events: Sequence[Event] = (), **mouth: Any) -> None:
        line = self._session.line
        await line.room()
        if not turn.begun:
            turn.begun = True
            events = [self._event(turn, "started"), *events]
        line.put(piece.samples, piece.rate_hz, timed=[Timed(0.0, event) for event in events], **mouth)

    def _on_event(self, event: dict[str, Any]) -> None:
        if event.get("type") == "speech" and event["state"] in _LAST:
            self._untold.pop(event["id"], None)
        elif event.get("type") == "interrupted" or event.get("state") == State.CLOSED.value:
            self._drop("interrupted")

    def _drop(self, state: str) -> None:
        if self._runner is not None:
            self._runner.cancel()
        self._turns.clear()
        # Those whose sound is all on the line, and was not heard to its end, are cut off as well.
        for turn in list(self._untold.values()):
            self._tell(turn, state)

    def _tell(self, turn: Turn, state: str, **details: str) -> None:
        self._session.tell(self._event(turn, state, **details))

    @staticmethod
    def _event(turn: Turn, state: str, **details: str) -> Event:
        return {"type": "speech", "id": turn.id, "state": state, **details}
