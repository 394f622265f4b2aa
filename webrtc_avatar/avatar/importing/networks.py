"""The networks of what is imported: checkpoints are converted, ONNX files looked into, tried once and copied."""

from __future__ import annotations

import importlib.util
import logging
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from webrtc_avatar.avatar.files import MAX_NETWORK_BYTES
from webrtc_avatar.avatar.importing.draft import Draft
from webrtc_avatar.errors import AvatarServerError, CannotImport, InvalidCheckpoint

log = logging.getLogger(__name__)

AUDIO_SHAPE = (32, 16, 16)
MEL_SHAPE = (1, 80, 16)
FEATURES = 512

_SYNCTALK_FILES = {"weights": "weights.safetensors", "image": "image.onnx", "face": "face.onnx", "audio": "audio.onnx"}


@dataclass(frozen=True, slots=True)
class NetworkFiles:
    """What `[model]` says of a network whose files are in the draft.

    Attributes:
        kind: `synctalk2d` or `onnx_generator`.
        size: 160 or 328.
        files: names by key.
    """

    kind: str
    size: int
    files: dict[str, str]


def add_networks(draft: Draft, generator: Path, encoder: Path) -> NetworkFiles:
    """Bring a generator and its audio encoder into the draft; either both are checkpoints or both ONNX files.

    Raises:
        CannotImport: a file is missing, damaged, too large, or another network.
    """
    for path in (generator, encoder):
        if not path.is_file() or not 0 < path.stat().st_size <= MAX_NETWORK_BYTES:
            raise CannotImport(f"{path} is no file of 1 to {MAX_NETWORK_BYTES} bytes; check the path")
    kinds = {path.suffix.lower() == ".onnx" for path in (generator, encoder)}
    if len(kinds) == 2:
        raise CannotImport(
            f"{generator.name} and {encoder.name} are of different kinds; give both as checkpoints or both as ONNX files, "
            "with --checkpoint and --audio-encoder"
        )
    return _add_onnx(draft, generator, encoder) if kinds == {True} else _add_checkpoints(draft, generator, encoder)


def _add_checkpoints(draft: Draft, generator: Path, encoder: Path) -> NetworkFiles:
    if any(importlib.util.find_spec(name) is None for name in ("torch", "onnx")):
        raise CannotImport(
            "checkpoints are read with torch, which is not installed: pip install 'webrtc-avatar[torch]'"
        )
    from webrtc_avatar.nets.synctalk2d_checkpoint import convert, load_checkpoint

    tensors = {}
    for path in (generator, encoder):
        try:
            tensors[path] = load_checkpoint(path)
        except AvatarServerError as error:
            raise CannotImport(error.message) from error
        except Exception as error:
            raise CannotImport(
                f"{path.name} is not a checkpoint that can be read without running it: {_first_line(error)}; "
                "expected a state_dict that torch.save wrote"
            ) from error
    try:
        convert(tensors[generator], tensors[encoder], draft.folder)
    except AvatarServerError as error:
        raise CannotImport(error.message) from error
    except Exception as error:
        raise CannotImport(
            f"{generator.name} and {encoder.name} do not make a SyncTalk_2D network: {_first_line(error)}; check that the "
            "first is the generator of mode 'ave' and the second its audio encoder"
        ) from error
    return NetworkFiles("synctalk2d", _size(tensors[generator]), dict(_SYNCTALK_FILES))


def _size(generator: Mapping[str, Any]) -> int:
    return 328 if any(key.startswith("down5.") for key in generator) else 160


def _add_onnx(draft: Draft, generator: Path, encoder: Path) -> NetworkFiles:
    for path in (generator, encoder):
        refuse_external_data(path)
    inner_px = check_generator(generator)
    check_encoder(encoder)
    if (found := _found_out(draft, generator, encoder)) is not None:
        return found
    files = {"generator": "generator.onnx", "audio": "audio.onnx"}
    for path, name in ((generator, files["generator"]), (encoder, files["audio"])):
        shutil.copyfile(path, draft.folder / name)
    return NetworkFiles("onnx_generator", 328 if inner_px == 320 else 160, files)


def _found_out(draft: Draft, generator: Path, encoder: Path) -> NetworkFiles | None:
    """Bring ONNX files in as checkpoints are, where their weights are found: what is known runs in less time, and on torch."""
    from webrtc_avatar.nets.synctalk2d_checkpoint import convert
    from webrtc_avatar.nets.synctalk2d_onnx import load_onnx

    try:
        tensors = load_onnx(generator, encoder)
    except InvalidCheckpoint as error:
        log.info("%s is run as it came: %s", generator.name, error.message)
        return None
    convert(*tensors, draft.folder)
    return NetworkFiles("synctalk2d", _size(tensors[0]), dict(_SYNCTALK_FILES))


def is_generator(path: Path) -> bool:
    """Say whether an ONNX file takes a picture of six channels.

    Raises:
        CannotImport: it cannot be opened.
    """
    refuse_external_data(path)
    return any(len(value.shape) == 4 and value.shape[1] == 6 for value in _open(path).get_inputs())


