"""What the sound and the conversation tell a face at one tick, so that it can react."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cue:
    """What happens in one tick of 40 ms.

    Attributes:
        speaking: the avatar speaks.
        listening: somebody else speaks to it.
        cut: what it said was cut off: the mouth is at rest in this very tick.
        stress: 0..1, how clearly a stressed syllable begins; 0 between beginnings.
        pitch: -1..1, the voice's height against the speaker's running median, six semitones each way; 0 where unvoiced.
    """

    speaking: bool = False
    listening: bool = False
    stress: float = 0.0
    pitch: float = 0.0
    cut: bool = False


QUIET = Cue()
"""Nobody speaks."""
