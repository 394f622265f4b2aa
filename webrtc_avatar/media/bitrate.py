"""What bitrate all viewers of one encoder can bear, from what their RTCP tells.

Each viewer's bound is the lower of its receiver's estimate (REMB, draft-alvestrand-rmcat-remb-03) and one that follows loss
as in draft-ietf-rmcat-gcc-02, section 6: above 10 % loss it falls by half the loss, below 2 % it rises by 5 % a second.
"""

from __future__ import annotations

from collections.abc import Hashable

_HEAVY_LOSS = 0.10
_LIGHT_LOSS = 0.02
_RISE = 1.05
_LOSS_INTERVAL_S = 1.0


class SharedBitrate:
    """The bitrate for an encoder that several viewers share: the least of their bounds, within fixed limits.

    Args:
        min_bps: never less than this.
        max_bps: never more than this; also what counts while nobody has told anything.
    """

    def __init__(self, *, min_bps: int, max_bps: int) -> None:
        self._min_bps = min(min_bps, max_bps)
        self._max_bps = max_bps
        self._estimates: dict[Hashable, int] = {}
        self._by_loss: dict[Hashable, tuple[float, float]] = {}

    @property
    def target_bps(self) -> int:
        """What the encoder should aim at."""
        bounds = [float(self._max_bps), *self._estimates.values(), *(bps for bps, _ in self._by_loss.values())]
        return int(max(self._min_bps, min(bounds)))

    def estimate(self, viewer: Hashable, bitrate_bps: int) -> None:
        """Note a receiver's estimate of what reaches it."""
        self._estimates[viewer] = bitrate_bps

    def loss(self, viewer: Hashable, fraction_lost: float, now_s: float) -> None:
        """Note a receiver report: which part of the packets, 0..1, was lost since the one before."""
        bound_bps, changed_s = self._by_loss.get(viewer, (float(self._max_bps), 0.0))
        if changed_s and now_s - changed_s < _LOSS_INTERVAL_S:
            return
        if fraction_lost > _HEAVY_LOSS:
            bound_bps = max(self._min_bps, min(bound_bps, self.target_bps) * (1 - fraction_lost / 2))
        elif fraction_lost < _LIGHT_LOSS:
            bound_bps = min(self._max_bps, bound_bps * _RISE)
        self._by_loss[viewer] = (bound_bps, now_s)

    def forget(self, viewer: Hashable) -> None:
        """Drop what a viewer who left has told."""
        self._estimates.pop(viewer, None)
        self._by_loss.pop(viewer, None)