def check_generator(path: Path) -> int:
    """Try a generator with one frame and return the side of its picture, 160 or 320.

    Raises:
        CannotImport: it takes or gives something else.
    """
    session = _open(path)
    inputs = session.get_inputs()
    images = [value for value in inputs if len(value.shape) == 4 and value.shape[1] == 6]
    shown = ", ".join(f"{value.name} {value.type} {value.shape}" for value in inputs)
    if len(inputs) != 2 or len(images) != 1 or any(value.type != "tensor(float)" for value in inputs):
        raise CannotImport(
            f"{path.name} takes {shown}; expected two float inputs: a picture (batch, 6, 160 or 320, the same) and sound "
            f"(batch, {', '.join(map(str, AUDIO_SHAPE))}); export it again"
        )
    side = images[0].shape[2]
    side = side if isinstance(side, int) else 320
    if side not in (160, 320):
        raise CannotImport(f"{path.name} takes pictures of {side} pixels, expected 160 or 320; export it again")
    feeds = {
        value.name: np.full((1, 6, side, side), 0.5, np.float32)
        if value is images[0]
        else np.zeros(_shape_for(path, value, AUDIO_SHAPE), np.float32)
        for value in inputs
    }
    output = _try(session, feeds, path)
    if (
        output.shape != (1, 3, side, side)
        or not np.isfinite(output).all()
        or output.min() < -0.01
        or output.max() > 1.01
    ):
        raise CannotImport(
            f"{path.name} gives {output.dtype} {output.shape} from {output.min():.3g} to {output.max():.3g}, expected "
            f"(1, 3, {side}, {side}) from 0 to 1, BGR; export it again"
        )
    return side


def check_encoder(path: Path) -> None:
    """Try an audio encoder with one window of silence.

    Raises:
        CannotImport: it takes or gives something else.
    """
    session = _open(path)
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type != "tensor(float)":
        shown = ", ".join(f"{value.name} {value.type} {value.shape}" for value in inputs)
        raise CannotImport(
            f"{path.name} takes {shown}; expected one float input of (batch, 1, 80, 16); export it again"
        )
    silence = np.full(_shape_for(path, inputs[0], MEL_SHAPE), -4, np.float32)
    output = _try(session, {inputs[0].name: silence}, path)
    if output.size != FEATURES or not np.isfinite(output).all():
        raise CannotImport(f"{path.name} gives {output.shape}, expected {FEATURES} numbers a window; export it again")


def sample_shape(shape: Sequence[int | str | None], expected: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return the shape, batch of one, in which a graph's input takes one sample of a shape; None where it cannot.

    Sides that the graph leaves open are as expected; a graph may group them in another way, as (512, 16) for (32, 16, 16).
    """
    if len(shape) == len(expected) + 1:
        found = tuple(side if isinstance(side, int) else other for side, other in zip(shape[1:], expected, strict=True))
    else:
        found = tuple(side for side in shape[1:] if isinstance(side, int))
    return (1, *found) if len(found) == len(shape) - 1 and math.prod(found) == math.prod(expected) else None


def _shape_for(path: Path, value: Any, expected: tuple[int, ...]) -> tuple[int, ...]:
    shape = sample_shape(value.shape, expected)
    if shape is None:
        raise CannotImport(
            f"{path.name}: input {value.name} takes {value.shape}, expected (batch, {', '.join(map(str, expected))}); "
            "export it again"
        )
    return shape


def refuse_external_data(path: Path) -> None:
    """Raise CannotImport where an ONNX file keeps numbers in other files, which may be any, or is none."""
    if importlib.util.find_spec("onnx") is None:
        raise CannotImport(
            "ONNX files are looked into with onnx, which is not installed: pip install 'webrtc-avatar[torch]'"
        )
    import onnx

    try:
        model = onnx.load_model(path, load_external_data=False)
        outside = [tensor.name for tensor in _tensors(model.graph) if tensor.data_location == onnx.TensorProto.EXTERNAL]
        outside += [
            tensor.name for function in model.functions for tensor in _of_nodes(function.node) if tensor.data_location
        ]
    except Exception as error:  # protobuf raises a class a fault
        raise CannotImport(f"{path.name} is not an ONNX file: {_first_line(error)}; export it again") from error
    if outside:
        raise CannotImport(
            f"{path.name} keeps {len(outside)} tensors in other files, {outside[0][:80]!r} among them; "
            "save it as one file: onnx.save(onnx.load(FILE), NEW)"
        )


def _tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _of_nodes(graph.node)


def _of_nodes(nodes: Any) -> Iterator[Any]:
    for node in nodes:
        for attribute in node.attribute:
            yield attribute.t
            yield from attribute.tensors
            yield from (attribute.sparse_tensor.values, attribute.sparse_tensor.indices)
            for graph in (attribute.g, *attribute.graphs):
                yield from _tensors(graph)


def _open(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(
            path.read_bytes(), options, providers=["CPUExecutionProvider"], enable_fallback=0
        )
    except Exception as error:  # ONNX Runtime raises a class a fault, without a common base
        raise CannotImport(
            f"{path.name} cannot be run by ONNX Runtime: {_first_line(error)}; export it again"
        ) from error


def _try(session: onnxruntime.InferenceSession, feeds: dict[str, Any], path: Path) -> Any:
    try:
        outputs = session.run(None, feeds)
    except Exception as error:  # as above
        raise CannotImport(f"{path.name} does not run for one frame: {_first_line(error)}; export it again") from error
    if len(outputs) != 1:
        raise CannotImport(f"{path.name} gives {len(outputs)} outputs, expected one; export it again")
    return outputs[0]


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
