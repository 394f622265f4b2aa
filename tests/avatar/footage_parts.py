"""Footage of a painted face that a test may import or break: datasets, video packages, and tiny networks."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from webrtc_avatar.avatar.importing.draft import Draft
from webrtc_avatar.avatar.package import load_avatar
from webrtc_avatar.avatar.tensors import TensorWriter, write_tensors

WIDTH, HEIGHT, COUNT = 160, 120, 6


def picture(number: int, width: int = WIDTH, height: int = HEIGHT):
    """A face on a background, BGR, that moves a little with the frame's number."""
    rows, columns = np.mgrid[:height, :width]
    image = np.stack([rows * 120 // height, columns * 120 // width, np.full_like(rows, 90)], 2).astype(np.uint8)
    x0, y0, x1, y1 = box(number, width, height)
    middle, side = ((x0 + x1) // 2, (y0 + y1) // 2), x1 - x0
    cv2.ellipse(image, middle, (side * 2 // 5, side // 2), 0, 0, 360, (150, 180, 230), -1)
    for eye in (-1, 1):
        cv2.circle(image, (middle[0] + eye * side // 6, middle[1] - side // 8), side // 14, (60, 40, 30), -1)
    cv2.ellipse(image, (middle[0], middle[1] + side // 4), (side // 7, side // 20), 0, 0, 360, (80, 80, 200), -1)
    return image


def box(number: int, width: int = WIDTH, height: int = HEIGHT):
    """Corners of the face's square in a frame."""
    side = height // 2 + number % 3
    x0, y0 = width // 2 - side // 2 + 2 * number, height // 3 - number
    return x0, y0, x0 + side, y0 + side


def landmarks(corners) -> str:
    """110 points of which the three that matter make the square."""
    points = [(10.0, 10.0)] * 110
    points[1], points[31], points[52] = (corners[0], 5.5), (corners[2], 6.0), (50.25, corners[1])
    return "".join(f"{x} {y}\n" for x, y in points)


def features(rows: int = COUNT):
    """Rows of features, float32 (rows, 512)."""
    return np.random.default_rng(1).random((rows, 512), np.float32)


def make_dataset(folder: Path, *, count: int = COUNT, width: int = WIDTH, height: int = HEIGHT) -> Path:
    """Write a SyncTalk_2D dataset and return its folder."""
    for name in ("full_body_img", "landmarks"):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        cv2.imwrite(str(folder / "full_body_img" / f"{number}.jpg"), picture(number, width, height))
        (folder / "landmarks" / f"{number}.lms").write_text(landmarks(box(number, width, height)))
    np.save(folder / "aud_ave.npy", features(count))
    return folder


def make_video_package(folder: Path, *, count: int = COUNT, size: int = 328) -> Path:
    """Write a video package with tiny ONNX networks and return its folder."""
    (folder / "cache").mkdir(parents=True)
    (folder / "models").mkdir()
    crop_px = {160: 168, 328: 328}[size]
    frames = [picture(number) for number in range(count)]
    crops = []
    for number, frame in enumerate(frames):
        x0, y0, x1, y1 = box(number)
        crops.append(cv2.resize(frame[y0:y1, x0:x1], (crop_px, crop_px), interpolation=cv2.INTER_CUBIC))
    write_video(folder / "full_body_video.mp4", frames)
    write_video(folder / f"crops_{crop_px}_video.mp4", crops)
    write_video(folder / f"rois_{crop_px - 8}_video.mp4", [crop[4:-4, 4:-4] for crop in crops])
    rectangles = {str(number): {"rect": list(box(number)), "original_path": f"{number}.jpg"} for number in range(count)}
    (folder / "cache" / "crop_rectangles.json").write_text(json.dumps(rectangles))
    info = {"dataset_name": "Painted Face", "videos": {"model_inputs": {"frame_count": count}}}
    (folder / "package_info.json").write_text(json.dumps(info))
    features(count).tofile(folder / "aud_ave.bin")
    write_generator(folder / "models" / "generator.onnx", side=crop_px - 8)
    write_encoder(folder / "models" / "audio_encoder.onnx")
    return folder


def write_video(path: Path, pictures, *, movflags: str = "") -> None:
    """Write an MP4 at 25 pictures a second."""
    with av.open(str(path), "w", options={"movflags": movflags} if movflags else {}) as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "8", "bf": "0"})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt, stream.time_base = "yuv420p", Fraction(1, 25)
        for image in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="bgr24")))
        container.mux(stream.encode())


def write_generator(path: Path, *, side: int = 320, batch: int | str = "batch", outputs: int = 3) -> Path:
    """A network that tints the face it sees, the more the louder: half the picture plus the sound's mean, at most 1."""
    nodes = [
        helper.make_node("Slice", ["input", "zero", "three", "one"], ["reference"]),
        helper.make_node("Mul", ["reference", "half"], ["dim"]),
        helper.make_node("ReduceMean", ["audio"], ["mean"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Add", ["dim", "mean"], ["sum"]),
        helper.make_node("Clip", ["sum", "low", "high"], ["output"]),
    ]
    constants = {
        "zero": np.array([0], np.int64),
        "three": np.array([outputs], np.int64),
        "one": np.array([1], np.int64),
        "half": np.float32(0.5),
        "low": np.float32(0),
        "high": np.float32(1),
    }
    return write_network(
        path,
        nodes,
        constants,
        {"input": [batch, 6, side, side], "audio": [batch, 32, 16, 16]},
        {"output": [batch, outputs, side, side]},
    )


def write_encoder(path: Path, *, columns: int = 512, batch: int | str = "batch") -> Path:
    """A network that gives the loudness of a window, 0 for silence, in all its columns."""
    nodes = [
        helper.make_node("ReduceMean", ["mel"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("Add", ["mean", "four"], ["above"]),
        helper.make_node("Mul", ["above", "eighth"], ["share"]),
        helper.make_node("MatMul", ["share", "ones"], ["features"]),
    ]
    constants = {"four": np.float32(4), "eighth": np.float32(0.125), "ones": np.ones((1, columns), np.float32)}
    return write_network(path, nodes, constants, {"mel": [batch, 1, 80, 16]}, {"features": [batch, columns]})


def write_network(path: Path, nodes, constants, inputs, outputs) -> Path:
    """Write an ONNX file."""
    values = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in group.items()]
        for group in (inputs, outputs)
    ]
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, path.stem, *values, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, path)
    return path


def make_footage(folder: Path, *, count: int = COUNT, width: int = WIDTH, height: int = HEIGHT, size: int = 160):
    """Write a package of footage with PNG frames and the tiny networks, and return the loaded avatar."""
    with Draft(folder.parent, folder.name, force=False) as draft:
        crop_px = {160: 168, 328: 328}[size]
        boxes = np.array([box(number, width, height) for number in range(count)], np.int32)
        way = cv2.INTER_LINEAR if size == 160 else cv2.INTER_CUBIC
        with TensorWriter(draft.folder / "faces.safetensors", "faces", (crop_px, crop_px, 3), np.uint8) as faces:
            for number, (x0, y0, x1, y1) in enumerate(boxes):
                frame = picture(number, width, height)
                draft.copy_frame(number, cv2.imencode(".png", frame)[1].tobytes(), "png")
                faces.append(cv2.resize(frame[y0:y1, x0:x1], (crop_px, crop_px), interpolation=way))
            faces.add("boxes", boxes)
        write_tensors(draft.folder / "features.safetensors", {"features": features(count)})
        write_generator(draft.folder / "generator.onnx", side=crop_px - 8)
        write_encoder(draft.folder / "audio.onnx")
        draft.write_manifest(
            {"format": 1, "name": folder.name, "title": "Painted", "license": "CC0-1.0"},
            {
                "footage": {"width": width, "height": height, "frame_count": count, "frame_type": "png"},
                "model": {
                    "kind": "onnx_generator",
                    "size": size,
                    "generator": "generator.onnx",
                    "audio": "audio.onnx",
                    "features": "features.safetensors",
                },
            },
        )
        return load_avatar(draft.finish())
