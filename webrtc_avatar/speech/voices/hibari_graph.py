"""hibari's network as a graph that takes a batch; the packaged one says one sentence at a time.

Made of the packaged file's weights when a voice is loaded. Sentences are padded to the longest: behind its end every sentence
shows zeros to convolutions and nothing to attention, as it does alone. Activations are quantized row by row rather than
tensor by tensor, so that what a sentence becomes does not depend on its company. Speed and pitch are given phoneme by
phoneme, and the durations come out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

BINS = 601
"""Frequencies of a spectrum."""
SPECTRA = 5
"""What is predicted of each frame, side by side: harmonics' log magnitude and phase, noise's, and a free part's both."""

GAP_FRAMES = 4
"""Zeros between two sentences before the decoder, at least what one of its convolutions sees to one side."""

_OPSET, _IR_VERSION = 17, 8
_EPSILON = 1e-5
_HEADS = 2
_LARGEST = 127.0
_FEWEST_UNITS = 72
"""Up to 64, ONNX Runtime adds up in another order, and a short sentence would differ with its company."""
_PROSODY_DILATIONS = (1, 2, 4, 8, 1, 2)
_DECODER_BLOCKS = 8
_F0_SCALE_HZ, _F0_LOG_SCALE = 100.0, 5.0


class _Encoder(NamedTuple):
    """One of the two text encoders; the exporter gave names of its own to the matrices of products."""

    prefix: str
    passes: int
    """How often the text goes through its one attention layer."""
    block_suffix: str
    attention_in: str
    attention_out: str
    widen: str
    narrow: str


_SPOKEN = _Encoder(
    "m.text",
    4,
    "",
    "/Transpose_2_output_0",
    "/out_proj/Transpose_output_0",
    "/linear1/Transpose_output_0",
    "/linear2/Transpose_output_0",
)
_TIMED = _Encoder(
    "pn.text",
    6,
    "_1",
    "/Transpose_25_output_0",
    "/out_proj_4/Transpose_output_0",
    "/linear1_4/Transpose_output_0",
    "/linear2_4/Transpose_output_0",
)


def _products(path: str, suffix: str = "") -> tuple[str, str]:
    """Return the names of the matrices of a block that widen and narrow."""
    return f"{path}/pw1{suffix}/Transpose_output_0", f"{path}/pw2{suffix}/Transpose_output_0"


