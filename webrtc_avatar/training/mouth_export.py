"""Writes a `KernelMouth` as ONNX, node by node: a small graph whose initializers carry the names of the state."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from webrtc_avatar.nets.kernel_mouth import STATE, KernelMouth

OPSET = 17
IR_VERSION = 8


def write_onnx(mouth: KernelMouth, path: Path) -> None:
    """Write the network: "weights" float32 (batch, weights) -> "crop" uint8 (batch, height * 3 / 2, width) I420.

    The basis stays in 8 bits in the file; a runtime folds the cast once, when it loads the file.
    """
    state = {name: getattr(mouth, name).numpy() for name in STATE}
    rows, columns = state["mean"].shape
    constants = {
        "known_axis": np.array([1], np.int64),
        "sum_axis": np.array([2], np.int64),
        "crop_shape": np.array([-1, rows, columns], np.int64),
        "one": np.array(1, np.float32),
        "black": np.array(0, np.float32),
        "white": np.array(255, np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["weights", "metric"], ["features"]),
        helper.make_node("Unsqueeze", ["features", "known_axis"], ["rows"]),
        helper.make_node("Sub", ["rows", "known"], ["difference"]),
        helper.make_node("Mul", ["difference", "difference"], ["squared"]),
        helper.make_node("ReduceSum", ["squared", "sum_axis"], ["distance"], keepdims=0),
        helper.make_node("Add", ["distance", "one"], ["dissimilarity"]),
        helper.make_node("Reciprocal", ["dissimilarity"], ["similarity"]),
        helper.make_node("MatMul", ["similarity", "coefficients"], ["strengths"]),
        helper.make_node("Cast", ["basis"], ["basis_float"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["strengths", "basis_float"], ["flat"]),
        helper.make_node("Reshape", ["flat", "crop_shape"], ["added"]),
        helper.make_node("Add", ["added", "mean"], ["levels"]),
        helper.make_node("Clip", ["levels", "black", "white"], ["limited"]),
        helper.make_node("Round", ["limited"], ["rounded"]),
        helper.make_node("Cast", ["rounded"], ["crop"], to=TensorProto.UINT8),
    ]
    graph = helper.make_graph(
        nodes,
        "kernel_mouth",
        [helper.make_tensor_value_info("weights", TensorProto.FLOAT, ["batch", state["metric"].shape[0]])],
        [helper.make_tensor_value_info("crop", TensorProto.UINT8, ["batch", rows, columns])],
        [numpy_helper.from_array(array, name) for name, array in {**state, **constants}.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="webrtc_avatar"
    )
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString(deterministic=True))
