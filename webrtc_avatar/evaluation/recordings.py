"""Recorded human speech with the times of its visemes: what the ear is tested on and never trained on.

The times were made by `webrtc_avatar.training.align` and lie in `data/`, so that pocketsphinx is not needed; the sounds
come from Debian's packages.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from webrtc_avatar.audio.chunk import SAMPLE_RATE_HZ
from webrtc_avatar.errors import MissingProgram
from webrtc_avatar.speech.phonemes import Segment
from webrtc_avatar.training.utterances import Utterance

LIBRIVOX_FOLDER = Path("/usr/share/pocketsphinx/test/data/librivox")
ASTERISK_FOLDER = Path("/usr/share/asterisk/sounds/en_US_f_Allison")

RecordingSet = Literal["librivox", "asterisk"]

_WHERE: dict[RecordingSet, tuple[Path, str, str]] = {
    "librivox": (LIBRIVOX_FOLDER, ".wav", "pocketsphinx-testdata"),
    "asterisk": (ASTERISK_FOLDER, ".g722", "asterisk-core-sounds-en-g722"),
}
_DATA = Path(__file__).parent / "data"
_PEAK = 0.9


def recording_times(recordings: RecordingSet) -> dict[str, list[Segment]]:
    """Return the visemes of each recording and their times, by name."""
    found = json.loads((_DATA / f"{recordings}.json").read_text())
    return {name: [Segment(*entry) for entry in entries] for name, entries in found.items()}


def recorded_speech(recordings: RecordingSet, folder: Path | None = None) -> list[Utterance]:
    """Return recordings of a set, their peaks at 0.9.

    Args:
        recordings: `librivox` (five sentences, one reader, in the public domain) or `asterisk` (prompts of a telephone
            system, one speaker, CC-BY-SA 3.0).
        folder: where the sounds are; where Debian's package lays them by default.

    Raises:
        MissingProgram: the sounds are not installed.
    """
    usual, ending, package = _WHERE[recordings]
    folder = folder or usual
    if not folder.is_dir():
        raise MissingProgram(f"The recordings in {folder}", package=package)
    speech = []
    for name, segments in recording_times(recordings).items():
        samples = read_sound(folder / f"{name}{ending}").astype(np.float32)
        samples *= _PEAK / max(1.0, float(np.abs(samples).max()))
        speech.append(Utterance(f"{recordings}:{name}", samples, segments, held_out=True))
    return speech


def read_sound(path: Path) -> npt.NDArray[np.int16]:
    """Return a sound file as int16 (n,), mono, 16 kHz."""
    import av

    raw = "g722" if path.suffix == ".g722" else None
    with av.open(str(path), format=raw) as container:
        resampler = av.AudioResampler("s16", "mono", SAMPLE_RATE_HZ)
        frames = [*container.decode(audio=0), None]
        return np.concatenate([part.to_ndarray()[0] for frame in frames for part in resampler.resample(frame)])
