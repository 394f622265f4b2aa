"""What a peer received, as an MP4 with H.264 and AAC on the media timeline, so that the file shows the true offset.

Peers speak to this project's server alone, so the file says that what it shows is synthetic.

Sound and picture each have their own RTP clock; the sender reports say how they relate, and the first ones come half
a second or later after the media. Until then pictures and sound are encoded and kept, afterwards they are muxed.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from webrtc_avatar.audio.chunk import FRAME_RATE_HZ, SOUND_RATE_HZ, Sound
from webrtc_avatar.client.failures import NotWritable
from webrtc_avatar.media.marking import OF_NOBODY

_VIDEO_CLOCK_HZ = 90_000
_LONGEST_GAP_S = 30.0
_MOST_KEPT_FRAMES = 100


class Recording:
    """Writes one file; used by one thread.

    The sound is the master: it is written without holes, and pictures are placed relative to it.

    Args:
        path: the file; its folder exists.

    Raises:
        NotWritable: if the file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.open("wb").close()
            self._container = av.open(str(path), "w", format="mp4", options={"movflags": "faststart"})
            self._container.metadata.update(OF_NOBODY.tags)
        except OSError as error:
            raise NotWritable(
                f"{path} cannot be written ({error.strerror or error}); name a file in a folder that exists"
            ) from error
        self._path = path
        self._streams: tuple[av.AudioStream, av.VideoStream] | None = None
        self._kept: list[tuple[Sound | av.VideoFrame, int]] = []
        self._kept_frames = 0
        self._relation_s: float | None = None
        self._origin_s: float | None = None
        self._sound_written = 0
        self._last_pts = -1

    def relate(self, relation_s: float) -> None:
        """Say how the clocks relate: add `relation_s` to `RTP / 90000` of a picture for `RTP / 48000` of its sound."""
        self._relation_s = relation_s
        self._begin()

    def add_sound(self, sound: Sound, timestamp: int) -> None:
        """Write int16 (n,) mono 48 kHz sound at its extended RTP timestamp; holes become silence."""
        if self._streams is None:
            self._kept.append((sound, timestamp))
        else:
            self._write_sound(sound, timestamp)

    def add_frame(self, frame: av.VideoFrame, timestamp: int) -> None:
        """Write a picture at its extended RTP timestamp (90 kHz)."""
        if self._streams is not None:
            self._write_frame(frame, timestamp)
            return
        self._kept.append((frame, timestamp))
        self._kept_frames += 1
        if self._relation_s is None and self._kept_frames > _MOST_KEPT_FRAMES:
            self._relate_by_start()
        self._begin()

    def _relate_by_start(self) -> None:
        """Without sender reports: sound and picture started together."""
        sounds = [timestamp for item, timestamp in self._kept if not isinstance(item, av.VideoFrame)]
        frames = [timestamp for item, timestamp in self._kept if isinstance(item, av.VideoFrame)]
        if frames:
            self._relation_s = (sounds[0] if sounds else 0) / SOUND_RATE_HZ - frames[0] / _VIDEO_CLOCK_HZ

    def _begin(self) -> None:
        """Open the streams once the relation and a first picture are there, and write what was kept."""
        picture = next((item for item, _ in self._kept if isinstance(item, av.VideoFrame)), None)
        if self._streams is not None or self._relation_s is None or picture is None:
            return
        video = self._container.add_stream("libx264", rate=FRAME_RATE_HZ)
        assert isinstance(video, av.VideoStream)
        video.width, video.height, video.pix_fmt = picture.width, picture.height, "yuv420p"
        video.codec_context.thread_count = 1
        video.codec_context.time_base = Fraction(1, _VIDEO_CLOCK_HZ)
        video.options = {"preset": "veryfast", "crf": "20", "tune": "zerolatency"}
        audio = self._container.add_stream("aac", rate=SOUND_RATE_HZ)
        assert isinstance(audio, av.AudioStream)
        audio.layout = av.AudioLayout("mono")
        audio.bit_rate = 96_000
        self._streams = (audio, video)
        starts_s = [
            timestamp / _VIDEO_CLOCK_HZ + self._relation_s
            if isinstance(item, av.VideoFrame)
            else timestamp / SOUND_RATE_HZ
            for item, timestamp in self._kept
        ]
        self._origin_s = min(starts_s)
        kept, self._kept = self._kept, []
        for item, timestamp in kept:
            if isinstance(item, av.VideoFrame):
                self._write_frame(item, timestamp)
            else:
                self._write_sound(item, timestamp)

    def _write_sound(self, sound: Sound, timestamp: int) -> None:
        assert self._streams is not None
        assert self._origin_s is not None
        position = round(timestamp - self._origin_s * SOUND_RATE_HZ)
        gap = min(position - self._sound_written, round(_LONGEST_GAP_S * SOUND_RATE_HZ))
        if gap < 0:
            return
        if gap:
            sound = np.concatenate([np.zeros(gap, np.int16), sound])
        frame = av.AudioFrame.from_ndarray(sound[None], format="s16", layout="mono")
        frame.sample_rate = SOUND_RATE_HZ
        frame.pts = self._sound_written
        frame.time_base = Fraction(1, SOUND_RATE_HZ)
        self._sound_written += sound.size
        self._container.mux(self._streams[0].encode(frame))

    def _write_frame(self, frame: av.VideoFrame, timestamp: int) -> None:
        assert self._streams is not None
        assert self._origin_s is not None
        assert self._relation_s is not None
        pts = round((timestamp / _VIDEO_CLOCK_HZ + self._relation_s - self._origin_s) * _VIDEO_CLOCK_HZ)
        if pts < 0 or pts <= self._last_pts:
            return
        self._last_pts = pts
        picture = av.VideoFrame.from_ndarray(frame.to_ndarray(format="yuv420p"), format="yuv420p")
        picture.pts = pts
        picture.time_base = Fraction(1, _VIDEO_CLOCK_HZ)
        self._container.mux(self._streams[1].encode(picture))

    def close(self) -> None:
        """Write what is left and close the file."""
        if self._relation_s is None:
            self._relate_by_start()
        self._begin()
        for stream in self._streams or ():
            self._container.mux(stream.encode(None))
        self._container.close()
        with self._path.open("ab") as file:
            file.write(OF_NOBODY.mp4_box)
