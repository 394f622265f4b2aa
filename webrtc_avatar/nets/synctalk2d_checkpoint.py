"""Reads SyncTalk_2D checkpoints as they are published, and writes them as an avatar's package keeps them.

Nothing in a checkpoint is run: tensors and plain containers are read, everything else is refused. Layouts: a plain state, or one
under `state_dict` or `model` of a training's checkpoint; keys with `module.` from data-parallel training; both generations
of keys; an audio encoder with or without `audio_encoder.` before its keys, also inside a Wav2Lip checkpoint.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from webrtc_avatar.avatar.tensors import read_tensors, write_tensors
from webrtc_avatar.errors import InvalidAvatar, InvalidCheckpoint
from webrtc_avatar.nets.synctalk2d_shape import Arrays, AudioMode, k1_key

WEIGHTS_FILE = "weights.safetensors"
GRAPH_FILES = ("image.onnx", "face.onnx", "audio.onnx")

GENERATOR_PREFIX = "generator."
ENCODER_PREFIX = "audio_encoder."

_WRAPPERS = ("state_dict", "model", "model_state_dict")
_MAX_BYTES = 2 << 30


def load_checkpoint(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Return a checkpoint's tensors by name; needs torch but for `.safetensors` files.

    Args:
        path: a `.pth` file, or a folder of them, of which the one with the largest whole number as its name is taken, as the
            original takes it.

    Returns:
        float32 and int64 arrays; keys without `module.` and in SyncTalk_2D's layout, an audio encoder's own ones without prefix.

    Raises:
        InvalidCheckpoint: it is missing, no checkpoint, holds more than tensors, or its tensors are damaged.
    """
    path = newest_checkpoint(path) if path.is_dir() else path
    _check_file(path)
    if path.suffix == ".safetensors":
        try:
            tensors: Mapping[str, Any] = read_tensors(path.parent, path.name, max_bytes=_MAX_BYTES)
        except InvalidAvatar as error:
            raise InvalidCheckpoint(error.message) from error
    else:
        tensors = _load_torch(path)
    arrays = {k1_key(key.replace("module.", "")): _array(path, key, value) for key, value in tensors.items()}
    if not arrays:
        raise InvalidCheckpoint(f"{path.name} holds no tensors; expected the state of a network")
    if all(key.startswith(ENCODER_PREFIX) for key in arrays):
        arrays = {key.removeprefix(ENCODER_PREFIX): value for key, value in arrays.items()}
    return arrays


def newest_checkpoint(folder: Path) -> Path:
    """Return the `.pth` file of a folder whose name is the largest whole number.

    Raises:
        InvalidCheckpoint: there is none.
    """
    numbered = [path for path in folder.glob("*.pth") if path.stem.isdecimal() and path.is_file()]
    if not numbered:
        raise InvalidCheckpoint(
            f"{folder.name} holds no checkpoint such as 99.pth; name the file, or the folder that the training wrote to"
        )
    return max(numbered, key=lambda path: int(path.stem))


def convert(generator: Arrays, encoder: Arrays, folder: Path, mode: AudioMode = "ave") -> None:
    """Write `weights.safetensors`, `image.onnx`, `face.onnx` and `audio.onnx` into an existing folder; needs onnx.

    Args:
        generator: state of the face network, as `load_checkpoint` gives it.
        encoder: state of the audio encoder, or of a whole Wav2Lip network.
        folder: where to.
        mode: where the generator's features come from. `ave` and `hubert` cannot be told apart by a checkpoint.

    Raises:
        InvalidCheckpoint: they are not those networks.
    """
    from webrtc_avatar.nets.synctalk2d_graph import audio_graph, face_graph, image_graph

    if any(key.startswith(ENCODER_PREFIX) for key in encoder):
        encoder = {
            key.removeprefix(ENCODER_PREFIX): value for key, value in encoder.items() if key.startswith(ENCODER_PREFIX)
        }
    try:
        graphs = image_graph(generator, mode), face_graph(generator, mode)
    except Exception as error:  # onnx has its own classes for shapes that do not fit each other
        raise _unfit("the generator's checkpoint is no SyncTalk_2D network (160 or 328)", error) from error
    try:
        heard = audio_graph(encoder)
    except Exception as error:
        raise _unfit("the audio encoder's checkpoint is not SyncTalk_2D's or Wav2Lip's", error) from error
    for name, graph in zip(GRAPH_FILES, (*graphs, heard), strict=True):
        (folder / name).write_bytes(graph)
    kept = {GENERATOR_PREFIX + key: np.asarray(value) for key, value in generator.items()}
    kept |= {ENCODER_PREFIX + key: np.asarray(value) for key, value in encoder.items()}
    write_tensors(folder / WEIGHTS_FILE, kept)


