"""What can go wrong for a client of the lip-sync service, as types; gRPC's statuses become them here."""

from __future__ import annotations

from typing import Self

import grpc

from webrtc_avatar.errors import AvatarServerError


class CallFailed(AvatarServerError):
    """The server could not answer a call; its own words are in the message.

    Attributes:
        grpc_status: name of the call's gRPC status, such as `INVALID_ARGUMENT`.
        reason: the server's code for it, such as `unknown_avatar`; empty where it gave none.
    """

    code = "call_failed"
    status = 502

    def __init__(self, message: str, *, grpc_status: str = "", reason: str = "") -> None:
        super().__init__(message)
        self.grpc_status = grpc_status
        self.reason = reason

    def after(self, tries: int) -> Self:
        """Return the same error, with how often it was tried."""
        return type(self)(f"{self.message}; tried {tries} times", grpc_status=self.grpc_status, reason=self.reason)


class CallRefused(CallFailed):
    """The request cannot be followed: asking the same again will not help."""

    code = "call_refused"
    status = 400


class AccessDenied(CallFailed):
    """The server asks for a token, and this one is missing or wrong."""

    code = "access_denied"
    status = 401


class ServerBusy(CallFailed):
    """The server takes no more calls now."""

    code = "server_busy"
    status = 503


class AnswerTooLarge(CallFailed):
    """The frames asked for do not fit into one message."""

    code = "answer_too_large"
    status = 413


class ServerGone(CallFailed):
    """Nothing answers at the address, or what answered is gone."""

    code = "server_gone"
    status = 502


class CallTimedOut(CallFailed):
    """The answer did not come within the client's `timeout_s`."""

    code = "call_timed_out"
    status = 504


class FrameFailed(CallFailed):
    """One frame could not be made; those beside it were.

    Attributes:
        frame_id: its number.
    """

    code = "frame_failed"

    def __init__(self, message: str, *, frame_id: int) -> None:
        super().__init__(message)
        self.frame_id = frame_id


_REFUSALS: dict[grpc.StatusCode, type[CallFailed]] = {
    grpc.StatusCode.INVALID_ARGUMENT: CallRefused,
    grpc.StatusCode.OUT_OF_RANGE: CallRefused,
    grpc.StatusCode.NOT_FOUND: CallRefused,
    grpc.StatusCode.FAILED_PRECONDITION: CallRefused,
    grpc.StatusCode.UNIMPLEMENTED: CallRefused,
    grpc.StatusCode.UNAUTHENTICATED: AccessDenied,
    grpc.StatusCode.PERMISSION_DENIED: AccessDenied,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ServerBusy,
    grpc.StatusCode.UNAVAILABLE: ServerGone,
    grpc.StatusCode.DEADLINE_EXCEEDED: CallTimedOut,
}

WORTH_RETRYING = (ServerGone, ServerBusy)
"""A later try may go well, and no call of the contract does harm when it is made twice."""


def failure_of(error: grpc.RpcError, address: str) -> CallFailed:
    """Return the typed error of a call that failed."""
    status: grpc.StatusCode = error.code()
    words: str = error.details() or "no reason given"
    trailing = dict(error.trailing_metadata() or ())
    reason = trailing.get("error-code", "")
    kind = _REFUSALS.get(status, CallFailed)
    # gRPC's own limits on messages come without a reason.
    if reason == "response_too_large" or (kind is ServerBusy and not reason and "larger than max" in words):
        kind = AnswerTooLarge
    if kind is ServerGone and not reason:
        words = f"no lip-sync service answers at {address} ({words}); check the address, and that the server runs"
    return kind(words, grpc_status=status.name, reason=reason if isinstance(reason, str) else reason.decode())
