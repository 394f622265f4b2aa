"""Tensors on disk, in the safetensors format: read through a memory map without trusting the file, written as they come.

A file is 8 bytes of header length, little endian, then JSON that says where each tensor lies, then the plain numbers:
https://huggingface.co/docs/safetensors, "Format". Nothing in it can run.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
import numpy.typing as npt

from webrtc_avatar.avatar.files import checked_file
from webrtc_avatar.errors import InvalidAvatar

Tensor = npt.NDArray[Any]

MAX_HEADER_BYTES = 4 * 1024 * 1024
MAX_TENSORS_BYTES = 64 * 1024**3
"""An hour of footage's faces at 328 pixels takes 29 GB; they are mapped, not read."""
_HEADER_BYTES = 4096

_DTYPES = {
    "BOOL": "?",
    "U8": "<u1",
    "I8": "<i1",
    "I16": "<i2",
    "I32": "<i4",
    "I64": "<i8",
    "F16": "<f2",
    "F32": "<f4",
    "F64": "<f8",
}
_NAMES = {np.dtype(code): name for name, code in _DTYPES.items()}


def read_tensors(folder: Path, name: str, *, max_bytes: int = MAX_TENSORS_BYTES) -> dict[str, Tensor]:
    """Return the tensors of a file of a package by name, as read-only views of the file, which must not change meanwhile.

    Raises:
        InvalidAvatar: the file is missing, outside of the package, too large, no safetensors file, or its header is
            untrue.
    """
    path = checked_file(folder, name, max_bytes=max_bytes)
    where = f"{folder.name}/{name}"
    try:
        with path.open("rb") as file:
            start = 8 + _header_bytes(file.read(8), path.stat().st_size)
            header = json.loads(file.read(start - 8))
        data = (
            np.memmap(path, np.uint8, mode="r", offset=start) if path.stat().st_size > start else np.empty(0, np.uint8)
        )
        return _views(header, data)
    except (ValueError, KeyError, TypeError, RecursionError, OSError, struct.error) as error:
        raise InvalidAvatar(
            f"{where} is not a sound safetensors file: {error}; import the avatar again, or save the file again"
        ) from error


def _header_bytes(prefix: bytes, file_bytes: int) -> int:
    (length,) = struct.unpack("<Q", prefix)
    if not 2 <= length <= min(MAX_HEADER_BYTES, file_bytes - 8):
        raise ValueError(
            f"its header claims {length} bytes of {file_bytes} in the file; expected 2 to {MAX_HEADER_BYTES}"
        )
    return int(length)


def _views(header: Any, data: npt.NDArray[np.uint8]) -> dict[str, Tensor]:
    if not isinstance(header, dict):
        raise ValueError("its header is no JSON object")
    tensors: dict[str, Tensor] = {}
    end = 0
    entries = [(key, value) for key, value in header.items() if key != "__metadata__"]
    for key, entry in sorted(entries, key=lambda item: [int(edge) for edge in item[1]["data_offsets"]]):
        dtype = _DTYPES.get(entry["dtype"])
        if dtype is None:
            raise ValueError(f"tensor {key!r} is of type {entry['dtype']!r}; read are {', '.join(_DTYPES)}")
        shape = tuple(entry["shape"])
        if not all(type(side) is int and 0 <= side < 2**40 for side in shape) or len(shape) > 8:
            raise ValueError(f"tensor {key!r} has the shape {shape}")
        begin, stop = entry["data_offsets"]
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if begin != end or stop - begin != size or stop > data.size:
            raise ValueError(
                f"tensor {key!r} {entry['dtype']} {shape} needs {size} bytes from {end} on, its header says "
                f"{begin} to {stop}, and the file has {data.size}"
            )
        end = stop
        tensors[key] = data[begin:stop].view(dtype).reshape(shape)
        tensors[key].flags.writeable = False
    return tensors


class TensorWriter:
    """Writes a file whose first tensor grows row by row while it is made, for what does not fit into memory.

    Args:
        path: a new file.
        name: of the growing tensor.
        row_shape: of one row.
        dtype: of it.
    """

    def __init__(self, path: Path, name: str, row_shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
        self._file: BinaryIO = path.open("xb")
        self._file.write(b"\0" * _HEADER_BYTES)
        self._name, self._row_shape, self._dtype = name, row_shape, np.dtype(dtype)
        self._others: dict[str, Tensor] = {}
        self.rows = 0

    def append(self, row: Tensor) -> None:
        """Write the next row."""
        if row.shape != self._row_shape or row.dtype != self._dtype:
            raise ValueError(f"a row is {self._dtype} {self._row_shape}; got {row.dtype} {row.shape}")
        self._file.write(np.ascontiguousarray(row).data)
        self.rows += 1

    def add(self, name: str, tensor: Tensor) -> None:
        """Note another tensor, to be written behind the growing one."""
        self._others[name] = np.ascontiguousarray(tensor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._file:
            if kind is None:
                self._finish()

    def _finish(self) -> None:
        shape = (self.rows, *self._row_shape)
        end = math.prod(shape) * self._dtype.itemsize
        header: dict[str, Any] = {self._name: _entry(self._dtype, shape, 0, end)}
        padding = -end % 8 if self._others else 0
        if padding:  # numbers of more than one byte are to lie at even places
            header["padding"] = _entry(np.dtype(np.uint8), (padding,), end, end + padding)
            self._file.write(b"\0" * padding)
            end += padding
        for name, tensor in self._others.items():
            header[name] = _entry(tensor.dtype, tensor.shape, end, end + tensor.nbytes)
            self._file.write(tensor.data)
            end += tensor.nbytes
        text = json.dumps(header).encode()
        if len(text) > _HEADER_BYTES - 8:
            raise ValueError(f"the header takes {len(text)} bytes, {_HEADER_BYTES - 8} are kept for it")
        self._file.seek(0)
        self._file.write(struct.pack("<Q", _HEADER_BYTES - 8) + text.ljust(_HEADER_BYTES - 8))


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a new file with all of `tensors`."""
    header: dict[str, Any] = {}
    end = 0
    for name, tensor in tensors.items():
        header[name] = _entry(tensor.dtype, tensor.shape, end, end + tensor.nbytes)
        end += tensor.nbytes
    text = json.dumps(header).encode()
    text = text.ljust(len(text) + -len(text) % 8)
    with path.open("xb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors.values():
            file.write(np.ascontiguousarray(tensor).data)


def _entry(dtype: np.dtype[Any], shape: tuple[int, ...], begin: int, end: int) -> dict[str, Any]:
    return {"dtype": _NAMES[dtype], "shape": list(shape), "data_offsets": [begin, end]}
