"""Photos as they are sent: turned upright, in colour, opaque."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]

_MAY_BE_CLEAR = (b"\x89PNG", b"RIFF")
_BEHIND = 127
"""Grey, behind what is transparent: neither black nor white, which would look like hair or light."""


def decode_photo(data: bytes) -> Picture | None:
    """Return what a file shows, uint8 (height, width, 3) BGR, turned as its EXIF data says; None: it does not decode.

    Greyscale, palettes, 16 bits a channel and CMYK become BGR of 8 bits; what is transparent becomes grey. How many pixels there are
    was checked before.
    """
    coded = np.frombuffer(data, np.uint8)
    photo = cv2.imdecode(coded, cv2.IMREAD_COLOR) if coded.size else None
    if photo is None:
        return None
    if data.startswith(_MAY_BE_CLEAR):
        whole = cv2.imdecode(coded, cv2.IMREAD_UNCHANGED)
        # Pictures that EXIF data turns are of another shape, or differ, and stay as they are.
        if whole is not None and whole.ndim == 3 and whole.shape[2] == 4 and whole.shape[:2] == photo.shape[:2]:
            share = whole[..., 3:].astype(np.float32) / (255 if whole.dtype == np.uint8 else 65535)
            photo = np.rint(_BEHIND + share * (photo.astype(np.float32) - _BEHIND))
    return np.asarray(photo, np.uint8)
