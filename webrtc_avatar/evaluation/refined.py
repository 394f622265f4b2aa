"""What evaluations of the ear for each frame buy: how near the mouth is to the labels, how smoothly it moves, what it costs.

usage: python -m webrtc_avatar.evaluation.refined [AVATAR] [--every 1]

Prints a table over the recordings and the unseen voices; the `nfe` of chunked sessions are these evaluations.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from webrtc_avatar.audio.chunk import CHUNK_SAMPLES, Samples
from webrtc_avatar.audio.mel import MEL_ROWS_PER_CHUNK
from webrtc_avatar.avatar.library import Library
from webrtc_avatar.avatar.package import Avatar, drawn
from webrtc_avatar.engine.model import Floats
from webrtc_avatar.engine.runtime.onnx import OnnxRuntime
from webrtc_avatar.engine.viseme import VisemeModel
from webrtc_avatar.evaluation.ear import JAW, Tally, count_lips
from webrtc_avatar.speech.phonemes import mouth_curves
from webrtc_avatar.training.utterances import Utterance

EVALUATIONS = (1, 5, 10, 20, 50)
"""Those of the table; 1 is what live sessions hear."""

_ROW_RATE_HZ = 100
_GAIN = np.float32(10 ** (-12 / 20))


@dataclass(frozen=True, slots=True)
class Motion:
    """How a mouth moves to some speech.

    Attributes:
        error: root mean square of the twelve weights' distance from the labels.
        jaw_correlation: of the jaw with the labels', median over utterances.
        jerk: root mean square of the weights' third differences from frame to frame, in relation to the labels' own.
        lips: what lips do on p b m, f v, o u w and open vowels.
        frame_ms: time a frame took, all networks of the ear on one thread.
    """

    error: float
    jaw_correlation: float
    jerk: float
    lips: Tally
    frame_ms: float


def refined(avatar: Avatar, evaluations: int) -> VisemeModel:
    """Return the model of a drawn avatar that asks its ear so many times for each frame."""
    return VisemeModel(replace(avatar, model=replace(avatar.model, evaluations=evaluations)), OnnxRuntime(threads=1))


def mouths(model: VisemeModel, samples: Samples) -> Floats:
    """Return each frame's weights, float32 (frames, weights), through the stream's way; the last chunk is filled with silence."""
    track = model.track()
    padded = np.pad(samples, (0, -len(samples) % CHUNK_SAMPLES))
    contexts = [track.push(chunk) for chunk in padded.reshape(-1, CHUNK_SAMPLES)]
    heard = [context for context in contexts if context is not None] + track.finish()
    return model.encode_audio(np.stack(heard))


def measure(model: VisemeModel, utterances: Iterable[Utterance]) -> Motion:
    """Return how a model's mouth moves to utterances, their peaks at -13 dB."""
    squares, jerks, label_jerks, correlations, frames, taken_s = 0.0, 0.0, 0.0, [], 0, 0.0
    lips = Tally()
    width = 0
    for utterance in utterances:
        started_s = time.perf_counter()
        weights = mouths(model, _GAIN * utterance.samples)
        taken_s += time.perf_counter() - started_s
        count, width = weights.shape
        curves = mouth_curves(utterance.segments, count * MEL_ROWS_PER_CHUNK, _ROW_RATE_HZ)
        labels = curves.reshape(count, MEL_ROWS_PER_CHUNK, width).mean(1)
        squares += float(np.square(weights - labels).sum())
        jerks += float(np.square(np.diff(weights, 3, axis=0)).sum())
        label_jerks += float(np.square(np.diff(labels, 3, axis=0)).sum())
        correlations.append(float(np.corrcoef(weights[:, JAW], labels[:, JAW])[0, 1]))
        count_lips(lips, weights, utterance.segments)
        frames += count
    return Motion(
        error=(squares / (frames * width)) ** 0.5,
        jaw_correlation=float(np.median(correlations)),
        jerk=(jerks / label_jerks) ** 0.5,
        lips=lips,
        frame_ms=1000 * taken_s / frames,
    )


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    from webrtc_avatar.evaluation.command import speech

    parser = argparse.ArgumentParser(
        prog="webrtc_avatar.evaluation.refined", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("avatar", nargs="?", default="iris")
    parser.add_argument("--every", type=int, default=1, help="take one in so many utterances")
    options = parser.parse_args(arguments)
    avatar = drawn(Library(()).get(options.avatar))
    sets = speech(warn=lambda message: print(message, file=sys.stderr))
    for name in ("real speech", "unseen voices"):
        if name not in sets:
            continue
        print(f"\n| {name} | off the labels | jaw, r | jerk | p b m closed | f v rolled | o u w round | ms a frame |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- |")
        for evaluations in EVALUATIONS:
            motion = measure(refined(avatar, evaluations), sets[name][:: options.every])
            rates = (
                f"{100 * motion.lips.rate(row):.0f} %" for row in ("p b m closed", "f v lip rolled", "o u w rounded")
            )
            print(
                f"| {evaluations} | {motion.error:.4f} | {motion.jaw_correlation:.2f} | {motion.jerk:.2f} | "
                f"{' | '.join(rates)} | {motion.frame_ms:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
