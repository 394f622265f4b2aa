"""Files of speech are whole, and can be read while they are written."""

from __future__ import annotations

import io
import subprocess
import wave

import av
import numpy as np
import pytest

from webrtc_avatar.speech.files import pcm16, speech_file, wav_header

RATE_HZ = 24_000
TONE = (0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE_HZ) / RATE_HZ)).astype(np.float32)


def decoded(data: bytes) -> tuple[np.ndarray, int]:
    with av.open(io.BytesIO(data)) as container:
        frames = list(container.decode(audio=0))
    return np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames]), frames[0].sample_rate


def test_a_wav_file_of_known_length_is_read_by_the_standard_library() -> None:
    data = pcm16(TONE)
    with wave.open(io.BytesIO(wav_header(RATE_HZ, len(data)) + data)) as read:
        assert (read.getnframes(), read.getframerate(), read.getnchannels(), read.getsampwidth()) == (
            24_000,
            RATE_HZ,
            1,
            2,
        )
        np.testing.assert_allclose(np.frombuffer(read.readframes(24_000), "<i2") / 32767, TONE, atol=1e-4)


@pytest.mark.parametrize("kind", ["wav", "opus"])
def test_ffmpeg_plays_a_file_that_comes_in_pieces(kind: str) -> None:
    file = speech_file(kind, RATE_HZ)
    data = b"".join([*(file.add(piece) for piece in np.split(TONE, [100, 7000])), file.finish()])
    sound = subprocess.run(
        ["ffmpeg", "-v", "error", "-i", "-", "-f", "f32le", "-ac", "1", "-ar", "48000", "-"],
        input=data, capture_output=True, check=True,
    ).stdout  # fmt: skip
    samples = np.frombuffer(sound, "<f4")
    assert len(samples) / 48_000 == pytest.approx(1.0, abs=0.03)
    assert np.sqrt(np.mean(samples[10_000:40_000] ** 2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.05)


@pytest.mark.parametrize("kind", ["wav", "opus"])
def test_the_first_piece_can_be_heard_before_the_second_is_made(kind: str) -> None:
    file = speech_file(kind, RATE_HZ)
    sound, _ = decoded(file.add(TONE))
    assert np.abs(sound).max() > 0.3
    assert len(sound) > 20_000


def test_bare_samples_have_no_header() -> None:
    file = speech_file("pcm", RATE_HZ)
    assert file.add(np.array([0.0, 1.0, -2.0], np.float32)) == np.array([0, 32767, -32768], "<i2").tobytes()
    assert file.finish() == b""
