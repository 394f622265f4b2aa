"""What can go wrong for a headless peer, as types."""

from __future__ import annotations

from webrtc_avatar.errors import PeerFailure


class ServerUnreachable(PeerFailure):
    """Nothing answers at the URL, or what answers is not this server."""

    code = "server_unreachable"


class OfferRefused(PeerFailure):
    """The server answered the offer with an error.

    Attributes:
        http_status: the HTTP status that it gave.
        refusal: its error code, for example `server_full` or `unknown_avatar`.
        retry_after_s: after how many seconds it makes sense to try again, where the server said so.
    """

    code = "offer_refused"

    def __init__(
        self, message: str, *, http_status: int, refusal: str = "", retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.http_status = http_status
        self.refusal = refusal
        self.retry_after_s = retry_after_s


class SessionRefused(PeerFailure):
    """The server answered a call of a chunked session with an error.

    Attributes:
        http_status: the HTTP status that it gave.
        refusal: its error code, for example `no_face_found` or `buffer_full`.
    """

    code = "session_refused"

    def __init__(self, message: str, *, http_status: int, refusal: str = "") -> None:
        super().__init__(message)
        self.http_status = http_status
        self.refusal = refusal


class RequestRefused(PeerFailure):
    """The server refuses to say something.

    Attributes:
        refusal: the server's own code, such as `unknown_voice`.
    """

    code = "request_refused"

    def __init__(self, message: str, *, refusal: str) -> None:
        super().__init__(message)
        self.refusal = refusal


class SessionBroke(PeerFailure):
    """The server could not finish a chunked session."""

    code = "session_broke"


class NotMedia(PeerFailure):
    """The file that should be sent holds no sound that FFmpeg can read."""

    code = "not_media"


class NotWritable(PeerFailure):
    """The file that should be recorded cannot be made."""

    code = "not_writable"


class ConnectionLost(PeerFailure):
    """The media connection did not come up in time, or ended before the peer left."""

    code = "connection_lost"
