"""From an uploaded picture to an avatar that is there as long as a session needs it."""

from __future__ import annotations

import hashlib
import secrets
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from webrtc_avatar.avatar.files import image_size
from webrtc_avatar.avatar.package import Avatar, drawn, load_avatar
from webrtc_avatar.avatar.photo import decode_photo
from webrtc_avatar.avatar.portrait import PortraitOptions, centred_landmarks, create_portrait
from webrtc_avatar.avatar.portrait_lips import Picture
from webrtc_avatar.errors import BodyTooLarge, FaceTurnedAway, InvalidRequest, NoFaceFound

_MOST_SIDE_PX = 16_384
_WANTED = "upload a JPEG, PNG or WebP with one face"


@dataclass(frozen=True, slots=True)
class FaceOfImage:
    """Who speaks in a session.

    Attributes:
        avatar: the face.
        warnings: what its owner should know of it.
    """

    avatar: Avatar
    warnings: tuple[str, ...] = ()


class Faces:
    """Faces that sessions use; two sessions with the same picture share one. Any thread may call.

    Args:
        folder: of their packages; must exist.
        ear: returns the drawn avatar that lends its ear.
        most_pixels: of a picture.
        on_gone: told of each face that nobody uses any more, such as `AnyEngine.unload`; None: nobody is.
    """

    def __init__(
        self,
        folder: Path,
        ear: Callable[[], Avatar],
        *,
        most_pixels: int,
        on_gone: Callable[[Avatar], None] | None = None,
    ) -> None:
        self._folder, self._ear, self._most_pixels, self._on_gone = folder, ear, most_pixels, on_gone
        # Names are seen in sessions' figures: who has the picture shall not learn from them whether it is used.
        self._key = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._used: dict[str, tuple[FaceOfImage, int]] = {}

    def take(self, image: bytes, crop: bool, strength: float = 1.0, evaluations: int = 1) -> FaceOfImage:
        """Return the face of a picture; `give_back` follows for each. Takes a second where nobody else uses it.

        Args:
            image: the file.
            crop: see `face_of_image`.
            strength: how far its mouth moves; see `ModelSpec`.
            evaluations: of the ear for each of its frames; see `ModelSpec`.

        Raises:
            InvalidRequest, BodyTooLarge, NoFaceFound, PortraitUnavailable: see `face_of_image`.
        """
        asked = f"{crop} {strength} {evaluations} ".encode() + image
        name = f"face-{hashlib.blake2b(asked, digest_size=12, key=self._key).hexdigest()}"
        with self._lock:
            known, users = self._used.get(name, (None, 0))
            face = known or face_of_image(
                image, crop, name=name, folder=self._folder, ear=self._ear(), most_pixels=self._most_pixels
            )
            if known is None:
                model = replace(face.avatar.model, strength=strength, evaluations=evaluations, stays_here=True)
                face = FaceOfImage(replace(face.avatar, model=model), face.warnings)
            self._used[name] = face, users + 1
        return face

    def give_back(self, face: FaceOfImage) -> None:
        """Note that one session less uses it; with the last one its package and its model go."""
        name = face.avatar.name
        with self._lock:
            users = self._used[name][1] - 1
            if users:
                self._used[name] = face, users
            else:
                del self._used[name]
                if self._on_gone is not None:
                    self._on_gone(face.avatar)
                shutil.rmtree(self._folder / name, ignore_errors=True)


def face_of_image(image: bytes, crop: bool, *, name: str, folder: Path, ear: Avatar, most_pixels: int) -> FaceOfImage:
    """Make an avatar of a picture.

    Args:
        image: a file: JPEG, PNG or WebP.
        crop: there must be a face, which is cut out; false: where none is found, it is taken to fill the picture's middle.
        name: of the avatar.
        folder: its package goes into it.
        ear: the drawn avatar that lends its ear.
        most_pixels: of the picture.

    Raises:
        InvalidRequest: it is no picture.
        BodyTooLarge: it has too many pixels.
        NoFaceFound: it shows no face, or one from the side.
        PortraitUnavailable: what finds faces is not installed.
    """
    photo = _read(image, most_pixels)
    options = PortraitOptions(folder, name, "Uploaded face")
    warnings: tuple[str, ...] = ()
    try:
        made = create_portrait(photo, options, ear)
    except NoFaceFound as error:
        if crop:
            raise
        seen = "a face from the side" if isinstance(error, FaceTurnedAway) else "no face"
        warnings = (
            f"the image shows {seen}, and was taken as a centred face; one that looks at the camera moves better",
        )
        made = create_portrait(photo, options, ear, landmarks=centred_landmarks(photo, ear))
    return FaceOfImage(drawn(load_avatar(made.folder)), warnings + made.warnings)


def _read(image: bytes, most_pixels: int) -> Picture:
    size = image_size(image)
    if size is None:
        raise InvalidRequest(f"the image is empty, or of a kind that is not read; {_WANTED}")
    width, height = size
    if width * height > most_pixels or max(size) > _MOST_SIDE_PX:
        raise BodyTooLarge(f"the image has {width}x{height} pixels; at most {most_pixels} are taken: make it smaller")
    photo = decode_photo(image)
    if photo is None:
        raise InvalidRequest(f"the image is damaged: it does not decode; {_WANTED}")
    return photo
