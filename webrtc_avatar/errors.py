"""Every error that the project raises on purpose. Wire protocols translate `code` and `status` in one place each."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any, ClassVar


class AvatarServerError(Exception):
    """Base of all typed errors.

    Attributes:
        code: short machine-readable name, stable across versions.
        status: the HTTP status that fits.
        message: what was wrong, what was expected and what to do, for a person.
    """

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidRequest(AvatarServerError):
    """A request that cannot be understood: bad JSON, missing field, malformed SDP."""

    code = "invalid_request"
    status = 400


class Unauthorized(AvatarServerError):
    """A call without the token that the server was started with, or with another one."""

    code = "unauthorized"
    status = 401


class Forbidden(AvatarServerError):
    """Something that nobody may do from where the request comes, or with what it names."""

    code = "forbidden"
    status = 403


class ResponseTooLarge(AvatarServerError):
    """An answer that does not fit into one message."""

    code = "response_too_large"
    status = 413


class UnsupportedMedia(AvatarServerError):
    """An offer without a codec or a media section that this server can serve."""

    code = "unsupported_media"
    status = 415


class UnknownAvatar(AvatarServerError):
    """No avatar of that name is installed."""

    code = "unknown_avatar"
    status = 404


class UnknownSession(AvatarServerError):
    """No session, or no viewer of a session, with that id; it may have ended."""

    code = "unknown_session"
    status = 404


class SessionClosed(AvatarServerError):
    """The session ended while it was being used."""

    code = "session_closed"
    status = 410


class ServerFull(AvatarServerError):
    """The server already holds as many sessions or viewers as it may.

    Attributes:
        retry_after_s: when it makes sense to try again, in whole seconds.
    """

    code = "server_full"
    status = 503

    def __init__(self, message: str, *, retry_after_s: int = 5) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class TooManyRequests(ServerFull):
    """More requests of a kind from one address than the settings allow."""

    code = "too_many_requests"
    status = 429


class ServerDraining(ServerFull):
    """The server is shutting down: those inside may finish, nobody new comes in."""

    code = "server_draining"


class InvalidAvatar(AvatarServerError):
    """An avatar package that is broken: missing file, wrong size, wrong shape, unknown format version."""

    code = "invalid_avatar"
    status = 422


class NoFaceFound(AvatarServerError):
    """A photo without a face that could be moved."""

    code = "no_face_found"
    status = 400


class FaceTurnedAway(NoFaceFound):
    """A photo of a face that is seen from the side."""

    code = "face_turned_away"


class PortraitUnavailable(AvatarServerError):
    """What finds faces in photos is not installed."""

    code = "portrait_unavailable"
    status = 501


class CannotImport(InvalidAvatar):
    """Data of another project, or a package, that no avatar can be made of."""

    code = "cannot_import"


class AvatarExists(CannotImport):
    """An avatar of that name is there already."""

    code = "avatar_exists"
    status = 409


class InvalidCheckpoint(AvatarServerError):
    """A file of network weights that is missing, damaged, of another network, or that could run code."""

    code = "invalid_checkpoint"
    status = 422


class AvatarInUse(AvatarServerError):
    """A package that was changed cannot take the place of the one that is loaded, because somebody uses that."""

    code = "avatar_in_use"
    status = 409


class ModelMemoryFull(ServerFull):
    """All memory for models is taken by models that are in use."""

    code = "model_memory_full"


class NoBlendshapes(AvatarServerError):
    """Blendshapes were asked for of an avatar whose model yields no mouth weights."""

    code = "no_blendshapes"
    status = 422

    def __init__(self, avatar_name: str) -> None:
        super().__init__(
            f"avatar {avatar_name!r} yields no blendshapes: its model tells no mouth weights that they could be made of; "
            "choose another avatar, or draw its picture"
        )


class NoFeatures(AvatarServerError):
    """Frames were asked for without sound, of an avatar whose package brings no features."""

    code = "no_features"
    status = 422


class FrameOutOfRange(AvatarServerError):
    """A frame number that the avatar's footage or features do not have."""

    code = "frame_out_of_range"
    status = 400


class InvalidAudio(AvatarServerError):
    """Sound of the wrong shape, type, rate or range."""

    code = "invalid_audio"
    status = 400


