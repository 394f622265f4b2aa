"""What a fragmented MP4 consists of: its header, and fragments whose pictures are counted (ISO/IEC 14496-12)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

VIDEO_TRACK = 1


@dataclass(frozen=True, slots=True)
class Fragment:
    """One `moof` and its `mdat`.

    Attributes:
        data: both boxes.
        pictures: samples of the video track in it.
    """

    data: bytes
    pictures: int


class FragmentSink:
    """A file that a muxer writes to, front to back, and from which whole parts are taken."""

    def __init__(self) -> None:
        self._written = bytearray()
        self._header = b""
        self._moof = b""

    def write(self, data: bytes) -> int:
        """Take what the muxer writes."""
        self._written += data
        return len(data)

    def take_header(self) -> bytes | None:
        """Return `ftyp` and `moov`, once they are whole; nothing at further calls."""
        if self._header:
            return None
        for kind, _, end in _boxes(self._written):
            if kind == b"moov":
                self._header = bytes(self._written[:end])
                del self._written[:end]
                return self._header
        return None

    def take_fragments(self) -> list[Fragment]:
        """Return the fragments that are whole by now."""
        fragments, done = [], 0
        for kind, start, end in _boxes(self._written):
            done = end
            if kind == b"moof":
                self._moof = bytes(self._written[start:end])
            elif kind == b"mdat":
                data = self._moof + bytes(self._written[start:end])
                fragments.append(Fragment(data, _pictures(self._moof)))
        del self._written[:done]
        return fragments


def _boxes(data: bytes | bytearray, start: int = 0) -> Iterator[tuple[bytes, int, int]]:
    """Yield the kind, the start and the end of each whole box."""
    while start + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, start)
        if size == 1 and start + 16 <= len(data):
            (size,) = struct.unpack_from(">Q", data, start + 8)
        if size < 8 or start + size > len(data):
            return
        yield kind, start, start + size
        start += size


def _pictures(moof: bytes) -> int:
    for kind, start, end in _boxes(moof, 8):
        if kind != b"traf":
            continue
        track = count = 0
        for inner, at, _ in _boxes(moof[:end], start + 8):
            if inner == b"tfhd":
                (track,) = struct.unpack_from(">I", moof, at + 12)
            elif inner == b"trun":
                (samples,) = struct.unpack_from(">I", moof, at + 12)
                count += samples
        if track == VIDEO_TRACK:
            return count
    return 0
