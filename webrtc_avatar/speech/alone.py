"""Speech without a server, a queue or processes: for commands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from webrtc_avatar.errors import CannotWrite, InvalidSettings
from webrtc_avatar.settings import Settings
from webrtc_avatar.speech.files import Format, speech_file, wav_header
from webrtc_avatar.speech.registry import Registry
from webrtc_avatar.speech.request import SpeechRequest
from webrtc_avatar.speech.service import prepare
from webrtc_avatar.speech.voice import Failure, Piece

_KINDS: dict[str, Format] = {".wav": "wav", ".ogg": "opus", ".opus": "opus", ".pcm": "pcm"}
_WAV_HEADER_BYTES = 44


def say(request: SpeechRequest, settings: Settings) -> Iterator[Piece]:
    """Yield a text's sound as it is made, in this process.

    Raises:
        SpeechRefused, UnknownVoice, VoiceUnavailable, InvalidRequest: see `prepare`.
        SpeechFailure: the voice failed.
    """
    registry = Registry(settings)
    info, utterance = prepare(registry, request)
    engine = registry.load(info.id)
    try:
        for part in engine.synthesize([utterance]):
            if isinstance(part, Failure):
                raise part.error
            yield part
    finally:
        engine.close()


def write(request: SpeechRequest, settings: Settings, path: Path) -> float:
    """Write a text's sound to a file, and return its length in seconds.

    Args:
        request: what to say and how.
        settings: of the voices.
        path: ends in .wav, .ogg, .opus or .pcm; a file that is there is replaced once the new one is whole.

    Raises:
        InvalidSettings: the name ends otherwise.
        CannotWrite: the file cannot be made.
        SpeechRefused, UnknownVoice, VoiceUnavailable, InvalidRequest, SpeechFailure: see `say`.
    """
    kind = _KINDS.get(path.suffix.lower())
    if kind is None:
        raise InvalidSettings(f"{path} shall be sound of an unknown kind; name a file that ends in {', '.join(_KINDS)}")
    draft = path.with_name(f".{path.name}.part")
    try:
        length_s = _write(say(request, settings), kind, draft)
        draft.replace(path)
    except OSError as error:
        raise CannotWrite(
            f"{path} cannot be written ({error.strerror}); name a file in a folder that exists"
        ) from error
    finally:
        draft.unlink(missing_ok=True)
    return length_s


def _write(pieces: Iterator[Piece], kind: Format, path: Path) -> float:
    first = next(pieces)
    file = speech_file(kind, first.rate_hz)
    length_s = len(first.samples) / first.rate_hz
    with path.open("wb") as target:
        target.write(file.add(first.samples))
        for piece in pieces:
            target.write(file.add(piece.samples))
            length_s += len(piece.samples) / piece.rate_hz
        target.write(file.finish())
        if kind == "wav":
            data_bytes = target.tell() - _WAV_HEADER_BYTES
            target.seek(0)
            target.write(wav_header(first.rate_hz, data_bytes))
    return length_s
