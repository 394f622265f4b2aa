"""The 40 ms chunk and the arithmetic of windows: units that never change.

Source: the seed documents on batched lip-sync inference (16 kHz mono float32, 640 samples a chunk, 25 frames a
second, a window of 8 chunks before, the frame's own and 7 after).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from webrtc_avatar.errors import InvalidAudio

SAMPLE_RATE_HZ = 16_000
FRAME_RATE_HZ = 25
CHUNK_S = 0.040
CHUNK_SAMPLES = 640
CHUNK_BYTES = 2_560
"""Bytes of one chunk on the wire: 640 little-endian float32."""

SOUND_RATE_HZ = 48_000
SOUND_SAMPLES = 1_920
"""Samples of one chunk at the rate at which sound is played back."""

CHUNKS_BEFORE = 8
CHUNKS_AFTER = 7
WINDOW_CHUNKS = CHUNKS_BEFORE + 1 + CHUNKS_AFTER

Samples = npt.NDArray[np.float32]
Sound = npt.NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Chunk:
    """40 ms of sound, once for the model and once for the ear.

    Attributes:
        samples: float32 (640,), mono, 16 kHz, -1..1: what the model hears.
        sound: int16 (1920,), mono, 48 kHz: what is played back.
        media_time_s: time of the first sample on the sender's clock, in seconds.
        arrived_s: when the last part of it arrived, `time.monotonic()` seconds.
        synthetic: true where loss, DTX or a missing microphone left nothing and the gap was filled.
    """

    samples: Samples
    sound: Sound
    media_time_s: float
    arrived_s: float
    synthetic: bool = False

    def __post_init__(self) -> None:
        if self.samples.shape != (CHUNK_SAMPLES,) or self.samples.dtype != np.float32:
            raise InvalidAudio(
                f"a chunk is float32 ({CHUNK_SAMPLES},) at 16 kHz; got {self.samples.dtype} {self.samples.shape}"
            )
        if self.sound.shape != (SOUND_SAMPLES,) or self.sound.dtype != np.int16:
            raise InvalidAudio(
                f"a chunk's sound is int16 ({SOUND_SAMPLES},) at 48 kHz; got {self.sound.dtype} {self.sound.shape}"
            )


def silent_chunk(media_time_s: float, arrived_s: float) -> Chunk:
    """Return a chunk of digital silence that stands in for sound that never came."""
    return Chunk(
        samples=np.zeros(CHUNK_SAMPLES, np.float32),
        sound=np.zeros(SOUND_SAMPLES, np.int16),
        media_time_s=media_time_s,
        arrived_s=arrived_s,
        synthetic=True,
    )
