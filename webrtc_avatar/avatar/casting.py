"""Who plays an avatar in a session: each kind has its own actor, and sessions do not care which."""

from __future__ import annotations

from webrtc_avatar.avatar.actor import Actor
from webrtc_avatar.avatar.footage import FootageAvatar
from webrtc_avatar.avatar.footage_actor import FootageActor
from webrtc_avatar.avatar.package import AnyAvatar
from webrtc_avatar.avatar.style import DEFAULT_STYLE, Style

AnyActor = Actor | FootageActor


def make_actor(avatar: AnyAvatar, *, seed: int, style: Style = DEFAULT_STYLE, frame_px: int | None = None) -> AnyActor:
    """Return what draws an avatar in one session.

    Args:
        avatar: the loaded package.
        seed: decides blinks, glances and sway of drawn avatars.
        style: how a drawn face is held; footage moves as it was filmed.
        frame_px: width and height of a drawn avatar's frames; of footage's, how many pixels they have at most: its square.
            None: the avatar's own size.

    Raises:
        InvalidAvatar: the avatar's pictures cannot be used.
    """
    if isinstance(avatar, FootageAvatar):
        return FootageActor(avatar, style=style, frame_px=frame_px)
    return Actor(avatar, seed=seed, style=style, frame_px=frame_px)
