"""Messages of `/ws/lipsync`: JSON, with a payload behind it where there is one. docs/lipsync.md has the layout."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from enum import IntEnum
from typing import Any

from webrtc_avatar.audio.chunk import CHUNK_BYTES, CHUNK_SAMPLES
from webrtc_avatar.errors import InvalidAudio, InvalidRequest
from webrtc_avatar.rpc.images import Composition, ImageFormat, Output
from webrtc_avatar.rpc.sound import Encoding

MAX_ID = 2**53 - 1
"""The largest number that JavaScript counts exactly."""

_MAX_JSON_BYTES = 1024 * 1024
_INT32 = range(-(2**31), 2**31)

Fields = dict[str, Any]


def pack(fields: Mapping[str, Any], payload: bytes) -> bytes:
    """Return a binary message."""
    text = json.dumps(fields, separators=(",", ":")).encode()
    return b"".join((struct.pack("<I", len(text)), text, bytes(-len(text) % 4), payload))


def unpack(message: bytes | str) -> tuple[Fields, bytes]:
    """Return the fields and the payload of a message of either kind.

    Raises:
        InvalidRequest: it does not have the layout.
    """
    if isinstance(message, str):
        return _read_json(message), b""
    size = struct.unpack_from("<I", message)[0] if len(message) >= 4 else 0
    if not 0 < size <= min(len(message) - 4, _MAX_JSON_BYTES):
        raise InvalidRequest(
            f"a binary message begins with 4 bytes, little-endian, that say how long its JSON is; got {size} in a message of "
            f"{len(message)} bytes"
        )
    return _read_json(message[4 : 4 + size]), message[4 + size + -size % 4 :]


def call_id(fields: Fields) -> int:
    """Return the number of the call.

    Raises:
        InvalidRequest: there is none.
    """
    return _integer(fields, "id", range(MAX_ID + 1), required=True)


def text(fields: Fields, name: str) -> str:
    """Return a text, empty where it is left out.

    Raises:
        InvalidRequest: it is none.
    """
    value = fields.get(name, "")
    if not isinstance(value, str):
        raise InvalidRequest(f'"{name}" is a text; got {value!r:.80}')
    return value


def flag(fields: Fields, name: str) -> bool:
    """Return true or false, the latter where it is left out.

    Raises:
        InvalidRequest: it is neither.
    """
    value = fields.get(name, False)
    if not isinstance(value, bool):
        raise InvalidRequest(f'"{name}" is true or false; got {value!r:.80}')
    return value


def number(fields: Fields, name: str) -> int:
    """Return a number of 32 bits, 0 where it is left out.

    Raises:
        InvalidRequest: it is none.
    """
    return _integer(fields, name, _INT32)


def numbers(fields: Fields, name: str) -> list[int]:
    """Return a list of numbers of 32 bits, empty where it is left out.

    Raises:
        InvalidRequest: it is none.
    """
    values = fields.get(name, [])
    if not isinstance(values, list):
        raise InvalidRequest(f'"{name}" is a list of numbers; got {values!r:.80}')
    return [_integer({name: value}, name, _INT32) for value in values]


def encoding(fields: Fields) -> Encoding:
    """Return `audio_encoding`.

    Raises:
        InvalidRequest: there is none of that name.
    """
    return Encoding(_named(fields, "audio_encoding", Encoding))


def output(fields: Fields) -> Output:
    """Return `output`.

    Raises:
        InvalidRequest: it has fields or values that there are not.
    """
    given = fields.get("output", {})
    if not isinstance(given, dict) or given.keys() - {"composition", "format", "jpeg_quality", "blendshapes"}:
        raise InvalidRequest(
            f'"output" is an object of "composition", "format", "jpeg_quality" and "blendshapes"; got {given!r:.80}'
        )
    return Output.of(
        _named(given, "composition", Composition),
        _named(given, "format", ImageFormat),
        number(given, "jpeg_quality"),
        blendshapes=flag(given, "blendshapes"),
    )


def chunks(payload: bytes, kind: Encoding) -> list[bytes]:
    """Return the chunks of a payload.

    Raises:
        InvalidAudio: it does not end where a chunk does.
    """
    if kind is Encoding.OPUS:
        return packets(payload)
    size = CHUNK_BYTES if kind is Encoding.FLOAT32 else 2 * CHUNK_SAMPLES
    if len(payload) % size:
        raise InvalidAudio(
            f"the payload has {len(payload)} bytes; chunks of {kind.name} have {size} each, and {len(payload) % size} are left"
        )
    return [payload[place : place + size] for place in range(0, len(payload), size)]


def packets(payload: bytes) -> list[bytes]:
    """Return the Opus packets of a payload, each of which has its length before it.

    Raises:
        InvalidAudio: it does not end where a packet does.
    """
    found, place = [], 0
    while place < len(payload):
        size = int.from_bytes(payload[place : place + 2], "little")
        packet = payload[place + 2 : place + 2 + size]
        if place + 2 > len(payload) or len(packet) < size:
            raise InvalidAudio(
                f"the payload ends within the Opus packet at byte {place}, which says that it has {size} bytes: each packet has "
                "its length before it, 2 bytes, little-endian"
            )
        found.append(packet)
        place += 2 + size
    return found


def _read_json(data: bytes | str) -> Fields:
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"the message is not JSON ({error!s:.120}); expected a JSON object") from error
    if not isinstance(fields, dict):
        raise InvalidRequest(f"expected a JSON object; got {type(fields).__name__}")
    return fields


def _integer(fields: Fields, name: str, allowed: range, *, required: bool = False) -> int:
    value = fields.get(name, None if required else 0)
    if isinstance(value, bool) or not isinstance(value, int) or value not in allowed:
        raise InvalidRequest(
            f'"{name}" is a whole number from {allowed.start} to {allowed.stop - 1}; got {value!r:.80}'
        )
    return value


def _named(fields: Fields, name: str, kind: type[IntEnum]) -> int:
    value = fields.get(name, kind(0).name)
    if not isinstance(value, str) or value not in kind.__members__:
        raise InvalidRequest(f'"{name}" is one of {", ".join(kind.__members__)}; got {value!r:.80}')
    return kind[value].value
