"""Utterances with the times of their visemes, kept as plain arrays in one `.npz` a source (nothing is pickled)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from webrtc_avatar.audio.chunk import SAMPLE_RATE_HZ, Samples
from webrtc_avatar.speech.phonemes import Segment
from webrtc_avatar.speech.visemes import VISEME_NAMES

_PEAK = 0.9


@dataclass(frozen=True, slots=True)
class Utterance:
    """One spoken sentence.

    Attributes:
        voice: who speaks, as `espeak:de+f2`.
        samples: float32 (n,), mono, 16 kHz, its peak at 0.9.
        segments: when each viseme is held.
        held_out: true for sentences that are only for testing.
    """

    voice: str
    samples: Samples
    segments: list[Segment]
    held_out: bool = False

    @property
    def length_s(self) -> float:
        """Return how long it lasts, in seconds."""
        return len(self.samples) / SAMPLE_RATE_HZ


def save_utterances(path: Path, utterances: Iterable[Utterance]) -> float:
    """Write utterances and return their length in seconds."""
    kept = list(utterances)
    segments = [segment for utterance in kept for segment in utterance.segments]
    loud = [utterance.samples * (_PEAK / max(1e-6, float(np.abs(utterance.samples).max()))) for utterance in kept]
    np.savez_compressed(
        path,
        samples=np.concatenate([np.round(samples * 32767).astype(np.int16) for samples in loud]),
        sample_counts=np.array([len(samples) for samples in loud], np.int64),
        segment_counts=np.array([len(utterance.segments) for utterance in kept], np.int64),
        segment_times_s=np.array([(s.start_s, s.end_s) for s in segments], np.float32),
        segment_visemes=np.array([VISEME_NAMES.index(s.viseme) for s in segments], np.uint8),
        voices=np.array([utterance.voice for utterance in kept]),
        held_out=np.array([utterance.held_out for utterance in kept], bool),
    )
    return sum(utterance.length_s for utterance in kept)


def load_utterances(path: Path) -> list[Utterance]:
    """Return the utterances of a file that `save_utterances` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        samples = arrays["samples"].astype(np.float32) / 32767
        sample_ends = np.cumsum(arrays["sample_counts"])
        segment_ends = np.cumsum(arrays["segment_counts"])
        times_s = arrays["segment_times_s"].tolist()
        visemes = [VISEME_NAMES[number] for number in arrays["segment_visemes"]]
        utterances = []
        for index, voice in enumerate(arrays["voices"].tolist()):
            first_sample = sample_ends[index] - arrays["sample_counts"][index]
            numbers = range(segment_ends[index] - arrays["segment_counts"][index], segment_ends[index])
            utterances.append(
                Utterance(
                    voice=voice,
                    samples=samples[first_sample : sample_ends[index]],
                    segments=[Segment(times_s[number][0], times_s[number][1], visemes[number]) for number in numbers],
                    held_out=bool(arrays["held_out"][index]),
                )
            )
    return utterances
