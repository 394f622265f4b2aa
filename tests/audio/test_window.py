import numpy as np
import pytest

from webrtc_avatar.audio.window import (
    Savings,
    audio_range,
    chunk,
    from_bytes,
    pad,
    required_chunks,
    to_bytes,
    window,
)
from webrtc_avatar.errors import InvalidAudio


def numbered(count):
    """Chunks that carry their number in every sample."""
    return np.repeat(np.arange(count, dtype=np.float32)[:, None], 640, axis=1)


def numbers(chunks):
    return chunks[:, 0].astype(int).tolist()


def test_frames_100_to_103_need_the_19_chunks_92_to_110():
    assert audio_range(100, 4) == (92, 111)
    assert required_chunks(4) == 19


def test_a_window_is_8_chunks_before_its_own_and_7_after():
    padded = pad(numbered(200), start=100, frame_count=4)
    assert numbers(window(padded, 0)) == list(range(92, 108))
    assert numbers(window(padded, 3)) == list(range(95, 111))


def test_past_either_end_the_first_or_last_chunk_is_repeated():
    assert numbers(pad(numbered(3))) == [0] * 8 + [0, 1, 2] + [2] * 7
    assert numbers(pad(numbered(30), start=20, frame_count=4)) == [*range(12, 30), 29]
    assert numbers(pad(numbered(30), start=28)) == [*range(20, 30), *[29] * 7]


def test_inside_the_sound_nothing_is_copied():
    chunks = numbered(60)
    padded = pad(chunks, start=10, frame_count=20)
    assert np.shares_memory(padded, chunks)
    assert np.shares_memory(window(padded, 7), chunks)
    samples = chunks.reshape(-1)
    assert np.shares_memory(chunk(samples), samples)


def test_the_last_chunk_is_filled_up_with_silence():
    cut = chunk(np.ones(641, np.float32))
    assert cut.shape == (2, 640)
    assert cut[1, 0] == 1
    assert not cut[1, 1:].any()
    assert chunk(np.zeros(0, np.float32)).shape == (0, 640)


def test_bytes_on_the_wire_are_little_endian_float32_and_come_back():
    chunks = np.random.default_rng(0).uniform(-1, 1, (3, 640)).astype(np.float32)
    wire = to_bytes(chunks)
    assert [len(data) for data in wire] == [2560] * 3
    assert np.frombuffer(wire[1], "<f4").tolist() == chunks[1].tolist()
    assert np.array_equal(from_bytes(wire), chunks)


@pytest.mark.parametrize(
    ("frames", "before", "after", "per_cent"),
    [(1, 16, 16, 0), (2, 32, 17, 47), (4, 64, 19, 70), (8, 128, 23, 82), (20, 320, 35, 89)],
)
def test_savings_are_those_of_the_seeds(frames, before, after, per_cent):
    savings = Savings(frames)
    assert (savings.redundant_chunks, savings.chunks) == (before, after)
    assert round(100 * savings.share) == per_cent
    assert savings.saved_bytes == (before - after) * 2560


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: required_chunks(0), "at least 1 frame; got 0"),
        (lambda: pad(numbered(0)), "the sound is empty"),
        (lambda: pad(numbered(4), start=4), "at least 1 frame; got 0"),
        (lambda: pad(np.zeros((4, 641), np.float32)), r"float32 \(n, 640\) at 16 kHz; got float32 \(4, 641\)"),
        (lambda: chunk(np.zeros((4, 2), np.float32)), "one channel"),
        (lambda: chunk(np.zeros(640, np.int16)), "int16"),
        (lambda: window(numbered(19), 4), "needs the chunks 4 to 19 of it; there are 19"),
        (lambda: window(numbered(19), -1), "there are 19"),
        (lambda: from_bytes([bytes(2560), bytes(2559)]), "chunk 1 has 2559 bytes; expected 2560"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_numbers(call, words):
    with pytest.raises(InvalidAudio, match=words):
        call()
