"""The phones of Flite's and Festival's voices -> visemes, a table a phone set.

Where a language's phones have the same mouth as in IPA, they have the same viseme as in `speech/phonemes.py`.
"""

from __future__ import annotations

from typing import Literal

PhoneSet = Literal["radio", "italian", "czech", "finnish", "russian", "catalan", "indic"]

Visemes = tuple[str, ...]


def _table(pauses: str, **phones_by_viseme: str) -> dict[str, Visemes]:
    """Return phone -> visemes. A keyword names a viseme, two joined by `_` a diphthong, `schwa` stands for `@`."""
    table: dict[str, Visemes] = dict.fromkeys(pauses.split(), ())
    for name, phones in phones_by_viseme.items():
        visemes = ("@",) if name == "schwa" else tuple(name.split("_"))
        table.update(dict.fromkeys(phones.split(), visemes))
    return table


PHONE_SETS: dict[PhoneSet, dict[str, Visemes]] = {
    # The American English of Flite and Festival: ARPABET in small letters, with flaps and syllabic consonants.
    "radio": _table(
        "pau h# brth #",
        PP="p b m em",
        FF="f v",
        TH="th dh",
        DD="t d n dx en nx",
        LL="l el",
        kk="k g ng hh hv",
        SS="s z",
        CH="ch jh sh zh",
        RR="r er axr",
        aa="aa",
        E="ae eh",
        I="ih iy y",
        O="ao",
        U="uh uw w",
        schwa="ah ax",
        aa_U="aw",
        aa_I="ay",
        E_I="ey",
        O_U="ow",
        O_I="oy",
    ),
    # SAMPA; 1 marks stress, nf is the n before f and v, J and L are gn and gli.
    "italian": _table(
        "#",
        PP="p b m",
        FF="f v nf",
        DD="t d n J r",
        LL="l L",
        kk="k g ng",
        SS="s z ts dz",
        CH="S Z tS dZ",
        aa="a a1",
        E="e E e1 E1",
        I="i i1 j",
        O="o O o1 O1",
        U="u u1 w",
    ),
    # As written, ~ for the hook: c is ts, ch is x, r~ the trill with friction, n* the n before k.
    "czech": _table(
        "# _",
        PP="p b m",
        FF="f v",
        DD="t d n t~ d~ n~ r",
        LL="l",
        kk="k g h ch n*",
        SS="s z c dz",
        CH="s~ z~ c~ dz~ r~ r~*",
        aa="a a:",
        E="e e:",
        I="i i: j",
        O="o o:",
        U="u u:",
    ),
    # As written, : for length: @ is ae, 7 is oe, N the n before k; & is a schwa.
    "finnish": _table(
        "# ##",
        PP="p p: b b: m m:",
        FF="f f: v v:",
        TH="T T: D D:",
        DD="t t: d d: n n: r r:",
        LL="l l: L L:",
        kk="k k: g g: h h: N N:",
        SS="s s: z z:",
        CH="S S: Z Z:",
        aa="a a:",
        E="e e: @ @:",
        I="i i: j j:",
        O="o o: 7 7:",
        U="u u: y y: w w:",
        schwa="&",
    ),
    # Doubled consonants are soft, doubled vowels stressed; ay, ae and ur are o or a, e and u of weak syllables.
    "russian": _table(
        "pau",
        PP="p pp b bb m mm",
        FF="f ff v vv",
        DD="t tt d dd n nn r rr",
        LL="l ll",
        kk="k kk g gg h hh",
        SS="s ss z zz c",
        CH="ch sh sch zh",
        aa="aa a",
        E="ee e",
        I="ii i ae j",
        O="oo",
        U="uu u ur",
        schwa="y yy ay",
    ),
    # SAMPA; 1 marks stress, ax is the schwa, rr the trill.
    "catalan": _table(
        "pau _ #",
        PP="p b m",
        FF="f",
        DD="t d n J r rr",
        LL="l L",
        kk="k g",
        SS="s z",
        CH="S Z",
        aa="a a1",
        E="e e1 E E1",
        I="i i1 j",
        O="o o1 O O1",
        U="u u1 w",
        schwa="ax",
    ),
    # Hindi, Marathi, Telugu: th, dh, tth and ddh are dental stops, T, D, N, td retroflex; x is silent.
    "indic": _table(
        "pau x",
        PP="p b m bh",
        FF="f v",
        DD="T D N th dh n td tth ddh r R",
        LL="l L",
        kk="k g kh gh h",
        SS="s sri",
        CH="ch j sh zh",
        kk_CH="ksh",
        aa="aa @",
        E="eh ee",
        I="ih iy y",
        O="oh oo",
        U="uh uw w",
        schwa="a",
        aa_I="ay",
        aa_U="aw",
    ),
}

_VOICELESS_STOPS = frozenset(("p", "t", "k", "p:", "t:", "k:", "pp", "tt", "kk", "T", "th", "td", "tth", "kh"))
_NO_STOPS: dict[str, frozenset[str]] = {"radio": frozenset(("th",)), "finnish": frozenset(("T", "T:"))}
"""What is written as a stop of other sets but is friction in these."""


def is_voiceless_stop(phone: str, phone_set: PhoneSet) -> bool:
    """Tell whether the phone shuts the mouth somewhere and then lets go with a burst, without voice."""
    return phone in _VOICELESS_STOPS and phone not in _NO_STOPS.get(phone_set, ())
