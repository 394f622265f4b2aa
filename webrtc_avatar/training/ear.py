"""Trains the ear on synthetic speech and writes it as ONNX.

usage: python -m webrtc_avatar.training.ear data/speech models/iris/ear.onnx [--steps 7200] [--seed 0]

Each 10 ms row learns the distribution over visemes that the mouth curves hold there (soft targets), so that probabilities
times viseme vectors are those curves, coarticulation included. The same seed, steps and data give the same network;
the file is written every 200 steps, so a run may be stopped at any time.
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

from webrtc_avatar.audio.mel import SILENT_MEL, MelRows, log_mel
from webrtc_avatar.nets.speech_tcn import LAYERS, ROWS_AFTER, ROWS_BEFORE, SpeechNet
from webrtc_avatar.training.augment import noise_sounds, other_microphone, other_room
from webrtc_avatar.training.ear_export import export_ear
from webrtc_avatar.training.phonemes import Segment, viseme_shares
from webrtc_avatar.training.utterances import Utterance, load_utterances
from webrtc_avatar.training.visemes import VISEME_NAMES, VISEME_VECTORS

TRAINING_SOURCES = ("espeak", "hibari", "piper")
CROP_ROWS = 128
BATCH = 16
SILENT_SHARE = 0.06
"""Share of crops without any speech: only noise, target silence."""
CLOSURE_WEIGHT = 1.0
"""How much more a row counts where lips must close."""
NEURAL_VOICES_COUNT = 3.0
"""How much more often a second of a neural voice is heard than one of espeak-ng: it is nearer to real speech."""
SHARPNESS = 1.3
"""Factor on the logits after training. In doubt the expected mouth is a half-open one; a decided one reads better."""
_LEARNING_RATE = 2e-3
_STEPS_PER_LINE = 200
_AVERAGING = 0.997


class NormedEar(SpeechNet):
    """The ear while it learns: with batch normalization and dropout, which `folded` takes out again."""

    def __init__(self, channels: int = 112) -> None:
        super().__init__(channels)
        self.norms = nn.ModuleList(nn.BatchNorm1d(channels) for _ in LAYERS)
        self.dropout = nn.Dropout1d(0.1)

    def logits(self, mel: torch.Tensor) -> torch.Tensor:
        """Return viseme logits; see `SpeechNet.logits`."""
        hidden = torch.relu(self.entry(((mel - self.mean) / self.deviation).transpose(1, 2)))
        for layer, norm, (_, left, right) in zip(self.layers, self.norms, LAYERS, strict=True):
            changed = self.dropout(torch.relu(norm(layer(hidden))))
            hidden = hidden[..., left : hidden.shape[-1] - right] + changed
        logits: torch.Tensor = self.exit(hidden)
        return logits

    @torch.no_grad()
    def folded(self, *, sharpness: float = 1.0) -> SpeechNet:
        """Return the same network with each normalization folded into the layer before it, its logits sharpened."""
        state = {name: value.clone() for name, value in self.state_dict().items() if not name.startswith("norms.")}
        for index, norm in enumerate(self.norms):
            assert isinstance(norm, nn.BatchNorm1d)
            assert norm.running_var is not None
            assert norm.running_mean is not None
            scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            state[f"layers.{index}.weight"] *= scale[:, None, None]
            state[f"layers.{index}.bias"] = (state[f"layers.{index}.bias"] - norm.running_mean) * scale + norm.bias
        for name in ("exit.weight", "exit.bias"):
            state[name] *= sharpness
        return SpeechNet.from_arrays(state)


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

    def __init__(self, utterances: list[Utterance], seed: int, *, channels: int = 112) -> None:
        torch.manual_seed(seed)
        self._rng = np.random.default_rng(seed)
        self._utterances = utterances
        self._examples = [example(utterance.samples, utterance.segments) for utterance in utterances]
        lengths = np.array([len(entry.rows) for entry in self._examples], float)
        lengths[[not entry.voice.startswith("espeak") for entry in utterances]] *= NEURAL_VOICES_COUNT
        self._chances = lengths / lengths.sum()
        self._noises = [log_mel(sound) for sound in noise_sounds(self._rng).values()]
        self.net = NormedEar(channels)
        rows, _ = self._batch(64)
        self.net.mean.copy_(torch.from_numpy(rows.mean((0, 1))))
        self.net.deviation.copy_(torch.from_numpy(rows.std((0, 1)) + 1e-3))
        self.net.vectors.copy_(torch.from_numpy(VISEME_VECTORS))

    def run(self, steps: int) -> Iterator[tuple[int, SpeechNet]]:
        """Train for a number of steps; yield (step, network so far) now and then, and at the end.

        The network is the running average of the weights, and the learning rate does not depend on `steps`: stopping
        after n steps gives what a run of n steps gives.
        """
        optimizer = torch.optim.AdamW(self.net.parameters(), _LEARNING_RATE, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _rate_at)
        closures = [VISEME_NAMES.index(name) for name in ("PP", "FF")]
        average = NormedEar(self.net.entry.out_channels)
        average.load_state_dict(self.net.state_dict())
        started_s, recent = time.monotonic(), 0.0
        self.net.train()
        for step in range(1, steps + 1):
            self._refresh()
            rows, shares = (torch.from_numpy(array) for array in self._batch(BATCH))
            logits = self.net.logits(rows).transpose(1, 2)
            importance = 1 + CLOSURE_WEIGHT * shares[..., closures].sum(-1)
            loss = -((shares * torch.log_softmax(logits, -1)).sum(-1) * importance).sum() / importance.sum()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            _follow(average, self.net, share=max(1 - _AVERAGING, 2 / (step + 1)))
            recent += float(loss.detach())
            if step % _STEPS_PER_LINE == 0 or step == steps:
                print(
                    f"step {step}: loss {recent / _STEPS_PER_LINE:.3f}, {time.monotonic() - started_s:.0f} s",
                    flush=True,
                )
                recent = 0.0
                yield step, average.eval().folded(sharpness=SHARPNESS)

    def _refresh(self) -> None:
        """Put one utterance into another room."""
        index = int(self._rng.choice(len(self._utterances), p=self._chances))
        utterance = self._utterances[index]
        self._examples[index] = example(*other_room(utterance.samples, utterance.segments, self._rng))

    def _batch(self, size: int) -> tuple[MelRows, MelRows]:
        """Return rows (size, 128 + 29, 80) and the shares (size, 128, 16) of those that have enough rows around them."""
        rows, shares = zip(*(self._crop() for _ in range(size)), strict=True)
        return np.stack(rows), np.stack(shares)

    def _crop(self) -> tuple[MelRows, MelRows]:
        rng = self._rng
        heard = CROP_ROWS + ROWS_BEFORE + ROWS_AFTER
        rows = np.full((heard, 80), SILENT_MEL, np.float32)
        shares = np.zeros((heard, len(VISEME_NAMES)), np.float32)
        shares[:, 0] = 1
        if rng.random() > SILENT_SHARE:
            chosen = self._examples[int(rng.choice(len(self._examples), p=self._chances))]
            start = int(rng.integers(-heard // 2, max(1, len(chosen.rows) - heard // 2)))
            first, last = max(0, start), min(len(chosen.rows), start + heard)
            rows[first - start : last - start] = chosen.rows[first:last]
            shares[first - start : last - start] = chosen.shares[first:last]
        noise = self._noises[int(rng.integers(len(self._noises)))]
        noise_first = int(rng.integers(len(noise) - heard))
        rows = other_microphone(rows, noise[noise_first : noise_first + heard], rng)
        return rows, shares[ROWS_BEFORE : ROWS_BEFORE + CROP_ROWS]


def _rate_at(step: int) -> float:
    """Return the learning rate at a step, relative: a short rise, then a slow fall."""
    return float(min(1.0, (step + 1) / 200) / np.sqrt(1 + step / 1500))


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
    parser.add_argument("--steps", type=int, default=7_200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    paths = [options.speech / f"{source}.npz" for source in TRAINING_SOURCES]
    found = [path for path in paths if path.exists()]
    if not found:
        parser.error(
            f"no speech in {options.speech}; make it with: python -m webrtc_avatar.training.speech {options.speech}"
        )
    utterances = [entry for path in found for entry in load_utterances(path) if not entry.held_out]
    minutes = sum(utterance.length_s for utterance in utterances) / 60
    print(
        f"{len(utterances)} utterances, {minutes:.1f} minutes, from {', '.join(path.stem for path in found)}",
        flush=True,
    )
    for _, net in Trainer(utterances, options.seed).run(options.steps):
        export_ear(net, options.output)


if __name__ == "__main__":
    main()
