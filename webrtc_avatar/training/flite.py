"""Speech with phone times from Flite and the American and Scottish voices that are built into it (Debian: flite)."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import wave
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from webrtc_avatar.errors import MissingProgram
from webrtc_avatar.speech.phonemes import Phoneme

FLITE_PITCH_HZ = {"slt": 170.0, "awb": 120.0, "rms": 95.0, "kal16": 105.0}
"""Voices and the pitch they speak at by themselves, roughly."""

_TIMEOUT_S = 60


def flite_speak(
    text: str, voice: str, *, slower: float = 1.0, pitch_hz: float | None = None
) -> tuple[npt.NDArray[Any], int, list[Phoneme]]:
    """Return (int16 samples, their rate in Hz, phones of the radio set).

    Args:
        text: English.
        voice: one of `FLITE_PITCH_HZ`.
        slower: factor on all durations.
        pitch_hz: mean pitch; the voice's own where none.

    Raises:
        MissingProgram: Flite is not installed.
    """
    program = shutil.which("flite")
    if program is None:
        raise MissingProgram("flite", package="flite")
    how = ["--setf", f"duration_stretch={slower:.4f}"]
    if pitch_hz is not None:
        how += ["--setf", f"int_f0_target_mean={pitch_hz:.2f}"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "said.wav"
        command = [program, "-voice", voice, *how, "-psdur", "-t", text, "-o", str(path)]
        result = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True
        )
        with wave.open(str(path)) as file:
            rate_hz = file.getframerate()
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    phones: list[Phoneme] = []
    for entry in result.stdout.split():
        name, end = entry.rsplit(":", 1)
        phones.append(Phoneme(phones[-1].end_s if phones else 0.0, float(end), name))
    return samples, rate_hz, phones
