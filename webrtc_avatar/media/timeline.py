"""Where sound belongs: RTP timestamps (32 bit, random start) mapped to one stream of samples without holes.

While packets flow their timestamps rule, so a sender's clock that runs fast or slow never piles up. Timestamps that jump
without time having passed, or that stay behind, are a sender that began anew: the stream goes on where it was.
"""

from __future__ import annotations

from dataclasses import dataclass

from webrtc_avatar.audio.chunk import SOUND_RATE_HZ

_WRAP = 1 << 32
_JUMP_SAMPLES = SOUND_RATE_HZ
"""Timestamps that are off by more than this, 1 s, are a new beginning and no gap."""

_AHEAD_S = 0.2
"""A gap may exceed the time that has passed since the last packet by this, and is a new beginning otherwise."""

_BEHIND_S = 0.2
"""Packets that come too late for so long, without catching up, are a new beginning."""


@dataclass(frozen=True, slots=True)
class Placement:
    """What to do with one packet's sound.

    Attributes:
        gap: samples to fill in before it.
        skip: samples at its beginning whose time has already been filled; it comes too late if that is its whole length or
            more.
    """

    gap: int = 0
    skip: int = 0


class MediaTimeline:
    """Places packets in a stream of samples at 48 kHz.

    Attributes:
        position: samples in the stream so far.
        anchors: how often timestamps were tied to the stream anew, the first time included.
    """

    def __init__(self) -> None:
        self.position = 0
        self.anchors = 0
        self._origin: int | None = None
        self._last = 0
        self._placed_s = 0.0
        self._behind_s: float | None = None
        self._behind = 0

    @property
    def origin(self) -> int | None:
        """The unwrapped RTP timestamp that stands at sample 0 of the stream; None before the first packet."""
        return self._origin

    def anew(self) -> None:
        """Tie the next packet to the stream's end, whatever its timestamp: the source has changed."""
        self._origin = None

    def place(self, timestamp: int, samples: int, now_s: float) -> Placement:
        """Place a packet of `samples` samples with an RTP `timestamp` (0..2**32-1), released at `now_s`.

        Packets are to come in order. The caller fills and appends as told, calling `advance` for each.
        """
        if self._origin is None:
            self._anchor(timestamp)
        self._last += (timestamp - self._last + _WRAP // 2) % _WRAP - _WRAP // 2
        assert self._origin is not None
        ahead = self._last - self._origin - self.position
        passed_s = now_s - self._placed_s
        if (
            abs(ahead) > _JUMP_SAMPLES
            or ahead / SOUND_RATE_HZ > passed_s + _AHEAD_S
            or self._stays_behind(ahead, samples, now_s)
        ):
            self._anchor(timestamp)
            ahead = 0
        self._placed_s = now_s
        return Placement(gap=max(0, ahead), skip=max(0, -ahead))

    def advance(self, samples: int) -> None:
        """Note that so many samples were appended to the stream."""
        self.position += samples

    def unwrapped(self, timestamp: int) -> int:
        """Return a 32-bit RTP timestamp near the last packet's on the line that `origin` is on."""
        return self._last + (timestamp - self._last + _WRAP // 2) % _WRAP - _WRAP // 2

    def _anchor(self, timestamp: int) -> None:
        self._last = timestamp
        self._origin = timestamp - self.position
        self._behind_s = None
        self.anchors += 1

    def _stays_behind(self, ahead: int, samples: int, now_s: float) -> bool:
        """Tell whether packets have come wholly too late for a while without catching up, as after a burst they do."""
        if -ahead < samples or not samples:
            self._behind_s = None
            return False
        if self._behind_s is None or -ahead < self._behind // 2:
            self._behind_s, self._behind = now_s, -ahead
        return now_s - self._behind_s >= _BEHIND_S
