"""Sound to the rows of features that SyncTalk_2D hears: a row a chunk, made once, 16 of them around each frame.

Row j is the audio encoder's answer to a window of 16 mel frames that touches the chunks j - 2 to j + 4. The original gives frame t
the rows t - 8 to t + 7, so it hears the chunks t - 10 to t + 11; rows before the first and after the last are zeros. With fewer
chunks around a frame, the nearest row that needs no others stands in for those that do.
"""

from __future__ import annotations

import numpy as np

from webrtc_avatar.audio.chunk import CHUNK_SAMPLES
from webrtc_avatar.audio.mel_slaney import MEL_BANDS, SILENT_LEVEL, MelFrames, SlaneyStream, first_frame
from webrtc_avatar.engine.model import Floats

ROWS_BEFORE, ROWS_AFTER = 8, 7
ROWS = ROWS_BEFORE + 1 + ROWS_AFTER
FEATURES = 512
ROW_CHUNKS_BEFORE, ROW_CHUNKS_AFTER = 2, 4
"""Chunks before and after its own that a row touches."""
MEL_WINDOW = 16


class Row:
    """One row of features, encoded when a frame is rendered that needs it.

    Attributes:
        mel: float32 (16, 80), what the encoder hears; None where the features were given.
        features: float32 (512,), its answer; None before. Two devices' threads may both write it, and write the same.
    """

    __slots__ = ("features", "mel")

    def __init__(self, mel: MelFrames | None = None, features: Floats | None = None) -> None:
        self.mel = mel
        self.features = features


Context = tuple[Row, ...]
"""What a frame hears: 16 rows."""

NOTHING = Row(features=np.zeros(FEATURES, np.float32))
"""Before the first row and after the last. Digital silence is another row than this."""


def silent_row() -> Row:
    """Return a row of digital silence, to be shared by all sound of one encoder."""
    return Row(np.full((MEL_WINDOW, MEL_BANDS), SILENT_LEVEL, np.float32))


class SyncTalkTrack:
    """One caller's sound; see `Track`.

    Args:
        chunks_before: chunks before a frame's own that it hears; 10 are all that the original uses.
        chunks_after: the same after it; 11 are all.
        first_chunk: number of the first chunk.
        silence: the row of digital silence.
    """

    def __init__(self, chunks_before: int, chunks_after: int, *, first_chunk: int, silence: Row) -> None:
        self.chunks_after = chunks_after
        self._first_offset = ROW_CHUNKS_BEFORE - chunks_before
        self._last_offset = chunks_after - ROW_CHUNKS_AFTER
        self._silence = silence
        self._stream = SlaneyStream(first_chunk)
        self._first = first_chunk
        self._first_mel = first_frame(first_chunk)
        self._mel = np.empty((0, MEL_BANDS), np.float32)
        self._rows: dict[int, Row] = {}
        self._next_row = first_chunk + 1
        self._chunk_count = 0
        self._next = first_chunk

    def push(self, samples: Floats) -> Context | None:
        """Take the next chunk; see `Track.push`. One of fewer samples ends the sound, and completes no frame."""
        self._hear(self._stream.push(samples))
        self._chunk_count += 1
        if self._chunk_count <= self.chunks_after or len(samples) < CHUNK_SAMPLES:
            return None
        return self._take()

    def finish(self) -> list[Context]:
        """Return the contexts of the last frames as the original makes them of a recording that ends here.

        Its last windows of mel are moved back to where there is sound, and what lies after its last row are zeros.
        """
        if not self._chunk_count:
            return []
        self._hear(self._stream.finish())
        end = self._stream.next_frame
        missing = self._first_mel + MEL_WINDOW - end
        if missing > 0:
            self._hear(np.full((missing, MEL_BANDS), SILENT_LEVEL, np.float32), numbered=end)
            end += missing
        # As the original counts: windows of 3.2 mel frames each, and two.
        count = (end - self._first_mel - MEL_WINDOW) * 25 // 80 + 2
        while self._next_row <= self._first + count:
            self._add_row(self._mel[-MEL_WINDOW:])
        self._rows[self._next_row] = self._rows[self._next_row - 1]
        return [self._take() for _ in range(self._first + self._chunk_count - self._next)]

    def _hear(self, frames: MelFrames, numbered: int | None = None) -> None:
        """Take mel frames and make the rows that they complete; `numbered`: of the first, where the stream did not count it."""
        end = self._stream.next_frame if numbered is None else numbered + len(frames)
        self._mel = np.concatenate([self._mel, frames])
        kept = end - len(self._mel)
        while (start := first_frame(self._next_row - 1)) + MEL_WINDOW <= end:
            self._add_row(self._mel[start - kept : start - kept + MEL_WINDOW])
        self._mel = self._mel[max(min(start - kept, len(self._mel) - MEL_WINDOW), 0) :]

    def _add_row(self, mel: MelFrames) -> None:
        silent = bool((mel == SILENT_LEVEL).all())
        row = self._silence if silent else Row(mel.copy())
        if self._next_row == self._first + 1:
            self._rows[self._first] = row  # the original has the first row twice
        self._rows[self._next_row] = row
        self._next_row += 1

    def _take(self) -> Context:
        frame = self._next
        self._next += 1
        self._rows.pop(frame - ROWS_BEFORE - 1, None)
        first, last = frame + self._first_offset, frame + self._last_offset
        numbers = range(frame - ROWS_BEFORE, frame + ROWS_AFTER + 1)
        return tuple(self._rows.get(min(max(number, first), last), NOTHING) for number in numbers)
