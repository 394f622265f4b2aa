"""hibari: the English voice in the box. Apache-2.0, weights in its package, no network, faster than real time by far.

Sentences of similar length of all utterances of a batch go through the network in one call.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from webrtc_avatar.errors import AvatarServerError, NothingToSay, UnknownVoice, VoiceUnavailable
from webrtc_avatar.settings import Settings
from webrtc_avatar.speech.voice import Failure, Phoneme, Piece, Utterance, VoiceInfo, Word
from webrtc_avatar.speech.voices.closures import hold_closures
from webrtc_avatar.speech.voices.hibari_graph import GAP_FRAMES, batched
from webrtc_avatar.speech.voices.hibari_text import Phrase, phrases_of
from webrtc_avatar.speech.voices.hibari_vocoder import FRAME_SAMPLES, RATE_HZ, sound_of

_UNIT_SAMPLES = 2 * FRAME_SAMPLES
_UNIT_S = _UNIT_SAMPLES / RATE_HZ
_LATE_S = 0.060
"""What is subtracted from the network's times: measured against the energy of consonants between vowels."""
_CLOSED_BEFORE_S, _RELEASE_S = 0.020, 0.035
_ENVELOPE_SAMPLES = 240
_HEARD_SHARE = 0.03
_SHORTEST_S = 0.05
_FEWEST_IDS = 32
"""Shorter sentences are padded, so that ONNX Runtime computes them as it does in company."""
_IDS_A_CALL = 256
"""A call does not get faster beyond, since then its activations leave the cache."""
_MOST_PADDING = 1.5
_FADE_S = 0.005
_SEEDS = 1 << 63
_LEAD_S = 0.060
"""Silence that is left before a sentence's first phoneme; the network begins with five times as much, and ends with 0.4 s."""

Floats = npt.NDArray[np.float32]


def create(settings: Settings) -> HibariVoice:
    """Make the engine; weights are loaded when they are needed."""
    return HibariVoice(folders=settings.speech_voice_folders, threads=settings.speech_threads)


@dataclass(slots=True)
class _Spoken:
    """An utterance while it is being said."""

    utterance: Utterance
    phrases: list[Phrase]
    samples: int = 0
    next: int = 0


@dataclass(slots=True)
class _Model:
    session: Any
    g2p: Any


