"""Is anybody speaking? A gate on the level of each chunk, above a noise floor that it learns."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

_HANGOVER_CHUNKS = 12
_ABOVE_FLOOR_DB = 9.0
_FLOOR_RISE_DB = 0.06
"""How fast the floor rises, per chunk: 1.5 dB a second, so that ten seconds of a vacuum cleaner count as noise."""
_FLOOR_FALL = 0.3
_LOWEST_DBFS, _HIGHEST_FLOOR_DBFS = -100.0, -34.0


class VoiceGate:
    """Opens on sound above both a fixed level and the room's noise, and closes 480 ms after the last of it."""

    def __init__(self, *, silence_dbfs: float) -> None:
        """Take the level below which everything counts as silence, in dB of full scale."""
        self._silence_dbfs = silence_dbfs
        self._floor_dbfs = silence_dbfs - _ABOVE_FLOOR_DB
        self._hangover = 0

    @property
    def is_open(self) -> bool:
        """Whether the newest chunk counts as speech, or speech was just heard."""
        return self._hangover > 0

    def push(self, samples: npt.NDArray[np.float32]) -> bool:
        """Take the next chunk, float32 (640,), and return `is_open`."""
        level_dbfs = level(samples)
        if level_dbfs > max(self._silence_dbfs, self._floor_dbfs + _ABOVE_FLOOR_DB):
            self._hangover = _HANGOVER_CHUNKS
        elif self._hangover:
            self._hangover -= 1
        if level_dbfs < self._floor_dbfs:
            self._floor_dbfs += _FLOOR_FALL * (level_dbfs - self._floor_dbfs)
        else:
            self._floor_dbfs = min(self._floor_dbfs + _FLOOR_RISE_DB, level_dbfs, _HIGHEST_FLOOR_DBFS)
        return self.is_open

    def close(self) -> None:
        """Forget the hangover: after an interrupt nobody is speaking."""
        self._hangover = 0


def level(samples: npt.NDArray[np.float32]) -> float:
    """Return the RMS level of samples in dB of full scale, -100 for digital silence."""
    power = float(np.dot(samples, samples)) / len(samples)
    return max(_LOWEST_DBFS, 10.0 * math.log10(power)) if power > 0 else _LOWEST_DBFS
