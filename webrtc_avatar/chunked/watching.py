"""Who watches a chunked session, over HLS and over WebRTC, and which place of the film they are at."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor

from webrtc_avatar.audio.chunk import CHUNK_S
from webrtc_avatar.chunked.timeline import Timeline
from webrtc_avatar.errors import SessionClosed
from webrtc_avatar.media.film_broadcast import FilmBroadcast
from webrtc_avatar.media.film_reader import FilmReader
from webrtc_avatar.media.hls import FRAGMENT_FRAMES, HlsWriter
from webrtc_avatar.metrics import Metrics
from webrtc_avatar.settings import Settings

_VIEWERS_LEAD_S = 1.0
_VIEWERS_DELAY_S = 0.8
"""Viewers over WebRTC are so far behind what is being written: two fragments."""


class Watching:
    """Lives on the event loop; `tell` may be called on any thread.

    Args:
        film: what is written.
        timeline: what it says; begins when somebody watches.
        settings: of the server.
        metrics: where encoders count their time.
        pool: threads that read the film back.
        on_watched: called now and then while somebody watches over WebRTC.

    Attributes:
        on_end: called once the film has been shown to its end over WebRTC, or the session has ended.
    """

    def __init__(
        self,
        film: HlsWriter,
        timeline: Timeline,
        settings: Settings,
        *,
        metrics: Metrics | None,
        pool: Executor,
        on_watched: Callable[[], None],
    ) -> None:
        self._film, self._timeline, self._settings, self._on_watched = film, timeline, settings, on_watched
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._published = self._over = False
        self._broadcast = FilmBroadcast(self, settings, metrics, pool, self._tell_end)
        self.on_end: Callable[[], None] | None = None

    def open_hls(self) -> None:
        """Note that somebody opens the playlist: where nothing was fed yet, the film begins with the idle avatar."""
        self._timeline.begin(self._lead_s)

    def open_webrtc(self) -> FilmBroadcast:
        """Return what viewers over WebRTC are given; the film begins like with `open_hls`.

        Raises:
            SessionClosed: it is over, and those who watched it from the beginning have seen its end.
        """
        if self._over and self._timeline.idle_s - _VIEWERS_DELAY_S > self._film.frames * CHUNK_S:
            raise SessionClosed("the film is over; play its hls_url, or begin another session")
        self._timeline.begin(_VIEWERS_LEAD_S)
        return self._broadcast

    async def wait_for(self, segment: int, part: int | None = None) -> bool:
        """Wait until a segment, or a part of it, is in the playlist; false if the film ended without it."""
        while True:
            playlist = self._film.playlist
            here = (playlist.segments, playlist.parts)
            if here[0] > segment or (part is not None and here[0] == segment and here[1] > part):
                return True
            if playlist.ended or self._over:
                return False
            await self._changed.wait()

    def tell(self) -> None:
        """Say that more was written."""
        self._loop.call_soon_threadsafe(self._wake)

    def end(self) -> None:
        """Say that nothing more is written."""
        self._over = True
        self._wake()

    async def aclose(self) -> None:
        """Send all viewers home; calling it twice is fine."""
        self.end()
        await self._broadcast.aclose()
        self._tell_end()

    @property
    def longest_group(self) -> int:
        """See `Film`."""
        return self._film.segment_frames

    async def now_s(self) -> float:
        """See `Film`."""
        while not self._film.fragments(0):
            if self._over:
                raise SessionClosed("the session ended before it had a film; begin another one")
            await self._changed.wait()
        written_s = max(self._film.frames - 2 * FRAGMENT_FRAMES, 0) * CHUNK_S
        return max(min(self._timeline.idle_s - _VIEWERS_DELAY_S, written_s), 0.0)

    def reader(self, place_s: float) -> FilmReader:
        """See `Film`."""
        return FilmReader(self._film, self._film.segment_of(int(place_s / CHUNK_S)))

    def note_viewers(self) -> None:
        """See `Film`."""
        self._on_watched()

    async def changed(self) -> None:
        """See `Film`."""
        if not self._over:
            await self._changed.wait()

    @property
    def _lead_s(self) -> float:
        """How much of the film players of HLS have been given when they begin."""
        part_s, segment_s = self._settings.hls_part_s, self._settings.hls_segment_s
        return segment_s if part_s is None else min(3 * part_s, segment_s)

    def _wake(self) -> None:
        if not self._published and (self._film.playlist.segments or self._film.playlist.parts):
            self._published = True
            self._timeline.begin(self._lead_s)
        self._changed.set()
        self._changed = asyncio.Event()

    def _tell_end(self) -> None:
        if self.on_end is not None:
            self.on_end()
