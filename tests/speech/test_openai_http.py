from __future__ import annotations

import io
import json
import struct
import threading
import wave
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from webrtc_avatar.errors import (
    AvatarServerError,
    NothingToSay,
    UnsupportedParameter,
    VoiceServiceFailure,
    VoiceUnavailable,
)
from webrtc_avatar.settings import Settings
from webrtc_avatar.speech.voice import Failure, Pause, Piece, Say, Utterance, check
from webrtc_avatar.speech.voices import openai_http
from webrtc_avatar.speech.voices.openai_http import OpenAiVoice, Service, create

SOUND = (np.sin(np.arange(24_000) / 10) * 8_000).astype("<i2")
Answer = Callable[[BaseHTTPRequestHandler], None]


class SpeechServer:
    """A service that answers as the test says, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.answer_to: dict[str, Answer] = {}
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        test = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                test.asked.append(asked)
                test.keys.append(self.headers.get("Authorization"))
                assert self.path == "/v1/audio/speech"
                next_answer = test.answers.pop(0) if test.answers else sends(SOUND.tobytes())
                test.answer_to.get(asked["input"], next_answer)(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


def sends(body: bytes, kind: str = "audio/pcm", status: int = 200, **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def refuses(status: int, message: str = "no", **headers: str) -> Answer:
    return sends(json.dumps({"error": {"message": message}}).encode(), "application/json", status, **headers)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[SpeechServer]:
    monkeypatch.setattr(openai_http, "_FIRST_WAIT_S", 0.01)
    running = SpeechServer()
    yield running
    running.server.shutdown()
    running.server.server_close()


def said(server: SpeechServer, utterance: Utterance, **service: Any) -> np.ndarray:
    voice = OpenAiVoice(Service(url=server.url, key="secret-key", **service))
    parts = list(voice.synthesize([utterance]))
    voice.close()
    for part in parts:
        if isinstance(part, Failure):
            raise part.error
    assert [part.last for part in parts if isinstance(part, Piece)] == [False] * (len(parts) - 1) + [True]
    return np.concatenate([part.samples for part in parts if isinstance(part, Piece)])


def hello(**parameters: Any) -> Utterance:
    return Utterance.of_text("Hello.", "openai/alloy", **parameters)


def test_the_request_says_who_speaks_and_how(server: SpeechServer) -> None:
    samples = said(server, hello(speed=1.25, emotion="joy", style="Whisper.", checkpoint="gpt-4o-mini-tts"))
    assert server.asked == [
        {
            "model": "gpt-4o-mini-tts",
            "input": "Hello.",
            "voice": "alloy",
            "response_format": "pcm",
            "speed": 1.25,
            "instructions": "Emotion: joy. Whisper.",
        }
    ]
    assert server.keys == ["Bearer secret-key"]
    np.testing.assert_allclose(samples, SOUND / 32_768, atol=1e-6)


def test_sound_is_passed_on_before_it_has_ended(server: SpeechServer) -> None:
    heard = threading.Event()

    def slowly(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "audio/pcm")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for half in (SOUND[:12_001].tobytes()[:-1], SOUND.tobytes()[24_001:]):
            handler.wfile.write(f"{len(half):x}\r\n".encode() + half + b"\r\n")
            handler.wfile.flush()
            assert heard.wait(10)
        handler.wfile.write(b"0\r\n\r\n")

    server.answers = [slowly]
    parts = OpenAiVoice(Service(url=server.url)).synthesize([hello()])
    collected = []
    for part in parts:
        assert isinstance(part, Piece)
        collected.append(part.samples)
        heard.set()
    np.testing.assert_allclose(np.concatenate(collected), SOUND / 32_768, atol=1e-6)


@pytest.mark.parametrize(("rate_hz", "channels"), [(24_000, 1), (16_000, 1), (44_100, 2)])
def test_wav_of_any_rate_is_taken(server: SpeechServer, rate_hz: int, channels: int) -> None:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(2)
        writer.setframerate(rate_hz)
        tone = (np.sin(np.arange(rate_hz) * 2 * np.pi * 200 / rate_hz) * 8_000).astype("<i2")
        writer.writeframes(np.repeat(tone, channels).tobytes())
    server.answers = [sends(file.getvalue(), "audio/wav")]
    samples = said(server, hello())
    assert abs(len(samples) - 24_000) < 50
    assert abs(int(np.abs(np.fft.rfft(samples)).argmax()) - 200) <= 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_may_pass_is_tried_again(server: SpeechServer, status: int) -> None:
    server.answers = [refuses(status), refuses(status, Retry_After="0")]
    assert len(said(server, hello())) == len(SOUND)
    assert len(server.asked) == 3


def test_it_waits_as_long_as_it_is_told(server: SpeechServer, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(openai_http.time, "sleep", waits.append)
    server.answers = [refuses(429, Retry_After="3")]
    said(server, hello())
    assert waits == [3.0]
    server.answers = [refuses(429, Retry_After="3600")]
    with pytest.raises(VoiceServiceFailure, match="3600 s of patience"):
        said(server, hello())


def test_a_wrong_key_is_not_tried_again_and_not_told(server: SpeechServer) -> None:
    server.answers = [refuses(401, "Incorrect API key provided")]
    with pytest.raises(
        VoiceServiceFailure, match="answered 401: Incorrect API key provided; check speech_openai_key"
    ) as caught:
        said(server, hello())
    assert len(server.asked) == 1
    assert "secret-key" not in caught.value.message


def test_tries_come_to_an_end(server: SpeechServer) -> None:
    server.answers = [refuses(500, "overloaded")] * 5
    with pytest.raises(VoiceServiceFailure, match="answered 500: overloaded"):
        said(server, hello(), retries=1)
    assert len(server.asked) == 2


def test_a_redirection_is_not_followed_since_the_key_would_go_with_it(server: SpeechServer) -> None:
    server.answers = [sends(b"", status=307, Location="http://127.0.0.1:9/")]
    with pytest.raises(VoiceServiceFailure, match="307"):
        said(server, hello())


def test_sound_that_breaks_off_is_an_error_and_is_not_said_twice(server: SpeechServer) -> None:
    def breaks_off(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "audio/pcm")
        handler.send_header("Content-Length", "48000")
        handler.end_headers()
        handler.wfile.write(SOUND.tobytes()[:20_000])
        handler.wfile.flush()
        handler.connection.close()
        handler.close_connection = True

    server.answers = [breaks_off]
    with pytest.raises(VoiceServiceFailure, match="broke off"):
        said(server, hello())
    assert len(server.asked) == 1


def test_nobody_there_and_nobody_answering_are_errors(server: SpeechServer) -> None:
    release = threading.Event()
    server.answers = [lambda _: (release.wait(5), None)[1]] * 2
    with pytest.raises(VoiceServiceFailure, match="does not answer"):
        said(server, hello(), timeout_s=0.1, retries=1)
    release.set()
    (failure,) = OpenAiVoice(Service(url="http://127.0.0.1:9/v1", retries=0)).synthesize([hello()])
    assert isinstance(failure, Failure)
    assert "does not answer" in failure.error.message


@pytest.mark.parametrize("kind", ["application/json", "text/html", "audio/mpeg"])
def test_what_is_no_sound_that_it_can_read_is_refused(server: SpeechServer, kind: str) -> None:
    server.answers = [sends(b"{}" * 50, kind)]
    with pytest.raises(VoiceServiceFailure, match=kind):
        said(server, hello())


@pytest.mark.parametrize("bits", [8, 24])
def test_a_wav_of_other_samples_is_refused(server: SpeechServer, bits: int) -> None:
    header = b"RIFF" + struct.pack("<I", 36) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 24_000, 0, 0, bits)
    server.answers = [sends(header + b"data" + struct.pack("<I", 4) + b"abcd", "audio/wav")]
    with pytest.raises(VoiceServiceFailure, match=f"{bits} bits"):
        said(server, hello())


def test_pauses_lie_between_requests_and_one_that_fails_leaves_the_others(server: SpeechServer) -> None:
    parts = (Say(text="One.", volume_db=-6.0), Pause(0.5), Say(text="Two."))
    samples = said(server, Utterance(parts=parts, voice="openai/alloy"))
    assert len(samples) == 2 * len(SOUND) + 12_000
    assert not samples[24_000:36_000].any()
    server.answer_to = {"Bad.": refuses(400, "bad")}
    batch = [Utterance.of_text("Bad.", "openai/alloy"), hello(), Utterance.of_text("👍", "openai/x")]
    results = list(OpenAiVoice(Service(url=server.url)).synthesize(batch))
    errors = {part.index: type(part.error) for part in results if isinstance(part, Failure)}
    assert errors == {0: VoiceServiceFailure, 2: NothingToSay}
    assert any(part.index == 1 and part.last for part in results if isinstance(part, Piece))


def test_a_batch_is_asked_for_at_once(server: SpeechServer) -> None:
    together = threading.Barrier(4)

    def waits_for_the_others(handler: BaseHTTPRequestHandler) -> None:
        together.wait(10)
        sends(SOUND.tobytes())(handler)

    server.answers = [waits_for_the_others] * 4
    parts = list(OpenAiVoice(Service(url=server.url)).synthesize([hello()] * 4))
    assert sorted(part.index for part in parts if isinstance(part, Piece) and part.last) == [0, 1, 2, 3]


def test_whoever_stops_listening_need_not_wait_for_the_service(server: SpeechServer) -> None:
    released = threading.Event()
    was_released: list[bool] = []

    def never_ends(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "audio/pcm")
        handler.send_header("Content-Length", "9000000")
        handler.end_headers()
        handler.wfile.write(SOUND.tobytes())
        handler.wfile.flush()
        was_released.append(released.wait(20))
        handler.close_connection = True

    server.answers = [never_ends] * 2
    parts = OpenAiVoice(Service(url=server.url, timeout_s=60)).synthesize([hello()] * 2)
    for _ in range(8):  # all but the last piece of either, which is held until it is known not to be the last
        next(parts)
    parts.close()  # type: ignore[attr-defined]
    assert was_released == []
    released.set()
    assert not any("speech-service" in thread.name for thread in threading.enumerate())


def test_settings_make_it_and_it_says_what_it_cannot_do() -> None:
    with pytest.raises(VoiceUnavailable, match="speech_openai_url"):
        create(Settings())
    voice = create(Settings(speech_openai_url="http://127.0.0.1:9/v1", speech_openai_voices=["a", "b"]))
    first, second = voice.voices()
    assert (first.id, first.default, second.default) == ("openai/a", True, False)
    with pytest.raises(UnsupportedParameter, match="emotion"):
        check(hello(pitch=1.2), first)
    with pytest.raises(AvatarServerError, match="tts-1-hd"):
        check(hello(checkpoint="unheard"), first)
