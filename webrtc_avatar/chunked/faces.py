"""From an uploaded picture to an avatar."""

from __future__ import annotations

import io
from dataclasses import dataclass

import av
import cv2
import numpy as np

from webrtc_avatar.avatar.library import Library
from webrtc_avatar.avatar.package import AnyAvatar
from webrtc_avatar.errors import BodyTooLarge, InvalidRequest

_MOST_SIDE = 16_384


@dataclass(frozen=True, slots=True)
class FaceOfImage:
    """Who speaks in a session.

    Attributes:
        avatar: the face.
        warnings: what its owner should know of it.
    """

    avatar: AnyAvatar
    warnings: tuple[str, ...] = ()


def face_of_image(image: bytes, crop: bool, *, library: Library, default: str, most_pixels: int) -> FaceOfImage:
    """Return the avatar that an uploaded picture becomes. Takes a moment; not for the event loop.

    Args:
        image: a file, as JPEG, PNG or WebP.
        crop: look for the face; false: it fills the picture.
        library: where `default` is.
        default: the avatar that stands in for the picture's face.
        most_pixels: of the picture.

    Raises:
        InvalidRequest: it is no picture.
        BodyTooLarge: it has too many pixels.
        InvalidAvatar: the avatar's package is broken.
    """
    _read(image, most_pixels)
    return FaceOfImage(
        library.get(default), (f"the picture was read, and avatar {default!r} speaks in its place for now",)
    )


def _read(image: bytes, most_pixels: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    if not image:
        raise InvalidRequest("the image is empty; upload a JPEG, PNG or WebP with one face")
    try:
        with av.open(io.BytesIO(image), options={"protocol_whitelist": "none"}) as container:
            stream = container.streams.video[0]
            width, height = stream.width, stream.height
    except (av.FFmpegError, OSError, ValueError, IndexError) as error:
        raise InvalidRequest("the image cannot be read; upload a JPEG, PNG or WebP with one face") from error
    if width * height > most_pixels or max(width, height) > _MOST_SIDE:
        raise BodyTooLarge(f"the image has {width}x{height} pixels; at most {most_pixels} are taken: make it smaller")
    picture = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise InvalidRequest("the image is damaged or of a kind that is not read; upload a JPEG, PNG or WebP")
    return np.asarray(picture, np.uint8)
