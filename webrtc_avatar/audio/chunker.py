"""Cuts sound of any length and rate into 40 ms chunks. Microphones, files and speech synthesis all pass through it."""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt

from webrtc_avatar.audio.chunk import CHUNK_SAMPLES, SOUND_RATE_HZ, SOUND_SAMPLES, Chunk
from webrtc_avatar.audio.resample import DECIMATION, DECIMATOR_DELAY, Decimator, Resampler
from webrtc_avatar.errors import InvalidAudio

LIVE_LEAD_IN = DECIMATOR_DELAY
"""Samples of silence to begin a live stream with.

A chunk is whole only once the filter has seen `DECIMATOR_DELAY` samples of the next one. Packets usually end where
chunks end, so without a lead-in each chunk would wait for one more packet: 20 ms. With it, the sound lies 1.5 ms later
in the chunks and none waits.
"""


class Chunker:
    """Turns a stream of sound into consecutive chunks. For one thread at a time.

    Args:
        rate_hz: rate of the sound that is pushed; 8000 to 192000.
        lead_in: silent samples at 48 kHz that come first; `LIVE_LEAD_IN` for sound that arrives in packets.
        media_time_s: time of the first pushed sample on the sender's clock.

    Raises:
        InvalidAudio: the rate is outside of its range.
    """

    def __init__(self, *, rate_hz: int = SOUND_RATE_HZ, lead_in: int = 0, media_time_s: float = 0.0) -> None:
        if not 8_000 <= rate_hz <= 192_000:
            raise InvalidAudio(f"a rate of {rate_hz} Hz is not supported; expected 8000 to 192000 Hz")
        self._to_sound = Resampler(rate_hz)
        self._to_samples = Decimator()
        self._sound = np.zeros(0, np.int16)
        self._samples = np.zeros(0, np.float32)
        self._origins: deque[tuple[int, bool]] = deque()
        self._media_time_s = media_time_s
        self._lead_in = lead_in
        self._cut = 0
        self._take(np.zeros(lead_in, np.float32), synthetic=True)

    @property
    def pending_samples(self) -> int:
        """Samples at 48 kHz that wait for their chunk to become whole."""
        return len(self._sound)

    def push(self, samples: npt.NDArray[np.generic], *, arrived_s: float, synthetic: bool = False) -> list[Chunk]:
        """Take sound and return the chunks that it completes.

        Args:
            samples: int16, or float32 in -1..1; (n,) mono or (n, channels), which are averaged.
            arrived_s: when the sound arrived, `time.monotonic()` seconds.
            synthetic: true for sound that only fills a gap. A chunk counts as synthetic if more than half of it does.

        Raises:
            InvalidAudio: wrong type or shape.
        """
        self._take(self._to_sound.push(_mono(samples)), synthetic=synthetic)
        return self._whole(arrived_s)

    def flush(self, *, arrived_s: float) -> list[Chunk]:
        """Return what is left, the last chunk filled up with silence. The chunker may then be used no more."""
        self._take(self._to_sound.flush(), synthetic=False)
        missing = -len(self._sound) % SOUND_SAMPLES
        total = (len(self._sound) + missing) // SOUND_SAMPLES
        self._take(np.zeros(missing + DECIMATOR_DELAY, np.float32), synthetic=True)
        return self._whole(arrived_s)[:total]

    def _take(self, sound: npt.NDArray[np.float32], *, synthetic: bool) -> None:
        if not len(sound):
            return
        played = np.clip(np.rint(sound * 32768.0), -32768, 32767).astype(np.int16)
        self._sound = np.concatenate((self._sound, played))
        self._samples = np.concatenate((self._samples, self._to_samples.push(sound)))
        self._origins.append((len(sound), synthetic))

    def _whole(self, arrived_s: float) -> list[Chunk]:
        chunks = []
        count = min(len(self._sound) // SOUND_SAMPLES, len(self._samples) // CHUNK_SAMPLES)
        for n in range(count):
            start = self._cut * SOUND_SAMPLES - self._lead_in
            chunks.append(
                Chunk(
                    samples=np.clip(self._samples[n * CHUNK_SAMPLES : (n + 1) * CHUNK_SAMPLES], -1.0, 1.0),
                    sound=self._sound[n * SOUND_SAMPLES : (n + 1) * SOUND_SAMPLES].copy(),
                    media_time_s=self._media_time_s + start / SOUND_RATE_HZ,
                    arrived_s=arrived_s,
                    synthetic=self._synthetic_of_next() * 2 > SOUND_SAMPLES,
                )
            )
            self._cut += 1
        if count:
            self._sound = self._sound[count * SOUND_SAMPLES :]
            self._samples = self._samples[count * SOUND_SAMPLES // DECIMATION :]
        return chunks

    def _synthetic_of_next(self) -> int:
        """Take the next chunk's worth from the record of origins and return how many samples were filled in."""
        left, filled = SOUND_SAMPLES, 0
        while left:
            length, synthetic = self._origins.popleft()
            used = min(left, length)
            filled += used * synthetic
            left -= used
            if length > used:
                self._origins.appendleft((length - used, synthetic))
        return filled


def _mono(samples: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    if samples.ndim not in (1, 2):
        raise InvalidAudio(f"sound is (n,) or (n, channels); got the shape {samples.shape}")
    if samples.dtype == np.int16:
        scaled = samples.astype(np.float32) / np.float32(32768.0)
    elif samples.dtype == np.float32:
        scaled = samples.astype(np.float32)
    else:
        raise InvalidAudio(f"sound is int16 or float32; got {samples.dtype}")
    return scaled if scaled.ndim == 1 else np.asarray(scaled.mean(axis=1), np.float32)
