"""The shipped ear on speech that it was not trained on, through the streaming path."""

from pathlib import Path

import numpy as np
import pytest

from webrtc_avatar.audio.mel import log_mel
from webrtc_avatar.training.ear_report import JAW, PRESS, load_ear, measure, stream_windows
from webrtc_avatar.training.visemes import WEIGHTS

EAR = Path(__file__).parents[2] / "models" / "iris" / "ear.onnx"
LIBRIVOX = Path("/usr/share/pocketsphinx/test/data/librivox")
ROUND = [WEIGHTS.index(name) for name in ("pucker", "funnel", "round")]


@pytest.fixture(scope="module")
def real():
    if not LIBRIVOX.exists():
        pytest.skip("needs pocketsphinx-testdata")
    pytest.importorskip("pocketsphinx")
    from webrtc_avatar.training.speech import real_speech

    return list(real_speech(LIBRIVOX))


def _spoken(text: str, voice: str):
    from webrtc_avatar.training.espeak import speak
    from webrtc_avatar.training.speech import utterance

    try:
        return utterance(voice, speak(text, voice), "ipa", held_out=True)
    except OSError:
        pytest.skip("needs libespeak-ng1: apt install espeak-ng")


def test_silence_and_steady_noise_keep_the_mouth_shut():
    rng = np.random.default_rng(0)
    ear = load_ear(EAR)
    for level in (0.0, 1e-4, 1e-3, 1e-2):
        weights, _ = ear(stream_windows((level * rng.normal(0, 1, 32_000)).astype(np.float32)))
        assert np.abs(weights[:, JAW]).max() < 0.1, level


def test_lips_close_on_p_b_m_and_stay_open_on_vowels():
    spoken = _spoken("My papa may be a bit more happy about the map above.", "en-us")
    tally = measure(load_ear(EAR), [spoken])
    assert tally.rate("p b m closed") >= 0.85
    assert tally.rate("false closures") <= 0.3


def test_lips_round_on_u_and_spread_on_i():
    ear = load_ear(EAR)
    rounded, spread = (
        ear(stream_windows(_spoken(text, "en-us").samples))[0] for text in ("Who? You, too.", "He sees tea.")
    )
    assert rounded[:, ROUND].sum(1).max() > 0.7
    assert spread[:, ROUND].sum(1).mean() < 0.5 * rounded[:, ROUND].sum(1).mean()


def test_lips_close_on_real_speech(real):
    tally = measure(load_ear(EAR), real)
    assert tally.rate("p b m closed") >= 0.7
    assert tally.rate("silence closed") >= 0.8
    assert tally.rate("false closures") <= 0.25


def test_the_jaw_moves_with_real_speech_and_at_once(real):
    tally = measure(load_ear(EAR), real)
    assert float(tally.text("jaw correlation")) > 0.55
    assert abs(float(tally.text("jaw lag, ms"))) <= 40


def test_the_mouth_is_wider_where_real_speech_is_loud(real):
    samples = np.concatenate([utterance.samples for utterance in real])
    weights, _ = load_ear(EAR)(stream_windows(samples))
    count = len(samples) // 640
    weights, level = weights[:count], log_mel(samples)[: 4 * count].mean(1).reshape(count, 4).mean(1)
    opening = weights[:, JAW] - weights[:, PRESS]
    quiet, loud = np.quantile(level, [0.15, 0.85])
    assert opening[level > loud].mean() > opening[level < quiet].mean() + 0.15


@pytest.mark.parametrize("gain_db", [-30.0, -12.0, 0.0])
def test_gain_does_not_matter_much(real, gain_db):
    assert measure(load_ear(EAR), real, gain_db=gain_db).rate("p b m closed") >= 0.65
