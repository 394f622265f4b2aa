"""Trains the ear on synthetic speech and writes it as ONNX.

usage: python -m webrtc_avatar.training.ear data/speech models/iris/ear.onnx [--steps 20000] [--seed 0]

Each 10 ms row learns the distribution over visemes that the mouth curves hold there (soft targets), so that probabilities
times viseme vectors are those curves, coarticulation included. The network answers at every row for all delays, and so for
every look-ahead at once. The same seed, steps and data give the same network; the file is written every 200 steps.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from webrtc_avatar.audio.mel import MEL_BANDS, SILENT_MEL, MelRows, log_mel
from webrtc_avatar.nets.speech_tcn import DELAYS, EARLIEST_DELAY, WINDOW_ROWS, SpeechNet
from webrtc_avatar.speech.phonemes import Segment, viseme_shares
from webrtc_avatar.speech.visemes import VISEME_NAMES, VISEME_VECTORS
from webrtc_avatar.training.augment import other_microphone, other_room
from webrtc_avatar.training.ear_export import export_ear
from webrtc_avatar.training.ear_net import NormedEar
from webrtc_avatar.training.noises import NOISES, noise_sound, noise_sounds
from webrtc_avatar.training.utterances import Utterance, load_utterances

TEST_SOURCES = ("unseen", "language", "real")
"""Files of speech that nothing is ever trained on."""
CROP_ROWS = 128
BATCH = 16
SILENT_SHARE = 0.08
"""Share of crops without any speech: only noise, target silence."""
STEPS_PER_NOISE = 40
CLOSURE_WEIGHT = 0.5
"""How much more a row counts where lips must close."""
COUNTS = {"espeak": 1.0, "flite": 1.5, "festival": 1.5, "hibari": 3.0, "piper": 4.0, "kokoro": 6.0}
"""How much more often a second of a kind of voice is heard than one of espeak-ng: the nearer to real speech, the more."""
SHARPNESS = 1.5
"""Factor on the logits after training. In doubt the expected mouth is a half-open one; a decided one reads better."""
LEANING = {"FF": 0.3, "TH": 0.4, "O": 0.2, "U": 0.2}
"""What is added to logits after training: in doubt between two mouths, the eye misses a rounded or a bitten lip more."""
_LEARNING_RATE = 2e-3
_STEPS_PER_LINE = 200
_AVERAGING = 0.997


@dataclass(slots=True)
class Example:
    """One utterance as the network takes it: log-mel rows (n, 80) and viseme shares (n, 16), both float16."""

    rows: npt.NDArray[np.float16]
    shares: npt.NDArray[np.float16]


def example(samples: npt.NDArray[np.float32], segments: list[Segment]) -> Example:
    """Return the rows and targets of an utterance."""
    rows = log_mel(samples)
    return Example(rows.astype(np.float16), viseme_shares(segments, len(rows), 100).astype(np.float16))


class Trainer:
    """Training data and network of one run; everything is drawn from one seed."""

    def __init__(self, utterances: list[Utterance], seed: int, *, channels: int = 160) -> None:
        torch.manual_seed(seed)
        self._rng = np.random.default_rng(seed)
        self._utterances = utterances
        self._examples = [example(utterance.samples, utterance.segments) for utterance in utterances]
        self._chances = _chances(utterances)
        self._noises = [log_mel(sound) for sound in noise_sounds(self._rng).values()]
        self.net = NormedEar(channels)
        rows, _ = self._batch(64)
        self.net.mean.copy_(torch.from_numpy(rows.mean((0, 1))))
        self.net.deviation.copy_(torch.from_numpy(rows.std((0, 1)) + 1e-3))
        self.net.vectors.copy_(torch.from_numpy(VISEME_VECTORS))

    def run(self, steps: int) -> Iterator[tuple[int, SpeechNet]]:
        """Train for a number of steps; yield (step, network so far) now and then, and at the end.

        The network is the running average of the weights; the learning rate is level and falls to nothing at the end.
        """
        optimizer = torch.optim.AdamW(self.net.parameters(), _LEARNING_RATE, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate_at(step, steps))
        closures = [VISEME_NAMES.index(name) for name in ("PP", "FF")]
        average = NormedEar(self.net.entry.out_channels)
        average.load_state_dict(self.net.state_dict())
        started_s, recent = time.monotonic(), 0.0
        self.net.train()
        for step in range(1, steps + 1):
            self._refresh()
            rows, shares = (torch.from_numpy(array) for array in self._batch(BATCH))
            importance = 1 + CLOSURE_WEIGHT * shares[..., closures].sum(-1)
            loss = -((shares * torch.log_softmax(self.net.logits(rows), -1)).sum(-1) * importance).sum()
            loss = loss / importance.sum()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            _follow(average, self.net, share=max(1 - _AVERAGING, 2 / (step + 1)))
            recent += float(loss.detach())
            if step % _STEPS_PER_LINE == 0 or step == steps:
                lately = step % _STEPS_PER_LINE or _STEPS_PER_LINE
                print(f"step {step}: loss {recent / lately:.3f}, {time.monotonic() - started_s:.0f} s", flush=True)
                recent = 0.0
                yield step, average.eval().folded(sharpness=SHARPNESS, leaning=LEANING)

    def _refresh(self) -> None:
        """Put one utterance into another room, and now and then make another noise."""
        index = int(self._rng.choice(len(self._utterances), p=self._chances))
        utterance = self._utterances[index]
        self._examples[index] = example(*other_room(utterance.samples, utterance.segments, self._rng))
        if self._rng.random() < 1 / STEPS_PER_NOISE:
            number = int(self._rng.integers(len(NOISES)))
            self._noises[number] = log_mel(noise_sound(NOISES[number], self._rng))

    def _batch(self, size: int) -> tuple[MelRows, MelRows]:
        """Return rows (size, 128 + 63, 80) and for each of the last 128 the shares (size, 128, 16 delays, 16 visemes)."""
        rows, shares = zip(*(self._crop() for _ in range(size)), strict=True)
        return np.stack(rows), np.stack(shares)

    def _crop(self) -> tuple[MelRows, MelRows]:
        rng = self._rng
        heard = CROP_ROWS + WINDOW_ROWS - 1
        told = heard - EARLIEST_DELAY
        rows = np.full((heard, MEL_BANDS), SILENT_MEL, np.float32)
        shares = np.zeros((told, len(VISEME_NAMES)), np.float32)
        shares[:, 0] = 1
        if rng.random() > SILENT_SHARE:
            chosen = self._examples[int(rng.choice(len(self._examples), p=self._chances))]
            start = int(rng.integers(-heard // 2, max(1, len(chosen.rows) - heard // 2)))
            for part, whole in ((rows, chosen.rows), (shares, chosen.shares)):
                first, last = max(0, start), min(len(whole), start + len(part))
                part[first - start : last - start] = whole[first:last]
        noise = self._noises[int(rng.integers(len(self._noises)))]
        noise_first = int(rng.integers(len(noise) - heard))
        rows = other_microphone(rows, noise[noise_first : noise_first + heard], rng)
        return rows, by_delay(shares)


def _chances(utterances: list[Utterance]) -> npt.NDArray[np.float64]:
    """Return how often each utterance is heard: in proportion to its length and to what its kind of voice counts."""
    counts = [next((n for kind, n in COUNTS.items() if entry.voice.startswith(kind)), 1.0) for entry in utterances]
    lengths = np.array([entry.length_s for entry in utterances]) * counts
    chances: npt.NDArray[np.float64] = lengths / lengths.sum()
    return chances


def by_delay(shares: MelRows) -> MelRows:
    """Return for each of the crop's rows the shares of the rows at each delay: (128, 16 delays, 16 visemes)."""
    around = np.lib.stride_tricks.sliding_window_view(shares[-(CROP_ROWS + DELAYS - 1) :], DELAYS, axis=0)
    return np.ascontiguousarray(around.transpose(0, 2, 1)[:, ::-1])


