"""The 12 mouth weights and the 16 visemes as vectors of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

WEIGHTS = (
    "jawOpen",
    "pucker",
    "funnel",
    "round",
    "stretch",
    "smile",
    "press",
    "rollLower",
    "upperUp",
    "lowerDown",
    "tongueUp",
    "tongueOut",
)
"""Mouth weights, each about 0..1; smile is an offset from the resting smile, -0.5..0.6. All zero is the mouth at rest."""

MouthWeights = npt.NDArray[np.float32]


def _vector(**values: float) -> MouthWeights:
    return np.array([values.get(name, 0.0) for name in WEIGHTS], np.float32)


VISEMES: dict[str, MouthWeights] = {
    "sil": _vector(),
    "PP": _vector(press=0.5),
    "FF": _vector(jawOpen=0.05, rollLower=0.62, upperUp=0.75),
    "TH": _vector(jawOpen=0.25, upperUp=0.05, lowerDown=0.2, tongueOut=0.65, tongueUp=0.15),
    "DD": _vector(jawOpen=0.14, upperUp=0.15, lowerDown=0.2, tongueUp=0.6),
    "LL": _vector(jawOpen=0.22, upperUp=0.2, lowerDown=0.2, tongueUp=0.75),
    "kk": _vector(jawOpen=0.18, lowerDown=0.1),
    "SS": _vector(jawOpen=0.05, stretch=0.35, upperUp=0.35, lowerDown=0.45),
    "CH": _vector(jawOpen=0.06, funnel=0.55, pucker=0.25, round=0.8, lowerDown=0.2),
    "RR": _vector(jawOpen=0.12, funnel=0.3, pucker=0.25, round=0.3),
    "aa": _vector(jawOpen=0.50, upperUp=0.2, lowerDown=0.15),
    "E": _vector(jawOpen=0.30, stretch=0.15, upperUp=0.15, lowerDown=0.15),
    "I": _vector(jawOpen=0.14, stretch=0.3, smile=0.35, upperUp=0.3, lowerDown=0.3),
    "O": _vector(jawOpen=0.30, pucker=0.6, funnel=0.3, round=0.9),
    "U": _vector(jawOpen=0.10, pucker=0.85, funnel=0.2, round=0.5),
    "@": _vector(jawOpen=0.20, upperUp=0.1, lowerDown=0.1),
}
"""The classes of the ear, after the 15 of the Oculus lip-sync reference plus a neutral vowel; float32 (12,) each."""

VISEME_NAMES = tuple(VISEMES)
VISEME_VECTORS: MouthWeights = np.stack(list(VISEMES.values()))
"""float32 (16, 12): a probability over visemes times this is a mouth."""
