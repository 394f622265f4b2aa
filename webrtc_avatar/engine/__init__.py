"""Batched rendering: frames of all callers through one queue, one thread a device."""

from webrtc_avatar.engine.engine import Engine
from webrtc_avatar.engine.interface import AnyEngine, AnyStream
from webrtc_avatar.engine.request import Face
from webrtc_avatar.engine.status import EngineStatus
from webrtc_avatar.engine.stream import Stream

__all__ = ["AnyEngine", "AnyStream", "Engine", "EngineStatus", "Face", "Stream"]
