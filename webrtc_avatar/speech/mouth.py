"""From phonemes with times to mouth weights, one row for each 40 ms: what a voice knows needs not be heard first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np
import numpy.typing as npt

from webrtc_avatar.audio.chunk import CHUNK_S
from webrtc_avatar.speech.phonemes import Segment, mouth_curves, viseme_segments
from webrtc_avatar.speech.visemes import WEIGHTS
from webrtc_avatar.speech.voice import Phoneme

Alphabet = Literal["ipa", "misaki"]
Weights = npt.NDArray[np.float32]

_ROWS_PER_CHUNK = 4
_ROW_RATE_HZ = _ROWS_PER_CHUNK / CHUNK_S
_REACH_S = 0.5
"""No phoneme moves the mouth earlier or later than so much before its beginning and after its end."""


class MouthCurves:
    """The mouth of a line of speech, which grows at its end. Rows are those on which the ear was trained: means over 40 ms."""

    def __init__(self) -> None:
        self._segments: list[Segment] = []

    def add(self, phonemes: Iterable[Phoneme], alphabet: Alphabet, *, at_s: float) -> None:
        """Append phonemes.

        Args:
            phonemes: with times relative to `at_s`.
            alphabet: of their symbols.
            at_s: seconds since the line's beginning.
        """
        moved = (phoneme._replace(start_s=phoneme.start_s + at_s, end_s=phoneme.end_s + at_s) for phoneme in phonemes)
        self._segments += viseme_segments(moved, alphabet)

    def rows(self, first: int, count: int) -> Weights:
        """Return the weights of the 40 ms from number `first` on: float32 (count, 12), in the order of `WEIGHTS`.

        What ends before is forgotten: ask for rows in order.
        """
        begin_s, end_s = first * CHUNK_S, (first + count) * CHUNK_S
        self._segments = [segment for segment in self._segments if segment.end_s > begin_s - _REACH_S]
        near = [
            Segment(segment.start_s - begin_s, segment.end_s - begin_s, segment.viseme)
            for segment in self._segments
            if segment.start_s < end_s + _REACH_S
        ]
        curves = mouth_curves(near, count * _ROWS_PER_CHUNK, _ROW_RATE_HZ)
        return np.asarray(curves.reshape(count, _ROWS_PER_CHUNK, len(WEIGHTS)).mean(1), np.float32)
