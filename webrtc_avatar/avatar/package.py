"""Loads an avatar package: a folder with `avatar.toml`, pictures and networks, all checked before it is used.

    drawn:    avatar.toml   plate.png   background.png   matte.png   flow.npz   eyes/NN.png   ear.onnx   mouth.onnx
    footage:  avatar.toml   frames/NNNNNN.jpg   faces.safetensors   features.safetensors   the network's files

Loading runs no code of the package and believes no size in it. The networks' own inputs and outputs are checked by
the engine, which opens them. docs/avatars.md describes the format.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from webrtc_avatar.avatar.files import MAX_NETWORK_BYTES, Image, checked_file, read_arrays, read_image
from webrtc_avatar.avatar.footage import FootageAvatar, load_footage
from webrtc_avatar.avatar.manifest import Box, FootageManifest, Manifest, read_manifest
from webrtc_avatar.errors import InvalidAvatar

Flow = npt.NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """The avatar's networks.

    Attributes:
        kind: key of `nets.registry.MODEL_KINDS`.
        ear: ONNX file from sound to mouth weights.
        mouth: ONNX file from mouth weights to the mouth's crop.
        chunks_before: 40 ms chunks before a frame's own that the ear hears.
        chunks_after: chunks after it, which is the model's delay.
        weights: names of the mouth weights, in the networks' order.
        visemes: names of the viseme classes, in the ear's order.
        crop_size: (width, height) of the mouth's crop in pixels: the size of the mouth's box.
        strength: how far the mouth moves from rest, 1 as the ear says; packages do not store it.
        evaluations: of the ear for each frame, see `engine.refinement`; 1 for live work; packages do not store it.
        stays_here: no other machine holds the package, so its frames are made in this process, wherever others are; packages
            do not store it.
    """

    kind: str
    ear: Path
    mouth: Path
    chunks_before: int
    chunks_after: int
    weights: tuple[str, ...]
    visemes: tuple[str, ...]
    crop_size: tuple[int, int]
    strength: float = 1.0
    evaluations: int = 1
    stays_here: bool = False


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class EyeCrop:
    """Both eyes in one state.

    Attributes:
        image: uint8 (height, width, 3) BGR, the size of the eyes' box.
        lid: 0 open to 1 closed.
        gaze: where the eyes look, as seen in the picture: x to the right, y up, -1..1.
        brow_raise: 0 resting to 1 raised.
        squint: 0 none to 1 full.
    """

    image: Image
    lid: float
    gaze: tuple[float, float]
    brow_raise: float
    squint: float


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Avatar:
    """A loaded package of a drawn avatar; nothing in it changes, so any number of sessions and threads share one.

    Attributes:
        name: short name, `[a-z0-9_-]{1,64}`.
        title: name for people.
        license: SPDX expression of the pictures and networks.
        folder: the package.
        frame_size: width and height of its frames in pixels.
        model: the networks.
        plate: uint8 (frame_size, frame_size, 3) BGR, the resting face before its background.
        fine: uint8 (2 * frame_size, 2 * frame_size, 3) BGR, the same plate for larger frames; None: there is none.
        background: of the plate's shape, the background alone.
        matte: uint8 (frame_size, frame_size), 255 where head, hair and shoulders cover the background.
        flow: float16 or float32 fields (rows, cols, 2) by name, as `avatar.warp` reads them; empty: the head is still.
        mouth_box: left, top, right, bottom of the mouth's crop in the frame; even.
        mouth_feather_px: over how many pixels from the box's edge the crop fades in.
        smile: the mouth's crop at the warmest resting smile, uint8 BGR of the mouth's box; None: it rests as on the plate.
        eye_box: the same for the eyes' crops.
        eye_feather_px: the same for the eyes' crops.
        eyes: the eyes' crops; one of them is at rest (lid 0, gaze (0, 0), no brow raise, no squint).
    """

    name: str
    title: str
    license: str
    folder: Path
    frame_size: int
    model: ModelSpec
    plate: Image
    fine: Image | None
    background: Image
    matte: Image
    flow: dict[str, Flow]
    mouth_box: Box
    mouth_feather_px: int
    smile: Image | None
    eye_box: Box
    eye_feather_px: int
    eyes: tuple[EyeCrop, ...]


AnyAvatar = Avatar | FootageAvatar
"""Drawn, such as "iris", or filmed."""


def drawn(avatar: AnyAvatar) -> Avatar:
    """Return the avatar if it is a drawn one, for what makes sense for those alone.

    Raises:
        InvalidAvatar: it is footage.
    """
    if isinstance(avatar, FootageAvatar):
        raise InvalidAvatar(
            f"avatar {avatar.name!r} is footage, and this works with drawn avatars only; choose one such as 'iris'"
        )
    return avatar


def load_avatar(folder: Path) -> AnyAvatar:
    """Load and check a package.

    Args:
        folder: where its `avatar.toml` lies.

    Returns:
        The avatar: a drawn one complete in memory but for its networks, footage with its pictures still on disk.

    Raises:
        InvalidAvatar: anything in the package is missing, damaged, of a wrong size or shape, or leads out of it.
    """
    manifest = read_manifest(folder)
    return load_footage(folder, manifest) if isinstance(manifest, FootageManifest) else _load_drawn(folder, manifest)


def _load_drawn(folder: Path, manifest: Manifest) -> Avatar:
    frame = (manifest.frame_size, manifest.frame_size)
    plate = manifest.plate
    return Avatar(
        name=manifest.name,
        title=manifest.title,
        license=manifest.license,
        folder=folder,
        frame_size=manifest.frame_size,
        model=_model_spec(folder, manifest),
        plate=read_image(folder, plate.image, size=frame),
        fine=read_image(folder, plate.fine, size=(2 * frame[0], 2 * frame[1])) if plate.fine else None,
        background=read_image(folder, plate.background, size=frame),
        matte=read_image(folder, plate.matte, size=frame, grey=True),
        flow=_flow(folder, plate.flow) if plate.flow else {},
        mouth_box=manifest.mouth.box,
        mouth_feather_px=manifest.mouth.feather,
        smile=read_image(folder, manifest.mouth.smile, size=_size(manifest.mouth.box))
        if manifest.mouth.smile
        else None,
        eye_box=manifest.eyes.box,
        eye_feather_px=manifest.eyes.feather,
        eyes=tuple(
            EyeCrop(
                image=read_image(folder, crop.file, size=_size(manifest.eyes.box)),
                lid=crop.lid,
                gaze=crop.gaze,
                brow_raise=crop.brow_raise,
                squint=crop.squint,
            )
            for crop in manifest.eyes.crops
        ),
    )


def _model_spec(folder: Path, manifest: Manifest) -> ModelSpec:
    model = manifest.model
    ear, mouth = (checked_file(folder, name, max_bytes=MAX_NETWORK_BYTES) for name in (model.ear, model.mouth))
    return ModelSpec(
        kind=model.kind,
        ear=ear,
        mouth=mouth,
        chunks_before=model.chunks_before,
        chunks_after=model.chunks_after,
        weights=model.weights,
        visemes=model.visemes,
        crop_size=_size(manifest.mouth.box),
    )


def _size(box: Box) -> tuple[int, int]:
    left, top, right, bottom = box
    return right - left, bottom - top


def _flow(folder: Path, name: str) -> dict[str, Flow]:
    fields = read_arrays(folder, name)
    for key, field in fields.items():
        if field.dtype not in (np.float16, np.float32) or field.ndim != 3 or field.shape[2] != 2 or field.size == 0:
            raise InvalidAvatar(
                f"{folder.name}/{name}: field {key!r} is {field.dtype} {field.shape}, expected float16 or float32 "
                "(rows, cols, 2); make it again with webrtc_avatar.training.pack"
            )
        if not np.isfinite(field).all():
            raise InvalidAvatar(
                f"{folder.name}/{name}: field {key!r} has infinite or missing values; "
                "make it again with webrtc_avatar.training.pack"
            )
    return fields
