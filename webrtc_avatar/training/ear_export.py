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

    def every_other(self, data: str, *, first: int) -> str:
        bounds = [self.constant(np.array([value], np.int64)) for value in (first, 1 << 30, 2, 2)]
        return self.add("Slice", data, *bounds)


def export_ear(net: SpeechNet, path: Path) -> None:
    """Write `net` to `path`.

    Input "mel" float32 (batch, 64, 80); outputs "weights" (batch, 4, 12) and "visemes" (batch, 4, 16) by look-ahead.
    """
    graph = _Graph()
    hidden = graph.add("Transpose", graph.add("Div", graph.add("Sub", "mel", "mean"), "deviation"), perm=[0, 2, 1])
    hidden = graph.add("Relu", graph.add("Conv", hidden, "entry.weight", "entry.bias", strides=[2]))
    for index in range(len(speech_tcn.DILATIONS)):
        layer = graph.add("Conv", hidden, f"layers.{index}.weight", f"layers.{index}.bias", strides=[2])
        hidden = graph.add("Add", graph.every_other(hidden, first=2), graph.add("Relu", layer))
    hidden = graph.add("Relu", graph.add("Conv", hidden, "head.weight", "head.bias"))
    shape = (0, speech_tcn.LOOKAHEADS, speech_tcn.ROWS_PER_CHUNK, speech_tcn.VISEMES)
    answers = graph.add(
        "Reshape", graph.add("Conv", hidden, "exit.weight", "exit.bias"), graph.constant(np.array(shape, np.int64))
    )
    visemes = graph.add("ReduceMean", graph.add("Softmax", answers, axis=3), name="visemes", axes=[2], keepdims=0)
    weights = graph.add("MatMul", visemes, "vectors")
    jaw = graph.add("Mul", graph.cut(weights, 2, speech_tcn.JAW, speech_tcn.JAW + 1), _jaw_scale(graph))
    graph.add("Concat", jaw, graph.cut(weights, 2, speech_tcn.JAW + 1, speech_tcn.WEIGHTS), name="weights", axis=2)
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "ear",
            [_tensor("mel", speech_tcn.WINDOW_ROWS, speech_tcn.MEL_BANDS)],
            [
                _tensor("weights", speech_tcn.LOOKAHEADS, speech_tcn.WEIGHTS),
                _tensor("visemes", speech_tcn.LOOKAHEADS, speech_tcn.VISEMES),
            ],
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


def _jaw_scale(graph: _Graph) -> str:
    """Add `speech_tcn.jaw_scale`."""
    heard = graph.cut("mel", 2, *speech_tcn.LOUDNESS_BANDS)
    bands = graph.add("ReduceMean", heard, axes=[2], keepdims=0)
    spans = [speech_tcn.loudness_rows(lookahead) for lookahead in range(speech_tcn.LOOKAHEADS)]
    levels = [graph.add("ReduceMean", graph.cut(bands, 1, s.start, s.stop), axes=[1], keepdims=1) for s in spans]
    level = graph.add("Unsqueeze", graph.add("Concat", *levels, axis=1), graph.constant(np.array([2], np.int64)))
    above = graph.add("Sub", level, graph.number(speech_tcn.LOUDNESS_MIDDLE))
    scale = graph.add("Add", graph.add("Mul", above, graph.number(speech_tcn.LOUDNESS_SLOPE)), graph.number(1.0))
    return graph.add("Clip", scale, *(graph.number(value) for value in speech_tcn.JAW_RANGE))
