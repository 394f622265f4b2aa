import numpy as np
import pytest

pytest.importorskip("scipy")

from webrtc_avatar.audio.mel import SILENT_MEL, log_mel
from webrtc_avatar.speech.phonemes import Segment
from webrtc_avatar.training.augment import other_microphone, other_room, through_opus
from webrtc_avatar.training.noises import noise_sounds
from webrtc_avatar.training.whisper import whispered


def _burst(at_s: float) -> np.ndarray:
    samples = np.zeros(32_000, np.float32)
    first = int(at_s * 16_000)
    samples[first : first + 800] = np.random.default_rng(0).normal(0, 0.3, 800)
    return samples


def _loudest_s(samples: np.ndarray) -> float:
    return float(log_mel(samples).mean(1).argmax()) / 100


@pytest.mark.parametrize("seed", range(6))
def test_times_move_with_the_sound(seed):
    heard, segments = other_room(_burst(1.0), [Segment(1.0, 1.05, "aa")], np.random.default_rng(seed))
    assert segments[0].start_s - 0.02 <= _loudest_s(heard) <= segments[0].end_s + 0.04
    assert np.abs(heard).max() <= 0.95


def test_the_codec_leaves_sound_where_it_was():
    heard = through_opus(_burst(1.0), bit_rate=24_000)
    assert len(heard) == 32_000
    assert 1.0 <= _loudest_s(heard) <= 1.05


def test_another_microphone_is_reproducible_and_keeps_the_floor():
    rows = log_mel(_burst(1.0))
    noise = np.full_like(rows, SILENT_MEL)
    first, second = (other_microphone(rows, noise, np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(first, second)
    assert first.shape == rows.shape
    assert first.min() >= SILENT_MEL
    assert not np.allclose(first, rows, atol=1)


def test_noises_are_about_as_loud_as_speech():
    for name, sound in noise_sounds(np.random.default_rng(0)).items():
        assert sound.dtype == np.float32, name
        assert 0.005 < np.sqrt(np.mean(sound**2)) < 2, name


def test_a_whisper_keeps_the_envelope_and_loses_the_pitch():
    time_s = np.arange(16_000) / 16_000
    buzz = np.sign(np.sin(2 * np.pi * 120 * time_s)) * (time_s % 0.5 < 0.25)
    voiced = (0.3 * buzz).astype(np.float32)
    quiet = whispered(voiced, np.random.default_rng(0))
    assert quiet.shape == voiced.shape
    assert quiet.dtype == np.float32

    def periodic(samples: np.ndarray) -> float:
        part = samples[1000:3000]
        return float(np.corrcoef(part[:-133], part[133:])[0, 1])

    assert periodic(voiced) > 0.8
    assert abs(periodic(quiet)) < 0.4
    loud, silent = quiet[500:3500].std(), quiet[4500:7500].std()
    assert loud > 50 * silent