class HibariVoice:
    """All hibari voices whose file is there: "heart", which is in the package, and others in hibari's cache or in a folder."""

    def __init__(self, *, folders: Sequence[Path] = (), threads: int = 1) -> None:
        """Take where to look for the files of further voices, named as hibari names them; nothing is ever downloaded."""
        self._folders = [Path(folder) for folder in folders]
        self._threads = threads
        self._models: dict[str, _Model] = {}

    @cached_property
    def _files(self) -> dict[str, Path]:
        try:
            from hibari import voices
        except ImportError as error:
            raise VoiceUnavailable("the package hibari-tts is not installed; run: pip install hibari-tts") from error
        found = {}
        for name, facts in voices.VOICES.items():
            folders = [Path(voices.ASSETS)] if facts.get("bundled") else [*self._folders, Path(voices.cache_dir())]
            paths = [folder / facts["file"] for folder in folders]
            path = next((path for path in paths if path.is_file()), None)
            if path is not None:
                found[name] = path
        return found

    @cached_property
    def _vocabulary(self) -> dict[str, int]:
        import json

        from hibari import tts

        numbers: dict[str, int] = json.loads((Path(tts.ASSETS) / "vocab.json").read_text("utf-8"))
        return numbers

    @cached_property
    def _signs(self) -> dict[int, str]:
        return {number: sign for sign, number in self._vocabulary.items()}

    def voices(self) -> Sequence[VoiceInfo]:
        """List the voices whose file is there."""
        files = self._files
        from hibari import voices

        return [
            VoiceInfo(
                id=f"hibari/{name}",
                language=voices.VOICES[name]["language"],
                title=f"{name.capitalize()}, {voices.VOICES[name]['accent']} English, {voices.VOICES[name]['gender']}",
                rate_hz=RATE_HZ,
                abilities=frozenset({"speed", "pitch", "volume", "seed", "break", "phoneme"}),
                phoneme_alphabet="misaki",
                word_times=True,
                batched=True,
                licence="Apache-2.0",
                default=name == voices.DEFAULT,
            )
            for name in files
        ]

    def synthesize(self, batch: Sequence[Utterance]) -> Iterator[Piece | Failure]:
        """Say a batch: first all first sentences, then all second ones.

        Raises:
            UnknownVoice: there is no such voice, or its file is not there.
            VoiceUnavailable: its file holds something else.
        """
        model = self._model(batch[0].voice.partition("/")[2])
        speaking: dict[int, _Spoken] = {}
        for index, utterance in enumerate(batch):
            try:
                phrases = list(phrases_of(utterance, model.g2p, self._vocabulary))
                if not any(phrase.ids for phrase in phrases):
                    raise NothingToSay(
                        f"nothing in {utterance.text[:80]!r} is something that {utterance.voice!r} can read; it reads English"
                    )
                speaking[index] = _Spoken(utterance, phrases)
            except AvatarServerError as error:
                yield Failure(index, error)
        while speaking:
            due: list[int] = []
            for index, spoken in list(speaking.items()):
                phrase = spoken.phrases[spoken.next]
                if phrase.ids:
                    due.append(index)
                else:
                    yield self._piece(index, spoken, np.zeros(round(phrase.pause_s * RATE_HZ), np.float32), (), ())
            for group in _calls({index: len(speaking[index].phrases[speaking[index].next].ids) for index in due}):
                yield from self._say(model, {index: speaking[index] for index in group})
            speaking = {index: spoken for index, spoken in speaking.items() if spoken.next < len(spoken.phrases)}

    def prepare(self, voice: str) -> None:
        """Load a voice's weights, and say a word with them; see `synthesize` for what it raises."""
        for _ in self.synthesize([Utterance.of_text("Hello.", voice)]):
            pass

    def close(self) -> None:
        """Forget the weights."""
        self._models.clear()

    def _model(self, name: str) -> _Model:
        if name in self._models:
            return self._models[name]
        if name not in self._files:
            raise UnknownVoice(
                f"there is no voice 'hibari/{name}'; there are {', '.join(self._files)}. Others need their file in one of "
                "the folders speech_voice_folders"
            )
        import onnxruntime
        from google.protobuf.message import DecodeError
        from hibari import voices
        from hibari.g2p import G2P
        from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidGraph

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        path = self._files[name]
        try:
            graph = batched(path.read_bytes())
            session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except (KeyError, ValueError, OSError, DecodeError, Fail, InvalidGraph) as error:
            raise VoiceUnavailable(f"{path.name} is not a voice of hibari 0.2: {error}") from error
        self._models[name] = _Model(session, G2P(british=bool(voices.VOICES[name]["british"])))
        return self._models[name]

    def _say(self, model: _Model, speaking: dict[int, _Spoken]) -> Iterator[Piece]:
        """Say the next sentence of each in one call."""
        phrases = [spoken.phrases[spoken.next] for spoken in speaking.values()]
        shape = (len(phrases), max(_FEWEST_IDS, *(len(phrase.ids) for phrase in phrases)))
        ids, speed, pitch = np.zeros(shape, np.int64), np.ones(shape, np.float32), np.ones(shape, np.float32)
        for row, (spoken, phrase) in enumerate(zip(speaking.values(), phrases, strict=True)):
            count = len(phrase.ids)
            ids[row, :count] = phrase.ids
            speed[row, :count] = [spoken.utterance.speed * manner.speed for manner in phrase.manners]
            pitch[row, :count] = [spoken.utterance.pitch * manner.pitch for manner in phrase.manners]
        lengths = np.array([len(phrase.ids) for phrase in phrases], np.int64)
        inputs = {"ids": ids, "lengths": lengths, "speed": speed, "pitch": pitch}
        spectra, f0, durations = model.session.run(None, inputs)
        at = 0
        for row, (index, spoken) in enumerate(speaking.items()):
            phrase = phrases[row]
            units = durations[row, : len(phrase.ids)]
            frames = 2 * int(units.sum())
            samples = sound_of(
                spectra[0, at : at + frames], f0[row, :frames], (spoken.utterance.seed + spoken.next) % _SEEDS
            )
            at += frames + GAP_FRAMES
            ends_s = np.cumsum(units) * _UNIT_S - _LATE_S
            samples *= _gains(phrase, ends_s, len(samples))
            np.clip(samples, -1.0, 1.0, out=samples)
            silent = max(0, round((ends_s[0] - _LEAD_S) * RATE_HZ))
            samples = samples[silent:]
            fade = round(_FADE_S * RATE_HZ)
            samples[:fade] *= np.linspace(0, 1, fade, dtype=np.float32)
            ends_s -= silent / RATE_HZ
            starts_s = ends_s - units * _UNIT_S
            signs = [self._signs.get(number, "_") for number in phrase.ids]
            _end_with_sound(ends_s, starts_s, signs, samples)
            starts_s += spoken.samples / RATE_HZ
            ends_s += spoken.samples / RATE_HZ
            phonemes = _phonemes(signs, starts_s, ends_s)
            yield self._piece(index, spoken, samples, phonemes, _words(phrase, starts_s, ends_s))

    def _piece(
        self, index: int, spoken: _Spoken, samples: Floats, phonemes: tuple[Phoneme, ...], words: tuple[Word, ...]
    ) -> Piece:
        spoken.next += 1
        spoken.samples += len(samples)
        last = spoken.next == len(spoken.phrases)
        return Piece(index=index, samples=samples, rate_hz=RATE_HZ, phonemes=phonemes, words=words, last=last)


