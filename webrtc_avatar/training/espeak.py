"""Speech with phoneme times from espeak-ng's C library (Debian: libespeak-ng1), through ctypes.

The library keeps one state for the whole process: one call at a time.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from webrtc_avatar.speech.phonemes import Phoneme, hold_closures


class _EventId(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    )


_PHONEME_EVENT = 7
_SYNCHRONOUS_RETRIEVAL, _PHONEME_EVENTS_AS_IPA, _UTF8 = 1, 1 | 2, 1
_RATE, _PITCH, _RANGE = 1, 3, 4
_LATE_S = -0.005
"""What is subtracted from its times: measured against the energy of consonants between vowels."""
_CLOSED_BEFORE_S, _RELEASE_S = 0.050, 0.012


class _Library:
    """The shared library with its callback, which must live as long as the library is used."""

    def __init__(self) -> None:
        self.handle = ctypes.CDLL("libespeak-ng.so.1")
        self.rate_hz = int(self.handle.espeak_Initialize(_SYNCHRONOUS_RETRIEVAL, 0, None, _PHONEME_EVENTS_AS_IPA))
        self.samples: list[npt.NDArray[np.int16]] = []
        self.starts: list[tuple[float, str]] = []
        prototype = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))
        self._callback = prototype(self._collect)
        self.handle.espeak_SetSynthCallback(self._callback)

    def _collect(self, wave: Any, count: int, events: Any) -> int:
        if wave and count > 0:
            self.samples.append(np.ctypeslib.as_array(wave, (count,)).copy())
        index = 0
        while events[index].type != 0:
            event = events[index]
            if event.type == _PHONEME_EVENT:
                self.starts.append((event.audio_position / 1000, event.id.string.decode("utf8", "ignore")))
            index += 1
        return 0


@cache
def _library() -> _Library:
    return _Library()


def speak(
    text: str, voice: str = "en-us", *, words_per_minute: int = 165, pitch: int = 50, pitch_range: int = 50
) -> tuple[npt.NDArray[np.int16], int, list[Phoneme]]:
    """Return (samples, their rate in Hz, phonemes in IPA).

    Args:
        text: what to say, in the voice's language.
        voice: language, or language and variant, as `de+f2`.
        words_per_minute: 80 to 450.
        pitch: 0 to 99.
        pitch_range: 0 to 99, how much the pitch moves.

    Raises:
        ValueError: espeak-ng refuses the voice; some pairs of language and variant do not exist.
        OSError: the library is not installed.
    """
    library = _library()
    library.samples.clear()
    library.starts.clear()
    if library.handle.espeak_SetVoiceByName(voice.encode()) != 0:
        raise ValueError(f"espeak-ng has no voice {voice!r}; list them with `espeak-ng --voices`")
    for parameter, value in ((_RATE, words_per_minute), (_PITCH, pitch), (_RANGE, pitch_range)):
        library.handle.espeak_SetParameter(parameter, value, 0)
    encoded = text.encode() + b"\0"
    library.handle.espeak_Synth(encoded, len(encoded), 0, 1, 0, _UTF8, None, None)
    library.handle.espeak_Synchronize()
    samples = np.concatenate(library.samples) if library.samples else np.zeros(0, np.int16)
    starts = [*library.starts, (len(samples) / library.rate_hz, "")]
    phonemes = [
        Phoneme(starts[index][0] - _LATE_S, starts[index + 1][0] - _LATE_S, starts[index][1])
        for index in range(len(starts) - 1)
    ]
    return samples, library.rate_hz, hold_closures(phonemes, before_s=_CLOSED_BEFORE_S, release_s=_RELEASE_S)
