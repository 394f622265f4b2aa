"""Avatars that were filmed: frames, where the face is in each, the face cut out and ready for the network.

    avatar.toml   frames/NNNNNN.jpg   faces.safetensors   [features.safetensors]   the network's files

Nothing of the footage is decoded or read when it is loaded: faces are mapped, frames decoded when somebody wants them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from webrtc_avatar.avatar.files import MAX_NETWORK_BYTES, checked_file, inner_path
from webrtc_avatar.avatar.footage_frames import FootageFrames, Picture, Size
from webrtc_avatar.avatar.manifest import FootageManifest
from webrtc_avatar.avatar.tensors import read_tensors
from webrtc_avatar.errors import InvalidAvatar

CROP_PX = {160: 168, 328: 328}
"""Sides of the resized crop of each size of network: SyncTalk_2D calls one after its input, the other after its crop."""

INTERPOLATION = {168: cv2.INTER_LINEAR, 328: cv2.INTER_CUBIC}
"""How the original resizes crops, to and fro, by the crop's side."""

BORDER_PX = 4
"""Pixels around the crop that the network neither sees nor draws."""

FEATURES = "features"
"""The tensor of `features.safetensors`: float32 (rows, 512)."""


@dataclass(frozen=True, slots=True)
class FootageModel:
    """The network of an avatar that was filmed.

    Attributes:
        kind: `synctalk2d`, whose weights are known, or `onnx_generator`, which is run as it came.
        size: 160 or 328.
        files: its files by name. `synctalk2d`: weights, image, face, audio. `onnx_generator`: generator, audio.
        features: safetensors file with the features of the footage's own sound; None: there are none.
        chunks_before: 40 ms chunks before a frame's own that reach it.
        chunks_after: chunks after it that a live frame waits for.
    """

    kind: str
    size: int
    files: Mapping[str, Path]
    features: Path | None
    chunks_before: int
    chunks_after: int

    @property
    def weights(self) -> Path:
        """Safetensors file of `synctalk2d`, original keys, with the prefixes `generator.` and `audio_encoder.`."""
        return self.files["weights"]

    @property
    def crop_px(self) -> int:
        """Width and height of the resized crop: 168 or 328."""
        return CROP_PX[self.size]

    @property
    def inner_px(self) -> int:
        """Width and height of the part of the crop that the network sees and draws: 160 or 320."""
        return self.crop_px - 2 * BORDER_PX


@dataclass(frozen=True, slots=True, eq=False, repr=False, weakref_slot=True)
class FootageAvatar:
    """A loaded package of footage; nothing in it changes, so any number of sessions and threads share one.

    Attributes:
        name: short name, `[a-z0-9_-]{1,64}`.
        title: name for people.
        license: SPDX expression of the footage and the network.
        folder: the package.
        width: pixels of a frame, even.
        height: pixels of a frame, even.
        frame_count: frames of footage, at 25 a second.
        model: the network.
        boxes: int32 (frame_count, 4), x0, y0, x1, y1 of the face in each frame; x1 and y1 exclusive. One that ends with an odd
            frame's last column or row ends one pixel outside of the even frame.
        faces: uint8 (frame_count, crop_px, crop_px, 3) BGR, the boxes' content resized as the network's original does.
        frames: the pictures.
    """

    name: str
    title: str
    license: str
    folder: Path
    width: int
    height: int
    frame_count: int
    model: FootageModel
    boxes: npt.NDArray[np.int32]
    faces: npt.NDArray[np.uint8]
    frames: FootageFrames

    def frame(self, number: int, size: Size | None = None) -> Picture:
        """Return a frame, uint8 (height, width, 3) BGR, not to be written to; see `FootageFrames.get`."""
        return self.frames.get(number, size)

    def fold(self, frame: int) -> int:
        """Return the frame of footage that frame 0, 1, 2, … of a performance is drawn on."""
        return to_and_fro(frame, self.frame_count)


def to_and_fro(frame: int, count: int) -> int:
    """Return 0, 1, …, count - 1, count - 2, …, 1, 0, 1, … for frame 0, 1, 2, …: no jump, and no end shown twice."""
    if count == 1:
        return 0
    place = frame % (2 * (count - 1))
    return min(place, 2 * (count - 1) - place)


