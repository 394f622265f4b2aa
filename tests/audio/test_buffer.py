import threading

import numpy as np
import pytest
import soxr

from webrtc_avatar.audio.buffer import AudioChunkBuffer
from webrtc_avatar.errors import BufferFull, InvalidAudio, SessionFinished


def speak(buffer):
    """Take all that is there and return it as lists of chunks."""
    taken = []
    while (chunk := buffer.take()) is not None:
        taken.append(chunk)
    return taken


def feed(buffer, sound, rate_hz, generator, most):
    taken, at = [], 0
    while at < len(sound):
        count = int(generator.integers(0, most))
        buffer.add_chunk(sound[at : at + count], rate_hz)
        at += count
        if generator.random() < 0.5:
            taken += speak(buffer)
        elif rate_hz == 16_000 and generator.random() < 0.1:
            buffer.drain()
        elif generator.random() < 0.2 and (partly := buffer.take(whole=False)) is not None:
            taken.append(partly)
    taken += speak(buffer)
    last = buffer.finish()
    return taken + ([] if last is None else [last])


@pytest.mark.parametrize("seed", range(40))
def test_what_is_spoken_is_the_input_sample_for_sample_for_any_sizes(seed):
    generator = np.random.default_rng(seed)
    sound = generator.uniform(-1, 1, int(generator.integers(1, 60_000))).astype(np.float32)
    buffer = AudioChunkBuffer("s", float(generator.uniform(0.1, 1.5)), overlap=float(generator.choice([0, 0.2, 0.9])))
    taken = feed(buffer, sound, 16_000, generator, int(generator.choice([3_000, 20_000])))
    assert np.array_equal(np.concatenate([chunk.spoken for chunk in taken]), sound)
    assert sum(len(chunk.sound) for chunk in taken) == 3 * len(sound)
    assert not buffer.has_pending_audio()
    before = np.zeros(0, np.float32)
    for chunk in taken:
        assert np.array_equal(chunk.heard[: chunk.overlap], before[len(before) - chunk.overlap :])
        assert chunk.overlap == min(buffer.overlap_samples, len(before))
        assert not chunk.padding or not chunk.heard[-chunk.padding :].any()
        before = np.concatenate((before, chunk.spoken))


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 22_050, 24_000, 44_100, 48_000, 96_000])
def test_any_rate_becomes_16_khz_as_if_it_had_come_at_once(rate_hz):
    generator = np.random.default_rng(rate_hz)
    time_s = np.arange(int(1.37 * rate_hz)) / rate_hz
    sound = (0.5 * np.sin(2 * np.pi * 440 * time_s)).astype(np.float32)
    taken = feed(AudioChunkBuffer("s", 0.3), sound, rate_hz, generator, 4_000)
    spoken = np.concatenate([chunk.spoken for chunk in taken])
    at_once = soxr.resample(sound, rate_hz, 16_000, quality="HQ")
    assert len(spoken) == round(len(sound) * 16_000 / rate_hz)
    assert np.abs(spoken[:-1] - at_once[: len(spoken) - 1]).max() < 1e-4
    heard = np.concatenate([chunk.sound for chunk in taken])
    assert len(heard) == 3 * len(spoken)
    middle = slice(500, len(spoken) - 500)
    assert np.abs(heard[::3][middle] - spoken[middle]).max() < 2e-3


def test_a_change_of_rate_loses_and_repeats_nothing():
    buffer = AudioChunkBuffer("s", 0.5)
    expected = 0
    for rate_hz in (24_000, 16_000, 48_000, 8_000, 44_100):
        buffer.add_chunk(np.full(rate_hz // 5 * 2, 0.25, np.float32), rate_hz)
        expected += 6_400
    taken = [*speak(buffer), buffer.finish()]
    spoken = np.concatenate([chunk.spoken for chunk in taken])
    assert len(spoken) == expected
    assert np.median(np.abs(spoken - 0.25)) < 1e-3


def test_it_tells_when_enough_is_there_and_pads_what_is_left():
    buffer = AudioChunkBuffer("s", 1.0, source_sr=16_000)
    assert not buffer.add_chunk(np.ones(15_999, np.float32) / 2)
    assert buffer.get_chunk() is None
    assert buffer.add_chunk(np.ones(2, np.float32) / 2)
    first = buffer.get_chunk()
    assert 16_000 - 16_000 * 0.04 <= len(first) <= 16_000
    assert buffer.has_pending_audio()
    rest = buffer.finalize()
    spoken = 16_001 - len(first)
    assert rest.shape == (3_200 + 16_000,)
    assert rest[: 3_200 + spoken].all()
    assert not rest[3_200 + spoken :].any()
    assert buffer.finalize() is None


def test_memory_is_bounded_and_a_refusal_takes_nothing():
    buffer = AudioChunkBuffer("s", 1.0, source_sr=16_000, max_pending_s=2.0)
    buffer.add_chunk(np.zeros(24_000, np.int16))
    with pytest.raises(BufferFull, match=r"1\.5 s of at most 2\.0 s"):
        buffer.add_chunk(np.zeros(8_001, np.int16))
    assert buffer.pending_samples == 24_000
    buffer.take()
    buffer.add_chunk(np.zeros(8_001, np.int16))


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000, 44_100])
def test_a_feed_of_a_chunks_duration_is_enough_for_a_chunk(rate_hz):
    buffer = AudioChunkBuffer("s", 1.0)
    for _ in range(5):
        assert buffer.add_chunk(np.zeros(rate_hz, np.float32), rate_hz)
        assert buffer.get_chunk() is not None


def test_what_no_sound_is_made_of_is_refused_or_made_harmless():
    buffer = AudioChunkBuffer("s", 0.1, source_sr=16_000)
    for wrong in (np.zeros((2, 2, 2), np.float32), np.zeros(4, np.int64), np.zeros(4, "U1")):
        with pytest.raises(InvalidAudio):
            buffer.add_chunk(wrong)
    for rate_hz in (0, -1, 999, 10_000_000):
        with pytest.raises(InvalidAudio):
            buffer.add_chunk(np.zeros(4, np.float32), rate_hz)
    for arguments in ({"chunk_duration": 0.05}, {"chunk_duration": float("nan")}, {"overlap": 1.0}):
        with pytest.raises(InvalidAudio):
            AudioChunkBuffer("s", **arguments)
    buffer.add_chunk(np.array([np.nan, np.inf, -np.inf, 7.0, 0.5]))
    buffer.add_chunk(np.array([[16384, 0], [-16384, -16384]], np.int16))
    assert buffer.finish().spoken.tolist() == [0, 1, -1, 1, 0.5, 0.25, -0.5]
    with pytest.raises(SessionFinished):
        buffer.add_chunk(np.zeros(4, np.float32))


def test_several_threads_feed_and_take_and_nothing_is_lost():
    buffer = AudioChunkBuffer("s", 0.1, source_sr=16_000)
    taken, fed = [], threading.Event()

    def feeder():
        for _ in range(300):
            buffer.add_chunk(np.full(333, 0.5, np.float32))

    def taker():
        while not (fed.is_set() and not buffer.pending_samples >= buffer.chunk_samples):
            if (chunk := buffer.take()) is not None:
                taken.append(len(chunk.spoken))

    feeders = [threading.Thread(target=feeder) for _ in range(4)]
    takers = [threading.Thread(target=taker) for _ in range(3)]
    for thread in feeders + takers:
        thread.start()
    for thread in feeders:
        thread.join()
    fed.set()
    for thread in takers:
        thread.join()
    last = buffer.finish()
    assert sum(taken) + len(last.spoken) == 4 * 300 * 333
