"""Sound that arrives in pieces of any length and rate, and is taken in chunks that begin with a little of what was taken before.

The overlap is context alone: what chunks bring anew, one after the other, is the input, sample for sample, whatever the sizes.
Source: the seed document on chunked audio sessions (`AudioChunkBuffer`).
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import soxr

from webrtc_avatar.audio.chunk import SAMPLE_RATE_HZ, SOUND_RATE_HZ, Samples
from webrtc_avatar.errors import BufferFull, InvalidAudio, SessionFinished

RATES_HZ = range(1_000, 768_001)
OVERLAP = 0.2
MAX_PENDING_S = 300.0
_SOUND_RATIO = SOUND_RATE_HZ // SAMPLE_RATE_HZ

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class BufferedChunk:
    """What is taken at a time.

    Attributes:
        heard: float32 (overlap + n + padding,), mono, 16 kHz, -1..1.
        overlap: samples at its beginning that the chunk before had too.
        padding: samples of silence at its end that were never fed.
        sound: float32 (3 * n,), mono, 48 kHz: what people hear of it, without overlap and padding.
    """

    heard: Samples
    overlap: int
    padding: int
    sound: Floats

    @property
    def spoken(self) -> Samples:
        """Return what is new in it, float32 (n,), mono, 16 kHz."""
        return self.heard[self.overlap : len(self.heard) - self.padding]


class AudioChunkBuffer:
    """Any number of threads may add and take.

    Args:
        session_id: whose sound it is; for messages.
        chunk_duration: seconds of new sound in a chunk, 0.1 to 10.
        overlap: how much of a chunk's duration is repeated from the one before, 0 to 0.9.
        source_sr: rate of added sound of which no rate is told.
        max_pending_s: sound that may wait to be taken, at least a chunk and a second; what does not fit is refused as a whole.

    Attributes:
        is_promised: more is about to be added, for which silence is no stand-in; for those who add and take to agree on.

    Raises:
        InvalidAudio: an argument is out of its range.
    """

    def __init__(
        self,
        session_id: str = "",
        chunk_duration: float = 1.0,
        *,
        overlap: float = OVERLAP,
        source_sr: int = 24_000,
        max_pending_s: float = MAX_PENDING_S,
    ) -> None:
        if not 0.1 <= chunk_duration <= 10:
            raise InvalidAudio(f"chunk_duration is 0.1 to 10 seconds; got {chunk_duration:g}")
        if not 0 <= overlap <= 0.9:
            raise InvalidAudio(f"overlap is a share of a chunk, 0 to 0.9; got {overlap:g}")
        _check_rate(source_sr)
        self.session_id = session_id
        self.chunk_samples = round(chunk_duration * SAMPLE_RATE_HZ)
        self.overlap_samples = round(overlap * self.chunk_samples)
        self._source_sr = source_sr
        self._most_samples = max(round(max_pending_s * SAMPLE_RATE_HZ), self.chunk_samples + SAMPLE_RATE_HZ)
        self.is_promised = False
        self._lock = threading.Lock()
        self._converter: _Converter | None = None
        self._heard, self._sound = _Fifo(), _Fifo()
        self._context = np.zeros(0, np.float32)
        self._fed = self._taken = 0
        self._finished = False

    @property
    def pending_samples(self) -> int:
        """Samples at 16 kHz that were fed and not yet taken, those that a resampler holds back included."""
        with self._lock:
            return self._pending

    @property
    def max_pending_s(self) -> float:
        """So much sound may wait, in seconds."""
        return self._most_samples / SAMPLE_RATE_HZ

    @property
    def is_finished(self) -> bool:
        """Whether the sound has ended."""
        return self._finished

    def add_chunk(self, audio_data: npt.NDArray[np.generic], source_sr: int | None = None) -> bool:
        """Add sound, and tell whether enough of it waits for a chunk.

        Args:
            audio_data: int16, or floats in -1..1; (n,) mono or (n, channels), which are averaged. What is not finite becomes
                silence, or full scale where infinite; what is beyond full scale is clipped.
            source_sr: its rate in Hz, 1000 to 768000; by default the buffer's. Consecutive sound of one rate is one stream.

        Raises:
            InvalidAudio: wrong type, shape or rate.
            BufferFull: it does not fit; nothing of it was added.
            SessionFinished: the sound has ended.
        """
        rate_hz = self._source_sr if source_sr is None else source_sr
        _check_rate(rate_hz)
        mono = _mono(audio_data)
        with self._lock:
            if self._finished:
                raise SessionFinished("the last chunk was fed already; begin another session for more sound")
            coming = len(mono) * SAMPLE_RATE_HZ // rate_hz
            if self._pending + coming > self._most_samples:
                raise BufferFull(
                    f"{coming / SAMPLE_RATE_HZ:.1f} s of sound do not fit: {self._pending / SAMPLE_RATE_HZ:.1f} s of at most "
                    f"{self._most_samples / SAMPLE_RATE_HZ:.1f} s wait already; feed it in smaller pieces, and more slowly"
                )
            if self._converter is not None and self._converter.rate_hz != rate_hz:
                self._close_stream()
            if self._converter is None:
                self._converter = _Converter(rate_hz)
            self._take(self._converter.push(mono))
            return self._pending >= self.chunk_samples

    def has_pending_audio(self) -> bool:
        """Tell whether anything waits to be taken."""
        return self.pending_samples > 0

    def get_chunk(self) -> Samples | None:
        """Return the next chunk with its overlap, float32 (overlap + n,) at 16 kHz; None until enough is there; see `take`."""
        chunk = self.take()
        return None if chunk is None else chunk.heard

    def take(self, *, whole: bool = True) -> BufferedChunk | None:
        """Return the next chunk; None until enough was fed.

        It may bring less than a chunk's duration: what a resampler holds back, 20 to 40 ms, comes with the one after.

        Args:
            whole: false to take less than a chunk, whatever waits.
        """
        with self._lock:
            count = min(self.chunk_samples, self._ready)
            if not count or (whole and self._pending < self.chunk_samples):
                return None
            return self._cut(count, padding=0)

    def finalize(self) -> Samples | None:
        """End the sound and return all that is left, see `finish`; None if nothing is."""
        chunk = self.finish()
        return None if chunk is None else chunk.heard

    def finish(self) -> BufferedChunk | None:
        """End the sound and return all that is left, filled up with silence to whole chunks; None if nothing is."""
        self.end()
        with self._lock:
            count = self._ready
            return self._cut(count, padding=-count % self.chunk_samples) if count else None

    def drain(self) -> None:
        """Give out what a resampler holds back as well: a pause begins. No sample is lost; what comes next is a stream of its own."""
        with self._lock:
            self._close_stream()

    def end(self) -> None:
        """End the sound, and leave what is left to `take`; calling it twice is fine."""
        with self._lock:
            self._close_stream()
            self._finished = True

    @property
    def _pending(self) -> int:
        return self._fed + (0 if self._converter is None else self._converter.total) - self._taken

    @property
    def _ready(self) -> int:
        return min(len(self._heard), len(self._sound) // _SOUND_RATIO)

    def _close_stream(self) -> None:
        if self._converter is not None:
            self._take(self._converter.flush())
            self._fed += self._converter.total
            self._converter = None

    def _take(self, made: tuple[Floats, Floats]) -> None:
        self._heard.push(made[0])
        self._sound.push(made[1])

    def _cut(self, count: int, *, padding: int) -> BufferedChunk:
        new = self._heard.take(count)
        self._taken += count
        context = self._context
        heard = np.concatenate((context, new, np.zeros(padding, np.float32)))
        if self.overlap_samples:
            self._context = np.concatenate((context, new))[-self.overlap_samples :]
        return BufferedChunk(heard, len(context), padding, self._sound.take(count * _SOUND_RATIO))


class _Converter:
    """Sound of one rate as two streams, at 16 and at 48 kHz, which end at the same moment."""

    def __init__(self, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self._streams = [_stream(rate_hz, rate_out) for rate_out in (SAMPLE_RATE_HZ, SOUND_RATE_HZ)]
        self._taken = 0
        self._given = [0, 0]

    @property
    def total(self) -> int:
        """The duration of what was pushed, in whole samples at 16 kHz."""
        return (self._taken * SAMPLE_RATE_HZ + self.rate_hz // 2) // self.rate_hz

    def push(self, mono: Floats) -> tuple[Floats, Floats]:
        self._taken += len(mono)
        heard, sound = (mono if stream is None else stream.resample_chunk(mono) for stream in self._streams)
        return self._out(0, heard), self._out(1, sound)

    def flush(self) -> tuple[Floats, Floats]:
        """Return what is held back, up to `total`."""
        nothing = np.zeros(0, np.float32)
        rests = []
        for place, ratio in enumerate((1, _SOUND_RATIO)):
            stream = self._streams[place]
            rest = nothing if stream is None else stream.resample_chunk(nothing, last=True)
            missing = max(self.total * ratio - self._given[place], 0)
            rests.append(self._out(place, np.pad(rest, (0, max(missing - len(rest), 0)))[:missing]))
        return rests[0], rests[1]

    def _out(self, place: int, samples: Floats) -> Floats:
        self._given[place] += len(samples)
        return np.clip(samples, -1.0, 1.0)


def _stream(rate_hz: int, rate_out: int) -> soxr.ResampleStream | None:
    return None if rate_hz == rate_out else soxr.ResampleStream(rate_hz, rate_out, 1, dtype="float32", quality="HQ")


class _Fifo:
    """Samples that wait, kept as they came, so that many small pieces cost no copying of all."""

    def __init__(self) -> None:
        self._parts: deque[Floats] = deque()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def push(self, samples: Floats) -> None:
        if len(samples):
            self._parts.append(samples)
            self._count += len(samples)

    def take(self, count: int) -> Floats:
        taken, left = [], count
        while left:
            part = self._parts.popleft()
            if len(part) > left:
                self._parts.appendleft(part[left:])
                part = part[:left]
            taken.append(part)
            left -= len(part)
        self._count -= count
        return np.concatenate(taken) if taken else np.zeros(0, np.float32)


def _check_rate(rate_hz: int) -> None:
    if rate_hz not in RATES_HZ:
        raise InvalidAudio(f"a rate of {rate_hz} Hz is not supported; expected {RATES_HZ[0]} to {RATES_HZ[-1]} Hz")


def _mono(samples: npt.NDArray[np.generic]) -> Floats:
    if samples.ndim not in (1, 2):
        raise InvalidAudio(f"sound is (n,) or (n, channels); got the shape {samples.shape}")
    if samples.dtype == np.int16:
        scaled = samples.astype(np.float32) / np.float32(32768.0)
    elif np.issubdtype(samples.dtype, np.floating):
        scaled = np.clip(np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0), -1.0, 1.0).astype(np.float32)
    else:
        raise InvalidAudio(f"sound is int16 or floats; got {samples.dtype}")
    return scaled if scaled.ndim == 1 else np.asarray(scaled.mean(axis=1), np.float32)