def _end_with_sound(ends_s: Any, starts_s: Any, signs: Sequence[str], samples: Floats) -> None:
    """Let phonemes before a pause end where their sound does: the network counts much of the silence to them."""
    count = len(samples) // _ENVELOPE_SAMPLES
    loudness = np.sqrt(np.mean(samples[: count * _ENVELOPE_SAMPLES].reshape(count, -1) ** 2, axis=1))
    is_heard = loudness > _HEARD_SHARE * loudness.max(initial=0.0)
    step_s = _ENVELOPE_SAMPLES / RATE_HZ
    for place, (sign, following) in enumerate(pairwise(signs)):
        if sign.isalpha() and following != " " and not following.isalpha():
            first = max(0, int(starts_s[place] / step_s))
            heard = np.flatnonzero(is_heard[first : max(0, int(ends_s[place] / step_s))])
            sounds_s = (first + heard[-1] + 1) * step_s if len(heard) else 0.0
            ends_s[place] = min(ends_s[place], max(sounds_s, starts_s[place] + _SHORTEST_S))


def _phonemes(signs: Sequence[str], starts_s: Any, ends_s: Any) -> tuple[Phoneme, ...]:
    timed = [Phoneme(float(start), float(end), sign) for start, end, sign in zip(starts_s, ends_s, signs, strict=True)]
    return tuple(hold_closures(timed, before_s=_CLOSED_BEFORE_S, release_s=_RELEASE_S))


def _words(phrase: Phrase, starts_s: Any, ends_s: Any) -> tuple[Word, ...]:
    """Return when each written word is heard; one that stands for nothing spoken is left out."""
    words = []
    for number, word in enumerate(phrase.words):
        places = [place for place, of in enumerate(phrase.word_of) if of == number]
        if places:
            words.append(Word(max(0.0, float(starts_s[places[0]])), float(ends_s[places[-1]]), *word))
    return tuple(words)


def _gains(phrase: Phrase, ends_s: Any, count: int) -> Floats | np.float32:
    """Return the loudness of each sample, with short fades between manners."""
    gains = np.array([10 ** (manner.volume_db / 20) for manner in phrase.manners], np.float32)
    if (gains == gains[0]).all():
        return np.float32(gains[0])
    changes = np.flatnonzero(np.diff(gains))
    times_s = np.concatenate([[ends_s[place] - _FADE_S, ends_s[place] + _FADE_S] for place in changes])
    levels = np.concatenate([[gains[place], gains[place + 1]] for place in changes])
    envelope: Floats = np.interp(np.arange(count) / RATE_HZ, times_s, levels).astype(np.float32)
    return envelope


def _calls(lengths: dict[int, int]) -> list[list[int]]:
    """Group sentences, the shortest first, such that little of a call is padding and none is too large."""
    groups: list[list[int]] = []
    for index in sorted(lengths, key=lambda index: lengths[index]):
        padded = (len(groups[-1]) + 1) * lengths[index] if groups else 0
        known = sum(lengths[other] for other in groups[-1]) + lengths[index] if groups else 0
        if groups and padded <= _IDS_A_CALL and padded <= _MOST_PADDING * known:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups
