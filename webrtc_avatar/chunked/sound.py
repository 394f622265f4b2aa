"""Sound as it is fed, to mono streams of its own rate: whole files of any kind, bare samples, and files that arrive in pieces.

`MediaRecorder` writes a header into its first piece only, so what follows is no file of its own. Such a file is read on a thread that
waits for the next piece, as a player would that fetches it over a slow line.
"""

from __future__ import annotations

import io
import threading
from collections import deque
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from webrtc_avatar.audio.decode import Piece, SoundFile
from webrtc_avatar.errors import InvalidAudio, UnreadableSound

RAW_TYPES = ("audio/l16", "audio/pcm", "audio/raw")
"""Content types of bare samples: int16, little-endian, mono, of the session's rate."""

Rated = tuple[npt.NDArray[np.float32] | npt.NDArray[np.int16], int]
"""Samples (n,), at most a second of them, and their rate in Hz."""

_EBML, _OGG, _MP4 = b"\x1aE\xdf\xa3", b"OggS", b"ftyp"
_BEGINNINGS = (_EBML, b"RIFF", b"RF64", b"RIFX", b"fLaC", b"ID3", b"FORM", b"caff", b"0&\xb2u", b".snd")
_FRAMES = (b"\xff\xf1", b"\xff\xf9", b"\xff\xfb", b"\xff\xfa", b"\xff\xf3", b"\xff\xf2")
"""How frames of AAC (ADTS) and MP3 begin."""
_HEADER_BYTES = 65_536
_FIRST_PAGE = 2
_HELD = 4
"""Pieces that a thread decodes ahead of who takes them."""


def read(data: bytes, *, content_type: str, raw_rate_hz: int) -> Iterator[Rated]:
    """Yield the sound of a whole file.

    Args:
        data: the file.
        content_type: as the client says; only those of bare samples are believed.
        raw_rate_hz: rate of bare samples.

    Raises:
        UnreadableSound: FFmpeg decodes no sound in it, or breaks off.
        InvalidAudio: half a sample.
    """
    if is_raw(content_type):
        if len(data) % 2:
            raise InvalidAudio(f"{content_type} is int16, two bytes a sample; got {len(data)} bytes")
        samples = np.frombuffer(data, "<i2").astype(np.int16)
        for first in range(0, len(samples), raw_rate_hz):
            yield samples[first : first + raw_rate_hz], raw_rate_hz
        return
    try:
        with SoundFile(io.BytesIO(data)) as sound:
            for piece in sound.pieces():
                yield _mono(piece), sound.rate_hz
    except UnreadableSound as error:
        raise UnreadableSound(
            f"{error.message}. A part that was cut out of a file has no header: send whole files, bare samples as "
            "audio/l16, or WebM, Ogg or fragmented MP4 from its beginning on"
        ) from error


def is_raw(content_type: str) -> bool:
    """Tell whether a content type says bare samples."""
    return content_type.lower() in RAW_TYPES


def begins_file(data: bytes) -> bool:
    """Tell whether data looks like a file's beginning, and not like what continues another one."""
    if data[:4] == _OGG:
        return len(data) > 5 and bool(data[5] & _FIRST_PAGE)
    return data[4:8] == _MP4 or data.startswith(_BEGINNINGS + _FRAMES)


def continued_kind(data: bytes) -> str | None:
    """Return FFmpeg's name of a kind of file that may go on in the next feed, or None; tells from its beginning."""
    if data[:4] == _EBML or (data and _EBML.startswith(data)):
        return "matroska"
    if data[:4] == _OGG and begins_file(data):
        return "ogg"
    # A whole file has its samples (mdat) behind or before a header without `mvex`; a header that is cut off has neither.
    return "mp4" if data[4:8] == _MP4 and (b"mvex" in data[:_HEADER_BYTES] or b"mdat" not in data) else None


class ContinuedSound:
    """A file whose bytes come in pieces. Decoded on a thread of its own, which `close` ends; for one caller at a time.

    Args:
        kind: see `continued_kind`.
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._changed = threading.Condition()
        self._data, self._at = b"", 0
        self._ended = self._closed = self._starved = self._done = False
        self._decoded: deque[Rated] = deque()
        self._error: UnreadableSound | None = None
        self._thread = threading.Thread(target=self._run, name="chunked-continued", daemon=True)
        self._thread.start()

    def push(self, data: bytes) -> Iterator[Rated]:
        """Append bytes, and yield all sound that is whole by now; take it all before the next call.

        Raises:
            UnreadableSound: it is no such file.
        """
        with self._changed:
            self._data, self._at = self._data[self._at :] + data, 0
            self._starved = False
            self._changed.notify_all()
        yield from self._given()

    def end(self) -> Iterator[Rated]:
        """Yield what is left.

        Raises:
            UnreadableSound: nothing at all could be decoded.
        """
        with self._changed:
            self._ended, self._starved = True, False
            self._changed.notify_all()
        yield from self._given()

    def close(self) -> None:
        """Stop at once; calling it twice is fine."""
        with self._changed:
            self._ended = self._closed = True
            self._data, self._at = b"", 0
            self._decoded.clear()
            self._changed.notify_all()
        self._thread.join()

    def read(self, size: int) -> bytes:
        """Return the next bytes for FFmpeg, at most `size`; waits for them. Nothing: the end."""
        with self._changed:
            while self._at >= len(self._data) and not self._ended:
                self._starved = True
                self._changed.notify_all()
                self._changed.wait()
            taken = self._data[self._at : self._at + size]
            self._at += len(taken)
            return taken

    def _given(self) -> Iterator[Rated]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._decoded) or self._starved or self._done)
                if not self._decoded:
                    break
                piece = self._decoded.popleft()
                self._changed.notify_all()
            yield piece
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            with SoundFile(self, kind=self._kind) as sound:
                for piece in sound.pieces():
                    with self._changed:
                        self._changed.wait_for(lambda: len(self._decoded) < _HELD or self._closed)
                        if self._closed:
                            return
                        self._decoded.append((_mono(piece), sound.rate_hz))
                        self._changed.notify_all()
        except UnreadableSound as error:
            self._error = error
        finally:
            with self._changed:
                self._done = True
                self._changed.notify_all()


def _mono(piece: Piece) -> npt.NDArray[np.float32]:
    return piece[:, 0] if piece.shape[1] == 1 else piece.mean(axis=1, dtype=np.float32)
