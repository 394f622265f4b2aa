"""Speech for everybody in the server: finds the voice, checks what is asked for, and has the pool say it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from webrtc_avatar.metrics import Metrics
from webrtc_avatar.settings import Settings
from webrtc_avatar.speech.batching.options import BatchOptions, preset
from webrtc_avatar.speech.batching.pool import SpeechPool
from webrtc_avatar.speech.batching.status import SpeechStatus
from webrtc_avatar.speech.mouth import Alphabet
from webrtc_avatar.speech.registry import Registry
from webrtc_avatar.speech.request import SpeechRequest
from webrtc_avatar.speech.text.ssml import read_ssml
from webrtc_avatar.speech.voice import Part, Piece, Say, Utterance, VoiceInfo, check


@dataclass(frozen=True, slots=True)
class Speech:
    """What is being said.

    Attributes:
        info: who says it.
        text: it, without markup.
        pieces: its sound as it is made; closing gives up what is left. Raises what `SpeechPool.say` says.
    """

    info: VoiceInfo
    text: str
    pieces: AsyncGenerator[Piece]

    @property
    def alphabet(self) -> Alphabet | None:
        """The alphabet of its phonemes; None: the voice does not tell them."""
        return self.info.phoneme_alphabet


class SpeechService:
    """Lives on the event loop. No process is started before somebody asks for speech, or for `warm`.

    Args:
        settings: voices, limits, batching.
        metrics: counts.
        registry: of voices; None: of those that are installed.
    """

    def __init__(self, settings: Settings, metrics: Metrics, registry: Registry | None = None) -> None:
        self._registry = registry or Registry(settings)
        self._listed = False
        self._pool = SpeechPool(
            batch_options(settings), self._registry.factories, settings, metrics, warm=[settings.voice]
        )

    async def ready(self) -> None:
        """Wait until the voices are listed, which the first time takes a moment; what else is called does not wait then."""
        if not self._listed:
            await asyncio.to_thread(self._registry.voices)
            self._listed = True

    def voices(self) -> list[VoiceInfo]:
        """Return all voices."""
        return self._registry.voices()

    def unavailable(self) -> dict[str, str]:
        """Return why engines have no voices here, by their names."""
        return self._registry.unavailable()

    def find(self, name: str | None) -> VoiceInfo:
        """Return a voice; see `Registry.find`."""
        return self._registry.find(name)

    def warm(self) -> None:
        """Let processes start that are not there."""
        self._pool.warm()

    def prepare(self, request: SpeechRequest) -> tuple[VoiceInfo, Utterance]:
        """Return who says a request, and what; see the function `prepare`."""
        return prepare(self._registry, request)

    def speak(self, request: SpeechRequest, *, live: bool = False) -> Speech:
        """Have a request said.

        Args:
            request: text, voice and manner.
            live: somebody listens in real time; it goes before what nobody waits for.

        Raises:
            SpeechRefused, UnknownVoice, VoiceUnavailable: see `prepare`.
            ServerFull, ServerDraining: see `SpeechPool.say`.
        """
        info, utterance = self.prepare(request)
        return Speech(info, utterance.text, self._pool.say(utterance, live=live))

    def status(self) -> SpeechStatus:
        """Return what the pool does; see `SpeechStatus`."""
        return self._pool.status()

    async def aclose(self) -> None:
        """End all that is being said, and the processes; calling it twice is fine."""
        await self._pool.aclose()


def prepare(registry: Registry, request: SpeechRequest) -> tuple[VoiceInfo, Utterance]:
    """Return who says a request, and what.

    Raises:
        UnknownVoice, VoiceUnavailable: see `Registry.find`.
        InvalidSsml: its markup is broken, or has elements that are not understood.
        NothingToSay, UnsupportedParameter, InvalidRequest: see `voice.check`.
    """
    info = registry.find(request.voice)
    parts: tuple[Part, ...] = read_ssml(request.text) if request.is_ssml else (Say(text=request.text),)
    utterance = Utterance(
        parts=parts,
        voice=info.id,
        checkpoint=request.checkpoint,
        speed=request.speed,
        pitch=request.pitch,
        emotion=request.emotion,
        style=request.style,
        seed=request.seed,
    )
    check(utterance, info)
    return info, utterance


def batch_options(settings: Settings) -> BatchOptions:
    """Return how requests are grouped: as the preset says, but for what the settings say themselves."""
    base = preset(settings.speech_preset)
    return BatchOptions(
        batching=settings.speech_batching,
        max_batch_size=settings.speech_max_batch_size or base.max_batch_size,
        timeout_ms=base.timeout_ms if settings.speech_batch_timeout_ms is None else settings.speech_batch_timeout_ms,
        max_text_length=settings.speech_max_batch_text_length or base.max_text_length,
        workers=settings.speech_workers or base.workers,
        answer_timeout_s=settings.speech_timeout_s,
        memory_mb=settings.speech_worker_memory_mb,
    )
