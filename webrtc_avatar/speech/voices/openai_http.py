"""Voices of any service that speaks OpenAI's `POST /v1/audio/speech`; the sound is passed on while it arrives.

https://platform.openai.com/docs/api-reference/audio/createSpeech
"""

from __future__ import annotations

import json
import queue
import random
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import urllib3

from webrtc_avatar.errors import AvatarServerError, NothingToSay, VoiceServiceFailure, VoiceUnavailable
from webrtc_avatar.settings import Settings
from webrtc_avatar.speech.text.normalise import normalise
from webrtc_avatar.speech.voice import Ability, Failure, Pause, Piece, Say, Utterance, VoiceInfo
from webrtc_avatar.speech.voices.wav import WavStream

RATE_HZ = 24_000
_CONNECTIONS = 8
"""Kept open between requests."""
_READ_BYTES = 9_600
"""A fifth of a second."""
_LONGEST_BYTES = 2 * RATE_HZ * 20 * 60
_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 10.0
_ERROR_BYTES = 2_000

Samples = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """Where speech comes from.

    Attributes:
        url: up to and with `/v1`.
        key: sent as bearer token; empty: none.
        models: the first is taken where none is asked for.
        voices: names that the service knows.
        timeout_s: to connect, and between two pieces of the answer.
        retries: further tries after a failure that may pass.
    """

    url: str
    key: str = ""
    models: tuple[str, ...] = ("gpt-4o-mini-tts",)
    voices: tuple[str, ...] = ("alloy",)
    timeout_s: float = 8.0
    retries: int = 2


def create(settings: Settings) -> OpenAiVoice:
    """Make the engine.

    Raises:
        VoiceUnavailable: `speech_openai_url` is not set.
    """
    if settings.speech_openai_url is None:
        raise VoiceUnavailable("speech_openai_url is not set, as https://api.openai.com/v1")
    key = settings.speech_openai_key
    return OpenAiVoice(
        Service(
            url=settings.speech_openai_url,
            key="" if key is None else key.get_secret_value(),
            models=tuple(settings.speech_openai_models),
            voices=tuple(settings.speech_openai_voices),
            timeout_s=settings.speech_openai_timeout_s,
            retries=settings.speech_openai_retries,
        )
    )


class OpenAiVoice:
    """Asks a service over HTTP; it keeps the connection between requests and follows no redirection."""

    def __init__(self, service: Service) -> None:
        self._service = service
        timeout = urllib3.Timeout(connect=service.timeout_s, read=service.timeout_s)
        self._answers: set[urllib3.BaseHTTPResponse] = set()
        self._http = urllib3.PoolManager(num_pools=1, maxsize=_CONNECTIONS, timeout=timeout, retries=False)

    def voices(self) -> Sequence[VoiceInfo]:
        """List the voices of the settings; the service is not asked."""
        abilities: set[Ability] = {"speed", "volume", "break", "checkpoint"}
        if any(_takes_instructions(model) for model in self._service.models):
            abilities |= {"emotion", "style"}
        return [
            VoiceInfo(
                id=f"openai/{name}",
                language="mul",
                title=f"{name.capitalize()} (speech service)",
                rate_hz=RATE_HZ,
                abilities=frozenset(abilities),
                batched=True,
                checkpoints=self._service.models,
                default=number == 0,
            )
            for number, name in enumerate(self._service.voices)
        ]

    def synthesize(self, batch: Sequence[Utterance]) -> Iterator[Piece | Failure]:
        """Ask for all at once; say each as it arrives."""
        arrived: queue.SimpleQueue[Piece | Failure | Future[None]] = queue.SimpleQueue()
        is_wanted = threading.Event()
        is_wanted.set()

        def fetch(index: int, utterance: Utterance) -> None:
            try:
                for piece in self._say(index, utterance):
                    arrived.put(piece)
                    if not is_wanted.is_set():
                        return
            except AvatarServerError as error:
                arrived.put(Failure(index, error))

        with ThreadPoolExecutor(len(batch), thread_name_prefix="speech-service") as threads:
            fetches = [threads.submit(fetch, index, utterance) for index, utterance in enumerate(batch)]
            for ended in fetches:
                ended.add_done_callback(arrived.put)
            try:
                yield from _until_all_ended(arrived, len(batch))
            finally:
                is_wanted.clear()
                for response in list(self._answers):
                    with suppress(ValueError, OSError):  # it has just ended
                        response.shutdown()

    def close(self) -> None:
        """Close the connections."""
        self._http.clear()

    def _say(self, index: int, utterance: Utterance) -> Iterator[Piece]:
        waiting: Samples | None = None
        for samples in self._sounds(utterance):
            if waiting is not None:
                yield Piece(index=index, samples=waiting, rate_hz=RATE_HZ)
            waiting = samples
        if waiting is None:
            raise NothingToSay(f"nothing in {utterance.text[:80]!r} can be said; send at least one word")
        yield Piece(index=index, samples=waiting, rate_hz=RATE_HZ, last=True)

    def _sounds(self, utterance: Utterance) -> Iterator[Samples]:
        for part in utterance.parts:
            if isinstance(part, Pause):
                yield np.zeros(round(part.seconds * RATE_HZ), np.float32)
                continue
            text = normalise(part.text).strip()
            if any(sign.isalnum() for sign in text):
                gain = np.float32(10 ** (part.volume_db / 20))
                for samples in self._fetched(self._body(utterance, part, text)):
                    yield np.clip(samples * gain, -1.0, 1.0)

    def _body(self, utterance: Utterance, say: Say, text: str) -> dict[str, Any]:
        model = utterance.checkpoint or self._service.models[0]
        body: dict[str, Any] = {
            "model": model,
            "input": text,
            "voice": utterance.voice.partition("/")[2],
            "response_format": "pcm",
        }
        if utterance.speed * say.speed != 1:
            body["speed"] = round(utterance.speed * say.speed, 3)
        wishes = [f"Emotion: {utterance.emotion}." if utterance.emotion else "", utterance.style or ""]
        if any(wishes) and not _takes_instructions(model):
            raise VoiceServiceFailure(f"model {model!r} takes neither emotion nor style; choose another checkpoint")
        if any(wishes):
            body["instructions"] = " ".join(filter(None, wishes))
        return body

    def _fetched(self, body: dict[str, Any]) -> Iterator[Samples]:
        """Ask until an answer comes or no further try is left; once there is sound, it is not asked again."""
        for attempt in range(self._service.retries + 1):
            is_last_try = attempt == self._service.retries
            wait_s = min(_FIRST_WAIT_S * 2**attempt, _LONGEST_WAIT_S) * random.uniform(0.8, 1.2)
            try:
                response = self._asked(body)
            except urllib3.exceptions.HTTPError as error:
                if is_last_try:
                    raise VoiceServiceFailure(f"the speech service does not answer: {_name(error)}") from error
                time.sleep(wait_s)
                continue
            self._answers.add(response)
            try:
                if response.status == 200:
                    yield from _samples(response)
                    return
                message = _message(response)
                if response.status not in _AGAIN or is_last_try:
                    raise VoiceServiceFailure(message)
                wait_s = max(wait_s, _retry_after_s(response))
                if wait_s > _LONGEST_WAIT_S:
                    raise VoiceServiceFailure(f"{message}; it wants {wait_s:.0f} s of patience")
            finally:
                self._answers.discard(response)
                response.close()
            time.sleep(wait_s)

    def _asked(self, body: dict[str, Any]) -> urllib3.BaseHTTPResponse:
        headers = {"Content-Type": "application/json", "Accept": "audio/pcm, audio/wav"}
        if self._service.key:
            headers["Authorization"] = f"Bearer {self._service.key}"
        url = f"{self._service.url.rstrip('/')}/audio/speech"
        return self._http.request(
            "POST", url, body=json.dumps(body), headers=headers, preload_content=False, redirect=False
        )