def _rate_at(step: int, steps: int) -> float:
    """Return the learning rate at a step, relative: a short rise, level, and falling over the last half."""
    return min(1.0, (step + 1) / 200, 2 * (1 - step / steps))


@torch.no_grad()
def _follow(average: nn.Module, net: nn.Module, *, share: float) -> None:
    """Move `average` a share of the way to `net`, statistics of the normalization included."""
    for mine, theirs in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
        if mine.is_floating_point():
            mine.lerp_(theirs, min(1.0, share))


def main(arguments: list[str] | None = None) -> None:
    """Train and export."""
    parser = argparse.ArgumentParser(prog="webrtc_avatar.training.ear", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("speech", type=Path, help="folder written by webrtc_avatar.training.speech")
    parser.add_argument("output", type=Path)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    paths = sorted(path for path in options.speech.glob("*.npz") if path.stem not in TEST_SOURCES)
    if not paths:
        parser.error(
            f"no speech in {options.speech}; make it with: python -m webrtc_avatar.training.speech {options.speech}"
        )
    utterances = [entry for path in paths for entry in load_utterances(path) if not entry.held_out]
    minutes = sum(utterance.length_s for utterance in utterances) / 60
    voices = len({utterance.voice for utterance in utterances})
    print(
        f"{len(utterances)} utterances, {voices} voices, {minutes:.1f} minutes, "
        f"from {', '.join(path.stem for path in paths)}",
        flush=True,
    )
    for _, net in Trainer(utterances, options.seed).run(options.steps):
        export_ear(net, options.output)


if __name__ == "__main__":
    main()
