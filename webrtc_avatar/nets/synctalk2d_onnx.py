"""Finds SyncTalk_2D's weights in ONNX files that were exported from it, so that they run cut and folded as checkpoints do.

An exported graph has the same convolutions in the same order, under other names, mostly with batch normalisation folded in. Which
is which follows from what each of them can see: the picture, the sound, or both. Whether that was right is tried.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import numpy_helper

from webrtc_avatar.errors import InvalidCheckpoint
from webrtc_avatar.nets.synctalk2d_folded import audio_row, face, image_maps
from webrtc_avatar.nets.synctalk2d_graph import audio_graph, whole_graph
from webrtc_avatar.nets.synctalk2d_shape import AVE_SHAPES, Shape

Found = dict[str, npt.NDArray[Any]]

_TOLERANCE = 1e-3
"""Of a face, 0 to 1, and of a row in relation to its largest number; a wrong weight is off by far more."""


def load_onnx(generator: Path, encoder: Path) -> tuple[Found, Found]:
    """Return the states of both networks, normalisation folded in, as `synctalk2d_checkpoint.convert` takes them.

    Args:
        generator: ONNX file with a picture (batch, 6, s, s) and sound (batch, 32, 16, 16) as inputs.
        encoder: ONNX file with a window of mel (batch, 1, 80, 16) as input.

    Raises:
        InvalidCheckpoint: they are other networks, whatever they do, or the same in a form that is not known.
    """
    try:
        return _generator(generator), _encoder(encoder)
    except InvalidCheckpoint:
        raise
    except Exception as error:  # onnx and ONNX Runtime raise a class a fault
        told = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise InvalidCheckpoint(
            f"{generator.name} and {encoder.name} are not SyncTalk_2D as known here: {told}"
        ) from error


def _generator(path: Path) -> Found:
    model = onnx.load_model(path, load_external_data=False)
    inputs = _inputs(model)
    image = next(name for name, sides in inputs.items() if len(sides) == 4 and sides[1] == 6)
    sound = next(name for name in inputs if name != image)
    convolutions = _convolutions(model)
    shapes = [shape for shape in AVE_SHAPES.values() if len(_expected(shape)) == len(convolutions)]
    if not shapes:
        raise InvalidCheckpoint(f"{path.name} has {len(convolutions)} convolutions; SyncTalk_2D has another number")
    shape = shapes[0]
    seen = _seen(model, [image, sound])
    order = [frozenset([image]), frozenset([sound]), frozenset([image, sound])]
    found = sorted(convolutions, key=lambda node: order.index(seen[node.output[0]]))
    arrays = _named(model, found, _expected(shape))
    rng = np.random.default_rng(0)
    feeds = {
        image: rng.uniform(0, 1, (1, 6, shape.size, shape.size)).astype(np.float32),
        sound: rng.uniform(0, 2, (1, 32, 16, 16)).astype(np.float32),
    }
    made = _run(whole_graph(arrays), {"image": feeds[image], "audio": feeds[sound]})
    _compare(path, _run(path.read_bytes(), feeds), made, 1.0)
    return arrays


def _encoder(path: Path) -> Found:
    model = onnx.load_model(path, load_external_data=False)
    ((name, sides),) = _inputs(model).items()
    recorder = _Recorder()
    audio_row(recorder, None)
    arrays = _named(model, _convolutions(model), recorder.keys)
    mel = np.random.default_rng(0).uniform(-4, 4, (1, 80, 16)).astype(np.float32)
    expected = _run(path.read_bytes(), {name: mel.reshape((1,) * (len(sides) - 2) + (80, 16))}).reshape(1, -1)
    _compare(path, expected, _run(audio_graph(arrays), {"mel": mel}), float(np.abs(expected).max()))
    return arrays


class _Recorder:
    """Operations on nothing, which note the keys of convolutions as they come."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    def conv(self, x: None, conv: str, norm: str | None, **_: object) -> None:
        if conv not in self.keys:
            self.keys.append(conv)

    def relu(self, x: None) -> None: ...

    def sigmoid(self, x: None) -> None: ...

    def add(self, x: None, y: None) -> None: ...

    def twice(self, x: None) -> None: ...


def _expected(shape: Shape) -> list[str]:
    """Return the keys of all convolutions: those that see the picture, the sound, and both, each in their order."""
    recorder = _Recorder()
    image_maps(recorder, shape, None)
    pictures = [key for key in recorder.keys if key.startswith(("inc.", "down"))]
    recorder.keys = []
    face(recorder, shape, [None] * len(shape.encoder), None)
    sounds = [key for key in recorder.keys if key.startswith("audio_model.")]
    return pictures + sounds + [key for key in recorder.keys if key not in sounds]


def _inputs(model: Any) -> dict[str, list[int]]:
    known = {tensor.name for tensor in model.graph.initializer}
    return {
        value.name: [side.dim_value for side in value.type.tensor_type.shape.dim]
        for value in model.graph.input
        if value.name not in known
    }


def _convolutions(model: Any) -> list[Any]:
    return [node for node in model.graph.node if node.op_type == "Conv"]


def _seen(model: Any, inputs: Iterable[str]) -> dict[str, frozenset[str]]:
    """Return by a value's name which inputs it depends on."""
    seen = {name: frozenset([name]) for name in inputs}
    for node in model.graph.node:
        depends = frozenset().union(*(seen.get(name, frozenset()) for name in node.input))
        seen.update(dict.fromkeys(node.output, depends))
    return seen


def _named(model: Any, convolutions: list[Any], keys: list[str]) -> Found:
    """Return weights and biases under the keys, batch normalisation that comes after a convolution folded in."""
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            for field in node.attribute:
                if field.name == "value":
                    constants[node.output[0]] = numpy_helper.to_array(field.t)
    norms = {node.input[0]: node for node in model.graph.node if node.op_type == "BatchNormalization"}
    arrays: Found = {}
    for key, node in zip(keys, convolutions, strict=True):
        weight = constants[node.input[1]].astype(np.float64)
        bias = constants[node.input[2]].astype(np.float64) if len(node.input) > 2 else np.zeros(len(weight))
        if (norm := norms.get(node.output[0])) is not None:
            scale, offset, mean, variance = (constants[name].astype(np.float64) for name in norm.input[1:5])
            epsilon = next((field.f for field in norm.attribute if field.name == "epsilon"), 1e-5)
            scale = scale / np.sqrt(variance + epsilon)
            weight, bias = weight * scale[:, None, None, None], offset + (bias - mean) * scale
        arrays[f"{key}.weight"], arrays[f"{key}.bias"] = weight.astype(np.float32), bias.astype(np.float32)
    return arrays


def _run(graph: bytes, feeds: dict[str, npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, feeds)[0], np.float32)


def _compare(path: Path, expected: npt.NDArray[np.float32], made: npt.NDArray[np.float32], scale: float) -> None:
    if expected.shape != made.shape or not np.abs(expected - made).max() <= _TOLERANCE * scale:
        raise InvalidCheckpoint(f"{path.name} has SyncTalk_2D's convolutions, but does something else with them")
