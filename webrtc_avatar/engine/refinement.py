"""One frame's mouth from several evaluations of the ear, for work that need not be live.

The ear says how the mouth stood some rows of 10 ms before the newest one that it hears, and errs a little otherwise for each newest
row. Asked again with windows that end earlier and later, and beyond 21 of them with spectra as of another voice, it is asked about the
same moment with other errors; the mean of its answers is nearer to the labels than any of them, and calmer (averaging over
test-time augmentations, as Krizhevsky et al. do in "ImageNet classification with deep convolutional neural networks", 2012). Answers
about moments beside the frame's count less the further they are away. Where lips roll or round, those about the frame itself count
alone, and where they close, those alone that know least of what follows: a mean over time would leave a closure half open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from webrtc_avatar.audio.mel import MEL_ROWS_PER_CHUNK, MEL_WINDOW
from webrtc_avatar.engine.model import Floats

LOOKAHEADS = 4
"""Answers of an ear: for the frames 0 to 3 chunks before its newest."""

_MIDDLE = 8
"""The windows' ends lie around so many rows after a frame's last row: two chunks of look-ahead."""
_SPARSE, _SPARSE_ROWS = 10, (4, 12)
"""Fewer evaluations than this lie further apart than a row: between these."""
_MOST_ENDS = 21
"""More ends bring nothing: the ear says nothing of what is further from its newest row."""
_USED_LOOKAHEADS = (1, 2, 3)
_REACH_ROWS, _REACH_PER_ROW, _REACH_PER_EVALUATION = 1.0, 0.55, 0.02
"""How far beside the frame an answer counts: grows with the span of the windows' ends."""
_NEAR_LOOKAHEADS, _NEAR_ROWS = (1, 2), 1
"""Answers about the frame itself."""
_CLOSING_LOOKAHEAD = 1
"""The answer that closes lips most surely: more is heard of what comes after with each look-ahead, and believed too soon."""
_ARTICULATED = ((("rollLower",), 0.62), (("pucker", "funnel", "round"), 1.6))
_CLOSED = ((("press",), 0.5),)
"""Weights of lips that have a place to be, and their sum where they are there (`speech.visemes`)."""
_FROM, _TO = 0.25, 0.5
"""Share of that from which, and at which, the answers about the frame itself count alone."""


@dataclass(frozen=True, slots=True)
class _Evaluation:
    """One call of the ear for a frame.

    Attributes:
        end: newest row that it hears, counted from the frame's last one.
        hearing: which of the frame's spectra it hears: 0 as they are, 1 a band higher, 2 blurred.
    """

    end: int
    hearing: int


class Refinement:
    """How the ear is asked for each frame. Stateless: a frame's mouth depends on its own rows alone.

    Args:
        evaluations: calls of the ear for each frame, at least 2.
        weights: names of the mouth weights, in the ear's order.

    Attributes:
        first_end: newest row of the earliest window, counted from the frame's last row.
        last_end: newest row of the latest one.
        chunks_after: chunks after a frame's own that are heard.
    """

    def __init__(self, evaluations: int, weights: Sequence[str]) -> None:
        self._plan = _plan(evaluations)
        ends = [evaluation.end for evaluation in self._plan]
        self.first_end, self.last_end = min(ends), max(ends)
        self.chunks_after = -(-self.last_end // MEL_ROWS_PER_CHUNK)
        self._starts = np.array(ends) - self.first_end
        self._hearings = np.array([evaluation.hearing for evaluation in self._plan])
        self._shares = _shares(self._plan)
        self._articulated, self._closed = (_places(kinds, weights) for kinds in (_ARTICULATED, _CLOSED))

    @property
    def rows(self) -> int:
        """Rows of log-mel that a frame needs."""
        return MEL_WINDOW + self.last_end - self.first_end

    def windows(self, rows: Floats) -> Floats:
        """Return what the ear hears, float32 (evaluations, 64, 80), of a frame's rows, float32 (`rows`, 80)."""
        heard = [rows]
        if self._hearings.any():
            padded = np.pad(rows, ((0, 0), (1, 1)), "edge")
            below, above = padded[:, :-2], padded[:, 2:]
            heard += [below, np.float32(0.5) * rows + np.float32(0.25) * (below + above)]
        return np.stack(
            [
                heard[hearing][start : start + MEL_WINDOW]
                for start, hearing in zip(self._starts, self._hearings, strict=True)
            ]
        )

    def mouth(self, answers: Floats) -> Floats:
        """Return the mouth weights, float32 (weights,), of the ear's answers, float32 (evaluations, 4, weights)."""
        mouth, near, closing = np.einsum("kel,elw->kw", self._shares, answers)
        mouth = mouth + _share(near, self._articulated) * (near - mouth)
        mouth = mouth + _share(closing, self._closed) * (closing - mouth)
        return np.asarray(mouth, np.float32)


_Places = list[tuple[list[int], float]]


def _places(kinds: Sequence[tuple[Sequence[str], float]], weights: Sequence[str]) -> _Places:
    """Return the places of weights that there are, and what their sum is at most."""
    found = [(names, whole) for names, whole in kinds if set(names) <= set(weights)]
    return [([weights.index(name) for name in names], whole) for names, whole in found]


def _share(mouth: Floats, kinds: _Places) -> np.float32:
    """Return how surely a mouth is at one of these places, 0..1."""
    share = max((float(mouth[places].sum()) / whole for places, whole in kinds), default=0.0)
    share = min(max((share - _FROM) / (_TO - _FROM), 0.0), 1.0)
    return np.float32(share * share * (3 - 2 * share))


def _plan(evaluations: int) -> list[_Evaluation]:
    """Return the evaluations: windows' ends side by side, and beyond 21 the middle ones again with other spectra."""
    if evaluations < _SPARSE:
        return [_Evaluation(round(float(end)), 0) for end in np.linspace(*_SPARSE_ROWS, evaluations)]
    count = min(evaluations, _MOST_ENDS)
    first = _MIDDLE - count // 2
    plan = [_Evaluation(end, 0) for end in range(first, first + count)]
    ends = sorted(range(first, first + count), key=lambda end: (abs(end - _MIDDLE), end))
    again = [_Evaluation(end, hearing) for hearing in (1, 2) for end in ends]
    return plan + again[: evaluations - count]


def _shares(plan: Sequence[_Evaluation]) -> Floats:
    """Return how much each answer counts, float32 (3, evaluations, 4).

    First for the calm mean, then for the one about the frame itself, then for lips that close.
    """
    half_span = max((min(len(plan), _MOST_ENDS) - 1) / 2, (_SPARSE_ROWS[1] - _SPARSE_ROWS[0]) / 2)
    reach = _REACH_ROWS + _REACH_PER_ROW * half_span + _REACH_PER_EVALUATION * max(len(plan) - _MOST_ENDS, 0)
    shares = np.zeros((3, len(plan), LOOKAHEADS))
    for place, evaluation in enumerate(plan):
        for lookahead in _USED_LOOKAHEADS:
            rows_off = abs(evaluation.end - MEL_ROWS_PER_CHUNK * lookahead)
            if rows_off < reach:
                shares[0, place, lookahead] = 0.5 + 0.5 * np.cos(np.pi * rows_off / reach)
            if rows_off <= _NEAR_ROWS and lookahead in _NEAR_LOOKAHEADS:
                shares[1, place, lookahead] = 1.0
            if rows_off == 0 and lookahead == _CLOSING_LOOKAHEAD:
                shares[2, place, lookahead] = 1.0
    return np.asarray(shares / shares.sum(axis=(1, 2), keepdims=True), np.float32)
