import numpy as np
import pytest

from webrtc_avatar.audio.chunk import CHUNK_SAMPLES
from webrtc_avatar.audio.mel import (
    MEL_BANDS,
    MEL_ROWS_BEFORE,
    MEL_ROWS_PER_CHUNK,
    MEL_WINDOW,
    SILENT_MEL,
    MelStream,
    log_mel,
    window_rows,
)
from webrtc_avatar.errors import InvalidAudio


def _sound(chunks: int) -> np.ndarray:
    return np.random.default_rng(7).normal(0, 0.1, chunks * CHUNK_SAMPLES).astype(np.float32)


def test_rows_of_a_stream_equal_those_of_the_whole():
    samples = _sound(25)
    stream = MelStream()
    rows = np.concatenate([stream.push(chunk) for chunk in samples.reshape(-1, CHUNK_SAMPLES)])
    assert len(rows) == 4 * 24 + 3
    assert np.allclose(rows, log_mel(samples)[: len(rows)], atol=1e-5)


def test_after_a_reset_the_stream_hears_silence_before_the_next_chunk():
    stream = MelStream()
    first = stream.push(_sound(1))
    stream.push(_sound(1))
    stream.reset()
    assert np.array_equal(stream.push(_sound(1)), first)


def test_a_window_is_complete_with_its_chunk_and_not_before():
    stream = MelStream()
    rows = sum(len(stream.push(chunk)) for chunk in _sound(8).reshape(-1, CHUNK_SAMPLES))
    assert window_rows(7).stop == rows


def test_a_window_ends_in_its_chunk_and_the_first_one_begins_before_the_start():
    rows = window_rows(10)
    assert len(rows) == MEL_WINDOW
    assert 10 * MEL_ROWS_PER_CHUNK <= rows[-1] < 11 * MEL_ROWS_PER_CHUNK
    assert window_rows(0).start == -MEL_ROWS_BEFORE


def test_a_row_is_centred_on_its_instant():
    samples = np.zeros(16_000, np.float32)
    samples[8_000] = 1.0
    assert int(log_mel(samples).mean(1).argmax()) == 50


def test_a_tone_is_loudest_in_its_own_band_and_silence_is_flat():
    time_s = np.arange(16_000) / 16_000
    rows = log_mel((0.5 * np.sin(2 * np.pi * 1000 * time_s)).astype(np.float32))
    mels = 2595 * np.log10(1 + np.array([50, 1000, 7600]) / 700)
    expected = (mels[1] - mels[0]) / (mels[2] - mels[0]) * (MEL_BANDS + 1) - 1
    assert abs(int(rows[50].argmax()) - expected) <= 1
    assert np.allclose(log_mel(np.zeros(1600, np.float32)), SILENT_MEL)


@pytest.mark.parametrize("samples", [np.zeros((2, 640), np.float32), np.zeros(640, np.float64)])
def test_sound_of_another_shape_or_type_is_refused(samples):
    with pytest.raises(InvalidAudio, match="mono float32"):
        log_mel(samples)


def test_a_chunk_of_another_length_is_refused():
    with pytest.raises(InvalidAudio, match="640 samples"):
        MelStream().push(np.zeros(320, np.float32))
