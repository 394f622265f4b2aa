"""Sound files of any kind, piece by piece: whatever FFmpeg reads, never more of it in memory than a moment.

A `SoundFile` gives the sound as the file has it; `Mono16k` makes of it what models hear. Holes in a file's time stamps become silence,
so a piece's place in the stream is its time.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Protocol

import av
import numpy as np
import numpy.typing as npt
import soxr

from webrtc_avatar.audio.chunk import CHUNK_SAMPLES, SAMPLE_RATE_HZ, Samples
from webrtc_avatar.errors import UnreadableSound

Piece = npt.NDArray[np.float32]
"""float32 (n, channels), full scale -1..1."""

_READABLE = "give a file with sound that FFmpeg reads, such as WAV, MP3, FLAC, Ogg, M4A or MP4"
_MOST_CHANNELS = 2
_JITTER_S = 0.1
"""Time stamps that stray less than this are rounding; what strays further is a hole, or sound that comes twice."""
_LONGEST_HOLE_S = 3600.0
_PIECE_SAMPLES = 48_000
_RATES_HZ = range(1_000, 768_001)


class Readable(Protocol):
    """What FFmpeg can read: an open file, or a stream that nobody can wind back."""

    def read(self, size: int, /) -> bytes:
        """Return the next bytes, at most `size`; nothing at the end."""
        ...


class SoundFile:
    """The first sound stream of a file. A context manager; for one thread at a time.

    Args:
        source: a path, or a binary file that is open for reading.
        start_s: skip so much of it.
        duration_s: take at most so much; none: all.
        kind: FFmpeg's name of its format; none: it is found out, for which the beginning is read twice.

    Attributes:
        rate_hz: of its pieces.
        channels: of its pieces: 1 or 2; more are mixed to 2 as FFmpeg does.
        duration_s: of what `pieces` will give, as the file announces it; none where it does not.

    Raises:
        UnreadableSound: there is no such file, or no sound in it that FFmpeg can decode.
    """

    def __init__(
        self,
        source: Path | str | Readable,
        *,
        start_s: float = 0.0,
        duration_s: float | None = None,
        kind: str | None = None,
    ) -> None:
        self._name = str(getattr(source, "name", "the sound")) if hasattr(source, "read") else str(source)
        if start_s < 0 or (duration_s is not None and duration_s <= 0):
            raise UnreadableSound(
                f"{self._name} cannot be read from {start_s:g} s for {duration_s} s; the start is 0 or more, "
                "the duration above 0"
            )
        self._container = self._open(source, kind)
        try:
            self._stream = self._container.streams.audio[0]
            codec = self._stream.codec_context
            if codec is None:
                raise UnreadableSound(f"{self._name} holds sound of a codec that FFmpeg does not know; {_READABLE}")
            self.rate_hz, self.channels = int(codec.sample_rate or 0), min(int(codec.channels or 0), _MOST_CHANNELS)
            if self.rate_hz not in _RATES_HZ or not self.channels:
                raise UnreadableSound(
                    f"{self._name} announces {self.rate_hz} Hz and {codec.channels} channels; {_READABLE}"
                )
        except BaseException:
            self._container.close()
            raise
        self._skip = round(start_s * self.rate_hz)
        self._most = None if duration_s is None else round(duration_s * self.rate_hz)
        self.duration_s = self._announced(start_s, duration_s)

    def __enter__(self) -> SoundFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; calling it twice is fine."""
        self._container.close()

    def pieces(self) -> Iterator[Piece]:
        """Yield the sound in order and without holes, float32 (n, channels) at `rate_hz`, at most a second each. Once.

        Packets that do not decode are left out, and silence takes their place.

        Raises:
            UnreadableSound: nothing of it could be decoded, or nothing lies behind the start.
        """
        at, given, decoded = 0, 0, False
        for position, piece in self._placed():
            decoded = True
            # What lies before the start is decoded and dropped: seeking is not exact in every kind of file.
            begin = max(self._skip - position, 0)
            end = len(piece) if self._most is None else max(self._skip + self._most - position, 0)
            at = position + len(piece)
            wanted = piece[begin:end]
            for first in range(0, len(wanted), _PIECE_SAMPLES):
                yield wanted[first : first + _PIECE_SAMPLES]
            given += len(wanted)
            if self._most is not None and given >= self._most:
                return
        if not decoded:
            raise UnreadableSound(f"nothing in {self._name} could be decoded as sound; {_READABLE}")
        if not given:
            raise UnreadableSound(
                f"{self._name} is {at / self.rate_hz:.2f} s long, so nothing begins at {self._skip / self.rate_hz:.2f} s; "
                "choose an earlier start"
            )

    def _open(self, source: Path | str | Readable, kind: str | None) -> av.container.InputContainer:
        if isinstance(source, Path | str) and (not Path(source).exists() or Path(source).is_dir()):
            raise UnreadableSound(f"{source} is not a file; {_READABLE}")
        # With the protocol's name no file's name is taken for another protocol's.
        on_disk = isinstance(source, Path | str)
        opened: Any = f"file:{source}" if on_disk else source
        # Playlists name other files and addresses; what was sent to a server may open none.
        options = {} if on_disk else {"protocol_whitelist": "none"}
        try:
            container: av.container.InputContainer = av.open(
                opened, "r", format=kind, metadata_errors="replace", options=options
            )
        except (av.FFmpegError, OSError, ValueError) as error:
            raise UnreadableSound(f"{self._name} cannot be read ({_reason(error)}); {_READABLE}") from error
        if not container.streams.audio:
            container.close()
            raise UnreadableSound(f"{self._name} holds no sound; {_READABLE}")
        return container

    def _announced(self, start_s: float, duration_s: float | None) -> float | None:
        stream = self._stream
        length_s = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else None
        if length_s is None and self._container.duration:
            length_s = self._container.duration / av.time_base
        rest_s = None if length_s is None else max(length_s - start_s, 0.0)
        if rest_s is None or duration_s is None:
            return rest_s
        return min(rest_s, duration_s)

    def _placed(self) -> Iterator[tuple[int, Piece]]:
        """Yield each piece with the number of its first sample; consecutive ones follow on each other."""
        to_floats = _Mixer(self.rate_hz, self.channels)
        at, origin_s = 0, None
        for frame in self._frames():
            time_s = frame.time
            piece = to_floats.take(frame)
            if time_s is not None:
                origin_s = time_s if origin_s is None else origin_s
                astray = round((time_s - origin_s) * self.rate_hz) - at
                if abs(astray) <= _JITTER_S * self.rate_hz or astray > _LONGEST_HOLE_S * self.rate_hz:
                    astray = 0
                while astray > 0:
                    hole = np.zeros((min(astray, _PIECE_SAMPLES), self.channels), np.float32)
                    yield at, hole
                    at, astray = at + len(hole), astray - len(hole)
                piece = piece[min(-astray, len(piece)) :] if astray < 0 else piece
            if len(piece):
                yield at, piece
                at += len(piece)

    def _frames(self) -> Iterator[av.AudioFrame]:
        try:
            for packet in self._container.demux(self._stream):
                try:
                    yield from packet.decode()
                except av.error.InvalidDataError:
                    continue
        except av.error.EOFError:
            return
        except (av.FFmpegError, OSError) as error:
            raise UnreadableSound(f"{self._name} broke off while it was read ({_reason(error)})") from error


