"""The gate tells speech from silence and from steady noise."""

import numpy as np
import pytest

from webrtc_avatar.audio.gate import VoiceGate, level

RNG = np.random.default_rng(3)


def noise(dbfs):
    return (RNG.standard_normal(640) * 10 ** (dbfs / 20)).astype(np.float32)


@pytest.fixture
def gate():
    return VoiceGate(silence_dbfs=-52)


def test_level_is_in_db_of_full_scale():
    assert level(np.full(640, 0.1, np.float32)) == pytest.approx(-20, abs=0.01)
    assert level(np.zeros(640, np.float32)) == -100


def test_speech_opens_at_once_and_silence_closes_after_the_hangover(gate):
    for _ in range(50):
        assert not gate.push(noise(-70))
    assert gate.push(noise(-25))
    assert [gate.push(noise(-70)) for _ in range(12)] == [True] * 11 + [False]


def test_steady_noise_is_learnt_as_silence_and_speech_above_it_opens(gate):
    states = [gate.push(noise(-45)) for _ in range(1000)]
    assert not any(states[-200:])
    assert gate.push(noise(-25))


def test_long_speech_with_its_pauses_keeps_the_gate_open(gate):
    for second in range(20):
        for chunk in range(25):
            loud = chunk % 8 < 5
            is_open = gate.push(noise(-24 if loud else -48))
        assert is_open, f"closed in second {second}"


def test_digital_silence_never_opens(gate):
    assert not any(gate.push(np.zeros(640, np.float32)) for _ in range(100))
