"""Forms with files (multipart/form-data, RFC 7578), read within limits of bytes and time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import BodyPartReader, web

from webrtc_avatar.errors import BodyTooLarge, InvalidRequest

TIMEOUT_S = 60.0

_FIELD_BYTES = 4096
_MOST_PARTS = 32
_PART_BYTES = _FIELD_BYTES + 1024
"""What a part may take, its headers included."""


@dataclass(frozen=True, slots=True)
class File:
    """An uploaded file.

    Attributes:
        data: its content.
        content_type: as the client says, without parameters.
    """

    data: bytes
    content_type: str


@dataclass(frozen=True, slots=True)
class Form:
    """What was sent.

    Attributes:
        fields: texts by name.
        files: by name.
    """

    fields: Mapping[str, str]
    files: Mapping[str, File]


async def read_form(request: web.Request, most_bytes: Mapping[str, int]) -> Form:
    """Read a form.

    Args:
        request: with a body of which nothing was read yet.
        most_bytes: the fields that are files, and how large each may be; all others are short texts.

    Raises:
        InvalidRequest: it is no form, or a broken one.
        BodyTooLarge: a part is larger than it may be.
        HTTPRequestTimeout: it did not arrive within a minute.
    """
    if request.content_type != "multipart/form-data":
        raise InvalidRequest(f"expected Content-Type: multipart/form-data; got {request.content_type!r}")
    most = sum(most_bytes.values()) + _MOST_PARTS * _PART_BYTES
    if (request.content_length or 0) > most:
        sizes = ", ".join(f"{name} at most {size} bytes" for name, size in most_bytes.items())
        raise BodyTooLarge(
            f"the form has {request.content_length} bytes, which is too much ({sizes}); send less at a time"
        )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return await _read(request, most_bytes)
    except TimeoutError:
        raise web.HTTPRequestTimeout(text=f"the form did not arrive within {TIMEOUT_S:g} s; send it again") from None
    except (ValueError, LookupError, AssertionError) as error:
        raise InvalidRequest(
            f"the form is broken ({error!s:.120}); send multipart/form-data as RFC 7578 has it"
        ) from error


async def _read(request: web.Request, most_bytes: Mapping[str, int]) -> Form:
    fields: dict[str, str] = {}
    files: dict[str, File] = {}
    count = 0
    async for part in await request.multipart():
        count += 1
        if not isinstance(part, BodyPartReader) or part.name is None or count > _MOST_PARTS:
            raise InvalidRequest("a form has at most 32 parts, each with a name, and no parts inside of parts")
        data = await _content(part, part.name, most_bytes.get(part.name, _FIELD_BYTES))
        if part.name in most_bytes:
            if part.filename is None and _is_text(part):
                if data:
                    raise InvalidRequest(f"{part.name} came as a text; send it as a file, with a file name")
                continue
            files[part.name] = File(data, part.headers.get("Content-Type", "").split(";")[0].strip())
        else:
            fields[part.name] = data.decode("utf-8")
    return Form(fields, files)


def _is_text(part: BodyPartReader) -> bool:
    return part.headers.get("Content-Type", "text/plain").startswith("text/")


async def _content(part: BodyPartReader, name: str, most: int) -> bytes:
    content = bytearray()
    while data := await part.read_chunk(65_536):
        content += data
        if len(content) > most:
            raise BodyTooLarge(f"{name[:40]!r} is larger than {most} bytes; send less of it")
    return bytes(content)
