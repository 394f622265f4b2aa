"""Who plays an avatar in a session: each kind has its own actor, and sessions do not care which."""

from __future__ import annotations

from webrtc_avatar.avatar.actor import Actor
from webrtc_avatar.avatar.compose import Picture
from webrtc_avatar.avatar.cue import QUIET, Cue
from webrtc_avatar.avatar.footage import FootageAvatar
from webrtc_avatar.avatar.footage_actor import FootageActor
from webrtc_avatar.avatar.idle import Pose
from webrtc_avatar.avatar.package import AnyAvatar
from webrtc_avatar.avatar.style import DEFAULT_STYLE, Style
from webrtc_avatar.avatar.watermark import Watermark


class MarkedActor:
    """An actor whose frames carry a watermark: the last step of the composition. Otherwise as the actor itself."""

    def __init__(self, actor: Actor | FootageActor, watermark: Watermark) -> None:
        self._actor, self._watermark = actor, watermark

    @property
    def style(self) -> Style:
        """How the face is held; may be set at any time, from any thread."""
        return self._actor.style

    @style.setter
    def style(self, style: Style) -> None:
        self._actor.style = style

    @property
    def pose(self) -> Pose | None:
        """What the face does in the frame that was drawn last."""
        return self._actor.pose

    @property
    def mouth_share(self) -> float:
        """How much of the model's mouth is in the frame that was drawn last, 0..1."""
        return self._actor.mouth_share

    def draw(self, tick: int, crop: Picture | None, cue: Cue = QUIET) -> Picture:
        """Draw the frame of a tick; see `Actor.draw` and `FootageActor.draw`."""
        return self._watermark.burn(self._actor.draw(tick, crop, cue), "i420")


AnyActor = Actor | FootageActor | MarkedActor


def make_actor(
    avatar: AnyAvatar,
    *,
    seed: int,
    style: Style = DEFAULT_STYLE,
    frame_px: int | None = None,
    watermark: Watermark | None = None,
) -> AnyActor:
    """Return what draws an avatar in one session.

    Args:
        avatar: the loaded package.
        seed: decides blinks, glances and sway of drawn avatars.
        style: how a drawn face is held; footage moves as it was filmed.
        frame_px: width and height of a drawn avatar's frames; of footage's, how many pixels they have at most: its square.
            None: the avatar's own size.
        watermark: burned into every frame.

    Raises:
        InvalidAvatar: the avatar's pictures cannot be used.
    """
    actor: Actor | FootageActor
    if isinstance(avatar, FootageAvatar):
        actor = FootageActor(avatar, style=style, frame_px=frame_px)
    else:
        actor = Actor(avatar, seed=seed, style=style, frame_px=frame_px)
    return actor if watermark is None else MarkedActor(actor, watermark)
