"""One conversation: a clock that the audio sets, and pictures and sound that leave together."""

from webrtc_avatar.session.manager import SessionManager
from webrtc_avatar.session.session import Session, State
from webrtc_avatar.session.subscription import Blendshapes, Subscription, Tick

__all__ = ["Blendshapes", "Session", "SessionManager", "State", "Subscription", "Tick"]