class _Mixer:
    """Frames of any sample format and layout to float32 (n, channels). A file may change its rate midway; the first one stays."""

    def __init__(self, rate_hz: int, channels: int) -> None:
        self._layout = "mono" if channels == 1 else "stereo"
        self._rate_hz = rate_hz
        self._known: tuple[str, str, int] | None = None
        self._resampler: av.AudioResampler | None = None

    def take(self, frame: av.AudioFrame) -> Piece:
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._resampler is None or kind != self._known:
            self._known = kind
            self._resampler = av.AudioResampler(format="flt", layout=self._layout, rate=self._rate_hz)
        frame.pts = None
        channels = 1 if self._layout == "mono" else _MOST_CHANNELS
        parts = [made.to_ndarray().reshape(-1, channels) for made in self._resampler.resample(frame)]
        piece = np.concatenate(parts) if parts else np.zeros((0, channels), np.float32)
        # A float file may hold anything, and one NaN would stay in every filter behind.
        return np.nan_to_num(piece, nan=0.0, posinf=1.0, neginf=-1.0).astype(np.float32, copy=False)


class Mono16k:
    """Sound at any rate to what models hear: mono, 16 kHz, as a stream; sample k stands at k / 16000 s.

    Args:
        rate_hz: of the pieces that are pushed.
    """

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._stream = (
            None
            if rate_hz == SAMPLE_RATE_HZ
            else soxr.ResampleStream(rate_hz, SAMPLE_RATE_HZ, 1, dtype="float32", quality="HQ")
        )
        self._taken = self._given = 0

    def push(self, piece: Piece) -> Samples:
        """Take float32 (n, channels), whose channels are averaged, and return the float32 (m,) that are now known, -1..1."""
        mono = np.ascontiguousarray(piece[:, 0] if piece.shape[1] == 1 else piece.mean(axis=1, dtype=np.float32))
        self._taken += len(mono)
        return self._out(mono if self._stream is None else self._stream.resample_chunk(mono))

    def flush(self) -> Samples:
        """Return what is still held back, so that the total is the input's duration to the nearest sample."""
        rest = np.zeros(0, np.float32)
        if self._stream is not None:
            rest = self._stream.resample_chunk(rest, last=True)
            missing = max(round(self._taken * SAMPLE_RATE_HZ / self._rate_hz) - self._given, 0)
            rest = np.pad(rest, (0, max(missing - len(rest), 0)))[:missing]
        return self._out(rest)

    def _out(self, samples: npt.NDArray[np.float32]) -> Samples:
        self._given += len(samples)
        return np.clip(samples, -1.0, 1.0)


