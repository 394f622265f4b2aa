"""One request for speech, from the queue to its last piece."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Hashable
from dataclasses import replace

from webrtc_avatar.errors import AvatarServerError
from webrtc_avatar.speech.voice import Piece, Utterance


class Job:
    """What a caller waits for. Lives on the event loop.

    If its batch fails after some of it was delivered, it is said again, and what the caller has already is left out.

    Args:
        utterance: what to say.
        live: see `Waiting`.
        queued_s: see `Waiting`.

    Attributes:
        alone: its batch failed: it goes without others from now on.
        lost: processes that died over it.
        over: it has its last piece or its error, or nobody wants it any more.
    """

    def __init__(self, utterance: Utterance, *, live: bool, queued_s: float) -> None:
        self.utterance, self.live, self.queued_s = utterance, live, queued_s
        self.key: Hashable = utterance.group
        self.length = len(utterance.text)
        self.alone = self.over = False
        self.lost = 0
        self._pieces: asyncio.Queue[Piece | AvatarServerError] = asyncio.Queue()
        self._delivered = self._skip = 0

    def deliver(self, piece: Piece) -> None:
        """Hand over the next piece."""
        if self.over:
            return
        self.over = piece.last
        if self._skip:
            piece = self._without_known(piece)
        self._delivered += len(piece.samples)
        if len(piece.samples) or piece.last:
            self._pieces.put_nowait(replace(piece, index=0))

    def fail(self, error: AvatarServerError) -> None:
        """End with an error."""
        if not self.over:
            self.over = True
            self._pieces.put_nowait(error)

    def say_again(self) -> None:
        """Note that it is said from its beginning once more."""
        self.alone = True
        self._skip = self._delivered

    async def pieces(self, on_close: Callable[[Job], None]) -> AsyncGenerator[Piece]:
        """Yield its pieces; `on_close` is told when the caller has all, or wants no more."""
        try:
            while True:
                piece = await self._pieces.get()
                if isinstance(piece, AvatarServerError):
                    raise piece
                yield piece
                if piece.last:
                    return
        finally:
            on_close(self)

    def _without_known(self, piece: Piece) -> Piece:
        known = min(self._skip, len(piece.samples))
        before_s = self._delivered / piece.rate_hz
        self._skip -= known
        return replace(
            piece,
            samples=piece.samples[known:],
            phonemes=tuple(phoneme for phoneme in piece.phonemes if phoneme.start_s >= before_s),
            words=tuple(word for word in piece.words if word.start_s >= before_s),
        )
