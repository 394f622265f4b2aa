"""Which engine a program uses: the one in its process, or those on other machines that the settings name, with one here for uploads."""

from __future__ import annotations

from webrtc_avatar.engine.engine import Engine
from webrtc_avatar.engine.interface import AnyEngine
from webrtc_avatar.metrics import Metrics
from webrtc_avatar.settings import Settings


def make_engine(settings: Settings, metrics: Metrics) -> AnyEngine:
    """Return the engine that the settings ask for; it is not started yet."""
    if settings.engines:
        from webrtc_avatar.engine.remote import RemoteEngine
        from webrtc_avatar.engine.split import SplitEngine

        return SplitEngine(RemoteEngine(settings, metrics), settings, metrics)
    return Engine(settings, metrics)