class ChunkCutter:
    """Pieces of any length to chunks of 640 samples."""

    def __init__(self) -> None:
        self._held = np.zeros(0, np.float32)

    def push(self, samples: Samples) -> list[Samples]:
        """Take float32 (n,) and return the chunks that are whole now, float32 (640,) each, views of one array."""
        held = np.concatenate((self._held, samples))
        whole = len(held) // CHUNK_SAMPLES * CHUNK_SAMPLES
        self._held = held[whole:]
        return list(held[:whole].reshape(-1, CHUNK_SAMPLES))

    def flush(self) -> list[Samples]:
        """Return the last chunk, filled up with silence, if anything is left."""
        held, self._held = self._held, np.zeros(0, np.float32)
        return [np.pad(held, (0, CHUNK_SAMPLES - len(held)))] if len(held) else []


def chunks(
    source: Path | str | BinaryIO, *, start_s: float = 0.0, duration_s: float | None = None
) -> Iterator[Samples]:
    """Yield a file's sound as chunks, float32 (640,), mono, 16 kHz, the last one filled up with silence.

    Raises:
        UnreadableSound: as `SoundFile`.
    """
    with SoundFile(source, start_s=start_s, duration_s=duration_s) as sound:
        to_samples, cutter = Mono16k(sound.rate_hz), ChunkCutter()
        for piece in sound.pieces():
            yield from cutter.push(to_samples.push(piece))
        yield from cutter.push(to_samples.flush())
        yield from cutter.flush()


def read(source: Path | str | BinaryIO, *, start_s: float = 0.0, duration_s: float | None = None) -> Samples:
    """Return a file's whole sound, float32 (n,), mono, 16 kHz, -1..1.

    Raises:
        UnreadableSound: as `SoundFile`.
    """
    with SoundFile(source, start_s=start_s, duration_s=duration_s) as sound:
        to_samples = Mono16k(sound.rate_hz)
        parts = [to_samples.push(piece) for piece in sound.pieces()]
        return np.concatenate([*parts, to_samples.flush()])


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
