"""What callers ask to be said, before it is known who says it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechRequest:
    """A text and how it shall sound.

    Attributes:
        text: what to say; SSML if `ssml`.
        voice: `engine/name` or one of them; None: the default voice.
        checkpoint: see `Utterance`, as all that follow.
        speed: 0.5..2.
        pitch: 0.5..2.
        emotion: as the voice names it.
        style: as the voice names it.
        seed: draws what is random.
        ssml: the text is markup; None: it is if it begins with `<speak`.
    """

    text: str
    voice: str | None = None
    checkpoint: str | None = None
    speed: float = 1.0
    pitch: float = 1.0
    emotion: str | None = None
    style: str | None = None
    seed: int = 0
    ssml: bool | None = None

    @property
    def is_ssml(self) -> bool:
        """Whether the text is markup."""
        return self.text.lstrip().startswith("<speak") if self.ssml is None else self.ssml
