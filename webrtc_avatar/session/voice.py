"""What the face is told of the voice: the sound of each tick, heard where the picture is drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from webrtc_avatar.avatar.cue import Cue
from webrtc_avatar.avatar.prosody import ProsodyEar

Samples = npt.NDArray[np.float32]

_MOST_UNHEARD = 25


class Voice:
    """The sound that plays. `note` and `take` belong to the event loop; `cue` to one drawing thread at a time."""

    def __init__(self) -> None:
        self._ear = ProsodyEar()
        self._unheard: list[Samples] = []

    def note(self, samples: Samples) -> None:
        """Keep the sound of a tick, float32 (640,), also of one whose picture is not drawn: pitch needs sound without gaps."""
        self._unheard.append(samples)
        del self._unheard[:-_MOST_UNHEARD]

    def take(self) -> list[Samples]:
        """Return what has been noted since the last call."""
        unheard, self._unheard = self._unheard, []
        return unheard

    def cue(self, sound: Sequence[Samples], *, speaking: bool, listening: bool, cut: bool = False) -> Cue:
        """Hear the sound of the ticks since the last picture, and return what the face reacts to."""
        heard = [self._ear.hear(samples) for samples in sound]
        if not heard or not speaking:
            return Cue(speaking=speaking, listening=listening, cut=cut)
        stress = max(prosody.stress for prosody in heard)
        return Cue(speaking=True, listening=listening, stress=stress, pitch=heard[-1].pitch, cut=cut)
