"""What a face does to a sound, drawn as in a session: life, cues of the voice, the mouth at rest in silence."""

from __future__ import annotations

from webrtc_avatar.audio.chunk import Samples
from webrtc_avatar.audio.gate import VoiceGate
from webrtc_avatar.avatar.casting import make_actor
from webrtc_avatar.avatar.compose import Picture
from webrtc_avatar.avatar.footage import FootageAvatar
from webrtc_avatar.avatar.package import AnyAvatar
from webrtc_avatar.avatar.style import Style
from webrtc_avatar.engine.request import Face
from webrtc_avatar.session.voice import Voice
from webrtc_avatar.settings import Settings


class Performance:
    """One avatar, frame after frame. `draw` and `hear` may be called from two threads.

    Args:
        avatar: who speaks.
        settings: the level of silence and the watermark, and the style where none is given.
        seed: decides blinks, glances and sway.
        frame_px: width and height of the frames; see `make_actor`.
        chunks_after: chunks after a frame's own that its model hears: by so much the voice is known to come.
        style: how the face is held.

    Attributes:
        failed_frames: frames whose face the engine could not make; they show the one before.

    Raises:
        InvalidAvatar: the avatar's pictures cannot be used.
    """

    def __init__(
        self,
        avatar: AnyAvatar,
        settings: Settings,
        *,
        seed: int,
        frame_px: int | None,
        chunks_after: int,
        style: Style | None = None,
    ) -> None:
        watermark = settings.watermarks.of(avatar)
        self._actor = make_actor(
            avatar, seed=seed, style=style or settings.style, frame_px=frame_px, watermark=watermark
        )
        # The mouth of footage belongs to what was said when it was filmed, so the model draws it in silence too.
        self._always_speaks = isinstance(avatar, FootageAvatar)
        self._gate = VoiceGate(silence_dbfs=settings.silence_dbfs)
        self._voice = Voice()
        self._voiced: dict[int, bool] = {}
        self._heard = -chunks_after
        self._drawn = 0
        self._crop: Picture | None = None
        self.failed_frames = 0

    def hear(self, samples: Samples) -> None:
        """Take the next chunk, float32 (640,); behind the sound's end, `chunks_after` of silence."""
        voiced = self._gate.push(samples)
        if self._heard >= 0:
            self._voiced[self._heard] = voiced
        self._heard += 1

    def needs_face(self, frame: int) -> bool:
        """Tell whether a frame shows what the model makes: somebody speaks in it, or just did. The chunks that it hears must be known.

        Args:
            frame: its number, from 0; not drawn yet.
        """
        return self._always_speaks or self._voiced[frame]

    def draw(self, tick: int, samples: Samples, face: Face) -> Picture:
        """Return the frame of a tick, I420 uint8 (height * 3 / 2, width).

        Args:
            tick: its number; consecutive.
            samples: its own chunk, float32 (640,).
            face: what the engine made for it; not looked at where no face is needed.
        """
        speaking = self._voiced.pop(self._drawn)
        self._drawn += 1
        shown = speaking or self._always_speaks
        if shown and face.crop is None:
            self.failed_frames += 1
        elif shown:
            self._crop = face.crop
        self._voice.note(samples)
        cue = self._voice.cue(self._voice.take(), speaking=speaking, listening=False)
        return self._actor.draw(tick, self._crop if shown else None, cue)
