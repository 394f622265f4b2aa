"""From a growing film to viewers over WebRTC: its own encoded pictures and its sound as Opus, at the pace of the clock.

Frames are made faster than they are watched, so viewers are given what was written before, from disk where it is whole. All
share one place in the film: whoever comes later gets the pictures since the last key frame at once. A key frame that a viewer
asks for is the film's next one, at most a segment away, since what it watches was encoded a while ago.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, Protocol

import av
from aiortc import MediaStreamTrack, RTCRtpSender

from webrtc_avatar.audio.chunk import FRAME_RATE_HZ
from webrtc_avatar.errors import SessionClosed
from webrtc_avatar.media.film_reader import FilmFrame, FilmReader
from webrtc_avatar.media.opus import PACKET_SAMPLES, OpusEncoder
from webrtc_avatar.media.tracks import PacketTrack, PictureTrack, SoundTrack, picture_packet, sound_packet
from webrtc_avatar.media.video_encoder import Codec
from webrtc_avatar.metrics import Metrics
from webrtc_avatar.settings import Settings

log = logging.getLogger(__name__)

_FRAME_S = 1 / FRAME_RATE_HZ
_DRY_S = 0.1
"""A frame that comes later than this has run dry: what follows is shown so much later."""
_SPARE_PICTURES = 25
_PLAYED_OUT_S = 0.5
"""Receivers hold back what comes for so long at most; then they have shown the film's end."""


class Film(Protocol):
    """What a broadcast needs of a session."""

    @property
    def longest_group(self) -> int:
        """The most pictures from one key frame to the next."""

    async def now_s(self) -> float:
        """Wait until there is a film, and return the place that somebody who comes now should see."""

    def reader(self, place_s: float) -> FilmReader:
        """Return a reader that begins at the last key frame before a place."""

    async def changed(self) -> None:
        """Wait until more may be written, or nothing follows."""

    def note_viewers(self) -> None:
        """Note that it is being watched."""


class FilmBroadcast:
    """Shows one film to all its viewers. Lives on the event loop; reads on `executor`. Nothing runs while nobody watches.

    Args:
        film: what is shown.
        settings: the bitrate of the sound.
        metrics: where the encoder counts its time.
        executor: threads that read.
        on_end: called once, when the film was shown to its end.
    """

    def __init__(
        self, film: Film, settings: Settings, metrics: Metrics | None, executor: Executor, on_end: Callable[[], None]
    ) -> None:
        self._film, self._settings, self._metrics, self._executor, self._on_end = (
            film,
            settings,
            metrics,
            executor,
            on_end,
        )
        self._pictures: set[PictureTrack] = set()
        self._sounds: set[SoundTrack] = set()
        self._tracks: set[PacketTrack] = set()
        self._group: list[av.Packet[Any]] = []
        self._show: asyncio.Task[None] | None = None
        self._shows: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def is_watched(self) -> bool:
        """Whether anybody watches."""
        return bool(self._pictures or self._sounds)

    def video(self, codec: Codec) -> PictureTrack:
        """Return a new track for a viewer of the pictures, which are H.264.

        Raises:
            SessionClosed: the film is over.
        """
        self._refuse_if_closed()
        track = PictureTrack(
            codec,
            on_begin=self._begin,
            on_end=self._end,
            on_key_wanted=lambda: None,
            depth=self._film.longest_group + _SPARE_PICTURES,
        )
        self._tracks.add(track)
        return track

    def audio(self) -> SoundTrack:
        """Return a new track for a viewer of the sound, in packets of Opus.

        Raises:
            SessionClosed: the film is over.
        """
        self._refuse_if_closed()
        track = SoundTrack(on_begin=self._begin, on_end=self._end)
        self._tracks.add(track)
        return track

    def bind(self, sender: RTCRtpSender, track: MediaStreamTrack) -> None:
        """Do nothing: the film is encoded already, whatever a viewer's RTCP asks for."""

    async def aclose(self) -> None:
        """End all tracks. Twice is fine."""
        self._end_all()
        for show in self._shows:
            show.cancel()
        await asyncio.gather(*self._shows, return_exceptions=True)

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise SessionClosed("the film is over; play its hls_url, or begin another session")

    def _begin(self, track: PacketTrack) -> None:
        if isinstance(track, PictureTrack):
            for place, packet in enumerate(self._group):
                track.offer(packet, is_key=place == 0)
            self._pictures.add(track)
        elif isinstance(track, SoundTrack):
            self._sounds.add(track)
        if self._show is None and not self._closed:
            self._show = asyncio.create_task(self._run(), name="film-broadcast")
            self._shows.add(self._show)
            self._show.add_done_callback(self._shows.discard)

    def _end(self, track: PacketTrack) -> None:
        self._tracks.discard(track)
        if isinstance(track, PictureTrack):
            self._pictures.discard(track)
        elif isinstance(track, SoundTrack):
            self._sounds.discard(track)
        if not self.is_watched and self._show is not None:
            self._show.cancel()
            self._show = None
            self._group = []

    async def _run(self) -> None:
        try:
            await self._pace(await self._film.now_s())
            await asyncio.sleep(_PLAYED_OUT_S)
        except SessionClosed as error:
            log.info("viewers go: %s", error.message)
        except Exception:
            log.exception("showing the film failed")
        self._end_all()
        self._on_end()

    async def _pace(self, place_s: float) -> None:
        loop = asyncio.get_running_loop()
        reader, opus = self._film.reader(place_s), OpusEncoder(self._settings.audio_bitrate_bps)
        origin_s = loop.time() - place_s
        while not reader.ended:
            self._film.note_viewers()
            frames = await loop.run_in_executor(self._executor, reader.read)
            if not frames and not reader.ended:
                await self._film.changed()
            for frame in frames:
                due_s = origin_s + frame.index * _FRAME_S
                behind_s = loop.time() - due_s
                if frame.index * _FRAME_S >= place_s and behind_s > _DRY_S:
                    origin_s += behind_s
                elif behind_s < 0:
                    await asyncio.sleep(-behind_s)
                self._send_picture(frame)
                if frame.index * _FRAME_S >= place_s:
                    await self._send_sound(frame, opus, origin_s + (frame.index + 0.5) * _FRAME_S)

    def _send_picture(self, frame: FilmFrame) -> None:
        packet = picture_packet(frame.picture, frame.index)
        if frame.is_key:
            self._group = []
        self._group.append(packet)
        for track in self._pictures:
            track.offer(packet, is_key=frame.is_key)

    async def _send_sound(self, frame: FilmFrame, opus: OpusEncoder, second_s: float) -> None:
        """Send the first 20 ms with the picture, and the second when they begin: what lies between shows as skew."""
        started_s = time.monotonic()
        halves = (frame.sound[:PACKET_SAMPLES], frame.sound[PACKET_SAMPLES:])
        first, second = (sound_packet(opus.encode(sound), frame.index, half) for half, sound in enumerate(halves))
        if self._metrics is not None:
            self._metrics.stage_run.labels("encode_audio").observe(time.monotonic() - started_s)
        for track in self._sounds:
            track.offer(first)
        await asyncio.sleep(max(second_s - asyncio.get_running_loop().time(), 0))
        for track in self._sounds:
            track.offer(second)

    def _end_all(self) -> None:
        self._closed, self._show, self._group = True, None, []
        for track in list(self._tracks):
            track.stop()
        self._tracks.clear()
