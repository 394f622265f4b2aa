"""The list of a stream's segments and parts, as players read it (RFC 8216 and its successor draft)."""

from __future__ import annotations

from collections import deque


class Playlist:
    """An event playlist: it grows at its end until that is written. Readers on other threads see whole numbers at any time.

    Args:
        init: name of the file with the header.
        target_s: no segment is longer, rounded to seconds.
        part_target_s: no part is longer; none: there are no parts.
        parts_kept: of so many of the newest whole segments the parts are listed.

    Attributes:
        segments: whole segments so far; the number of the one that is being written.
        parts: parts so far of the one that is being written.
        duration_s: of all whole segments.
        ended: whether the end is written.
    """

    def __init__(self, *, init: str, target_s: int, part_target_s: float | None, parts_kept: int) -> None:
        self._init, self._target_s, self._part_target_s = init, max(target_s, 1), part_target_s
        self._old: list[str] = []
        self._recent: deque[tuple[list[tuple[str, str]], str]] = deque()
        self._current: list[tuple[str, str]] = []
        self._parts_kept = parts_kept if part_target_s is not None else 0
        self.segments = self.parts = 0
        self.duration_s = 0.0
        self.ended = False

    def add_part(self, name: str, duration_s: float, *, independent: bool) -> None:
        """Append a part of the segment that is being written."""
        first = ",INDEPENDENT=YES" if independent else ""
        self._current.append((name, f'#EXT-X-PART:DURATION={duration_s:.5f},URI="{name}"{first}'))
        self.parts += 1

    def add_segment(self, name: str, duration_s: float) -> list[str]:
        """Append a segment, and return the names of parts that the list names no more."""
        self._recent.append((self._current, f"#EXTINF:{duration_s:.5f},\n{name}"))
        self._current = []
        self.segments, self.parts = self.segments + 1, 0
        self.duration_s += duration_s
        dropped: list[str] = []
        while len(self._recent) > self._parts_kept:
            parts, line = self._recent.popleft()
            dropped += [part for part, _ in parts]
            self._old.append(line)
        return dropped

    def end(self) -> None:
        """Say that nothing follows."""
        self.ended = True

    def text(self) -> str:
        """Return the file's content."""
        lines = [
            "#EXTM3U",
            f"#EXT-X-VERSION:{7 if self._part_target_s is None else 9}",
            f"#EXT-X-TARGETDURATION:{self._target_s}",
            "#EXT-X-MEDIA-SEQUENCE:0",
            "#EXT-X-PLAYLIST-TYPE:EVENT",
            "#EXT-X-INDEPENDENT-SEGMENTS",
        ]
        if self._part_target_s is not None:
            lines += [
                f"#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK={3 * self._part_target_s:.5f}",
                f"#EXT-X-PART-INF:PART-TARGET={self._part_target_s:.5f}",
            ]
        if self.segments or self.parts:
            lines.append(f'#EXT-X-MAP:URI="{self._init}"')
        lines += self._old
        for parts, line in self._recent:
            lines += [*(text for _, text in parts), line]
        lines += [text for _, text in self._current]
        if self.ended:
            lines.append("#EXT-X-ENDLIST")
        elif self._part_target_s is not None and (self.segments or self.parts):
            lines.append(f'#EXT-X-PRELOAD-HINT:TYPE=PART,URI="seg_{self.segments}.{self.parts}.m4s"')
        return "\n".join(lines) + "\n"
