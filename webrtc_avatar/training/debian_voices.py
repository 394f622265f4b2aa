"""The voices of Flite and Festival, as Debian packages them: whose they are, and where their sounds really lie.

Both synthesizers know when each phone sounds. Unlike the neural voices they count the silence of a stop to the stop,
but they count its burst and breath to it as well, when the mouth is long open. What is corrected here was measured on up to
90 sentences a voice: the loudness (300 to 4000 Hz, windows of 10 ms) of consonants between vowels falls and rises, and
that of s (above 4500 Hz) rises and falls. `late_s` is the mean shift of the two edges, set to zero where it is within
5 ms; `closed_share` is the share of p, t and k before their burst.

Licences: `permissive` is that of Flite and Festival themselves (use, copy, sell, keep the notice) or BSD; the voices of
`COPYLEFT_VOICES` are under GPL or LGPL, and so make a source of their own that training can do without.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from webrtc_avatar.speech.phone_sets import PhoneSet, is_voiceless_stop
from webrtc_avatar.speech.phonemes import Phoneme
from webrtc_avatar.training.festival import Line, speak_lines
from webrtc_avatar.training.flite import FLITE_PITCH_HZ, flite_speak
from webrtc_avatar.training.sentences import SENTENCES

ENGLISH_SHARE = 0.35
"""How much of the English text each voice speaks: enough to hear the voice, without drowning the others."""
HELD_OUT_EVERY = 17
_SPEEDS = (0.8, 1.25)
_SEMITONES = (-3.0, 3.0)

Speech = tuple[npt.NDArray[Any], int, list[Phoneme]]


@dataclass(frozen=True, slots=True)
class DebianVoice:
    """A voice and what is known of it.

    Attributes:
        name: Flite's or Festival's name for it.
        language: as in `SENTENCES`.
        phones: the phone set it speaks in.
        package: the Debian packages that bring it.
        licence: of the voice's data.
        late_s: how much later its sounds are than it says, in seconds.
        closed_share: of the time that it gives to p, t or k, how much is before the burst.
        encoding: of the text that it reads.
    """

    name: str
    language: str
    phones: PhoneSet
    package: str
    licence: str
    closed_share: float
    late_s: float = 0.0
    encoding: str = "utf-8"


FLITE_VOICES = (
    DebianVoice("slt", "en", "radio", "flite", "permissive", 0.60),
    DebianVoice("awb", "en", "radio", "flite", "permissive", 0.65),
    DebianVoice("rms", "en", "radio", "flite", "permissive", 0.48),
    DebianVoice("kal16", "en", "radio", "flite", "permissive", 0.60),
)
PERMISSIVE_VOICES = (
    DebianVoice("kal_diphone", "en", "radio", "festvox-kallpc16k", "permissive", 0.52, 0.012),
    DebianVoice("ked_diphone", "en", "radio", "festvox-kdlpc16k", "permissive", 0.58),
    DebianVoice("cmu_us_slt_arctic_hts", "en", "radio", "festvox-us-slt-hts", "permissive", 0.48, 0.006),
    DebianVoice("msu_ru_nsh_clunits", "ru", "russian", "festvox-ru", "permissive", 0.62),
)
COPYLEFT_VOICES = (
    DebianVoice("lp_diphone", "it", "italian", "festvox-italp16k", "GPL-2+", 0.70, 0.0, "latin-1"),
    DebianVoice("pc_diphone", "it", "italian", "festvox-itapc16k", "GPL-2+", 0.77, 0.0, "latin-1"),
    DebianVoice("czech_dita", "cs", "czech", "festvox-czech-dita", "GPL-3+", 0.75, 0.006, "iso-8859-2"),
    DebianVoice("czech_krb", "cs", "czech", "festvox-czech-krb", "GPL-3+", 0.78, 0.0, "iso-8859-2"),
    DebianVoice("czech_machac", "cs", "czech", "festvox-czech-machac", "GPL-3+", 0.71, 0.0, "iso-8859-2"),
    DebianVoice("czech_ph", "cs", "czech", "festvox-czech-ph", "GPL-2+", 0.72, 0.0, "iso-8859-2"),
    DebianVoice("suo_fi_lj_diphone", "fi", "finnish", "festvox-suopuhe-lj", "LGPL-2+", 0.77, 0.009, "latin-1"),
    DebianVoice("hy_fi_mv_diphone", "fi", "finnish", "festvox-suopuhe-mv", "LGPL-2+", 0.70, 0.009, "latin-1"),
    DebianVoice("upc_ca_ona_hts", "ca", "catalan", "festvox-ca-ona-hts", "LGPL-2.1+", 0.74, 0.006, "latin-1"),
    DebianVoice("hindi_NSK_diphone", "hi", "indic", "festvox-hi-nsk festival-hi", "GPL-2+", 0.56),
    DebianVoice("marathi_NSK_diphone", "mr", "indic", "festvox-mr-nsk festival-mr", "GPL-2+", 0.60),
    DebianVoice("telugu_NSK_diphone", "te", "indic", "festvox-te-nsk festival-te", "GPL-2+", 0.50),
)


@dataclass(frozen=True, slots=True)
class Spoken:
    """A sentence as a voice spoke it; its phones lie where the mouth makes them."""

    voice: DebianVoice
    speech: Speech
    held_out: bool


def mouth_times(phones: Iterable[Phoneme], voice: DebianVoice) -> list[Phoneme]:
    """Return phones where the mouth makes them: shifted, and voiceless stops opening at their burst.

    Args:
        phones: as the voice gives them, in order.
        voice: what its times need.
    """
    moved: list[Phoneme] = []
    opens_s: float | None = None
    for start_s, end_s, symbol in phones:
        begins_s, ends_s = start_s + voice.late_s, end_s + voice.late_s
        if opens_s is not None:
            begins_s, opens_s = opens_s, None
        if is_voiceless_stop(symbol, voice.phones):
            opens_s = ends_s = begins_s + voice.closed_share * (ends_s - begins_s)
        moved.append(Phoneme(begins_s, ends_s, symbol))
    return moved


def _chosen(voice: DebianVoice, rng: np.random.Generator) -> list[tuple[str, bool]]:
    """Return the sentences that a voice speaks, and whether each is held out."""
    numbered = [
        (text, number % HELD_OUT_EVERY == HELD_OUT_EVERY - 1) for number, text in enumerate(SENTENCES[voice.language])
    ]
    if voice.language != "en":
        return numbered
    drawn = rng.random(len(numbered)) < ENGLISH_SHARE
    return [sentence for sentence, kept in zip(numbered, drawn, strict=True) if kept]


def flite_sentences(rng: np.random.Generator) -> Iterator[Spoken]:
    """Yield what Flite's voices say of the English sentences, each at its own speed and pitch."""
    for voice in FLITE_VOICES:
        for text, held_out in _chosen(voice, rng):
            speed, semitones = rng.uniform(*_SPEEDS), rng.uniform(*_SEMITONES)
            pitch_hz = FLITE_PITCH_HZ[voice.name] * 2 ** (semitones / 12)
            samples, rate_hz, phones = flite_speak(text, voice.name, slower=float(1 / speed), pitch_hz=float(pitch_hz))
            yield Spoken(voice, (samples, rate_hz, mouth_times(phones, voice)), held_out)


def festival_sentences(rng: np.random.Generator, voices: Iterable[DebianVoice]) -> Iterator[Spoken]:
    """Yield what these of Festival's voices say in their language; a sentence that one cannot read is left out."""
    for voice in voices:
        chosen = _chosen(voice, rng)
        lines = [
            Line(text, slower=float(1 / rng.uniform(*_SPEEDS)), semitones=float(rng.uniform(*_SEMITONES)))
            for text, _ in chosen
        ]
        said = speak_lines(voice.name, lines, package=voice.package, encoding=voice.encoding)
        for speech, (_, held_out) in zip(said, chosen, strict=True):
            if speech is not None:
                samples, rate_hz, phones = speech
                yield Spoken(voice, (samples, rate_hz, mouth_times(phones, voice)), held_out)