class _Graph:
    """Nodes and weights as they are added. Everything is (batch, time, channel) except where a convolution wants otherwise."""

    def __init__(self, packaged: onnx.ModelProto) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, onnx.TensorProto] = {}
        self._packaged = {tensor.name: tensor for tensor in packaged.graph.initializer}

    def add(self, op: str, *inputs: str, name: str = "", outputs: int = 1, domain: str = "", **attributes: Any) -> str:
        """Add a node; return the name of its first output. Others have `.1`, `.2` behind it."""
        name = name or f"{op}{len(self.nodes)}"
        names = [name, *(f"{name}.{number}" for number in range(1, outputs))]
        self.nodes.append(helper.make_node(op, list(inputs), names, name=name, domain=domain, **attributes))
        return name

    def floats(self, values: float | npt.NDArray[Any]) -> str:
        return self._constant(np.asarray(values, np.float32))

    def whole(self, *values: int) -> str:
        """Add a list of whole numbers."""
        return self._constant(np.asarray(values, np.int64))

    def number(self, value: int) -> str:
        return self._constant(np.asarray(value, np.int64))

    def _constant(self, values: npt.NDArray[Any]) -> str:
        name = f"constant{len(self.weights)}"
        self.weights[name] = numpy_helper.from_array(values, name)
        return name

    def weight(self, name: str) -> str:
        self.weights[name] = self._packaged[name]
        return name

    def channels(self, name: str) -> int:
        return int(self._packaged[name].dims[0])

    def turned(self, x: str) -> str:
        return self.add("Transpose", x, perm=[0, 2, 1])

    def unsqueezed(self, x: str, *axes: int) -> str:
        return self.add("Unsqueeze", x, self.whole(*axes))

    def doubled(self, x: str) -> str:
        """Hold each unit of (batch, channel, unit) for two frames."""
        pairs = self.add("Tile", self.unsqueezed(x, 3), self.whole(1, 1, 1, 2))
        return self.add("Reshape", pairs, self.add("Concat", self.add("Shape", x, end=2), self.whole(-1), axis=0))

    def linear(self, x: str, matrix: str, bias: str, *, name: str = "") -> str:
        """Multiply by a quantized matrix, quantizing x row by row, and add a bias."""
        largest = self.add("Max", self.add("ReduceMax", self.add("Abs", x), axes=[-1]), self.floats(1e-12))
        # Half is added, since the cast cuts off.
        shifted = self.add("Mul", x, self.add("Div", self.floats(_LARGEST), largest))
        quantized = self.add("Cast", self.add("Add", shifted, self.floats(128.5)), to=TensorProto.UINT8)
        middle = self._constant(np.asarray(128, np.uint8))
        parts = (self.weight(f"{matrix}_quantized"), middle, self.weight(f"{matrix}_zero_point"))
        product = self.add("Cast", self.add("MatMulInteger", quantized, *parts), to=TensorProto.FLOAT)
        scale = float(numpy_helper.to_array(self._packaged[f"{matrix}_scale"]))
        # A quotient, since ONNX Runtime fuses a product of scales as if all rows shared one.
        product = self.add("Mul", product, self.add("Div", largest, self.floats(_LARGEST / scale)))
        return self.add("Add", product, self.weight(bias), name=name)

    def norm(self, x: str, name: str) -> str:
        parts = (self.weight(f"{name}.weight"), self.weight(f"{name}.bias"))
        return self.add("LayerNormalization", x, *parts, axis=-1, epsilon=_EPSILON)

    def gelu(self, x: str) -> str:
        return self.add("Gelu", x, domain="com.microsoft")

    def conv(self, x: str, name: str, *, width: int = 1, dilation: int = 1, groups: int = 1) -> str:
        """Convolve (batch, channel, time)."""
        half = width // 2 * dilation
        window: dict[str, Any] = {
            "kernel_shape": [width],
            "pads": [half, half],
            "dilations": [dilation],
            "group": groups,
        }
        return self.add("Conv", x, self.weight(f"{name}.weight"), self.weight(f"{name}.bias"), **window)

    def block(self, x: str, mask: str, name: str, products: tuple[str, str], *, width: int, dilation: int = 1) -> str:
        """A ConvNeXt block; the mask is (batch, 1, time)."""
        seen = self.add("Mul", self.turned(x), mask)
        y = self.conv(seen, f"{name}.dw", width=width, dilation=dilation, groups=self.channels(f"{name}.gamma"))
        y = self.norm(self.turned(y), f"{name}.norm")
        y = self.linear(self.gelu(self.linear(y, products[0], f"{name}.pw1.bias")), products[1], f"{name}.pw2.bias")
        return self.add("Add", x, self.add("Mul", y, self.weight(f"{name}.gamma")))

    def attention(self, x: str, unseen: str, encoder: _Encoder) -> str:
        """A layer of self-attention; `unseen` (batch, 1, 1, time) is added to the scores."""
        name = f"{encoder.prefix}.attn"
        channels = self.channels(f"{name}.norm1.weight")
        y = self.linear(self.norm(x, f"{name}.norm1"), encoder.attention_in, f"{name}.self_attn.in_proj_bias")
        y = self.add("Reshape", y, self.whole(0, 0, 3, _HEADS, channels // _HEADS))
        y = self.add("Transpose", y, perm=[2, 0, 3, 1, 4])
        query, key, value = (self.add("Gather", y, self.number(part), axis=0) for part in range(3))
        query = self.add("Mul", query, self.floats((channels // _HEADS) ** -0.5))
        scores = self.add("MatMul", query, self.add("Transpose", key, perm=[0, 1, 3, 2]))
        y = self.add("MatMul", self.add("Softmax", self.add("Add", scores, unseen), axis=-1), value)
        y = self.add("Reshape", self.add("Transpose", y, perm=[0, 2, 1, 3]), self.whole(0, 0, channels))
        x = self.add("Add", x, self.linear(y, encoder.attention_out, f"{name}.self_attn.out_proj.bias"))
        y = self.gelu(self.linear(self.norm(x, f"{name}.norm2"), encoder.widen, f"{name}.linear1.bias"))
        return self.add("Add", x, self.linear(y, encoder.narrow, f"{name}.linear2.bias"))

    def encoded(self, encoder: _Encoder, mask: str, unseen: str) -> str:
        x = self.add("Gather", self.weight(f"{encoder.prefix}.emb.weight"), "ids")
        for number in range(2):
            products = _products(f"/convs.{number}", encoder.block_suffix)
            x = self.block(x, mask, f"{encoder.prefix}.convs.{number}", products, width=5)
        for _ in range(encoder.passes):
            x = self.attention(x, unseen, encoder)
        return self.norm(x, f"{encoder.prefix}.norm")

    def model(
        self, inputs: Iterable[tuple[str, int, list[str]]], outputs: Iterable[tuple[str, int, list[Any]]]
    ) -> bytes:
        infos = [[helper.make_tensor_value_info(*tensor) for tensor in side] for side in (inputs, outputs)]
        graph = helper.make_graph(self.nodes, "hibari", infos[0], infos[1], list(self.weights.values()))
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid("com.microsoft", 1)]
        serialized: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION).SerializeToString()
        return serialized


def batched(packaged: bytes) -> bytes:
    """Return the graph that takes a batch, serialized.

    Inputs: `ids` int64 (batch, time), what lies behind a sentence's end being of no account; `lengths` int64 (batch,);
    `speed` and `pitch` float32 (batch, time), times the voice's own.
    Outputs: `spectra` float32 (1, frame, `SPECTRA` * `BINS`), sentence behind sentence with `GAP_FRAMES` of no account
    after each; `f0` float32 (batch, frame) in Hz; `durations` int64 (batch, time) in units of two frames, 0 behind the end.

    Raises:
        KeyError: a weight is missing: the file holds another network.
        ValueError: a weight has another shape.
    """
    g = _Graph(onnx.load_from_string(packaged))
    floats: dict[str, Any] = {"to": TensorProto.FLOAT}
    integers: dict[str, Any] = {"to": TensorProto.INT64}
    longest = g.add("Gather", g.add("Shape", "ids"), g.number(1), axis=0)
    places = g.unsqueezed(g.add("Range", g.number(0), longest, g.number(1)), 0)
    known = g.add("Less", places, g.unsqueezed("lengths", 1))
    mask = g.unsqueezed(g.add("Cast", known, **floats), 1)
    unseen = g.unsqueezed(g.add("Where", known, g.floats(0.0), g.floats(-1e9)), 1, 2)
    spoken, timed = (g.encoded(encoder, mask, unseen) for encoder in (_SPOKEN, _TIMED))

    y = g.gelu(g.conv(g.add("Mul", g.turned(timed), mask), "pn.dur.0", width=3))
    y = g.add("Exp", g.add("Squeeze", g.conv(y, "pn.dur.2"), g.whole(1)))
    y = g.add("Round", g.add("Div", g.add("Sub", y, g.floats(1.0)), "speed"))
    y = g.add("Cast", g.add("Max", y, g.floats(1.0)), **integers)
    g.add("Mul", y, g.add("Cast", known, **integers), name="durations")

    # Unit by unit, which phoneme sounds: as many as have ended by then.
    ends = g.add("CumSum", "durations", g.number(1))
    totals = g.add("ReduceSum", "durations", g.whole(1))
    enough = g.add("Add", g.add("ReduceMax", totals, keepdims=0), g.number(GAP_FRAMES // 2))
    units = g.add("Range", g.number(0), g.add("Max", enough, g.number(_FEWEST_UNITS)), g.number(1))
    ended = g.add("GreaterOrEqual", g.unsqueezed(units, 0, 2), g.unsqueezed(ends, 1))
    sounding = g.add("ReduceSum", g.add("Cast", ended, **integers), g.whole(2), keepdims=0)
    sounding = g.unsqueezed(g.add("Min", sounding, g.add("Sub", longest, g.number(1))), 2)
    mask = g.unsqueezed(g.add("Cast", g.add("Less", g.unsqueezed(units, 0), totals), **floats), 1)

    x = g.add("GatherND", timed, sounding, batch_dims=1)
    x = g.turned(g.conv(g.turned(x), "pn.pro_in"))
    for number, dilation in enumerate(_PROSODY_DILATIONS):
        x = g.block(x, mask, f"pn.pro.{number}", _products(f"/pro.{number}"), width=7, dilation=dilation)
    # Two frames a unit lie in the channels.
    y = g.add("Reshape", g.conv(g.turned(x), "pn.pro_out"), g.whole(0, 2, 2, -1))
    y = g.add("Reshape", g.add("Transpose", y, perm=[0, 1, 3, 2]), g.whole(0, 2, -1))
    own_f0 = g.add("Split", y, axis=1, outputs=2)
    loudness = f"{own_f0}.1"
    pitch = g.doubled(g.turned(g.add("GatherND", g.unsqueezed("pitch", 2), sounding, batch_dims=1)))
    f0 = g.add("Mul", g.add("Mul", own_f0, g.floats(_F0_SCALE_HZ)), pitch)
    g.add("Squeeze", f0, g.whole(1), name="f0")
    log_f0 = g.add("Log", g.add("Add", g.add("Relu", f0), g.floats(1.0)))

    frames = g.doubled(g.turned(g.add("GatherND", spoken, sounding, batch_dims=1)))
    x = g.add("Concat", frames, g.add("Div", log_f0, g.floats(_F0_LOG_SCALE)), loudness, axis=1)
    mask = g.doubled(mask)
    x = g.add("Mul", x, mask)
    # The decoder is most of the work and sees three frames to either side: here sentences lie one behind the other
    # with zeros between, so that padding costs nothing.
    kept = g.add("Less", g.unsqueezed(units, 0), g.add("Add", totals, g.number(GAP_FRAMES // 2)))
    kept = g.add("Squeeze", g.doubled(g.unsqueezed(g.add("Cast", kept, **floats), 1)), g.whole(1))
    places = g.add("Transpose", g.add("NonZero", kept), perm=[1, 0])
    x, mask = (g.turned(g.unsqueezed(g.add("GatherND", g.turned(y), places), 0)) for y in (x, mask))
    x = g.turned(g.conv(x, "m.dec_in", width=7))
    for number in range(_DECODER_BLOCKS):
        x = g.block(x, mask, f"m.dec.{number}", _products(f"/dec.{number}"), width=7)
    g.linear(g.norm(x, "m.dec_norm"), "/head/Transpose_output_0", "m.head.bias", name="spectra")

    text, frame = ["batch", "time"], ["batch", "frame"]
    return g.model(
        [
            ("ids", TensorProto.INT64, text),
            ("lengths", TensorProto.INT64, ["batch"]),
            ("speed", TensorProto.FLOAT, text),
            ("pitch", TensorProto.FLOAT, text),
        ],
        [
            ("spectra", TensorProto.FLOAT, [1, "packed", SPECTRA * BINS]),
            ("f0", TensorProto.FLOAT, frame),
            ("durations", TensorProto.INT64, text),
        ],
    )
