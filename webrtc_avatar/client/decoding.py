"""The thread in which one peer looks and listens: decodes, measures mouth and level, and records."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from webrtc_avatar.audio.chunk import SOUND_RATE_HZ, Sound
from webrtc_avatar.client import measure
from webrtc_avatar.client.mouth import chroma_planes, opening
from webrtc_avatar.client.receiving import EncodedFrame
from webrtc_avatar.client.recording import Recording

logger = logging.getLogger(__name__)

_DECODERS = {"video/vp8": "vp8", "video/h264": "h264"}


@dataclass(frozen=True)
class SeenFrame:
    """A decoded picture, reduced to what is measured.

    Attributes:
        timestamp: extended RTP timestamp (90 kHz).
        arrived_s: `time.monotonic()` of its last packet.
        mouth: opening of the mouth, pixels of a 512 frame.
    """

    timestamp: int
    arrived_s: float
    mouth: float


class Decoding:
    """Decodes on a thread of its own, one decoder thread a codec.

    Args:
        record: MP4 to write, or None.
        on_broken: called from the thread when a picture does not decode: a key frame is needed.

    Attributes:
        frames: what was seen.
        levels: (extended RTP timestamp at 48 kHz, level in dBFS) of each 10 ms heard.
        heard: (`time.monotonic()` of its arrival, level in dBFS of its loudest 10 ms) of each packet of sound.
        first_frame_s: `time.monotonic()` at which the first picture was decoded.
        broken: pictures that did not decode.
    """

    def __init__(self, *, record: Path | None, on_broken: Callable[[], None]) -> None:
        self._recording = None if record is None else Recording(record)
        self._on_broken = on_broken
        self._queue: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._video: av.VideoCodecContext | None = None
        self._video_mime = ""
        self._audio: av.AudioCodecContext | None = None
        self._resampler = av.AudioResampler(format="s16", layout="mono", rate=SOUND_RATE_HZ)
        self._waits_for_key = False
        self.frames: list[SeenFrame] = []
        self.levels: list[tuple[int, float]] = []
        self.heard: list[tuple[float, float]] = []
        self.first_frame_s: float | None = None
        self.broken = 0
        self._thread = threading.Thread(target=self._run, name="peer-decoding", daemon=True)
        self._thread.start()

    def look(self, frame: EncodedFrame, mime: str) -> None:
        """Queue a received frame; never blocks."""
        self._queue.put(lambda: self._look(frame, mime.lower()))

    def listen(self, packet: EncodedFrame) -> None:
        """Queue a received Opus packet; never blocks."""
        self._queue.put(lambda: self._listen(packet))

    def relate(self, relation_s: float) -> None:
        """Pass the relation of the two media clocks to the recording, see `Recording.relate`."""
        if self._recording is not None:
            self._queue.put(lambda: self._recording.relate(relation_s) if self._recording else None)

    def close(self) -> None:
        """Finish what is queued, close the recording, end the thread. Blocks; twice is fine."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (task := self._queue.get()) is not None:
            try:
                task()
            except Exception:
                logger.exception("a received packet could not be handled")
        if self._recording is not None:
            try:
                self._recording.close()
            except Exception:
                logger.exception("the recording could not be finished")

    def _look(self, frame: EncodedFrame, mime: str) -> None:
        if self._video is None or mime != self._video_mime:
            context = av.CodecContext.create(_DECODERS[mime], "r")
            assert isinstance(context, av.VideoCodecContext)
            context.thread_count = 1
            self._video, self._video_mime = context, mime
        if not frame.whole:
            self._waits_for_key = True
        if self._waits_for_key and not _is_key_frame(frame.data, mime):
            self._broken()
            return
        self._waits_for_key = False
        try:
            pictures = self._video.decode(av.Packet(frame.data))
        except av.FFmpegError:
            self._waits_for_key = True
            self._broken()
            return
        for picture in pictures:
            if self.first_frame_s is None:
                self.first_frame_s = time.monotonic()
            if picture.format.name not in ("yuv420p", "yuvj420p"):
                picture = picture.reformat(format="yuv420p")  # noqa: PLW2901
            self.frames.append(SeenFrame(frame.timestamp, frame.arrived_s, opening(*chroma_planes(picture))))
            if self._recording is not None:
                self._recording.add_frame(picture, frame.timestamp)

    def _broken(self) -> None:
        self.broken += 1
        self._on_broken()

    def _listen(self, packet: EncodedFrame) -> None:
        if self._audio is None:
            context = av.CodecContext.create("libopus", "r")
            assert isinstance(context, av.AudioCodecContext)
            context.format = av.AudioFormat("s16")
            context.layout = av.AudioLayout("stereo")
            context.sample_rate = SOUND_RATE_HZ
            self._audio = context
        try:
            blocks = [
                out for frame in self._audio.decode(av.Packet(packet.data)) for out in self._resampler.resample(frame)
            ]
        except av.FFmpegError:
            return
        if not blocks:
            return
        sound: Sound = np.concatenate([block.to_ndarray().reshape(-1) for block in blocks]).astype(np.int16)
        levels = [float(level) for level in measure.level_dbfs(sound)]
        self.heard.append((packet.arrived_s, max(levels, default=-100.0)))
        for step, level in enumerate(levels):
            self.levels.append((packet.timestamp + step * measure.STEP_SAMPLES, level))
        if self._recording is not None:
            self._recording.add_sound(sound, packet.timestamp)


def _is_key_frame(data: bytes, mime: str) -> bool:
    """Return whether a frame decodes without those before it (RFC 6386 section 9.1; H.264 table 7-1, type 5)."""
    if mime == "video/vp8":
        return bool(data) and not data[0] & 1
    start = data.find(b"\x00\x00\x01")
    while 0 <= start < len(data) - 3:
        if data[start + 3] & 0x1F == 5:
            return True
        start = data.find(b"\x00\x00\x01", start + 3)
    return False