def load_weights(path: Path) -> tuple[dict[str, npt.NDArray[Any]], dict[str, npt.NDArray[Any]]]:
    """Return the states of generator and audio encoder from the `weights.safetensors` that `convert` wrote.

    Raises:
        InvalidCheckpoint: it is missing or no such file.
    """
    arrays = load_checkpoint(path)
    states = [
        {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}
        for prefix in (GENERATOR_PREFIX, ENCODER_PREFIX)
    ]
    return states[0], states[1]


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise InvalidCheckpoint(f"there is no file {path.name}; name a .pth file or the folder that holds it")
    if path.stat().st_size > _MAX_BYTES:
        raise InvalidCheckpoint(f"{path.name} has {path.stat().st_size} bytes; at most {_MAX_BYTES} are read")
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    if any(Path(entry.filename).name == "constants.pkl" or "/code/" in entry.filename for entry in entries):
        raise InvalidCheckpoint(
            f"{path.name} is a TorchScript archive, which carries code and is not opened; "
            "save its state instead: torch.save(torch.jit.load(path).state_dict(), 'weights.pth')"
        )
    if sum(entry.file_size for entry in entries) > _MAX_BYTES:
        raise InvalidCheckpoint(
            f"{path.name} unpacks to more than {_MAX_BYTES} bytes; it is no checkpoint of these networks"
        )


def _load_torch(path: Path) -> Mapping[str, Any]:
    import torch

    try:
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and torch each have their own
        raise InvalidCheckpoint(
            f"{path.name} is not read: it is damaged, or holds more than tensors, which could run code; "
            f"save the network's state_dict alone ({str(error).splitlines()[0][:200]})"
        ) from error
    for wrapper in _WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
    if not isinstance(loaded, Mapping) or not all(isinstance(key, str) for key in loaded):
        raise InvalidCheckpoint(f"{path.name} holds a {type(loaded).__name__}; expected a network's state_dict")
    for key, value in loaded.items():
        if not isinstance(value, torch.Tensor):
            raise InvalidCheckpoint(
                f"{path.name}: {key!r} is a {type(value).__name__}, not a tensor; save the network's state_dict"
            )
        # A tensor may say that it is larger than what is stored, by repeating it.
        if value.layout != torch.strided or value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise InvalidCheckpoint(f"{path.name}: tensor {key!r} is larger than what is stored of it")
    return {key: value.detach() for key, value in loaded.items()}


def _array(path: Path, key: str, value: Any) -> npt.NDArray[Any]:
    if not isinstance(value, np.ndarray):
        value = (value.float() if value.is_floating_point() else value).numpy()
    if value.dtype.kind == "f":
        value = value.astype(np.float32)
        if not np.isfinite(value).all():
            raise InvalidCheckpoint(
                f"{path.name}: tensor {key!r} has infinite or missing values; take another checkpoint"
            )
    elif value.dtype.kind not in "iu":
        raise InvalidCheckpoint(f"{path.name}: tensor {key!r} is {value.dtype}; expected numbers")
    return np.asarray(value)


def _unfit(what: str, error: Exception) -> InvalidCheckpoint:
    return InvalidCheckpoint(f"{what}: {str(error).strip().splitlines()[0][:200]}; check that the right file was named")
