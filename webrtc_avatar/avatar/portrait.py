"""Makes an avatar package of one photo; `webrtc-avatar avatar create` calls it.

The package is a drawn one: its eyes and its resting smile are pictures made from the photo, its head moves by fields, and only its
mouth is drawn by another model than that of rendered avatars (`engine.portrait`). docs/portraits.md tells how well that goes.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from webrtc_avatar.avatar.face_finder import find_face
from webrtc_avatar.avatar.files import image_size
from webrtc_avatar.avatar.importing.draft import Draft
from webrtc_avatar.avatar.manifest import MANIFEST_NAME, NAME_PATTERN
from webrtc_avatar.avatar.package import Avatar
from webrtc_avatar.avatar.photo import decode_photo
from webrtc_avatar.avatar.portrait_eyes import eye_pictures, eyes_are_covered, states
from webrtc_avatar.avatar.portrait_head import head_flow
from webrtc_avatar.avatar.portrait_interior import mouth_art
from webrtc_avatar.avatar.portrait_lips import WEIGHTS, Floats, Picture
from webrtc_avatar.avatar.portrait_mouth import MouthPainter
from webrtc_avatar.avatar.portrait_plate import FRAME_PX, Plate, make_plate
from webrtc_avatar.errors import CannotImport

MAX_PHOTO_BYTES = 32 * 1024 * 1024
MAX_PHOTO_PX = 40_000_000

Box = tuple[int, int, int, int]

_SMILE = 0.35
_FEATHER_PX = 8
_GRID_PX = 8
_CENTRED_SHARE = 0.5
"""Of the picture's shorter side, the height of a face that is taken for granted."""

_LOWER_LIDS = (145, 374)


@dataclass(frozen=True, slots=True)
class PortraitOptions:
    """What to make of a photo.

    Attributes:
        into: the folder of packages.
        name: of the avatar, `a-z 0-9 _ -`.
        title: for people.
        license: SPDX expression of the photo.
        force: replace a package of that name.
    """

    into: Path
    name: str
    title: str
    license: str = "LicenseRef-private"
    force: bool = False


@dataclass(frozen=True, slots=True)
class Portrait:
    """What was made.

    Attributes:
        folder: the package.
        warnings: what people should know.
    """

    folder: Path
    warnings: tuple[str, ...]


def read_photo(data: bytes) -> Picture:
    """Decode a photo, turned as its EXIF data says.

    Returns:
        uint8 (height, width, 3) BGR.

    Raises:
        CannotImport: it is no picture, or too large a one.
    """
    if len(data) > MAX_PHOTO_BYTES:
        raise CannotImport(f"the photo has {len(data)} bytes, at most {MAX_PHOTO_BYTES} are read; send a smaller one")
    size = image_size(data)
    if size is None or size[0] * size[1] > MAX_PHOTO_PX:
        what = "no JPEG, PNG or WebP" if size is None else f"of {size[0]}x{size[1]} pixels, more than {MAX_PHOTO_PX}"
        raise CannotImport(f"the photo is {what}; send a JPEG, PNG or WebP of at most 40 megapixels")
    photo = decode_photo(data)
    if photo is None:
        raise CannotImport("the photo is damaged: it does not decode; save it again")
    return photo


def create_portrait(
    photo: Picture, options: PortraitOptions, ear: Avatar, *, landmarks: Floats | None = None
) -> Portrait:
    """Write the package of a photo.

    Args:
        photo: uint8 (height, width, 3) BGR.
        options: its name and place.
        ear: the drawn avatar that lends its ear.
        landmarks: float32 (468, 3) in pixels of the photo, where they are known; none: the face is looked for.

    Raises:
        NoFaceFound: there is no face, or it is seen from the side.
        PortraitUnavailable: the extra `portrait` is not installed.
        CannotImport: the name is none, or the place cannot be written to.
        AvatarExists: the place is taken.
    """
    if not re.match(NAME_PATTERN, options.name):
        raise CannotImport(f"an avatar's name has 1 to 64 of a-z 0-9 _ -; got {options.name[:80]!r}; choose another")
    warnings = []
    if landmarks is None:
        face = find_face(photo)
        quarters = round(face.roll_deg / 90)
        if quarters:
            photo = np.ascontiguousarray(np.rot90(photo, quarters))
            face = find_face(photo)
            warnings.append(
                f"the photo shows the head lying or upside down, and was turned by {90 * quarters % 360} degrees"
            )
        landmarks = face.landmarks
        if face.others:
            warnings.append(f"the photo shows {face.others} more face(s); the largest one was taken")
    plate = make_plate(photo, landmarks)
    covered = eyes_are_covered(plate.still, plate.landmarks)
    if covered:
        warnings.append("dark glasses or a shadow hide the eyes, which therefore neither blink nor move")
    if plate.was_open:
        warnings.append("the photo shows an open mouth, which was closed; a photo with closed lips looks better")
    with Draft(options.into, options.name, force=options.force) as draft:
        _fill(draft.folder, plate, options, ear, covered=covered)
        return Portrait(draft.finish(), tuple(warnings))


