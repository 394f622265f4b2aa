"""What a voice is: the one interface between those who want something said and the engines that say it.

A plug-in is a factory `(Settings) -> Voice` under the entry point group `webrtc_avatar.voices`. Everything here can
be pickled, since voices run in worker processes, and is immutable.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from webrtc_avatar.errors import AvatarServerError, InvalidRequest, NothingToSay, UnsupportedParameter

ENTRY_POINTS = "webrtc_avatar.voices"

Ability = Literal["speed", "pitch", "volume", "emotion", "style", "seed", "checkpoint", "break", "phoneme"]
"""A parameter that a voice can follow; `break` and `phoneme` are SSML elements."""

SPEEDS = (0.5, 2.0)
PITCHES = (0.5, 2.0)
VOLUMES_DB = (-60.0, 12.0)
LONGEST_PAUSE_S = 10.0
LONGEST_SILENCE_S = 60.0
"""All pauses of an utterance together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Say:
    """A stretch of text that is said in one manner.

    Attributes:
        text: what to say.
        speed: times the utterance's own.
        pitch: times the utterance's own; 2 is an octave up.
        volume_db: louder or softer than the voice's own.
        phonemes: how `text` is pronounced, in IPA, or None: as the voice reads it.
    """

    text: str
    speed: float = 1.0
    pitch: float = 1.0
    volume_db: float = 0.0
    phonemes: str | None = None


@dataclass(frozen=True, slots=True)
class Pause:
    """Silence of so many seconds, 0..`LONGEST_PAUSE_S`."""

    seconds: float


Part = Say | Pause


class Group(NamedTuple):
    """What utterances must have in common to be synthesized in one batch."""

    voice: str
    checkpoint: str | None
    speed: float
    pitch: float
    emotion: str | None
    style: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Utterance:
    """What one voice says in one go.

    Attributes:
        parts: text and pauses in order.
        voice: `engine/name`, as `VoiceInfo.id`.
        checkpoint: which weights of the voice, out of `VoiceInfo.checkpoints`; None: its own choice.
        speed: times the voice's own, `SPEEDS`.
        pitch: times the voice's own, `PITCHES`.
        emotion: as the voice names it, or None.
        style: as the voice names it, or None.
        seed: draws what is random in a voice; the same seed, the same sound.
    """

    parts: tuple[Part, ...]
    voice: str
    checkpoint: str | None = None
    speed: float = 1.0
    pitch: float = 1.0
    emotion: str | None = None
    style: str | None = None
    seed: int = 0

    @classmethod
    def of_text(cls, text: str, voice: str, **parameters: Any) -> Utterance:
        """Make an utterance of plain text."""
        return cls(parts=(Say(text=text),), voice=voice, **parameters)

    @property
    def text(self) -> str:
        """What is said, without markup: its parts' text one after the other. Ranges of `Word` count its characters."""
        return "".join(part.text for part in self.parts if isinstance(part, Say))

    @property
    def group(self) -> Group:
        """What others must share to be in one batch with this one."""
        return Group(self.voice, self.checkpoint, self.speed, self.pitch, self.emotion, self.style)


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceInfo:
    """A voice, and what it can do.

    Attributes:
        id: `engine/name`.
        language: BCP 47 tag, `und` if it speaks any.
        title: for people to choose by.
        rate_hz: of its samples.
        abilities: the parameters that it follows; others are refused with `UnsupportedParameter`.
        phoneme_alphabet: in which its pieces carry phonemes and their times; None: they carry none.
        word_times: whether its pieces carry words.
        batched: whether a batch costs it less than its utterances one by one.
        checkpoints: names that `Utterance.checkpoint` can take.
        emotions: names that `Utterance.emotion` can take; empty with the ability `emotion`: any text.
        styles: likewise.
        licence: SPDX identifier of voice and engine, or `unknown`.
        default: the one that speaks for callers who name none of its engine.
    """

    id: str
    language: str
    title: str
    rate_hz: int
    abilities: frozenset[Ability] = frozenset()
    phoneme_alphabet: Literal["ipa", "misaki"] | None = None
    word_times: bool = False
    batched: bool = False
    checkpoints: tuple[str, ...] = ()
    emotions: tuple[str, ...] = ()
    styles: tuple[str, ...] = ()
    licence: str = "unknown"
    default: bool = False


class Phoneme(NamedTuple):
    """A phoneme and when the mouth forms it, in seconds from the utterance's first sample."""

    start_s: float
    end_s: float
    symbol: str


