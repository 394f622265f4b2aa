"""From what is fed to the buffer: in order, and of a long file only as much as is needed soon."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import chain

from webrtc_avatar.audio.buffer import AudioChunkBuffer
from webrtc_avatar.audio.chunk import SAMPLE_RATE_HZ
from webrtc_avatar.chunked.sound import ContinuedSound, Rated, begins_file, continued_kind, is_raw, read
from webrtc_avatar.errors import BufferFull, UnreadableSound

log = logging.getLogger(__name__)

AHEAD_S = 30.0
"""So much of a long file is decoded ahead of its frames."""


class Intake:
    """Takes feeds. For one thread at a time; `is_behind`, `ended` and `wants_more` may be read anywhere.

    Args:
        buffer: where the sound goes.
        raw_rate_hz: rate of bare samples.

    Attributes:
        ended: the last feed came.
    """

    def __init__(self, buffer: AudioChunkBuffer, *, raw_rate_hz: int) -> None:
        self._buffer, self._raw_rate_hz = buffer, raw_rate_hz
        self._rest: Iterator[Rated] | None = None
        self._held: Rated | None = None
        self._continued: ContinuedSound | None = None
        self._open: list[ContinuedSound] = []
        self._ahead = max(round(min(AHEAD_S, buffer.max_pending_s) * SAMPLE_RATE_HZ), buffer.chunk_samples)
        self.ended = False

    @property
    def is_behind(self) -> bool:
        """Whether something of a feed is not decoded yet."""
        return self._rest is not None

    @property
    def wants_more(self) -> bool:
        """Whether `go_on` should be called: something is left, and little of what was decoded waits."""
        return self.is_behind and self._buffer.pending_samples < max(self._ahead // 2, self._buffer.chunk_samples)

    def take(self, data: bytes, content_type: str, *, final: bool) -> None:
        """Add a feed; what is refused changes nothing.

        Args:
            data: a file, bare samples, what continues the file before, or nothing.
            content_type: as the client says.
            final: nothing follows.

        Raises:
            BufferFull: an earlier feed is not yet decoded to its end, for as much as may wait does.
            UnreadableSound: FFmpeg decodes no sound in it.
            InvalidAudio: half a sample.
        """
        if self._rest is not None:
            self._pour(patient=False)
        if self._rest is not None:
            raise BufferFull(
                f"{self._buffer.pending_samples / SAMPLE_RATE_HZ:.0f} s of sound wait for their frames, and more of an "
                "earlier feed; feed this again in a while"
            )
        if data:
            self._begin(data, content_type)
        if final:
            self.ended = True
            if self._continued is not None:
                self._rest = chain(self._rest or (), self._last_of(self._continued))
                self._continued = None
        self._pour()

    def go_on(self) -> None:
        """Decode some more of what is left."""
        self._pour()

    def close(self) -> None:
        """Stop at once; calling it twice is fine."""
        self._rest = self._held = self._continued = None
        while self._open:
            self._open.pop().close()

    def _begin(self, data: bytes, content_type: str) -> None:
        """Set `_rest` to what a feed brings; its first sound is decoded, so that what is no sound is refused."""
        raw, before = is_raw(content_type), self._continued
        if before is not None and not raw and not begins_file(data):
            self._rest = self._quiet(before.push(data))
            return
        kind = None if raw else continued_kind(data)
        if kind is None:
            fresh, continued = read(data, content_type=content_type, raw_rate_hz=self._raw_rate_hz), None
        else:
            continued = ContinuedSound(kind)
            self._open.append(continued)
            fresh = continued.push(data)
        try:
            first = [piece for piece in [next(fresh, None)] if piece is not None]
        except UnreadableSound:
            if continued is not None:
                self._let_go(continued)
            raise
        last = () if before is None else self._last_of(before)
        self._continued = continued
        self._rest = chain(last, first, self._quiet(fresh))

    def _pour(self, *, patient: bool = True) -> None:
        """Move sound into the buffer up to the feed's end; patient: no more than is needed soon, else all that fits."""
        try:
            self._move(patient=patient)
            if self._rest is None and self.ended:
                self._buffer.end()
        finally:
            self._buffer.is_promised = self.is_behind

    def _move(self, *, patient: bool) -> None:
        while self._rest is not None and not (patient and self._buffer.pending_samples >= self._ahead):
            piece = self._held or next(self._rest, None)
            if piece is None:
                self._rest = None
                return
            try:
                self._buffer.add_chunk(*piece)
            except BufferFull:
                self._held = piece
                return
            self._held = None

    def _quiet(self, pieces: Iterator[Rated]) -> Iterator[Rated]:
        """Yield pieces to where they break off: what was decoded is used."""
        try:
            yield from pieces
        except UnreadableSound as error:
            log.info("fed sound broke off: %s", error.message)

    def _last_of(self, continued: ContinuedSound) -> Iterator[Rated]:
        try:
            yield from self._quiet(continued.end())
        finally:
            self._let_go(continued)

    def _let_go(self, continued: ContinuedSound) -> None:
        continued.close()
        if continued in self._open:
            self._open.remove(continued)
