"""Where the mouth is closed, for synthesizers that tell where a burst is heard."""

from __future__ import annotations

from collections.abc import Iterable

from webrtc_avatar.speech.voice import Phoneme

_VOICELESS_STOPS = frozenset("ptkcqʈ")
_FRICTION = frozenset("fsʃɕʂçθx")
_SHORTEST_S = 0.02


def hold_closures(phonemes: Iterable[Phoneme], *, before_s: float, release_s: float) -> list[Phoneme]:
    """Return phonemes whose voiceless stops lie where the mouth is closed, not where the burst is heard.

    Synthesizers begin p, t and k at or shortly before the burst and count the silence before it to the phoneme before.

    Args:
        phonemes: in order of time.
        before_s: how long before its given start a stop is already closed.
        release_s: how long after its given start it opens; the next phoneme takes over from there.
    """
    moved: list[Phoneme] = []
    opens_s: float | None = None
    for phoneme in phonemes:
        kept = phoneme if opens_s is None or not phoneme.symbol else phoneme._replace(start_s=opens_s)
        opens_s = None
        if phoneme.symbol[:1] in _VOICELESS_STOPS and _FRICTION.isdisjoint(phoneme.symbol):
            closes_s = kept.start_s - before_s
            opens_s = min(kept.end_s, kept.start_s + release_s)
            if moved:
                closes_s = max(closes_s, min(kept.start_s, moved[-1].start_s + _SHORTEST_S))
                moved[-1] = moved[-1]._replace(end_s=min(moved[-1].end_s, closes_s))
            kept = kept._replace(start_s=closes_s, end_s=opens_s)
        moved.append(kept)
    return moved