def _until_all_ended(
    arrived: queue.SimpleQueue[Piece | Failure | Future[None]], count: int
) -> Iterator[Piece | Failure]:
    while count:
        part = arrived.get()
        if isinstance(part, Future):
            part.result()  # raises what nobody expected
            count -= 1
        else:
            yield part


def _takes_instructions(model: str) -> bool:
    return not model.startswith("tts-1")


def _samples(response: urllib3.BaseHTTPResponse) -> Iterator[Samples]:
    """Decode an answer as it arrives: 16-bit PCM at 24 kHz, or a WAV file of any rate."""
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip()
    if kind.startswith("text/") or kind in ("application/json", "audio/mpeg", "audio/ogg", "audio/aac", "audio/flac"):
        raise VoiceServiceFailure(f"the speech service answered with {kind}; expected audio/pcm or audio/wav")
    stream = WavStream(RATE_HZ)
    total = 0
    try:
        for data in response.stream(_READ_BYTES, decode_content=True):
            total += len(data)
            if total > _LONGEST_BYTES:
                raise VoiceServiceFailure("the speech service sent more than 20 minutes of sound for one text")
            samples = stream.feed(data)
            if len(samples):
                yield samples
    except urllib3.exceptions.HTTPError as error:
        raise VoiceServiceFailure(f"the speech service broke off its answer: {_name(error)}") from error
    rest = stream.finish()
    if len(rest):
        yield rest
    elif total == 0:
        raise VoiceServiceFailure("the speech service sent no sound")


def _message(response: urllib3.BaseHTTPResponse) -> str:
    """Say what a refusal means, with the service's own words."""
    try:
        said = response.read(_ERROR_BYTES).decode("utf-8", "replace")
    except urllib3.exceptions.HTTPError:
        said = ""
    try:
        told = json.loads(said)
        said = told["error"]["message"] if isinstance(told.get("error"), dict) else str(told.get("error", said))
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    hints = {401: "; check speech_openai_key", 403: "; check speech_openai_key", 404: "; check speech_openai_url"}
    return f"the speech service answered {response.status}: {said[:300].strip()}{hints.get(response.status, '')}"


def _retry_after_s(response: urllib3.BaseHTTPResponse) -> float:
    try:
        return float(response.headers.get("Retry-After", "0"))
    except ValueError:
        return 0.0


def _name(error: Exception) -> str:
    return f"{type(error).__name__}: {error!s:.200}"
