"""Batched rendering: frames of all sessions through one model call at a time, one thread a device."""

from webrtc_avatar.engine.engine import Engine, Stream
from webrtc_avatar.engine.request import Face

__all__ = ["Engine", "Face", "Stream"]
