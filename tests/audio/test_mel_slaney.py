"""Mel frames as the published ones, whole and in a stream."""

from pathlib import Path

import numpy as np
import pytest

from webrtc_avatar.audio.chunk import CHUNK_SAMPLES
from webrtc_avatar.audio.mel_slaney import HOP_SAMPLES, SILENT_LEVEL, SlaneyStream, first_frame, mel_frames
from webrtc_avatar.errors import InvalidAudio

VECTORS = Path(__file__).parents[1] / "interop" / "vectors"


def _sound(samples: int, seed: int = 7) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32)


def _pieces(samples: np.ndarray) -> list[np.ndarray]:
    return [samples[first : first + CHUNK_SAMPLES] for first in range(0, len(samples), CHUNK_SAMPLES)]


def test_frames_are_the_published_ones_to_a_hundred_thousandth():
    with np.load(VECTORS / "synctalk2d_audio.npz", allow_pickle=False) as published:
        frames = mel_frames(published["pcm_i16"].astype(np.float32) / 32768)
        np.testing.assert_allclose(frames.T, published["mel"], atol=1e-5)


def test_frames_of_a_stream_are_those_of_the_whole():
    samples = _sound(20 * CHUNK_SAMPLES + 217)
    stream = SlaneyStream()
    frames = np.concatenate([*(stream.push(piece) for piece in _pieces(samples)), stream.finish()])
    whole = mel_frames(samples)
    assert len(frames) == len(whole) == 1 + len(samples) // HOP_SAMPLES
    np.testing.assert_allclose(frames, whole, atol=1e-6)


@pytest.mark.parametrize("first_chunk", [-8, -3, 1, 2, 3, 4, 5, 22])
def test_sound_that_begins_later_lies_on_the_same_grid(first_chunk):
    before = _sound(30 * CHUNK_SAMPLES)
    origin = SlaneyStream(-10)
    whole = origin.push(before)
    later = SlaneyStream(first_chunk)
    assert later.next_frame == first_frame(first_chunk)
    cut = later.push(before[(first_chunk + 10) * CHUNK_SAMPLES :])
    # Three frames still reach back before the cut.
    numbers = np.arange(first_frame(first_chunk) + 3, later.next_frame)
    np.testing.assert_allclose(cut[3:], whole[numbers - first_frame(-10)], atol=1e-6)


def test_silence_is_the_lowest_level():
    assert (mel_frames(np.zeros(4000, np.float32)) == SILENT_LEVEL).all()


def test_a_click_is_loudest_in_the_frame_that_is_centred_on_it():
    samples = np.zeros(8000, np.float32)
    samples[4000] = 0.01
    assert int(mel_frames(samples).mean(1).argmax()) == 4000 // HOP_SAMPLES


@pytest.mark.parametrize("samples", [np.zeros((2, 640), np.float32), np.zeros(640, np.float64)])
def test_sound_of_another_shape_or_type_is_refused(samples):
    with pytest.raises(InvalidAudio, match="mono float32"):
        SlaneyStream().push(samples)
