# ruff: noqa: RUF001
"""Phonemes with times -> viseme shares and smooth mouth curves.

Each phoneme pulls the mouth towards its viseme while it sounds and a little around it (dominance functions after Cohen
and Massaro, "Modeling coarticulation in synthetic visual speech", 1993). Lips that must close pull hardest.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from webrtc_avatar.speech.phone_sets import PHONE_SETS, PhoneSet
from webrtc_avatar.speech.visemes import VISEME_NAMES, VISEME_VECTORS, MouthWeights
from webrtc_avatar.speech.voice import Phoneme
from webrtc_avatar.speech.voices.closures import hold_closures

__all__ = [
    "Alphabet",
    "Phoneme",
    "Segment",
    "hold_closures",
    "mouth_curves",
    "viseme_segments",
    "viseme_shares",
    "viseme_track",
    "visemes_of",
]

Alphabet = Literal["ipa", "misaki", "arpabet"] | PhoneSet
Shares = npt.NDArray[np.float32]


class Segment(NamedTuple):
    """A viseme and when it is held, in seconds."""

    start_s: float
    end_s: float
    viseme: str


# espeak-ng writes some sounds its own way: Danish ε in Greek, a glide on its own as ʲ, the Japanese final n as ũ.
_IPA = {
    symbol: viseme
    for viseme, symbols in {
        "PP": "pbmɓʙɸ",
        "FF": "fvɱβʋ",
        "TH": "θð",
        "DD": "tdnɾʈɖɳɗɽTɲɟr",
        "LL": "lɫɭʎɬ",
        "kk": "kɡgŋhxçɣcqɢχʁʀħʕɦɴɰʝʔũ",
        "SS": "szʦʣ",
        "CH": "ʃʒʧʤɕʑʂʐʨʥ",
        "RR": "ɹɻɚɝɜ",
        "aa": "aɑɒä",
        "E": "eɛεæ",
        "I": "iɪjʲ",
        "O": "oɔøœɵɞ",
        "U": "uʊwyʏʉɥ",
        "@": "əʌɐᵊᵻɨɘɤɯꭧ",
    }.items()
    for symbol in symbols
}
_IPA_CLUSTERS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("tʃ", "dʒ", "tɕ", "dʑ", "tʂ", "dʐ"), ("CH",)),
    **dict.fromkeys(("ts", "dz"), ("SS",)),
    "pf": ("PP", "FF"),
    "kp": ("PP",),
}
_ARPABET = {
    **dict.fromkeys(("P", "B", "M"), ("PP",)),
    **dict.fromkeys(("F", "V"), ("FF",)),
    **dict.fromkeys(("TH", "DH"), ("TH",)),
    **dict.fromkeys(("T", "D", "N"), ("DD",)),
    "L": ("LL",),
    **dict.fromkeys(("K", "G", "NG", "HH"), ("kk",)),
    **dict.fromkeys(("S", "Z"), ("SS",)),
    **dict.fromkeys(("CH", "JH", "SH", "ZH"), ("CH",)),
    **dict.fromkeys(("R", "ER"), ("RR",)),
    "AA": ("aa",),
    **dict.fromkeys(("AE", "EH"), ("E",)),
    **dict.fromkeys(("IH", "IY", "Y"), ("I",)),
    "AO": ("O",),
    **dict.fromkeys(("UH", "UW", "W"), ("U",)),
    "AH": ("@",),
    "AW": ("aa", "U"),
    "AY": ("aa", "I"),
    "EY": ("E", "I"),
    "OW": ("O", "U"),
    "OY": ("O", "I"),
}
# misaki, the alphabet of hibari and kokoro, writes diphthongs as capitals: A=eɪ I=aɪ W=aʊ Y=ɔɪ O=oʊ Q=əʊ.
_MISAKI = {"A": ("E", "I"), "I": ("aa", "I"), "W": ("aa", "U"), "Y": ("O", "I"), "O": ("O", "U"), "Q": ("O", "U")}
_VOWELS = frozenset(("aa", "E", "I", "O", "U", "@", "RR"))
_SECOND = _VOWELS | {"LL"}
_FIRST_SHARE = 0.6
"""Share of a diphthong's time that its first vowel is held."""

# viseme: (strength, shortest half width in s, fall in s); all others as under None.
_DOMINANCE: dict[str | None, tuple[float, float, float]] = {
    "PP": (14.0, 0.028, 0.012),
    "FF": (9.0, 0.028, 0.016),
    **dict.fromkeys(("kk", "DD", "@"), (0.7, 0.020, 0.055)),
    None: (1.4, 0.020, 0.060),
}
_FALL_POWER = 1.4
_RELEASED_EARLY_S = 0.012
"""Lips that part do so at the burst, not when the pull of the closure has died away: it ends so much sooner."""
_REST_PULL = 1e-3


