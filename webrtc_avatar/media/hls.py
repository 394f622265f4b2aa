"""Pictures and sound to HTTP Live Streaming: H.264 and AAC in fragmented MP4, playable while it is still being written.

AAC begins with 1024 samples of its own. Edit lists, which are to hide them, are not read by every player of HLS, so there is none: the
sound's first sample, and with it the first picture, lie 21.3 ms behind the stream's beginning, on which all agree; the first picture is
shown from the beginning on. Source: RFC 8216 and its successor draft (parts, blocking reload), ISO/IEC 14496-12.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.video.frame import PictureType
from av.video.reformatter import ColorRange, Colorspace

from webrtc_avatar.audio.chunk import FRAME_RATE_HZ, SOUND_RATE_HZ, SOUND_SAMPLES
from webrtc_avatar.errors import CannotWrite, InvalidSettings, SessionClosed
from webrtc_avatar.media.fragments import Fragment, FragmentSink
from webrtc_avatar.media.hls_playlist import Playlist
from webrtc_avatar.media.marking import OF_NOBODY, Marking

PLAYLIST, INIT = "playlist.m3u8", "init.mp4"

_VIDEO_TICKS = 90_000
_FRAME_TICKS = _VIDEO_TICKS // FRAME_RATE_HZ
PRIMING_SAMPLES = 1024
_LEAD_TICKS = _VIDEO_TICKS * PRIMING_SAMPLES // SOUND_RATE_HZ
_AUDIO_BPS = 96_000
_BT709 = 1
_MAX_VIDEO_BPS = 2_500_000
FRAGMENT_FRAMES = 10
"""Pictures of a fragment where there are no parts: whoever reads the film back while it is written waits no longer."""
_SEGMENTS_WITH_PARTS = 4
"""Parts of older segments leave playlist and disk; a player that wants them takes the segment."""

Picture = npt.NDArray[np.uint8]


class HlsWriter:
    """One stream. For one thread at a time; what `on_change` is told of is on disk.

    Args:
        folder: exists and is empty; gets `init.mp4`, `seg_N.m4s`, `seg_N.P.m4s` where there are parts, and `playlist.m3u8`.
        segment_s: duration of segments, 0.4 to 10, rounded to whole pictures.
        part_s: duration of low-latency parts, 0.2 to `segment_s`, and of the first segment; none: no parts.
        crf: quality of the picture, 0 to 51; each 6 more halve the bits.
        preset: x264's.
        on_change: is told, on the writing thread, that the playlist has changed.
        marking: what the stream's header says of its origin.

    Attributes:
        playlist: as it is on disk.

    Raises:
        InvalidSettings: a duration is out of its range.
    """

    def __init__(
        self,
        folder: Path,
        *,
        segment_s: float = 2.0,
        part_s: float | None = None,
        crf: int = 22,
        preset: str = "veryfast",
        on_change: Callable[[], None] | None = None,
        marking: Marking = OF_NOBODY,
    ) -> None:
        if not 0.4 <= segment_s <= 10:
            raise InvalidSettings(f"segments of {segment_s:g} s are not possible; expected 0.4 to 10 s")
        if part_s is not None and not 0.2 <= part_s <= segment_s:
            raise InvalidSettings(f"parts of {part_s:g} s are not possible; expected 0.2 to {segment_s:g} s")
        self._folder, self._on_change, self._marking = folder, on_change, marking
        self._segment_frames = round(segment_s * FRAME_RATE_HZ)
        self._part_frames = None if part_s is None else round(part_s * FRAME_RATE_HZ)
        # Players do not begin before a segment is whole; where there are parts, the first one makes a segment.
        self._first_frames = self._part_frames or self._segment_frames
        self._codec = {"crf": str(crf), "preset": preset}
        self._sink = FragmentSink()
        self._container: Any = None
        self._streams: tuple[Any, Any] | None = None
        self._frames = 0
        self._turning = threading.Lock()
        self._segment: list[bytes] = []
        self._segment_filled = 0
        self._written_frames = 0
        self.playlist = Playlist(
            init=INIT,
            target_s=math.ceil(segment_s),
            part_target_s=None if self._part_frames is None else self._seconds(0, self._part_frames),
            parts_kept=_SEGMENTS_WITH_PARTS,
        )

    @property
    def frames(self) -> int:
        """Pictures taken so far."""
        return self._frames

    @property
    def segment_frames(self) -> int:
        """Pictures of a whole segment."""
        return self._segment_frames

    def add(self, picture: Picture, sound: npt.NDArray[np.float32]) -> None:
        """Append a picture and its 40 ms of sound.

        Args:
            picture: I420 uint8 (height * 3 / 2, width); all have one size.
            sound: float32 (1920,), mono, 48 kHz, -1..1; the last one may be shorter.

        Raises:
            CannotWrite: the disk is full, or the folder is gone.
        """
        if self._streams is None:
            self._streams = self._open(picture.shape[1], picture.shape[0] * 2 // 3)
        video, audio = self._streams
        frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
        frame.pts, frame.time_base = self._frames, Fraction(1, FRAME_RATE_HZ)
        frame.pict_type = PictureType.I if self._begins_segment(self._frames) else PictureType.NONE
        self._mux_video(video.encode(frame))
        padded = np.pad(sound, (0, SOUND_SAMPLES - len(sound))).astype(np.float32, copy=False)
        heard = av.AudioFrame.from_ndarray(padded[None], format="fltp", layout="mono")
        heard.sample_rate, heard.time_base = SOUND_RATE_HZ, Fraction(1, SOUND_RATE_HZ)
        heard.pts = self._frames * SOUND_SAMPLES
        self._frames += 1
        self._mux_audio(audio.encode(heard))
        self._store()

    def finish(self) -> None:
        """Write what is held back, and end the playlist; calling it twice is fine.

        Raises:
            CannotWrite: the disk is full, or the folder is gone.
        """
        if self.playlist.ended:
            return
        if self._streams is not None:
            video, audio = self._streams
            self._mux_video(video.encode(None))
            self._mux_audio(audio.encode(None))
            self._container.close()
            self._store()
            if self._segment_filled:
                self._end_segment()
        self._streams = self._container = None
        self.playlist.end()
        self._publish()

    def close(self) -> None:
        """Let go of the encoders and write nothing more; calling it twice is fine."""
        if self._container is not None:
            self._container.close()
        self._streams = self._container = None

    def segment_of(self, frame: int) -> int:
        """Return the number of the segment that a picture lies in."""
        return 0 if frame < self._first_frames else 1 + (frame - self._first_frames) // self._segment_frames

    def fragments(self, segment: int, first: int = 0) -> list[bytes]:
        """Return the fragments of a segment that are whole by now, from one on; any thread.

        Raises:
            SessionClosed: the folder is gone.
        """
        with self._turning:
            if segment >= self.playlist.segments:
                return self._segment[first:] if segment == self.playlist.segments else []
        sink = FragmentSink()
        sink.write(self._read(f"seg_{segment}.m4s"))
        return [fragment.data for fragment in sink.take_fragments()[first:]]

    def header(self) -> bytes:
        """Return what stands before the fragments; any thread, once there is a fragment.

        Raises:
            SessionClosed: the folder is gone.
        """
        return self._read(INIT)

    def _open(self, width: int, height: int) -> tuple[Any, Any]:
        options = {"movflags": "frag_keyframe+cmaf+skip_trailer", "use_editlist": "0", "flush_packets": "1"}
        # At exactly so many pictures the next one ends the fragment, before sound of the same age can.
        options["frag_duration"] = str((self._part_frames or FRAGMENT_FRAMES) * 1_000_000 // FRAME_RATE_HZ)
        self._container = av.open(self._sink, "w", format="mp4", options=options)
        self._container.metadata.update(self._marking.tags)
        # Only where a segment begins is there a key frame; without look-ahead a picture leaves the encoder at once.
        quality = {**self._codec, "tune": "zerolatency", "forced-idr": "1", "g": "100000", "sc_threshold": "0"}
        # The same packets go to viewers over WebRTC, where all take constrained baseline, at a rate that does not flood them.
        quality |= {
            "profile": "baseline",
            "level": "31",
            "maxrate": str(_MAX_VIDEO_BPS),
            "bufsize": str(_MAX_VIDEO_BPS),
        }
        video: Any = self._container.add_stream("libx264", rate=FRAME_RATE_HZ, options=quality)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.time_base = Fraction(1, _VIDEO_TICKS)
        context = video.codec_context
        context.thread_count = 1
        # Pictures are sRGB in BT.601 YUV; unsaid, players take anything large for BT.709.
        context.colorspace, context.color_range = Colorspace.ITU601, ColorRange.MPEG
        context.color_primaries = context.color_trc = _BT709
        audio: Any = self._container.add_stream("aac", rate=SOUND_RATE_HZ, layout="mono")
        audio.bit_rate = _AUDIO_BPS
        return video, audio

    def _mux_video(self, packets: list[Any]) -> None:
        for packet in packets:
            number = round(packet.pts * packet.time_base * FRAME_RATE_HZ)
            packet.time_base = Fraction(1, _VIDEO_TICKS)
            packet.pts = packet.dts = self._begin(number)
            packet.duration = self._begin(number + 1) - packet.pts
            self._container.mux(packet)

    def _mux_audio(self, packets: list[Any]) -> None:
        for packet in packets:
            packet.pts += PRIMING_SAMPLES
            packet.dts += PRIMING_SAMPLES
            self._container.mux(packet)

    def _begins_segment(self, frame: int) -> bool:
        return frame == 0 or (frame >= self._first_frames and (frame - self._first_frames) % self._segment_frames == 0)

    @staticmethod
    def _begin(frame: int) -> int:
        return _LEAD_TICKS + frame * _FRAME_TICKS if frame else 0

    def _seconds(self, first: int, count: int) -> float:
        return (self._begin(first + count) - self._begin(first)) / _VIDEO_TICKS

    def _store(self) -> None:
        header = self._sink.take_header()
        if header is not None:
            self._write(INIT, header + self._marking.mp4_box)
        for fragment in self._sink.take_fragments():
            self._add_fragment(fragment)

    def _add_fragment(self, fragment: Fragment) -> None:
        first = self._written_frames + self._segment_filled
        if self._part_frames is not None and fragment.pictures:
            name = f"seg_{self.playlist.segments}.{self.playlist.parts}.m4s"
            self._write(name, fragment.data)
            self.playlist.add_part(
                name, self._seconds(first, fragment.pictures), independent=self._begins_segment(first)
            )
        self._segment.append(fragment.data)
        self._segment_filled += fragment.pictures
        if fragment.pictures and self._begins_segment(first + fragment.pictures):
            self._end_segment()
            self._publish()
        elif self._part_frames is not None:
            self._publish()

    def _end_segment(self) -> None:
        name = f"seg_{self.playlist.segments}.m4s"
        self._write(name, b"".join(self._segment))
        with self._turning:
            dropped = self.playlist.add_segment(name, self._seconds(self._written_frames, self._segment_filled))
            self._segment = []
        self._written_frames += self._segment_filled
        self._segment_filled = 0
        for part in dropped:
            (self._folder / part).unlink(missing_ok=True)

    def _publish(self) -> None:
        self._write(PLAYLIST, self.playlist.text().encode())
        if self._on_change is not None:
            self._on_change()

    def _read(self, name: str) -> bytes:
        try:
            return (self._folder / name).read_bytes()
        except OSError as error:
            raise SessionClosed(
                f"{name} of the film is gone ({error.strerror or error}); begin another session"
            ) from error

    def _write(self, name: str, data: bytes) -> None:
        part = self._folder / f".{name}.part"
        try:
            part.write_bytes(data)
            os.replace(part, self._folder / name)
        except OSError as error:
            raise CannotWrite(
                f"{self._folder / name} cannot be written ({error.strerror or error}); make room on the disk"
            ) from error
