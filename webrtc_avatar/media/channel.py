"""All viewers of one codec and the one encoder that serves them, open only while somebody watches."""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import Executor
from functools import partial
from typing import TYPE_CHECKING

from webrtc_avatar.media.bitrate import SharedBitrate
from webrtc_avatar.media.tracks import PictureTrack, picture_packet
from webrtc_avatar.media.video_encoder import Codec, EncodedPicture, VideoEncoder, open_encoder
from webrtc_avatar.metrics import Metrics
from webrtc_avatar.settings import Settings

if TYPE_CHECKING:
    from webrtc_avatar.session.subscription import Tick

log = logging.getLogger(__name__)

_KEY_BURST = 2
_KEY_INTERVAL_S = 0.5
"""Key frames come at most twice a second in the long run; the first two that are asked for come at once."""
_CLOSE_S = 2.0


class Channel:
    """Encodes ticks for the viewers of one codec, at most one at a time.

    Attributes:
        viewers: the tracks that are being read.
        bitrate: what they can bear.
        skipped: pictures that were not encoded because the one before was still being encoded.
    """

    def __init__(self, codec: Codec, *, settings: Settings, metrics: Metrics, executor: Executor | None) -> None:
        self.codec = codec
        self.viewers: set[PictureTrack] = set()
        self.bitrate = SharedBitrate(min_bps=settings.video_min_bitrate_bps, max_bps=settings.video_bitrate_bps)
        self.skipped = 0
        self._max_bitrate_bps = settings.video_bitrate_bps
        self._metrics = metrics
        self._executor = executor
        self._encoder: VideoEncoder | None = None
        self._job: asyncio.Future[EncodedPicture] | None = None
        self._job_tick = 0
        self._job_encoder: VideoEncoder | None = None
        self._key_wanted = False
        self._key_allowance = float(_KEY_BURST)
        self._key_counted_s = time.monotonic()
        self._failed = False

    @property
    def is_open(self) -> bool:
        """Whether an encoder is open."""
        return self._encoder is not None

    def join(self, track: PictureTrack) -> None:
        """Take a viewer in; a key frame follows."""
        self.viewers.add(track)
        self.request_key_frame()

    def leave(self, track: PictureTrack) -> None:
        """Let a viewer go; the encoder closes with the last one."""
        self.viewers.discard(track)
        self.bitrate.forget(track)
        if not self.viewers:
            self._encoder = None

    def request_key_frame(self) -> None:
        """Make the next picture a key frame, or the first one that the limit allows."""
        self._key_wanted = True

    def encode(self, tick: Tick) -> asyncio.Future[EncodedPicture] | None:
        """Begin to encode a tick's picture and return the job; None if nobody watches or the last job is not done."""
        if not self.viewers:
            return None
        if self._job is not None:
            self.skipped += 1
            return None
        if self._encoder is None:
            self._encoder = open_encoder(self.codec, max_bitrate_bps=self._max_bitrate_bps)
            self._key_wanted = False  # a new stream begins with one
        key = self._key_wanted and self._may_send_key()
        if key:
            self._key_wanted = False
        self._job_encoder, self._job_tick = self._encoder, tick.index
        try:
            self._job = asyncio.get_running_loop().run_in_executor(
                self._executor,
                partial(
                    self._encode,
                    self._encoder,
                    tick,
                    key=key,
                    bitrate_bps=self.bitrate.target_bps,
                    queued_s=time.monotonic(),
                ),
            )
        except RuntimeError:  # the executor has been shut down: the server is ending
            return None
        return self._job

    def release(self) -> None:
        """Send what has been encoded to the viewers; what is still being encoded is sent as soon as it is done."""
        if self._job is None:
            return
        if self._job.done():
            self._deliver(self._job)
        else:
            self._job.add_done_callback(self._deliver)

    async def aclose(self) -> None:
        """Wait for the job under way and close the encoder."""
        self._encoder = None
        if self._job is not None:
            await asyncio.wait({self._job}, timeout=_CLOSE_S)
            self._job = None

    def _encode(
        self, encoder: VideoEncoder, tick: Tick, *, key: bool, bitrate_bps: int, queued_s: float
    ) -> EncodedPicture:
        """Encode, on a thread of the executor."""
        started_s = time.monotonic()
        self._metrics.stage_wait.labels("encode_video").observe(started_s - queued_s)
        picture = encoder.encode(tick.frame, tick.index, bitrate_bps=bitrate_bps, key=key)
        self._metrics.stage_run.labels("encode_video").observe(time.monotonic() - started_s)
        return picture

    def _deliver(self, job: asyncio.Future[EncodedPicture]) -> None:
        if job is not self._job:
            return
        self._job = None
        is_current = self._job_encoder is self._encoder
        self._job_encoder = None
        if job.cancelled():
            return
        error = job.exception()
        if error is not None:
            if not self._failed:
                log.error("encoding failed; the encoder is opened anew codec=%s", self.codec, exc_info=error)
            self._failed = True
            self._encoder = None
            self.request_key_frame()
            return
        self._failed = False
        picture = job.result()
        if not is_current or not picture.data:
            return
        if picture.is_key:
            self._metrics.key_frames.labels(self.codec).inc()
        packet = picture_packet(picture.data, self._job_tick)
        for track in self.viewers:
            track.offer(packet, is_key=picture.is_key)

    def _may_send_key(self) -> bool:
        now_s = time.monotonic()
        earned = (now_s - self._key_counted_s) / _KEY_INTERVAL_S
        self._key_allowance = min(_KEY_BURST, self._key_allowance + earned)
        self._key_counted_s = now_s
        if self._key_allowance < 1:
            return False
        self._key_allowance -= 1
        return True
