"""An HLS film read back while it is written: the very pictures that its encoder made, and its sound, frame by frame."""

from __future__ import annotations

import io
from collections import deque
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext

from webrtc_avatar.audio.chunk import FRAME_RATE_HZ, SOUND_RATE_HZ, SOUND_SAMPLES, Sound
from webrtc_avatar.media.hls import PRIMING_SAMPLES, HlsWriter

_START_CODE = b"\0\0\0\1"
_FULL_SCALE = 32767


@dataclass(frozen=True, slots=True)
class FilmFrame:
    """One frame of a film.

    Attributes:
        index: its number, from 0.
        picture: an H.264 access unit in Annex B, with its parameter sets where it is a key frame.
        is_key: it can be decoded without any other.
        sound: int16 (1920,), mono, 48 kHz.
    """

    index: int
    picture: bytes
    is_key: bool
    sound: Sound


class FilmReader:
    """Reads from a segment on what is on disk, and from memory what is not yet. Any thread, one call at a time.

    Args:
        film: who writes it.
        segment: the first one to read; begins with a key frame.

    Attributes:
        ended: nothing follows any more.
    """

    def __init__(self, film: HlsWriter, segment: int) -> None:
        self._film, self._segment, self._fragment = film, segment, 0
        self._header = b""
        self._decoder: AudioCodecContext | None = None
        self._pictures: deque[tuple[int, bytes, bool]] = deque()
        self._sound = np.zeros(0, np.int16)
        self._sound_begin: int | None = None
        self.ended = False

    def read(self) -> list[FilmFrame]:
        """Return the frames that have become whole since the last call.

        Raises:
            SessionClosed: the film was deleted.
        """
        while True:
            written = self._film.playlist.segments
            over = self._film.playlist.ended
            for fragment in self._film.fragments(self._segment, self._fragment):
                self._take(fragment)
                self._fragment += 1
            if self._segment >= written:
                break
            self._segment, self._fragment = self._segment + 1, 0
        if over:
            self._sound = np.pad(self._sound, (0, SOUND_SAMPLES * len(self._pictures)))
            self.ended = True
        return self._whole()

    def _take(self, fragment: bytes) -> None:
        self._header = self._header or self._film.header()
        with av.open(io.BytesIO(self._header + fragment), "r") as container:
            picture, sound = container.streams.video[0], container.streams.audio[0]
            if self._decoder is None:
                self._decoder = _decoder(sound.codec_context.extradata)
            for packet in container.demux(picture, sound):
                if not packet.size:
                    continue
                if packet.stream is picture:
                    self._take_picture(packet, picture.codec_context.extradata or b"")
                else:
                    self._take_sound(packet)

    def _take_picture(self, packet: av.Packet[Any], configuration: bytes) -> None:
        assert packet.pts is not None
        # Only the first picture does not lie behind the sound's priming; see `HlsWriter`.
        time_s = float(packet.pts * packet.time_base) - PRIMING_SAMPLES / SOUND_RATE_HZ
        units = _start_coded(bytes(packet))
        if packet.is_keyframe:
            units = _parameter_sets(configuration) + units
        self._pictures.append((max(round(time_s * FRAME_RATE_HZ), 0), units, packet.is_keyframe))

    def _take_sound(self, packet: av.Packet[Any]) -> None:
        assert self._decoder is not None
        assert packet.pts is not None
        begin = round(packet.pts * packet.time_base * SOUND_RATE_HZ) - PRIMING_SAMPLES
        bare: av.Packet[Any] = av.Packet(bytes(packet))
        for frame in self._decoder.decode(bare):
            samples = np.clip(frame.to_ndarray()[0], -1, 1)
            if self._sound_begin is None:
                self._sound_begin = begin
            self._sound = np.concatenate((self._sound, np.rint(samples * _FULL_SCALE).astype(np.int16)))

    def _whole(self) -> list[FilmFrame]:
        frames: list[FilmFrame] = []
        while self._pictures and self._sound_begin is not None:
            index, picture, is_key = self._pictures[0]
            place = index * SOUND_SAMPLES - self._sound_begin
            if len(self._sound) < place + SOUND_SAMPLES:
                break
            missing = max(-place, 0)  # sound of the first frame that lies in the segment before
            sound = np.pad(self._sound[max(place, 0) : place + SOUND_SAMPLES], (missing, 0))
            self._pictures.popleft()
            frames.append(FilmFrame(index, picture, is_key, sound))
        if frames and self._sound_begin is not None:
            done = (frames[-1].index + 1) * SOUND_SAMPLES - self._sound_begin
            self._sound, self._sound_begin = self._sound[done:], self._sound_begin + done
        return frames


def _decoder(configuration: bytes | None) -> AudioCodecContext:
    decoder = av.CodecContext.create("aac", "r")
    assert isinstance(decoder, AudioCodecContext)
    decoder.extradata = configuration
    decoder.sample_rate = SOUND_RATE_HZ
    decoder.layout = "mono"
    return decoder


def _start_coded(data: bytes) -> bytes:
    """Return an access unit with start codes instead of lengths (ISO/IEC 14496-15, 4-byte lengths)."""
    units, place = bytearray(), 0
    while place + 4 <= len(data):
        size = int.from_bytes(data[place : place + 4], "big")
        units += _START_CODE + data[place + 4 : place + 4 + size]
        place += 4 + size
    return bytes(units)


def _parameter_sets(configuration: bytes) -> bytes:
    """Return the parameter sets of an `avcC` box with start codes."""
    sets, place = bytearray(), 5
    for mask in (0x1F, 0xFF):
        count = configuration[place] & mask
        place += 1
        for _ in range(count):
            size = int.from_bytes(configuration[place : place + 2], "big")
            sets += _START_CODE + configuration[place + 2 : place + 2 + size]
            place += 2 + size
    return bytes(sets)
