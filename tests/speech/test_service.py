"""Speech for everybody in the server: settings by their well-known names, voices, and what is refused at once."""

from __future__ import annotations

import numpy as np
import pytest

from webrtc_avatar.errors import InvalidSsml, NothingToSay, UnknownVoice, UnsupportedParameter
from webrtc_avatar.metrics import Metrics
from webrtc_avatar.settings import Settings
from webrtc_avatar.speech.request import SpeechRequest
from webrtc_avatar.speech.service import SpeechService, batch_options


def test_the_environment_knows_the_settings_of_batches_by_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = batch_options(Settings())
    assert (plain.batching, plain.max_batch_size, plain.timeout_ms, plain.max_text_length, plain.workers) == (
        True, 4, 500, 2000, 2,
    )  # fmt: skip
    values = {
        "ENABLE_BATCHING": "false",
        "MAX_BATCH_SIZE": "7",
        "BATCH_TIMEOUT_MS": "20",
        "MAX_BATCH_TEXT_LENGTH": "99",
        "CONCURRENT_REQUESTS": "3",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    told = batch_options(Settings())
    assert (told.batching, told.max_batch_size, told.timeout_ms, told.max_text_length, told.workers) == (
        False, 7, 20, 99, 3,
    )  # fmt: skip
    assert batch_options(Settings(speech_workers=5)).workers == 5, "flags win over the environment"


def test_what_is_set_wins_over_the_preset() -> None:
    options = batch_options(Settings(speech_preset="throughput", speech_batch_timeout_ms=0))
    assert (options.max_batch_size, options.timeout_ms, options.workers) == (6, 0, 4)


@pytest.fixture
async def service():
    made = SpeechService(Settings(speech_workers=1, speech_batch_timeout_ms=0), Metrics())
    yield made
    await made.aclose()


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (SpeechRequest(text=" "), NothingToSay),
        (SpeechRequest(text="a", voice="nobody"), UnknownVoice),
        (SpeechRequest(text="a", style="whisper"), UnsupportedParameter),
        (SpeechRequest(text="<speak>a"), InvalidSsml),
        (SpeechRequest(text="a <b", ssml=True), InvalidSsml),
    ],
)
async def test_what_cannot_be_said_is_refused_before_anything_starts(service, request_, error) -> None:
    with pytest.raises(error):
        service.speak(request_)
    assert service.status().requests == 0


async def test_plain_text_with_an_angle_is_no_markup(service) -> None:
    assert service.prepare(SpeechRequest(text="1 < 2"))[1].text == "1 < 2"


async def test_a_text_is_said_by_the_default_voice_with_words_and_phonemes(service) -> None:
    speech = service.speak(SpeechRequest(text="Hello there."), live=True)
    assert (speech.info.id, speech.text, speech.alphabet) == ("hibari/heart", "Hello there.", "misaki")
    pieces = [piece async for piece in speech.pieces]
    assert np.concatenate([piece.samples for piece in pieces]).std() > 0.01
    assert [word.text for piece in pieces for word in piece.words] == ["Hello", "there."]
    assert len([phoneme for piece in pieces for phoneme in piece.phonemes]) > 5
    assert service.status().succeeded == 1
