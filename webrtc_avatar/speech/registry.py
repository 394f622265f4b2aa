"""The voices that are installed: those in the box and those that other packages bring as entry points."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points

from webrtc_avatar.errors import AvatarServerError, UnknownVoice, VoiceUnavailable
from webrtc_avatar.settings import Settings
from webrtc_avatar.speech.voice import ENTRY_POINTS, Voice, VoiceInfo

log = logging.getLogger(__name__)

IN_THE_BOX = {
    name: f"webrtc_avatar.speech.voices.{module}:create"
    for name, module in {"hibari": "hibari", "espeak": "espeak", "piper": "piper", "openai": "openai_http"}.items()
}
"""Factories that are there without being installed, as in a checkout."""


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine of speech, and whether it can be used.

    Attributes:
        name: the first part of its voices' ids.
        factory: `module:attribute`, called with the settings.
        voices: what can be chosen; empty if it is not available.
        problem: why it is not available, or None.
    """

    name: str
    factory: str
    voices: tuple[VoiceInfo, ...] = ()
    problem: str | None = None


class Registry:
    """Knows every engine; asks each for its voices once, when that is first wanted. No weights are loaded."""

    def __init__(self, settings: Settings) -> None:
        """Take what the engines are made with."""
        self._settings = settings
        self._factories: dict[str, str] | None = None
        self._engines: dict[str, Engine] | None = None

    @property
    def factories(self) -> dict[str, str]:
        """Where each engine's factory is, as `module:attribute`: what a worker needs to make one."""
        if self._factories is None:
            found = {point.name: point.value for point in entry_points(group=ENTRY_POINTS)}
            # Those in the box come first, the best of them at the head, and nobody takes their names.
            self._factories = {**IN_THE_BOX, **{name: value for name, value in found.items() if name not in IN_THE_BOX}}
        return self._factories

    def engines(self) -> tuple[Engine, ...]:
        """Return all engines, those that cannot be used with the reason."""
        if self._engines is None:
            self._engines = {name: self._asked(name, factory) for name, factory in self.factories.items()}
        return tuple(self._engines.values())

    def voices(self) -> list[VoiceInfo]:
        """Return all voices that can be used."""
        return [voice for engine in self.engines() for voice in engine.voices]

    def unavailable(self) -> dict[str, str]:
        """Return why engines cannot be used, by their names."""
        return {engine.name: engine.problem for engine in self.engines() if engine.problem is not None}

    def find(self, voice: str | None = None) -> VoiceInfo:
        """Return a voice.

        Args:
            voice: `engine/name`; an engine's name alone stands for its default voice; None: the setting `voice`.

        Raises:
            UnknownVoice: there is none of that name.
            VoiceUnavailable: its engine cannot be used; the message says why.
        """
        wanted = voice or self._settings.voice
        engine_name, _, name = wanted.partition("/")
        engine = next((engine for engine in self.engines() if engine.name == engine_name), None)
        if engine is None:
            known = ", ".join(sorted(self.factories))
            raise UnknownVoice(f"there is no voice {wanted!r}: expected ENGINE/NAME with an engine of {known}")
        if engine.problem is not None:
            raise VoiceUnavailable(f"voice {wanted!r} cannot be used: {engine.problem}")
        for info in engine.voices:
            if info.id == wanted or (not name and info.default):
                return info
        known = ", ".join(info.id for info in engine.voices[:10])
        more = f" and {len(engine.voices) - 10} more" if len(engine.voices) > 10 else ""
        raise UnknownVoice(f"there is no voice {wanted!r}; {engine_name} has {known}{more}")

    def load(self, voice: str) -> Voice:
        """Return a new engine for a voice's id, in this process; close it in the end."""
        return self._made(self.factories[voice.partition("/")[0]])

    def _asked(self, name: str, factory: str) -> Engine:
        try:
            engine = self._made(factory)
            try:
                return Engine(name, factory, tuple(engine.voices()))
            finally:
                engine.close()
        except AvatarServerError as error:
            return Engine(name, factory, problem=error.message)
        except Exception as error:  # a stranger's code: whatever it raises, the other engines work
            log.exception("the voices of %s cannot be listed", name)
            return Engine(name, factory, problem=f"{type(error).__name__}: {error!s:.200}")

    def _made(self, factory: str) -> Voice:
        module, _, attribute = factory.partition(":")
        make: Callable[[Settings], Voice] = getattr(import_module(module), attribute)
        return make(self._settings)