def visemes_of(symbol: str, alphabet: Alphabet = "ipa") -> tuple[str, ...]:
    """Return the one or two visemes of a phoneme, in order; none for stress marks, pauses, `(en)` and the like."""
    if alphabet in PHONE_SETS:
        return PHONE_SETS[alphabet].get(symbol, ())
    if alphabet == "arpabet":
        return _ARPABET.get(symbol.rstrip("012"), ())
    if alphabet == "misaki" and symbol in _MISAKI:
        return _MISAKI[symbol]
    if symbol.startswith("("):
        return ()
    for cluster, visemes in _IPA_CLUSTERS.items():
        if cluster in symbol.replace("͡", ""):
            return visemes
    found = [_IPA[letter] for letter in symbol if letter in _IPA]
    if len(found) > 1 and found[0] in _VOWELS and found[1] in _SECOND and found[0] != found[1]:
        return (found[0], found[1])
    return tuple(found[:1])


def viseme_segments(phonemes: Iterable[Phoneme], alphabet: Alphabet = "ipa") -> list[Segment]:
    """Return when each viseme is held; a length mark on its own prolongs the one before."""
    segments: list[Segment] = []
    for start_s, end_s, symbol in phonemes:
        visemes = visemes_of(symbol, alphabet)
        if len(visemes) == 2:
            middle_s = start_s + _FIRST_SHARE * (end_s - start_s)
            segments.append(Segment(start_s, middle_s, visemes[0]))
            segments.append(Segment(middle_s, end_s, visemes[1]))
        elif visemes:
            segments.append(Segment(start_s, end_s, visemes[0]))
        elif segments and symbol == "ː":
            segments[-1] = segments[-1]._replace(end_s=end_s)
    return segments


def viseme_shares(segments: Iterable[Segment], frame_count: int, rate_hz: float) -> Shares:
    """Return how much each viseme holds of the mouth at each instant.

    Args:
        segments: visemes and their times.
        frame_count: number of instants; instant k is at k / `rate_hz` seconds.
        rate_hz: instants a second.

    Returns:
        float32 (frame_count, 16); every row sums to 1. What no phoneme claims is silence, that is, rest.
    """
    time_s = np.arange(frame_count) / rate_hz
    pulls = np.zeros((frame_count, len(VISEME_NAMES)))
    for start_s, end_s, viseme in segments:
        strength, shortest_s, fall_s = _DOMINANCE.get(viseme, _DOMINANCE[None])
        open_s = max(end_s - _RELEASED_EARLY_S, start_s + 2 * shortest_s) if viseme == "PP" else end_s
        half_width_s = max((min(open_s, end_s) - start_s) / 2, shortest_s)
        middle_s = (start_s + min(open_s, end_s)) / 2
        reach_s = half_width_s + 4 * fall_s
        first = max(0, int((middle_s - reach_s) * rate_hz))
        last = max(first, int((middle_s + reach_s) * rate_hz) + 2)
        outside_s = np.maximum(np.abs(time_s[first:last] - middle_s) - half_width_s, 0)
        pulls[first:last, VISEME_NAMES.index(viseme)] += strength * np.exp(-((outside_s / fall_s) ** _FALL_POWER))
    total = pulls.sum(1, keepdims=True) + _REST_PULL
    shares = pulls / total * np.minimum(total, 1)
    shares[:, 0] += 1 - shares.sum(1)
    finished: Shares = shares.astype(np.float32)
    return finished


def viseme_track(segments: Iterable[Segment], frame_count: int, rate_hz: float) -> npt.NDArray[np.int64]:
    """Return the index of the viseme that sounds at each instant: int64 (frame_count,), 0 in silence."""
    track = np.zeros(frame_count, np.int64)
    for start_s, end_s, viseme in segments:
        first, last = round(start_s * rate_hz), round(end_s * rate_hz)
        track[max(0, first) : max(0, last)] = VISEME_NAMES.index(viseme)
    return track


def mouth_curves(segments: Iterable[Segment], frame_count: int, rate_hz: float) -> MouthWeights:
    """Return the 12 mouth weights at each instant: float32 (frame_count, 12)."""
    curves: MouthWeights = viseme_shares(segments, frame_count, rate_hz) @ VISEME_VECTORS
    return curves
