"""Where typed errors become gRPC statuses."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from typing import NoReturn, TypeVar

import grpc

from webrtc_avatar.errors import AvatarServerError

log = logging.getLogger(__name__)

CODE_KEY = "error-code"
"""Trailing metadata with an error's `code`, for several share a status."""

Answer = TypeVar("Answer")

_BY_CODE = {
    "frame_out_of_range": grpc.StatusCode.OUT_OF_RANGE,
    "server_draining": grpc.StatusCode.UNAVAILABLE,
    "server_full": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "model_memory_full": grpc.StatusCode.RESOURCE_EXHAUSTED,
}
_BY_HTTP_STATUS = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.FAILED_PRECONDITION,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    415: grpc.StatusCode.INVALID_ARGUMENT,
    422: grpc.StatusCode.FAILED_PRECONDITION,
    503: grpc.StatusCode.UNAVAILABLE,
}


def status_of(error: AvatarServerError) -> grpc.StatusCode:
    """Return the status of an error: that of its code, or the one that stands for its HTTP status; else INTERNAL."""
    return _BY_CODE.get(error.code) or _BY_HTTP_STATUS.get(error.status, grpc.StatusCode.INTERNAL)


async def answered(context: grpc.aio.ServicerContext, answer: Awaitable[Answer]) -> Answer:
    """Return an answer, or abort the call with the error's status; at the call's deadline gRPC itself cancels it."""
    try:
        return await answer
    except Exception as error:
        await _abort(context, error)


async def streamed(
    context: grpc.aio.ServicerContext, answers: AsyncGenerator[Answer, None]
) -> AsyncGenerator[Answer, None]:
    """Yield answers, and abort the call with the status of an error; closes `answers`."""
    try:
        async with aclosing(answers):
            async for answer in answers:
                yield answer
    except Exception as error:
        await _abort(context, error)


async def _abort(context: grpc.aio.ServicerContext, error: Exception) -> NoReturn:
    if isinstance(error, AvatarServerError):
        status = status_of(error)
        level = logging.ERROR if status is grpc.StatusCode.INTERNAL else logging.INFO
        log.log(level, "call refused: %s", error.message, extra={"status": status.name, "code": error.code})
        await context.abort(status, error.message, ((CODE_KEY, error.code),))
    log.error("call failed", exc_info=error)
    await context.abort(grpc.StatusCode.INTERNAL, "the server failed on this call; its log says why")
    raise AssertionError("abort returned")
