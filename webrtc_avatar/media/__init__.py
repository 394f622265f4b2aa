"""Media in and out: the microphone's packets become chunks, ticks become packets that are encoded once for all viewers."""

from webrtc_avatar.media.broadcast import Broadcast
from webrtc_avatar.media.sink import MicrophoneSink

__all__ = ["Broadcast", "MicrophoneSink"]