def cut_face(picture: Picture, box: npt.NDArray[np.int32], crop_px: int) -> Picture:
    """Return a box of a frame (height, width, 3), resized to (crop_px, crop_px, 3) as the network's original does."""
    x0, y0, x1, y1 = (int(edge) for edge in box)
    size = (crop_px, crop_px)
    return np.asarray(cv2.resize(picture[y0:y1, x0:x1], size, interpolation=INTERPOLATION[crop_px]), np.uint8)


def load_footage(folder: Path, manifest: FootageManifest) -> FootageAvatar:
    """Load and check a package of footage.

    Every name, shape and box is checked here, each picture when it is decoded; the engine checks the networks.

    Raises:
        InvalidAvatar: anything in the package is missing, of a wrong size or shape, or leads out of it.
    """
    footage, section = manifest.footage, manifest.model
    size = (footage.width, footage.height)
    model = FootageModel(
        kind=section.kind,
        size=section.size,
        files={
            name: checked_file(folder, file, max_bytes=MAX_NETWORK_BYTES)
            for name in ("weights", "image", "face", "audio", "generator")
            if (file := getattr(section, name)) is not None
        },
        features=inner_path(folder, section.features) if section.features else None,
        chunks_before=section.chunks_before,
        chunks_after=section.chunks_after,
    )
    boxes, faces = _faces(folder, footage.faces, count=footage.frame_count, crop_px=model.crop_px, frame=size)
    _check_frames(folder, footage.frames, footage.frame_type, footage.frame_count)
    pattern = f"{footage.frames}/{{:06d}}.{footage.frame_type}"
    frames = FootageFrames(manifest.name, folder, pattern, count=footage.frame_count, size=size)
    return FootageAvatar(
        name=manifest.name,
        title=manifest.title,
        license=manifest.license,
        folder=folder,
        width=frames.size[0],
        height=frames.size[1],
        frame_count=footage.frame_count,
        model=model,
        boxes=boxes,
        faces=faces,
        frames=frames,
    )


def read_features(avatar: FootageAvatar) -> npt.NDArray[np.float32] | None:
    """Return the features that the package brings, float32 (rows, 512), read-only; None where it brings none.

    Raises:
        InvalidAvatar: they have another shape or type.
    """
    if avatar.model.features is None:
        return None
    name = avatar.model.features.name
    rows = read_tensors(avatar.model.features.parent, name).get(FEATURES)
    if rows is None or rows.dtype != np.float32 or rows.ndim != 2 or rows.shape[1] != 512 or not len(rows):
        raise InvalidAvatar(
            f"{avatar.folder.name}/{name} holds {'no tensor' if rows is None else f'{rows.dtype} {rows.shape} as'} "
            f"{FEATURES!r}, expected float32 (rows, 512); import the avatar again"
        )
    return rows


def _faces(
    folder: Path, name: str, *, count: int, crop_px: int, frame: Size
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]:
    tensors = read_tensors(folder, name)
    for key, dtype, shape in (("faces", np.uint8, (count, crop_px, crop_px, 3)), ("boxes", np.int32, (count, 4))):
        found = tensors.get(key)
        if found is None or found.dtype != dtype or found.shape != shape:
            raise InvalidAvatar(
                f"{folder.name}/{name}: {key} are {'missing' if found is None else f'{found.dtype} {found.shape}'}, "
                f"expected {np.dtype(dtype)} {shape} from avatar.toml; import the avatar again"
            )
    boxes = np.array(tensors["boxes"], np.int32)
    sound = (boxes[:, :2] >= 0).all(1) & (boxes[:, :2] < boxes[:, 2:]).all(1) & (boxes[:, 2:] <= frame).all(1)
    if not sound.all():
        number = int(np.argmin(sound))
        raise InvalidAvatar(
            f"{folder.name}/{name}: box {number} is {boxes[number].tolist()}, expected x0 < x1 and y0 < y1 within "
            f"{frame[0]}x{frame[1]}; import the avatar again"
        )
    boxes.flags.writeable = False
    return boxes, tensors["faces"]


def _check_frames(folder: Path, name: str, frame_type: str, count: int) -> None:
    path = inner_path(folder, f"{name}/{0:06d}.{frame_type}").parent
    with os.scandir(path) as entries:
        there = {entry.name for entry in entries if entry.is_file(follow_symlinks=False)}
    missing = [number for number in range(count) if f"{number:06d}.{frame_type}" not in there]
    if missing:
        raise InvalidAvatar(
            f"{folder.name}/{name} lacks {len(missing)} of {count} frames, the first is {missing[0]:06d}.{frame_type}; "
            "import the avatar again"
        )