class Word(NamedTuple):
    """A word and when it is heard, in seconds from the utterance's first sample.

    `first` and `end` are its range of characters: `utterance.text[first:end] == text`.
    """

    start_s: float
    end_s: float
    text: str
    first: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Piece:
    """Part of an utterance's sound, or all of it. Pieces of an utterance follow on each other without gap or overlap.

    Attributes:
        index: of the utterance in its batch.
        samples: float32 (n,) in -1..1 at `rate_hz`, mono.
        rate_hz: samples a second.
        phonemes: of this piece, in order, with times relative to the utterance; empty where the voice knows none.
        words: of this piece, likewise.
        last: nothing follows for this utterance.
    """

    index: int
    samples: npt.NDArray[np.float32]
    rate_hz: int
    phonemes: tuple[Phoneme, ...] = ()
    words: tuple[Word, ...] = ()
    last: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """One utterance of a batch cannot be said; the others are."""

    index: int
    error: AvatarServerError


class Voice(Protocol):
    """An engine of speech with one or many voices. One thread at a time calls it."""

    def voices(self) -> Sequence[VoiceInfo]:
        """List what can be chosen, quickly and without loading weights; the same for the engine's whole life."""

    def synthesize(self, batch: Sequence[Utterance]) -> Iterator[Piece | Failure]:
        """Say a batch whose members have the same `group`, in one call of the model where the engine can.

        Each utterance gets pieces up to one with `last`, in any interleaving with those of others, or a `Failure`, after
        which nothing comes of it any more. Closing the iterator gives up what is left. What is raised fails the whole
        batch.
        """

    def close(self) -> None:
        """Release models, processes and connections. May be called twice."""


@runtime_checkable
class Preparing(Protocol):
    """What a voice with weights has besides: they are loaded before the first who wants to hear it has to wait for them."""

    def prepare(self, voice: str) -> None:
        """Load the weights of the voice with this id, and run them once."""


def check(utterance: Utterance, info: VoiceInfo) -> None:
    """Refuse what the voice cannot do, before anything is queued.

    Raises:
        NothingToSay: there is no text, or nothing in it but spaces.
        InvalidRequest: a number is out of its range.
        UnsupportedParameter: the voice does not follow a parameter that is set.
    """
    if not utterance.text.strip():
        raise NothingToSay("the text is empty; send at least one word")
    says = [part for part in utterance.parts if isinstance(part, Say)]
    pauses = [part.seconds for part in utterance.parts if isinstance(part, Pause)]
    for name, values, (low, high) in (
        ("speed", [utterance.speed, *(utterance.speed * part.speed for part in says)], SPEEDS),
        ("pitch", [utterance.pitch, *(utterance.pitch * part.pitch for part in says)], PITCHES),
        ("volume", [part.volume_db for part in says], VOLUMES_DB),
        ("break", pauses, (0.0, LONGEST_PAUSE_S)),
    ):
        outside = [value for value in values if not low <= value <= high]
        if outside:
            raise InvalidRequest(f"{name} is {outside[0]:g}; expected {low:g} to {high:g}")
    if sum(pauses) > LONGEST_SILENCE_S:
        raise InvalidRequest(f"breaks last {sum(pauses):g} s together; expected at most {LONGEST_SILENCE_S:g} s")
    wanted: dict[Ability, bool] = {
        "speed": utterance.speed != 1 or any(part.speed != 1 for part in says),
        "pitch": utterance.pitch != 1 or any(part.pitch != 1 for part in says),
        "volume": any(part.volume_db != 0 for part in says),
        "emotion": utterance.emotion is not None,
        "style": utterance.style is not None,
        "checkpoint": utterance.checkpoint is not None,
        "break": bool(pauses),
        "phoneme": any(part.phonemes is not None for part in says),
    }
    for ability, is_wanted in wanted.items():
        if is_wanted and ability not in info.abilities:
            raise UnsupportedParameter(ability, voice=info.id, abilities=info.abilities)
    for name, value, values_known in (
        ("checkpoint", utterance.checkpoint, info.checkpoints),
        ("emotion", utterance.emotion, info.emotions),
        ("style", utterance.style, info.styles),
    ):
        if value is not None and values_known and value not in values_known:
            raise InvalidRequest(f"voice {info.id!r} has no {name} {value!r}; it has {', '.join(values_known)}")