class UnreadableSound(InvalidAudio):
    """A file that should hold sound, and holds none that FFmpeg can decode."""

    code = "unreadable_sound"
    status = 415


class BufferFull(InvalidAudio):
    """More sound than may wait for its frames at a time."""

    code = "buffer_full"
    status = 413


class BodyTooLarge(AvatarServerError):
    """An upload of more bytes, or a picture of more pixels, than the settings allow."""

    code = "too_large"
    status = 413


class SessionFinished(AvatarServerError):
    """Sound for a session whose last chunk was fed, or for a name that is taken."""

    code = "session_finished"
    status = 409


class EngineFailure(AvatarServerError):
    """A model call failed, alone as well as in a batch."""

    code = "engine_failure"
    status = 500


class EngineLost(ServerFull):
    """An engine on another machine cannot be reached, or went away while it was asked."""

    code = "engine_lost"


class AvatarMismatch(AvatarServerError):
    """An engine on another machine holds another avatar of the same name."""

    code = "avatar_mismatch"
    status = 409


class PeerFailure(AvatarServerError):
    """A headless peer could not connect to, or lost, the server."""

    code = "peer_failure"
    status = 502


class CannotListen(AvatarServerError):
    """The address or the port to listen on cannot be used."""

    code = "cannot_listen"
    status = 503


class CannotWrite(AvatarServerError):
    """A file that should be made cannot be: it is there already, its folder is not, or the disk is full."""

    code = "cannot_write"
    status = 500


class InvalidSettings(AvatarServerError):
    """A flag, an environment variable or a line of the settings file that cannot be followed."""

    code = "invalid_settings"
    status = 500


class MissingProgram(AvatarServerError):
    """A program or a voice that training needs is not installed."""

    code = "missing_program"
    status = 500

    def __init__(self, what: str, *, package: str) -> None:
        super().__init__(f"{what} is not installed or does not work; on Debian: apt-get install {package}")
        self.package = package


class SpeechRefused(AvatarServerError):
    """A text that cannot be said as asked; the caller can change it."""

    code = "speech_refused"
    status = 400


class NothingToSay(SpeechRefused):
    """A text of which nothing is left to say: empty, or only signs that the voice cannot read."""

    code = "nothing_to_say"


class InvalidSsml(SpeechRefused):
    """Markup that is no XML, or an element or attribute that is not understood.

    Attributes:
        line: where, counted from 1.
        column: likewise.
    """

    code = "invalid_ssml"

    def __init__(self, message: str, *, line: int = 1, column: int = 1) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


class UnsupportedParameter(SpeechRefused):
    """A parameter that the voice cannot follow."""

    code = "unsupported_parameter"
    status = 422

    def __init__(self, parameter: str, *, voice: str = "", abilities: Iterable[str] = ()) -> None:
        can = ", ".join(sorted(abilities)) or "no parameter at all"
        super().__init__(
            f"voice {voice!r} cannot follow {parameter!r}; it follows {can}. Leave it out or choose another voice"
        )
        self.parameter = parameter
        self.voice = voice
        self.abilities = tuple(sorted(abilities))

    def __reduce__(self) -> tuple[Any, ...]:
        """Cross to another process whole."""
        return partial(UnsupportedParameter, voice=self.voice, abilities=self.abilities), (self.parameter,)


class UnknownVoice(AvatarServerError):
    """No voice of that name is installed."""

    code = "unknown_voice"
    status = 404


class VoiceUnavailable(AvatarServerError):
    """A voice whose program, package, file or setting is missing."""

    code = "voice_unavailable"
    status = 501


class SpeechFailure(AvatarServerError):
    """A voice failed at a text that it should have said."""

    code = "speech_failure"
    status = 500


class VoiceServiceFailure(SpeechFailure):
    """The service that speaks for a voice refused, failed, or did not answer in time."""

    code = "voice_service_failure"
    status = 502


class MissingExtra(AvatarServerError):
    """Something that a package brings which is not installed."""

    code = "missing_extra"
    status = 501

    def __init__(self, what: str, *, extra: str) -> None:
        super().__init__(f"{what} needs a package that is not installed; pip install webrtc-avatar[{extra}]")
        self.extra = extra
