"""Reading a package's files without trusting them: no way out of the folder, no size believed before it is checked."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from webrtc_avatar.errors import InvalidAvatar

MAX_IMAGE_BYTES = 32 * 1024 * 1024
MAX_IMAGE_PX = 4096
MAX_NETWORK_BYTES = 512 * 1024 * 1024
MAX_ARRAYS_BYTES = 64 * 1024 * 1024
MAX_ARRAYS = 64

Image = npt.NDArray[np.uint8]


def inner_path(folder: Path, name: str) -> Path:
    """Return the path of a regular file inside the package.

    Raises:
        InvalidAvatar: `name` is absolute, goes up, leads out through a link, or is no regular file.
    """
    parts = PurePosixPath(name).parts
    if (
        not parts
        or name.startswith("/")
        or ".." in parts
        or PureWindowsPath(name).drive
        or "\\" in name
        or "\0" in name
    ):
        raise InvalidAvatar(
            f"{folder.name}: file name {name!r} is not a relative path within the package; "
            "use plain names such as eyes/00.png"
        )
    try:
        path = (folder / name).resolve(strict=True)
        mode = path.stat().st_mode
    except (OSError, RuntimeError) as error:
        raise InvalidAvatar(f"{folder.name}/{name} cannot be read ({type(error).__name__}); add the file") from error
    if not path.is_relative_to(folder.resolve()):
        raise InvalidAvatar(f"{folder.name}/{name} is a link that leads out of the package; put the file itself there")
    if not stat.S_ISREG(mode):
        raise InvalidAvatar(f"{folder.name}/{name} is not a regular file; put the file itself there")
    return path


def checked_file(folder: Path, name: str, *, max_bytes: int) -> Path:
    """Return the path of a file that is neither empty nor larger than `max_bytes`.

    Raises:
        InvalidAvatar: the file is missing, outside, empty or too large.
    """
    path = inner_path(folder, name)
    size = path.stat().st_size
    if not 0 < size <= max_bytes:
        raise InvalidAvatar(f"{folder.name}/{name} has {size} bytes, expected 1 to {max_bytes}; replace the file")
    return path


def read_limited(folder: Path, name: str, *, max_bytes: int) -> bytes:
    """Return a file's content, at most `max_bytes` of it.

    Raises:
        InvalidAvatar: as `checked_file`.
    """
    path = checked_file(folder, name, max_bytes=max_bytes)
    try:
        with path.open("rb") as file:
            return file.read(max_bytes)
    except OSError as error:
        raise InvalidAvatar(f"{folder.name}/{name} cannot be read: {error.strerror}; check its permissions") from error


def image_size(data: bytes) -> tuple[int, int] | None:
    """Return (width, height) in pixels from a PNG, WebP or JPEG header, None for anything else.

    PNG: ISO/IEC 15948, 11.2.2. WebP: RFC 9649, 2.5 to 2.7. JPEG: ITU-T T.81, B.2.2.
    """
    if data[:3] == b"\xff\xd8\xff":
        return _jpeg_size(data)
    if data[:8] == b"\x89PNG\r\n\x1a\n" and data[12:16] == b"IHDR" and len(data) >= 24:
        width, height = struct.unpack(">II", data[16:24])
        return width, height
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP" and len(data) >= 30:
        kind = data[12:16]
        if kind == b"VP8X":
            return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
        if kind == b"VP8L" and data[20] == 0x2F:
            bits = int.from_bytes(data[21:25], "little")
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
            width, height = struct.unpack("<HH", data[26:30])
            return width & 0x3FFF, height & 0x3FFF
    return None


def is_whole(data: bytes) -> bool:
    """Say whether an image ends where its format says: of PNG every chunk (ISO/IEC 15948, 5.3) lies within the data.

    A decoder that believes a chunk's length takes memory for it, up to 4 GB for a file of some bytes.
    """
    if data[:2] == b"\xff\xd8":
        return b"\xff\xd9" in data[-1024:]
    if data[:4] != b"\x89PNG":
        return True
    place = 8
    while place + 12 <= len(data):
        kind = data[place + 4 : place + 8]
        place += 12 + int.from_bytes(data[place : place + 4], "big")
        if kind == b"IEND":
            return place <= len(data)
    return False


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    place = 2
    while place + 9 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:  # fill byte
            place += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", data[place + 5 : place + 9])
            return width, height
        place += 2 + struct.unpack(">H", data[place + 2 : place + 4])[0]
    return None


def read_image(folder: Path, name: str, *, size: tuple[int, int], grey: bool = False) -> Image:
    """Return an image as uint8 (height, width, 3) BGR, or (height, width) where `grey`; it cannot be written to.

    Args:
        folder: the package.
        name: a PNG or WebP file in it.
        size: the (width, height) in pixels that it must have.
        grey: read brightness only.

    Raises:
        InvalidAvatar: no such file, another format, another size, or damaged.
    """
    data = read_limited(folder, name, max_bytes=MAX_IMAGE_BYTES)
    where = f"{folder.name}/{name}"
    found = None if data[:2] == b"\xff\xd8" else image_size(data)
    if found is None:
        raise InvalidAvatar(f"{where} is neither PNG nor WebP; convert it to PNG")
    if not (0 < found[0] <= MAX_IMAGE_PX and 0 < found[1] <= MAX_IMAGE_PX):
        raise InvalidAvatar(f"{where} is {found[0]}x{found[1]} pixels, the limit is {MAX_IMAGE_PX}; scale it down")
    if found != size:
        raise InvalidAvatar(
            f"{where} is {found[0]}x{found[1]} pixels, avatar.toml needs {size[0]}x{size[1]}; scale it or correct the box"
        )
    if not is_whole(data):
        raise InvalidAvatar(f"{where} is damaged: it is cut short, or one of its chunks is; save it again")
    flag = cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flag | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise InvalidAvatar(f"{where} is damaged ({error.err}); save it again") from error
    if image is None or image.dtype != np.uint8 or image.shape[:2] != (size[1], size[0]):
        raise InvalidAvatar(f"{where} is damaged: it does not decode to {size[0]}x{size[1]} pixels; save it again")
    pixels: Image = np.asarray(image, np.uint8)
    pixels.setflags(write=False)
    return pixels


def read_arrays(folder: Path, name: str) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of an .npz file by name; they hold plain numbers and cannot be written to.

    Sizes are checked from the ZIP directory and from each array's header before anything is unpacked.

    Raises:
        InvalidAvatar: not an .npz, too many or too large arrays, object arrays, damaged.
    """
    data = read_limited(folder, name, max_bytes=MAX_ARRAYS_BYTES)
    where = f"{folder.name}/{name}"
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            total = sum(member.file_size for member in members)
            if len(members) > MAX_ARRAYS or total > MAX_ARRAYS_BYTES:
                raise InvalidAvatar(
                    f"{where} unpacks to {len(members)} arrays of {total} bytes together, "
                    f"at most {MAX_ARRAYS} and {MAX_ARRAYS_BYTES} are read; make the fields coarser"
                )
            return {member.filename.removesuffix(".npy"): _array(archive, member) for member in members}
    except InvalidAvatar:
        raise
    except Exception as error:  # the parsers of ZIP and of array headers raise a class a fault, TokenError among them
        raise InvalidAvatar(f"{where} is not a readable .npz of plain arrays: {error}; write it again") from error


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> npt.NDArray[Any]:
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        if version != (1, 0):
            raise ValueError(f"array {member.filename!r} has header version {version}, expected (1, 0)")
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        expected = dtype.itemsize * int(np.prod(shape, dtype=object))
        if dtype.hasobject or expected > member.file_size:
            raise ValueError(
                f"array {member.filename!r} claims {dtype} {shape}, which its {member.file_size} bytes lack"
            )
    with archive.open(member) as file:
        array = np.lib.format.read_array(file, allow_pickle=False)
    array.setflags(write=False)
    return array
