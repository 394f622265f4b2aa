"""SyncTalk_2D as ONNX graphs, made from arrays alone, without torch.

It is cut where speed asks for it: `image_graph` is what depends on the footage alone, `audio_graph` makes one row of features
from a window of mel, and `face_graph` draws the face from both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from webrtc_avatar.nets.synctalk2d_folded import audio_row, face, folded, image_maps, map_channels, mask
from webrtc_avatar.nets.synctalk2d_shape import BORDER_PX, Arrays, AudioMode, Shape, shape_of

Made = TypeVar("Made")

_OPSET = 17
_IR_VERSION = 8
_AUDIO_SIZES = {(1, 1): (16, 16), (2, 2): (32, 32), (1, 2): (16, 32)}
"""Height and width of the features by the stride of the audio branch."""


def image_graph(arrays: Arrays, mode: AudioMode = "ave") -> bytes:
    """Return the graph from `crop` uint8 (batch, s + 8, s + 8, 3) BGR to float32 maps `map0`, `map1` ...

    Raises:
        ValueError: the arrays are not those of a SyncTalk_2D network.
    """
    graph = _Graph(arrays)
    shape = shape_of(arrays, mode)
    size, edge = shape.size, BORDER_PX
    crop = graph.input("crop", TensorProto.UINT8, ["batch", shape.crop_size, shape.crop_size, 3])
    ends = [[edge, edge], [edge + size, edge + size], [1, 2]]
    inner = graph.node("Slice", [crop, *(graph.constant(np.array(end, np.int64)) for end in ends)])
    levels = graph.node("Cast", [inner], to=TensorProto.FLOAT)
    whole = graph.node("Transpose", [graph.node("Div", [levels, graph.constant(np.float32(255))])], perm=[0, 3, 1, 2])
    masked = graph.node("Mul", [whole, graph.constant(mask(size))])
    image = graph.node("Concat", [whole, masked], axis=1)
    for level, made in enumerate(_checked(lambda: image_maps(graph, shape, image))):
        graph.output(made, f"map{level}", TensorProto.FLOAT)
    return graph.serialize("synctalk2d_image")


def face_graph(arrays: Arrays, mode: AudioMode = "ave") -> bytes:
    """Return the graph from maps and `audio` float32, such as (batch, 32, 16, 16), to `face` uint8 (batch, s, s, 3) BGR.

    Grey levels are cut off to whole numbers, as the original does, not rounded.

    Raises:
        ValueError: the arrays are not those of a SyncTalk_2D network.
    """
    graph = _Graph(arrays)
    shape = shape_of(arrays, mode)
    maps = [
        graph.input(f"map{level}", TensorProto.FLOAT, ["batch", channels, shape.size >> level, shape.size >> level])
        for level, channels in enumerate(map_channels(shape))
    ]
    made = _checked(lambda: face(graph, shape, maps, graph.audio(shape)))
    levels = graph.node("Mul", [made, graph.constant(np.float32(255))])
    rows = graph.node("Transpose", [graph.node("Cast", [levels], to=TensorProto.UINT8)], perm=[0, 2, 3, 1])
    graph.output(rows, "face", TensorProto.UINT8)
    return graph.serialize("synctalk2d_face")


def whole_graph(arrays: Arrays, mode: AudioMode = "ave") -> bytes:
    """Return the network in one piece: `image` float32 (batch, 6, s, s) and `audio` to `face` float32 (batch, 3, s, s), 0..1.

    Raises:
        ValueError: the arrays are not those of a SyncTalk_2D network.
    """
    graph = _Graph(arrays)
    shape = shape_of(arrays, mode)
    image = graph.input("image", TensorProto.FLOAT, ["batch", 6, shape.size, shape.size])
    made = _checked(lambda: face(graph, shape, image_maps(graph, shape, image), graph.audio(shape)))
    graph.output(made, "face", TensorProto.FLOAT)
    return graph.serialize("synctalk2d")


def audio_graph(arrays: Arrays) -> bytes:
    """Return the audio encoder's graph: `mel` float32 (batch, 80, 16), -4..4, to `row` float32 (batch, 512).

    Raises:
        ValueError: the arrays are not those of Wav2Lip's audio encoder.
    """
    graph = _Graph(arrays)
    mel = graph.input("mel", TensorProto.FLOAT, ["batch", 80, 16])
    one = graph.node("Unsqueeze", [mel, graph.constant(np.array([1], np.int64))])
    made = _checked(lambda: audio_row(graph, one))
    graph.output(graph.node("Flatten", [made], axis=1), "row", TensorProto.FLOAT)
    return graph.serialize("synctalk2d_audio")


def _checked(build: Callable[[], Made]) -> Made:
    try:
        return build()
    except KeyError as error:
        raise ValueError(f"tensor {error.args[0]!r} is missing") from error


class _Graph:
    """Nodes in the order in which they were added, and the arrays that they use. Values are names."""

    def __init__(self, arrays: Arrays) -> None:
        self._arrays = arrays
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, element: int, shape: Sequence[int | str]) -> str:
        self._inputs.append(helper.make_tensor_value_info(name, element, shape))
        return name

    def audio(self, shape: Shape) -> str:
        return self.input("audio", TensorProto.FLOAT, ["batch", shape.audio[0], *_AUDIO_SIZES[shape.audio_stride]])

    def output(self, value: str, name: str, element: int) -> None:
        self._nodes.append(helper.make_node("Identity", [value], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, element, None))

    def node(self, operator: str, inputs: Sequence[str], **attributes: Any) -> str:
        made = f"{operator.lower()}{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [made], **attributes))
        return made

    def constant(self, value: npt.NDArray[np.generic] | np.generic, name: str = "") -> str:
        name = name or f"constant{len(self._constants)}"
        self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def conv(
        self,
        x: str,
        conv: str,
        norm: str | None,
        *,
        stride: tuple[int, int] = (1, 1),
        padding: int = 0,
        inputs: slice | None = None,
        bias: bool = True,
        depthwise: bool = False,
    ) -> str:
        weight, offset = folded(self._arrays, conv, norm)
        part = "" if inputs is None else f".{inputs.start or 0}"
        names = [x, self.constant(weight if inputs is None else weight[:, inputs], f"{conv}{part}.weight")]
        if bias:
            names.append(self.constant(offset, f"{conv}.bias"))
        return self.node(
            "Conv",
            names,
            kernel_shape=list(weight.shape[2:]),
            strides=list(stride),
            pads=[padding] * 4,
            group=len(weight) if depthwise else 1,
        )

    def relu(self, x: str) -> str:
        return self.node("Relu", [x])

    def sigmoid(self, x: str) -> str:
        return self.node("Sigmoid", [x])

    def add(self, x: str, y: str) -> str:
        return self.node("Add", [x, y])

    def twice(self, x: str) -> str:
        scales = self.constant(np.array([1, 1, 2, 2], np.float32), "twice")
        return self.node("Resize", [x, "", scales], mode="linear", coordinate_transformation_mode="align_corners")

    def serialize(self, name: str) -> bytes:
        made = helper.make_graph(self._nodes, name, self._inputs, self._outputs, list(self._constants.values()))
        model = helper.make_model(made, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
        onnx.checker.check_model(model)
        serialized: bytes = model.SerializeToString()
        return serialized
