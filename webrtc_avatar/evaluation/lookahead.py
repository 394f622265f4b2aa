"""What it costs an avatar of footage to hear fewer chunks after a frame than SyncTalk_2D does: in features and in pixels.

usage: python -m webrtc_avatar.evaluation.lookahead AVATAR SOUND [--seconds 6]

AVATAR is a package's folder, SOUND a file that FFmpeg reads. Each frame with fewer chunks is compared with the same frame with all
of them, on the same frame of footage.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from webrtc_avatar.audio.chunk import CHUNK_S, CHUNK_SAMPLES
from webrtc_avatar.audio.decode import read
from webrtc_avatar.avatar.footage import BORDER_PX, FootageAvatar
from webrtc_avatar.avatar.package import load_avatar
from webrtc_avatar.engine.model import WINDOW_CHUNKS_AFTER, WINDOW_CHUNKS_BEFORE, Floats, Job
from webrtc_avatar.engine.runtime.onnx import OnnxRuntime
from webrtc_avatar.engine.synctalk import SyncTalkModel
from webrtc_avatar.engine.synctalk_track import (
    ROW_CHUNKS_AFTER,
    ROW_CHUNKS_BEFORE,
    ROWS_AFTER,
    ROWS_BEFORE,
    Context,
    SyncTalkTrack,
    silent_row,
)

ORIGINAL = (10, 11)
AROUND = ((10, 7), (WINDOW_CHUNKS_BEFORE, WINDOW_CHUNKS_AFTER), (10, 5), (10, 3), (10, 1), (10, 0))
"""Chunks before and after a frame that are compared with the original's."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What hearing fewer chunks does to frames, on average over them.

    Attributes:
        before: chunks heard before a frame's own.
        after: chunks heard after it.
        feature_error: length of the difference of its features, in relation to their own length.
        pixel_error: mean difference in grey levels over what the network draws.
        pixel_psnr_db: the same as signal to noise, over all frames.
    """

    before: int
    after: int
    feature_error: float
    pixel_error: float
    pixel_psnr_db: float

    @property
    def exact_rows(self) -> int:
        """Of a frame's 16 rows of features, those that are the original's."""
        first = max(-ROWS_BEFORE, ROW_CHUNKS_BEFORE - self.before)
        return min(ROWS_AFTER, self.after - ROW_CHUNKS_AFTER) - first + 1


def lookahead_costs(model: SyncTalkModel, chunks: Sequence[Floats], *, batch: int = 8) -> Iterator[Cost]:
    """Yield the cost of each of `AROUND`.

    Args:
        model: of an avatar of footage; what it says of its own chunks does not matter here.
        chunks: the sound, float32 (640,) each; more than 22 of them.
        batch: frames rendered at a time.
    """
    expected = _rendered(model, _contexts(ORIGINAL, chunks), batch)
    for around in AROUND:
        features: list[float] = []
        errors: list[float] = []
        squares: list[float] = []
        for (rows, face), (known_rows, known_face) in zip(
            _rendered(model, _contexts(around, chunks), batch), expected, strict=True
        ):
            features.append(float(np.linalg.norm(rows - known_rows) / np.linalg.norm(known_rows)))
            difference = np.abs(face.astype(np.int16) - known_face)
            errors.append(float(difference.mean()))
            squares.append(float((difference.astype(np.float64) ** 2).mean()))
        noise = float(np.mean(squares))
        psnr_db = 10 * float(np.log10(255**2 / noise)) if noise else float("inf")
        yield Cost(*around, float(np.mean(features)), float(np.mean(errors)), psnr_db)


def _contexts(around: tuple[int, int], chunks: Sequence[Floats]) -> list[Context]:
    """Return the contexts of the frames that neither the start nor the end of the sound reaches."""
    before, after = around
    track = SyncTalkTrack(before, after, first_chunk=0, silence=silent_row())
    contexts = [track.push(chunk) for chunk in chunks][after:]
    return [context for context in contexts[ORIGINAL[0] : len(chunks) - ORIGINAL[1]] if context is not None]


def _rendered(
    model: SyncTalkModel, contexts: Sequence[Context], batch: int
) -> list[tuple[Floats, np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]]:
    """Return each frame's rows, float32 (16, 512), and what the network drew."""
    made = []
    for first in range(0, len(contexts), batch):
        part = contexts[first : first + batch]
        jobs = [Job(context, first + number) for number, context in enumerate(part)]
        for context, rendered in zip(part, model.render(jobs), strict=True):
            rows = np.array([row.features for row in context], np.float32)
            made.append((rows, rendered.crop[BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX]))
    return made


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        prog="webrtc_avatar.evaluation.lookahead", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("avatar", type=Path)
    parser.add_argument("sound", type=Path)
    parser.add_argument("--seconds", type=float, default=6.0, help="of the sound")
    options = parser.parse_args(arguments)
    avatar = load_avatar(options.avatar)
    if not isinstance(avatar, FootageAvatar):
        parser.error(f"{avatar.name} is a drawn avatar; name one of footage")
    samples = read(options.sound, duration_s=options.seconds)
    chunks = list(samples[: len(samples) // CHUNK_SAMPLES * CHUNK_SAMPLES].reshape(-1, CHUNK_SAMPLES))
    if len(chunks) <= sum(ORIGINAL) + 1:
        parser.error(
            f"{options.sound.name} has {len(chunks)} chunks; take more than {sum(ORIGINAL) + 1}, about a second"
        )
    print("| chunks before, after | delay ms | rows as the original's | features off by | grey levels off | dB |")
    print("| --- | --- | --- | --- | --- | --- |")
    for cost in lookahead_costs(SyncTalkModel(avatar, OnnxRuntime(threads=1)), chunks):
        print(
            f"| {cost.before}, {cost.after} | {cost.after * CHUNK_S * 1000:.0f} | {cost.exact_rows} of 16 "
            f"| {cost.feature_error:.0%} | {cost.pixel_error:.1f} | {cost.pixel_psnr_db:.1f} |"
        )


if __name__ == "__main__":
    main()
