"""A SyncTalk_2D dataset folder: `full_body_img/N.jpg`, `landmarks/N.lms`, `aud_ave.npy`, and a checkpoint beside it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from webrtc_avatar.avatar.files import MAX_IMAGE_BYTES, MAX_IMAGE_PX, image_size, is_whole, read_limited
from webrtc_avatar.avatar.footage import CROP_PX, cut_face
from webrtc_avatar.avatar.footage_frames import Picture, Size
from webrtc_avatar.avatar.importing import landmarks
from webrtc_avatar.avatar.importing.draft import Draft, Progress
from webrtc_avatar.avatar.importing.features import add_features
from webrtc_avatar.avatar.importing.networks import add_networks
from webrtc_avatar.avatar.importing.parts import Footage, Options, check_size, write_manifest
from webrtc_avatar.avatar.manifest import MAX_FOOTAGE_FRAMES
from webrtc_avatar.avatar.tensors import TensorWriter
from webrtc_avatar.errors import CannotImport

FRAMES, LANDMARKS = "full_body_img", "landmarks"
_ENCODERS = ("audio_visual_encoder.pth", "audio_encoder.pth")
_ENCODER_FOLDERS = ("", "model/checkpoints", "data_utils/ave", "data_utils/ave/checkpoints", "data_utils")


def is_dataset(path: Path) -> bool:
    """Say whether a folder looks like a dataset."""
    return (path / FRAMES).is_dir() or (path / LANDMARKS).is_dir()


def import_dataset(
    source: Path, draft: Draft, options: Options, *, checkpoint: Path | None, encoder: Path | None, progress: Progress
) -> None:
    """Make a package of a dataset in the draft.

    Args:
        source: the dataset's folder.
        draft: where it goes.
        options: what people say.
        checkpoint: the generator, or the folder with its epochs; none: looked for beside the dataset.
        encoder: the audio encoder; none: looked for beside the dataset.
        progress: told how far it is.

    Raises:
        CannotImport, InvalidAvatar: something is missing or wrong.
    """
    frames, frame_type = _numbered(source, FRAMES, (".jpg", ".jpeg", ".png"))
    marks, _ = _numbered(source, LANDMARKS, (".lms",))
    if len(frames) != len(marks):
        raise CannotImport(
            f"{source.name} has {len(frames)} frames in {FRAMES} and {len(marks)} files in {LANDMARKS}, expected one each; "
            "process the video again"
        )
    progress("network", 0, 1)
    generator = _checkpoint(source, checkpoint)
    network = add_networks(draft, generator, _encoder(source, generator, encoder))
    progress("network", 1, 1)
    crop_px = CROP_PX[network.size]
    stored = sum((source / name).stat().st_size for name in frames)
    draft.need_bytes(stored + len(frames) * crop_px * crop_px * 3)
    boxes = np.empty((len(frames), 4), np.int32)
    size: Size | None = None
    with TensorWriter(draft.folder / "faces.safetensors", "faces", (crop_px, crop_px, 3), np.uint8) as faces:
        for number, (name, mark) in enumerate(zip(frames, marks, strict=True)):
            data = read_limited(source, name, max_bytes=MAX_IMAGE_BYTES)
            picture = _decode(data, f"{source.name}/{name}", size)
            size = (picture.shape[1], picture.shape[0])
            text = read_limited(source, mark, max_bytes=landmarks.MAX_BYTES)
            boxes[number] = landmarks.face_box(text, size, f"{source.name}/{mark}")
            faces.append(cut_face(picture, boxes[number], crop_px))
            draft.copy_frame(number, data, frame_type)
            progress("frames", number + 1, len(frames))
        faces.add("boxes", boxes)
    assert size is not None
    features = add_features(source, draft, frame_count=len(frames))
    write_manifest(draft, options, Footage(size, len(frames), frame_type), network, features)


def _numbered(source: Path, folder: str, endings: tuple[str, ...]) -> tuple[list[str], Literal["jpg", "png"]]:
    """Return the files of a folder in the order of their numbers, which go from 0 on without a hole."""
    try:
        with os.scandir(source / folder) as entries:
            named = [Path(entry.name) for entry in entries]
    except OSError as error:
        raise CannotImport(
            f"{source.name}/{folder} cannot be listed: {error.strerror}; expected a SyncTalk_2D dataset with {FRAMES} and "
            f"{LANDMARKS}"
        ) from error
    files = {int(name.stem): name.name for name in named if _is_number(name.stem) and name.suffix.lower() in endings}
    if len({Path(name).suffix.lower().replace("jpeg", "jpg") for name in files.values()}) > 1:
        raise CannotImport(f"{source.name}/{folder} holds both JPEG and PNG pictures; keep one kind")
    if not files or len(files) > MAX_FOOTAGE_FRAMES:
        raise CannotImport(
            f"{source.name}/{folder} holds {len(files)} files named 0{endings[0]}, 1{endings[0]} …; expected 1 to "
            f"{MAX_FOOTAGE_FRAMES}: process the video again"
        )
    if missing := [number for number in range(max(files)) if number not in files]:
        raise CannotImport(
            f"{source.name}/{folder} lacks {missing[0]}{endings[0]} and {len(missing) - 1} more of {max(files) + 1} files; "
            "process the video again"
        )
    is_png = files[0].lower().endswith(".png")
    return [f"{folder}/{files[number]}" for number in range(len(files))], "png" if is_png else "jpg"


def _is_number(stem: str) -> bool:
    return stem.isascii() and stem.isdigit() and len(stem) < 9 and stem == str(int(stem))


def _decode(data: bytes, where: str, expected: Size | None) -> Picture:
    size = image_size(data)
    if size is None:
        raise CannotImport(f"{where} is neither JPEG nor PNG; process the video again")
    check_size(size, where, largest_px=MAX_IMAGE_PX)
    if expected is not None and size != expected:
        raise CannotImport(
            f"{where} is {size[0]}x{size[1]} pixels, the frames before it {expected[0]}x{expected[1]}; all must be alike"
        )
    if not is_whole(data):
        raise CannotImport(f"{where} is cut short, or one of its chunks is; copy the dataset again")
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise CannotImport(f"{where} is damaged ({error.err}); copy the dataset again") from error
    if picture is None or picture.dtype != np.uint8 or picture.shape != (size[1], size[0], 3):
        raise CannotImport(f"{where} is damaged: it does not decode to {size[0]}x{size[1]}; copy the dataset again")
    return np.asarray(picture, np.uint8)


def _checkpoint(source: Path, given: Path | None) -> Path:
    """Return the generator's file: the one that was named, or the last epoch of the folder where the original looks."""
    path = given or source.resolve().parent.parent / "checkpoint" / source.resolve().name
    if path.is_file():
        return path
    epochs = [file for file in path.glob("*.pth") if file.stem.isdigit()] if path.is_dir() else []
    if not epochs:
        raise CannotImport(
            f"there is no checkpoint at {path}: expected a file such as 99.pth, or a folder of them; name it with --checkpoint"
        )
    return max(epochs, key=lambda file: int(file.stem))


def _encoder(source: Path, checkpoint: Path, given: Path | None) -> Path:
    """Return the audio encoder's file: the one that was named, beside the checkpoint, or where SyncTalk_2D's repository has it."""
    if given is not None:
        return given
    roots = (checkpoint.resolve().parent, source, source.resolve().parent, source.resolve().parent.parent)
    for path in (root / folder / name for root in roots for folder in _ENCODER_FOLDERS for name in _ENCODERS):
        if path.is_file():
            return path
    raise CannotImport(
        f"no audio encoder was found near {source}: name SyncTalk_2D's model/checkpoints/audio_visual_encoder.pth with "
        "--audio-encoder, or put it into the dataset's folder or beside the checkpoint"
    )
