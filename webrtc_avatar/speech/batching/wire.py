"""What the server and the processes that speak tell each other: a JSON object and bytes, each with its length before it."""

from __future__ import annotations

import json
import struct
from asyncio import StreamReader
from dataclasses import asdict
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from webrtc_avatar.errors import AvatarServerError, SpeechFailure
from webrtc_avatar.speech.voice import Pause, Phoneme, Piece, Say, Utterance, Word

_HEAD = struct.Struct("<II")
_MOST_BYTES = 256 << 20
"""Nothing that a voice says in one piece is longer; a larger number is a process that has lost its way."""


class Message(NamedTuple):
    """One message.

    Attributes:
        fields: JSON, with `op` what it says.
        data: samples, float32 little-endian, or nothing.
    """

    fields: dict[str, Any]
    data: bytes = b""


def encode(message: Message) -> bytes:
    """Return a message's bytes."""
    fields = json.dumps(message.fields).encode()
    return _HEAD.pack(len(fields), len(message.data)) + fields + message.data


async def receive(stream: StreamReader) -> Message:
    """Return the next message.

    Raises:
        EOFError: the other side is gone, or has lost its way.
    """
    sizes = _HEAD.unpack(await stream.readexactly(_HEAD.size))
    _check(sizes)
    return _message(await stream.readexactly(sizes[0]), await stream.readexactly(sizes[1]))


def read(stream: BinaryIO) -> Message:
    """Return the next message; see `receive`."""
    head = stream.read(_HEAD.size)
    if len(head) < _HEAD.size:
        raise EOFError
    sizes = _HEAD.unpack(head)
    _check(sizes)
    return _message(stream.read(sizes[0]), stream.read(sizes[1]))


def _check(sizes: tuple[int, ...]) -> None:
    if max(sizes) > _MOST_BYTES:
        raise EOFError


def _message(fields: bytes, data: bytes) -> Message:
    try:
        return Message(json.loads(fields), data)
    except ValueError as error:
        raise EOFError from error


def utterance_fields(utterance: Utterance) -> dict[str, Any]:
    """Return an utterance as JSON."""
    return asdict(utterance)


def utterance_of(fields: dict[str, Any]) -> Utterance:
    """Return the utterance that `utterance_fields` told of."""
    parts = tuple(Pause(**part) if "seconds" in part else Say(**part) for part in fields["parts"])
    return Utterance(**{**fields, "parts": parts})


def piece_message(piece: Piece) -> Message:
    """Return a piece as a message."""
    fields = {
        "op": "piece",
        "index": piece.index,
        "rate_hz": piece.rate_hz,
        "phonemes": piece.phonemes,
        "words": piece.words,
        "last": piece.last,
    }
    return Message(fields, np.asarray(piece.samples, "<f4").tobytes())


def piece_of(message: Message) -> Piece:
    """Return the piece that `piece_message` told of."""
    fields = message.fields
    return Piece(
        index=fields["index"],
        samples=np.frombuffer(message.data, "<f4").astype(np.float32, copy=False),
        rate_hz=fields["rate_hz"],
        phonemes=tuple(Phoneme(*values) for values in fields["phonemes"]),
        words=tuple(Word(*values) for values in fields["words"]),
        last=fields["last"],
    )


def error_fields(error: AvatarServerError) -> dict[str, Any]:
    """Return a typed error as JSON."""
    return {"code": error.code, "message": error.message}


def error_of(fields: dict[str, Any]) -> AvatarServerError:
    """Return the error that `error_fields` told of, of its own class; SpeechFailure where no class has that code."""
    kind = _class_of(fields["code"], AvatarServerError) or SpeechFailure
    error = kind.__new__(kind, fields["message"])
    AvatarServerError.__init__(error, fields["message"])
    return error


def _class_of(code: str, kind: type[AvatarServerError]) -> type[AvatarServerError] | None:
    for child in kind.__subclasses__():
        if child.code == code:
            return child
        if (found := _class_of(code, child)) is not None:
            return found
    return None
