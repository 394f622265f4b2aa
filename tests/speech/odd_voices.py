"""A voice that does what its text says, in the process that speaks: `die`, `hang`, `grow`, `raise`, `fail`, or two plain pieces.

What it is asked to say goes to the file that `ODD_VOICE_LOG` names, one line a call.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from webrtc_avatar.errors import NothingToSay
from webrtc_avatar.settings import Settings
from webrtc_avatar.speech.voice import Failure, Phoneme, Piece, Utterance, VoiceInfo, Word

RATE_HZ = 16_000
SAMPLES = 160


class OddVoice:
    def voices(self) -> Sequence[VoiceInfo]:
        return [VoiceInfo(id="odd/one", language="en", title="Odd", rate_hz=RATE_HZ, abilities=frozenset({"speed"}))]

    def synthesize(self, batch: Sequence[Utterance]) -> Iterator[Piece | Failure]:
        texts = [utterance.text for utterance in batch]
        if "ODD_VOICE_LOG" in os.environ:
            with Path(os.environ["ODD_VOICE_LOG"]).open("a") as log:
                log.write(f"{os.getpid()} {'|'.join(texts)}\n")
        for index, text in enumerate(texts):
            yield piece(index, text, 0)
        for text in texts:
            self.misbehave(text)
        for index, text in enumerate(texts):
            if text.startswith("fail"):
                yield Failure(index, NothingToSay("there is nothing in it"))
            else:
                yield piece(index, text, 1)

    def misbehave(self, text: str) -> None:
        if text.startswith("raise"):
            raise RuntimeError("poisoned")
        if text.startswith("die"):
            os._exit(3)
        if text.startswith("hang"):
            time.sleep(1000)
        if text.startswith("slow"):
            time.sleep(0.5)
        if text.startswith("grow"):
            np.ones(600 << 17)  # 600 MB
            time.sleep(10)

    def close(self) -> None:
        pass


def piece(index: int, text: str, number: int) -> Piece:
    level = (number + 1) * len(text) / 1000
    at_s = number * SAMPLES / RATE_HZ
    return Piece(
        index=index,
        samples=np.full(SAMPLES, level, np.float32),
        rate_hz=RATE_HZ,
        phonemes=(Phoneme(at_s, at_s + 0.005, "m"),),
        words=(Word(at_s, at_s + 0.01, text, 0, len(text)),),
        last=number == 1,
    )


def make(_settings: Settings) -> OddVoice:
    return OddVoice()


def broken(_settings: Settings) -> OddVoice:
    raise RuntimeError("no weights")
