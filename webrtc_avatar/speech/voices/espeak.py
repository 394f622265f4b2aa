"""espeak-ng: more than a hundred languages, where its program is installed (Debian: apt-get install espeak-ng).

It is under GPL-3.0, so its program is run, never its library. The program tells no phoneme times.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import chain

import numpy as np
import numpy.typing as npt

from webrtc_avatar.errors import (
    AvatarServerError,
    InvalidRequest,
    NothingToSay,
    SpeechFailure,
    UnknownVoice,
    VoiceUnavailable,
)
from webrtc_avatar.settings import Settings
from webrtc_avatar.speech.text.normalise import normalise
from webrtc_avatar.speech.voice import Failure, Pause, Piece, Say, Utterance, VoiceInfo

RATE_HZ = 22_050
_WORDS_A_MINUTE = 175
_WAV_HEADER_BYTES = 44
_LOUDNESS = 0.55
"""Makes it as loud as the other voices."""
_PIECE_BYTES = RATE_HZ  # half a second
_LIST_TIMEOUT_S = 10.0
_PITCH_VALUES = (0, 10, 25, 40, 50, 60, 75, 90, 99)
_PITCH_RATIOS = (0.64, 0.69, 0.79, 0.91, 1.0, 1.09, 1.27, 1.5, 1.67)
"""How many times its own pitch a voice has at each value of `-p`: measured."""
_VARIANT = re.compile(r"!v/(\S+)\s*$")

Samples = npt.NDArray[np.float32]


def create(settings: Settings) -> EspeakVoice:
    """Make the engine."""
    return EspeakVoice(timeout_s=settings.speech_timeout_s)


class EspeakVoice:
    """All voices of the installed espeak-ng: one a language, each with its variants as styles."""

    def __init__(self, *, program: str = "espeak-ng", timeout_s: float = 30.0) -> None:
        """Take the program's name or path, and how long it may take for one stretch of text."""
        self._name = program
        self._timeout_s = timeout_s

    @cached_property
    def _program(self) -> str:
        found = shutil.which(self._name)
        if found is None:
            raise VoiceUnavailable(f"the program {self._name} is not installed; on Debian: apt-get install espeak-ng")
        return found

    @cached_property
    def _languages(self) -> dict[str, str]:
        """Languages by their tag, with a title."""
        rows = [row.split() for row in self._listed("--voices")]
        return {row[1]: row[3].replace("_", " ") for row in rows if len(row) > 3}

    @cached_property
    def _variants(self) -> tuple[str, ...]:
        found = (_VARIANT.search(row) for row in self._listed("--voices=variant"))
        return tuple(sorted(match.group(1) for match in found if match is not None))

    def voices(self) -> Sequence[VoiceInfo]:
        """List one voice a language."""
        return [
            VoiceInfo(
                id=f"espeak/{tag}",
                language=_bcp47(tag),
                title=f"{title} (espeak-ng)",
                rate_hz=RATE_HZ,
                abilities=frozenset({"speed", "pitch", "volume", "style", "break"}),
                styles=self._variants,
                licence="GPL-3.0-or-later",
                default=tag == "en-us",
            )
            for tag, title in self._languages.items()
        ]

    def synthesize(self, batch: Sequence[Utterance]) -> Iterator[Piece | Failure]:
        """Say one after the other, half a second at a time."""
        for index, utterance in enumerate(batch):
            try:
                yield from self._say(index, utterance)
            except AvatarServerError as error:
                yield Failure(index, error)

    def close(self) -> None:
        """Nothing is held."""

    def _say(self, index: int, utterance: Utterance) -> Iterator[Piece]:
        tag = utterance.voice.partition("/")[2]
        if tag not in self._languages:
            raise UnknownVoice(f"espeak-ng has no voice {tag!r}; `espeak-ng --voices` lists them")
        voice = tag if utterance.style is None else f"{tag}+{utterance.style}"
        if utterance.style is not None and utterance.style not in self._variants:
            raise UnknownVoice(f"espeak-ng has no style {utterance.style!r}; it has {', '.join(self._variants)}")
        if not any(sign.isalnum() for sign in normalise(utterance.text, tag)):
            raise NothingToSay(f"nothing in {utterance.text[:80]!r} can be said; send at least one word")
        waiting: Samples | None = None
        for samples in chain.from_iterable(self._sounds(utterance, voice)):
            if waiting is not None:
                yield Piece(index=index, samples=waiting, rate_hz=RATE_HZ)
            waiting = samples
        if waiting is None:
            raise SpeechFailure("espeak-ng made no sound")
        yield Piece(index=index, samples=waiting, rate_hz=RATE_HZ, last=True)

    def _sounds(self, utterance: Utterance, voice: str) -> Iterator[Iterator[Samples]]:
        for part in utterance.parts:
            if isinstance(part, Pause):
                yield iter([np.zeros(round(part.seconds * RATE_HZ), np.float32)])
            elif part.text.strip():
                yield self._run(part, utterance, voice)

    def _run(self, say: Say, utterance: Utterance, voice: str) -> Iterator[Samples]:
        """Run the program for one stretch of text."""
        speed = round(_WORDS_A_MINUTE * utterance.speed * say.speed)
        ratio = utterance.pitch * say.pitch
        if not _PITCH_RATIOS[0] <= ratio <= _PITCH_RATIOS[-1]:
            limits = f"{_PITCH_RATIOS[0]:g} to {_PITCH_RATIOS[-1]:g}"
            raise InvalidRequest(f"pitch is {ratio:g}; espeak-ng can follow {limits}")
        pitch = round(float(np.interp(ratio, _PITCH_RATIOS, _PITCH_VALUES)))
        command = [self._program, "-v", voice, "-s", str(speed), "-p", str(pitch), "-b", "1", "--stdin", "--stdout"]
        # Two brackets would begin phonemes in its own notation.
        text = normalise(say.text, voice).replace("[[", "[ [")
        gain = _LOUDNESS * 10 ** (say.volume_db / 20) / 32_768
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL) as process:
            watch = threading.Timer(self._timeout_s, process.kill)
            watch.daemon = True
            watch.start()
            try:
                assert process.stdin is not None and process.stdout is not None  # noqa: PT018 - they are pipes
                process.stdin.write(text.encode())
                process.stdin.close()
                process.stdout.read(_WAV_HEADER_BYTES)
                while data := process.stdout.read(_PIECE_BYTES):
                    numbers = np.frombuffer(data[: len(data) // 2 * 2], "<i2")
                    yield np.clip(numbers.astype(np.float32) * gain, -1.0, 1.0).astype(np.float32)
            except OSError as error:
                raise SpeechFailure(f"espeak-ng ended while it was given text: {error}") from error
            finally:
                took_too_long = watch.finished.is_set()
                watch.cancel()
                process.kill()
            if took_too_long:
                raise SpeechFailure(f"espeak-ng took longer than {self._timeout_s:g} s; send less text")

    def _listed(self, option: str) -> list[str]:
        command = [self._program, option]
        try:
            done = subprocess.run(command, capture_output=True, timeout=_LIST_TIMEOUT_S, check=True)
        except (OSError, subprocess.SubprocessError) as error:
            raise VoiceUnavailable(f"espeak-ng does not list its voices: {error}") from error
        return done.stdout.decode("utf-8", "replace").splitlines()[1:]


def _bcp47(tag: str) -> str:
    """Return espeak-ng's tag with the customary capitals: `en-US`, `chr-US-Qaaa-x-west`."""
    first, *rest = tag.split("-")
    parts = [first.lower()]
    for number, part in enumerate(rest):
        if "x" in rest[:number] or part == "x":
            parts.append(part.lower())
        else:
            parts.append({2: str.upper, 4: str.capitalize}.get(len(part), str.lower)(part))
    return "-".join(parts)
