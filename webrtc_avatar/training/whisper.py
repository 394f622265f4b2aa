"""Speech without its voice: the filter of the throat kept, its tone replaced by breath.

Linear prediction (Makhoul, "Linear Prediction: A Tutorial Review", 1975), frame by frame, with noise as the excitation.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import solve_toeplitz
from scipy.signal import lfilter

from webrtc_avatar.audio.chunk import Samples

_ORDER = 18
_FRAME, _HOP = 400, 200
_TILT = 0.85
"""Breath has more of the high frequencies than a voice: a whispered frame's excitation is flat, then raised by this."""


def whispered(samples: Samples, rng: np.random.Generator) -> Samples:
    """Return speech, float32 at 16 kHz, as if whispered: same length, same articulation, no pitch."""
    window = np.hanning(_FRAME + 1)[:-1]
    padded = np.pad(samples.astype(np.float64), (_FRAME, _FRAME))
    flat = np.append(padded[0], padded[1:] - _TILT * padded[:-1])
    made = np.zeros(len(padded))
    for first in range(0, len(padded) - _FRAME, _HOP):
        frame = flat[first : first + _FRAME] * window
        energy = float(frame @ frame)
        if energy < 1e-8:
            continue
        correlation = np.correlate(frame, frame, "full")[_FRAME - 1 : _FRAME + _ORDER]
        correlation[0] *= 1.0001
        filter_taps = solve_toeplitz(correlation[:-1], correlation[1:])
        breath = lfilter([1.0], np.append(1.0, -filter_taps), rng.normal(0, 1, _FRAME)) * window
        made[first : first + _FRAME] += breath * np.sqrt(energy / max(1e-12, float(breath @ breath)))
    return made[_FRAME:-_FRAME].astype(np.float32)
