"""What drives a session in each 40 ms: what it is to say, else its microphone, else nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from webrtc_avatar.audio.chunk import Chunk, silent_chunk
from webrtc_avatar.audio.gate import VoiceGate
from webrtc_avatar.session.line import Event, SpeechLine, Weights


class Driving(NamedTuple):
    """40 ms of what drives the face.

    Attributes:
        chunk: the sound.
        voiced: somebody speaks in it or just before.
        weights: the mouth where it is known; see `Spoken`.
        events: for the moment when it plays.
    """

    chunk: Chunk
    voiced: bool
    weights: Weights | None = None
    events: tuple[Event, ...] = ()


class Intake:
    """Takes a chunk of the microphone, or of the silence in its place, and gives the one that counts.

    The microphone's clock goes on whatever is said: what the session says takes the place of what was heard, chunk by chunk.

    Args:
        silence_dbfs: level below which everything counts as silence.
        microphone_drives: the avatar says what the microphone hears while it has nothing to say itself.

    Attributes:
        line: what the session is about to say.
    """

    def __init__(self, *, silence_dbfs: float, microphone_drives: bool) -> None:
        self.line = SpeechLine()
        self._gate = VoiceGate(silence_dbfs=silence_dbfs)
        self._microphone_drives = microphone_drives

    def choose(self, heard: Chunk) -> Driving:
        """Return what drives the session instead of what was heard, or just that."""
        spoken = self.line.take()
        if spoken is not None:
            # The sender's clock, and when it arrived, stay those of the microphone: the session keeps its time by them.
            chunk = replace(spoken.chunk, media_time_s=heard.media_time_s, arrived_s=heard.arrived_s)
            return Driving(chunk, self._gate.push(chunk.samples), spoken.weights, spoken.events)
        if self.line.is_busy or not self._microphone_drives:
            heard = silent_chunk(heard.media_time_s, heard.arrived_s)
        return Driving(heard, self._gate.push(heard.samples), events=self.line.take_late())

    def interrupt(self) -> None:
        """Forget what was to be said, and that somebody was speaking."""
        self.line.clear()
        self._gate.close()