def centred_landmarks(photo: Picture, ear: Avatar) -> Floats:
    """Return where the landmarks of a face in the picture's middle would be, for pictures in which none is found.

    Args:
        photo: uint8 (height, width, 3) BGR.
        ear: a drawn avatar, whose own face lends its shape.

    Returns:
        float32 (468, 3) in pixels of the photo.

    Raises:
        PortraitUnavailable: the extra `portrait` is not installed.
    """
    height, width = photo.shape[:2]
    landmarks = find_face(ear.plate).landmarks.copy()
    low, high = landmarks[:, :2].min(0), landmarks[:, :2].max(0)
    scale = _CENTRED_SHARE * min(height, width) / float((high - low).max())
    landmarks[:, :2] = (landmarks[:, :2] - (low + high) / 2) * scale + np.array([width / 2, height / 2], np.float32)
    landmarks[:, 2] *= scale
    return landmarks


def boxes(plate: Plate) -> tuple[Box, Box]:
    """Return the boxes of the mouth and of the eyes; one begins where the other ends."""
    lips, points = plate.lips, plate.landmarks
    x, y = (float(value) for value in lips.centre)
    border = _snapped(float(points[list(_LOWER_LIDS), 1].max()) + 0.25 * lips.half_px)
    bottom = _snapped(y + 1.95 * lips.chin * lips.half_px)
    mouth = (_snapped(x - 2.6 * lips.half_px), border, _snapped(x + 2.6 * lips.half_px), bottom)
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    eyes = (
        _snapped(float(low[0]) - 4),
        _snapped(float(points[[105, 334], 1].min()) - 0.55 * lips.half_px),
        _snapped(float(high[0]) + 4),
        border,
    )
    return mouth, eyes


def _snapped(value: float) -> int:
    return min(max(round(value / _GRID_PX) * _GRID_PX, 0), FRAME_PX)


def _fill(folder: Path, plate: Plate, options: PortraitOptions, ear: Avatar, *, covered: bool) -> None:
    mouth, eyes = boxes(plate)
    left, top, right, bottom = mouth
    art = mouth_art(plate, mouth)
    np.savez_compressed(folder / "mouth.npz", **art.arrays())  # type: ignore[arg-type]
    painter = MouthPainter(art, np.ascontiguousarray(plate.fine[2 * top : 2 * bottom, 2 * left : 2 * right]))
    smile = np.zeros(len(WEIGHTS), np.float32)
    smile[WEIGHTS.index("smile")] = _SMILE
    _write(folder / "smile.png", painter.draw(smile))
    _write(folder / "plate.png", plate.still)
    _write(folder / "plate_1024.png", plate.fine)
    _write(folder / "matte.png", np.full((FRAME_PX, FRAME_PX), 255, np.uint8))
    np.savez_compressed(folder / "flow.npz", **head_flow(plate.landmarks, FRAME_PX))  # type: ignore[arg-type]
    (folder / "eyes").mkdir()
    for number, picture in enumerate(eye_pictures(plate.fine, plate.landmarks, eyes, covered=covered)):
        _write(folder / "eyes" / f"{number:02d}.png", picture)
    shutil.copyfile(ear.model.ear, folder / "ear.onnx")
    (folder / MANIFEST_NAME).write_text(_manifest(options, ear, mouth, eyes), encoding="utf-8")


def _write(path: Path, picture: Picture) -> None:
    _, data = cv2.imencode(path.suffix, picture)
    path.write_bytes(np.asarray(data).tobytes())


def _manifest(options: PortraitOptions, ear: Avatar, mouth: Box, eyes: Box) -> str:
    model = ear.model
    lines = [
        "format = 1",
        f"name = {_toml(options.name)}",
        f"title = {_toml(options.title)}",
        f"license = {_toml(options.license)}",
        f"frame_size = {FRAME_PX}",
        "",
        "[model]",
        'kind = "portrait"',
        'ear = "ear.onnx"',
        'mouth = "mouth.npz"',
        f"chunks_before = {model.chunks_before}",
        f"chunks_after = {model.chunks_after}",
        f"weights = {_toml(list(model.weights))}",
        f"visemes = {_toml(list(model.visemes))}",
        "",
        "[plate]",
        'image = "plate.png"',
        'background = "plate.png"',
        'matte = "matte.png"',
        'flow = "flow.npz"',
        'fine = "plate_1024.png"',
        "",
        "[mouth]",
        f"box = {_toml(list(mouth))}",
        f"feather = {_FEATHER_PX}",
        'smile = "smile.png"',
        "",
        "[eyes]",
        f"box = {_toml(list(eyes))}",
        f"feather = {_FEATHER_PX}",
    ]
    for number, state in enumerate(states()):
        lines += [
            "",
            "[[eyes.crops]]",
            f'file = "eyes/{number:02d}.png"',
            f"lid = {state.lid}",
            f"gaze = {_toml(list(state.gaze))}",
            f"brow_raise = {state.brow_raise}",
        ]
    return "\n".join(lines) + "\n"


def _toml(value: str | list[str] | list[int] | list[float]) -> str:
    return json.dumps(value, ensure_ascii=False)
