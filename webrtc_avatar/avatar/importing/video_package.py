"""A video package: `full_body_video.mp4`, crops as videos, rectangles as JSON, features, and networks as ONNX or checkpoints.

What is read of `package_info.json`: the name (`dataset_name`, `package_name` or `name`) and the number of frames (`frame_count`,
`num_frames` or `total_frames`, at the top or below `videos`), which must be the videos'. All else comes from the files.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from webrtc_avatar.avatar.files import MAX_IMAGE_PX, inner_path, read_limited
from webrtc_avatar.avatar.footage import BORDER_PX, CROP_PX, cut_face
from webrtc_avatar.avatar.footage_frames import Picture
from webrtc_avatar.avatar.importing.draft import Draft, Progress
from webrtc_avatar.avatar.importing.features import add_features
from webrtc_avatar.avatar.importing.networks import add_networks, is_generator
from webrtc_avatar.avatar.importing.parts import Footage, Options, check_size, write_manifest
from webrtc_avatar.avatar.importing.rectangles import Boxes, read_boxes
from webrtc_avatar.avatar.importing.videos import Video
from webrtc_avatar.avatar.tensors import TensorWriter
from webrtc_avatar.errors import CannotImport

INFO, FULL_BODY, RECTANGLES = "package_info.json", "full_body_video.mp4", "cache/crop_rectangles.json"
_MAX_JSON_BYTES = 64 * 1024 * 1024
_COUNTS = ("frame_count", "num_frames", "total_frames")
_NETWORK_FOLDERS = ("models", "checkpoint", "checkpoints", "")
_GENERATORS = ("best_trainloss.pth", "model_best.pth", "generator.pth")
_ENCODERS = ("audio_visual_encoder.pth", "audio_encoder.pth")
_UNLIKE_LEVELS = 12.0
"""Mean difference of a crop in its video and the same cut from the frame, from which on they show different things."""


def is_video_package(path: Path) -> bool:
    """Say whether a folder looks like a video package."""
    return (path / FULL_BODY).is_file() or (path / INFO).is_file()


def package_title(path: Path) -> str | None:
    """Return the name that `package_info.json` gives, if it does."""
    info = _read_json(path, INFO) if (path / INFO).is_file() else {}
    names = (info.get(key) for key in ("dataset_name", "package_name", "name")) if isinstance(info, dict) else ()
    return next((name for name in names if isinstance(name, str) and name), None)


def import_video_package(
    source: Path, draft: Draft, options: Options, *, checkpoint: Path | None, encoder: Path | None, progress: Progress
) -> None:
    """Make a package of a video package in the draft.

    Args:
        source: the package's folder.
        draft: where it goes.
        options: what people say.
        checkpoint: the generator, ONNX or checkpoint; none: the package's own.
        encoder: the audio encoder, likewise.
        progress: told how far it is.

    Raises:
        CannotImport, InvalidAvatar: something is missing or wrong.
    """
    if not (source / FULL_BODY).is_file():
        raise CannotImport(f"{source.name} has no {FULL_BODY}, which holds the footage itself; add it")
    full_body = Video(source, FULL_BODY)
    check_size(full_body.size, f"{source.name}/{FULL_BODY}", largest_px=MAX_IMAGE_PX)
    if full_body.rate_hz and abs(full_body.rate_hz - 25) > 0.1:
        draft.warnings.append(f"{FULL_BODY} has {full_body.rate_hz:.2f} frames a second; it will play at 25")
    progress("network", 0, 1)
    network = add_networks(draft, *_networks(source, checkpoint, encoder))
    progress("network", 1, 1)
    crop_px = CROP_PX[network.size]
    count = full_body.count()
    _check_counts(source, count, crop_px)
    draft.need_bytes(count * (crop_px * crop_px * 3 + full_body.size[0] * full_body.size[1] // 4))
    boxes = _boxes(source, count, full_body)
    crops = _crops(source, crop_px)
    cut = crops.pictures() if crops else None
    unlike = []
    with TensorWriter(draft.folder / "faces.safetensors", "faces", (crop_px, crop_px, 3), np.uint8) as faces:
        number = 0
        for number, picture in enumerate(full_body.pictures(), 1):
            if number > count:
                break
            box = boxes[number - 1]
            face = cut_face(picture, box, crop_px) if cut is None else next(cut, None)
            if face is None:
                raise CannotImport(
                    f"{source.name}/{crops.name if crops else ''} ends after {number - 1} of {count} pictures"
                )
            if cut is not None and number % 25 == 1:
                unlike.append(_difference(face, cut_face(picture, box, crop_px)))
            faces.append(face)
            draft.write_frame(number - 1, picture)
            progress("frames", number, count)
        if number != count or (cut is not None and next(cut, None) is not None):
            raise CannotImport(
                f"{source.name}: {FULL_BODY} and {crops.name if crops else RECTANGLES} have different numbers of pictures; "
                "make the package again"
            )
        faces.add("boxes", boxes)
    if unlike and np.median(unlike) > _UNLIKE_LEVELS:
        draft.warnings.append(
            f"{crops.name if crops else ''} shows something else than the rectangles in {FULL_BODY} (they differ by "
            f"{np.median(unlike):.0f} grey levels): the face may be put in the wrong place"
        )
    features = add_features(source, draft, frame_count=count)
    write_manifest(draft, options, Footage(full_body.size, count, "jpg"), network, features)


def _difference(one: Picture, other: Picture) -> float:
    inner = slice(BORDER_PX, -BORDER_PX)
    return float(np.mean(cv2.absdiff(one[inner, inner], other[inner, inner])))


def _crops(source: Path, crop_px: int) -> Video | None:
    """Return the video of whole crops, if the package has it; else faces are cut from the frames."""
    name = f"crops_{crop_px}_video.mp4"
    if not (source / name).is_file():
        return None
    video = Video(source, name)
    if video.size != (crop_px, crop_px):
        raise CannotImport(
            f"{source.name}/{name} has pictures of {video.size[0]}x{video.size[1]}, the network needs {crop_px}x{crop_px}; "
            "make it again, or remove it to have the faces cut from the frames"
        )
    return video


def _check_counts(source: Path, count: int, crop_px: int) -> None:
    """Compare the number of frames with every other place that tells of it."""
    inner_px = crop_px - 2 * BORDER_PX
    for name in (f"crops_{crop_px}_video.mp4", f"rois_{inner_px}_video.mp4", "model_inputs_video.mp4"):
        if (source / name).is_file() and (found := Video(source, name).count()) != count:
            raise CannotImport(
                f"{source.name}: {FULL_BODY} has {count} pictures, {name} has {found}; make the package again"
            )
    if not (source / INFO).is_file():
        return
    info = _read_json(source, INFO)
    videos = info.get("videos") if isinstance(info, dict) else None
    tables = [info, videos, *(videos.values() if isinstance(videos, dict) else ())]
    for table in tables:
        for key in _COUNTS:
            claimed = table.get(key) if isinstance(table, dict) else None
            if isinstance(claimed, int) and claimed != count:
                raise CannotImport(
                    f"{source.name}/{INFO} tells of {claimed} frames as {key}, {FULL_BODY} has {count}; correct it, or copy "
                    "the package again"
                )


def _boxes(source: Path, count: int, full_body: Video) -> Boxes:
    where = f"{source.name}/{RECTANGLES}"
    name = next((name for name in (RECTANGLES, "crop_rectangles.json") if (source / name).is_file()), None)
    if name is None:
        raise CannotImport(f"{where} is missing, so nobody knows where the face is; add it")
    try:
        return read_boxes(_read_json(source, name), count=count, frame=full_body.size, where=where)
    except RecursionError as error:
        raise CannotImport(f"{where} is nested too deeply; write one rectangle a frame") from error


def _read_json(source: Path, name: str) -> Any:
    data = read_limited(source, name, max_bytes=_MAX_JSON_BYTES)
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CannotImport(f"{source.name}/{name} is not JSON: {error}; write it again") from error


def _networks(source: Path, generator: Path | None, encoder: Path | None) -> tuple[Path, Path]:
    """Return generator and audio encoder: those that were named, else the package's checkpoints, else its ONNX files."""
    pairs: list[tuple[Path | None, Path | None]] = []
    checkpoints = _found(source, _GENERATORS), _found(source, _ENCODERS)
    pairs.append((generator or checkpoints[0], encoder or checkpoints[1]))
    if generator is None or encoder is None:
        onnx = _onnx_files(source)
        pairs.append((generator or onnx[0], encoder or onnx[1]))
    for pair in pairs:
        if pair[0] is not None and pair[1] is not None and len({_is_onnx(path) for path in pair if path}) == 1:
            return pair[0], pair[1]
    have = ", ".join(sorted({path.name for pair in pairs for path in pair if path is not None})) or "neither"
    raise CannotImport(
        f"{source.name} needs a generator and an audio encoder, both as ONNX (models/generator.onnx, models/audio_encoder.onnx) "
        f"or both as checkpoints; found: {have}. Name what is missing with --checkpoint and --audio-encoder"
    )


def _found(source: Path, names: tuple[str, ...]) -> Path | None:
    paths = (f"{folder}/{name}".lstrip("/") for folder in _NETWORK_FOLDERS for name in names)
    return next((inner_path(source, path) for path in paths if (source / path).is_file()), None)


def _onnx_files(source: Path) -> tuple[Path | None, Path | None]:
    """Return the first ONNX file that takes a picture, and the first that does not."""
    generator = encoder = None
    for folder in _NETWORK_FOLDERS:
        for path in sorted((source / folder).glob("*.onnx")):
            checked = inner_path(source, str(path.relative_to(source)))
            if is_generator(checked):
                generator = generator or checked
            else:
                encoder = encoder or checked
    return generator, encoder


def _is_onnx(path: Path) -> bool:
    return path.suffix.lower() == ".onnx"
