"""Writes the ear as an ONNX graph whose initializers are named as in its state dict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, checker, helper, numpy_helper

from webrtc_avatar.nets import speech_tcn
from webrtc_avatar.nets.speech_tcn import SpeechNet

OPSET = 17
_IR_VERSION = 8


class _Graph:
    """Nodes in order; each method returns the name of what it adds."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []

    def add(self, kind: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        output = name or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def constant(self, value: npt.NDArray[Any]) -> str:
        return self.add("Constant", value=numpy_helper.from_array(value))

    def number(self, value: float) -> str:
        return self.constant(np.array(value, np.float32))

    def cut(self, data: str, axis: int, first: int, last: int) -> str:
        bounds = [self.constant(np.array([value], np.int64)) for value in (first, last, axis)]
        return self.add("Slice", data, *bounds)

    def total(self, data: str) -> str:
        return self.add("ReduceSum", data, self.constant(np.array([1], np.int64)), keepdims=1)


def export_ear(net: SpeechNet, path: Path) -> None:
    """Write `net` to `path`: input "mel" float32 (batch, 33, 80), outputs "weights" (batch, 12), "visemes" (batch, 16)."""
    graph = _Graph()
    hidden = graph.add("Transpose", graph.add("Div", graph.add("Sub", "mel", "mean"), "deviation"), perm=[0, 2, 1])
    hidden = graph.add("Relu", graph.add("Conv", hidden, "entry.weight", "entry.bias"))
    rows = speech_tcn.WINDOW_ROWS - net.entry.kernel_size[0] + 1
    for index, (dilation, left, right) in enumerate(speech_tcn.LAYERS):
        layer = graph.add("Conv", hidden, f"layers.{index}.weight", f"layers.{index}.bias", dilations=[dilation])
        hidden = graph.add("Add", graph.cut(hidden, 2, left, rows - right), graph.add("Relu", layer))
        rows -= left + right
    probabilities = graph.add("Softmax", graph.add("Conv", hidden, "exit.weight", "exit.bias"), axis=1)
    visemes = _pool(graph, probabilities)
    weights = graph.add("MatMul", visemes, "vectors")
    jaw = graph.add("Mul", graph.cut(weights, 1, speech_tcn.JAW, speech_tcn.JAW + 1), _jaw_scale(graph))
    graph.add("Concat", jaw, graph.cut(weights, 1, speech_tcn.JAW + 1, speech_tcn.WEIGHTS), name="weights", axis=1)
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "ear",
            [_tensor("mel", speech_tcn.WINDOW_ROWS, speech_tcn.MEL_BANDS)],
            [_tensor("weights", speech_tcn.WEIGHTS), _tensor("visemes", speech_tcn.VISEMES)],
            [numpy_helper.from_array(value.detach().numpy(), name) for name, value in net.state_dict().items()],
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=_IR_VERSION,
        producer_name="webrtc_avatar.training.ear",
    )
    checker.check_model(model, full_check=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())


def _tensor(name: str, *shape: int) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape])


def _pool(graph: _Graph, probabilities: str) -> str:
    """Add `speech_tcn.pool`."""
    mean = graph.add("ReduceMean", probabilities, axes=[2], keepdims=0)
    first, last = speech_tcn.PP, speech_tcn.FF + 1
    peak = graph.add("ReduceMax", graph.cut(probabilities, 1, first, last), axes=[2], keepdims=0)
    closures = graph.add(
        "Add",
        graph.add("Mul", graph.cut(mean, 1, first, last), graph.number(1.0 - speech_tcn.PEAK_SHARE)),
        graph.add("Mul", peak, graph.number(speech_tcn.PEAK_SHARE)),
    )
    closures = graph.add("Div", closures, graph.add("Max", graph.total(closures), graph.number(1.0)))
    before, after = graph.cut(mean, 1, 0, first), graph.cut(mean, 1, last, speech_tcn.VISEMES)
    known = graph.add("Add", graph.total(before), graph.total(after))
    left = graph.add("Sub", graph.number(1.0), graph.total(closures))
    scale = graph.add("Div", left, graph.add("Add", known, graph.number(1e-6)))
    parts = (graph.add("Mul", before, scale), closures, graph.add("Mul", after, scale))
    return graph.add("Concat", *parts, name="visemes", axis=1)


def _jaw_scale(graph: _Graph) -> str:
    """Add `speech_tcn.jaw_scale`."""
    heard = graph.cut(graph.cut("mel", 1, *speech_tcn.LOUDNESS_ROWS), 2, *speech_tcn.LOUDNESS_BANDS)
    level = graph.add("ReduceMean", graph.add("ReduceMean", heard, axes=[2], keepdims=0), axes=[1], keepdims=1)
    above = graph.add("Sub", level, graph.number(speech_tcn.LOUDNESS_MIDDLE))
    scale = graph.add("Add", graph.add("Mul", above, graph.number(speech_tcn.LOUDNESS_SLOPE)), graph.number(1.0))
    return graph.add("Clip", scale, *(graph.number(value) for value in speech_tcn.JAW_RANGE))
