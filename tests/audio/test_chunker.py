"""Sound of any length and rate becomes chunks: aligned, complete, in time."""

from itertools import chain

import numpy as np
import pytest
import soxr

from webrtc_avatar.audio.chunk import CHUNK_SAMPLES, SOUND_SAMPLES
from webrtc_avatar.audio.chunker import LIVE_LEAD_IN, Chunker
from webrtc_avatar.audio.resample import DECIMATOR_DELAY, Decimator, Resampler
from webrtc_avatar.errors import InvalidAudio

RNG = np.random.default_rng(0)


def tone(hz, seconds, rate_hz=48_000):
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate_hz)) / rate_hz)).astype(np.float32)


def push_all(push, sound):
    out, n = [], 0
    while n < len(sound):
        size = int(RNG.integers(1, 3000))
        out.append(push(sound[n : n + size]))
        n += size
    return out


def test_the_decimator_keeps_speech_and_drops_what_would_alias():
    for hz, gain_db in ((100, 0), (3000, 0), (7000, 0)):
        out = np.concatenate(push_all(Decimator().push, tone(hz, 1)))[100:]
        assert 20 * np.log10(np.std(out) / np.std(tone(hz, 1))) == pytest.approx(gain_db, abs=0.1)
    for hz in (8600, 10_000, 15_000, 23_000):
        out = np.concatenate(push_all(Decimator().push, tone(hz, 1)))[100:]
        assert 20 * np.log10(np.std(out) / np.std(tone(hz, 1))) < -55


def test_a_decimated_sample_stands_where_it_stood():
    sound = tone(440, 1) * np.hanning(48_000).astype(np.float32)
    out = np.concatenate(push_all(Decimator().push, sound))
    assert len(out) == (len(sound) - DECIMATOR_DELAY + 2) // 3
    assert np.abs(out - sound[::3][: len(out)]).max() < 2e-3


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 22_050, 24_000, 44_100, 48_000, 96_000])
def test_any_rate_gives_the_exact_duration(rate_hz):
    resampler = Resampler(rate_hz)
    sound = tone(300, 1.7, rate_hz)
    out = np.concatenate([*push_all(resampler.push, sound), resampler.flush()])
    assert len(out) == round(len(sound) * 48_000 / rate_hz)
    assert np.abs(out - tone(300, 2)[: len(out)])[500:-500].max() < 1e-3


@pytest.mark.parametrize("rate_hz", [16_000, 24_000, 44_100, 48_000])
def test_chunks_hold_all_the_sound_and_the_model_hears_what_is_played(rate_hz):
    chunker = Chunker(rate_hz=rate_hz)
    sound = tone(500, 1.23, rate_hz)
    parts = push_all(lambda part: chunker.push(part, arrived_s=5.0), sound)
    chunks = [*chain.from_iterable(parts), *chunker.flush(arrived_s=6.0)]
    assert len(chunks) == -(-round(len(sound) * 48_000 / rate_hz) // SOUND_SAMPLES)
    assert [chunk.media_time_s for chunk in chunks] == pytest.approx([0.04 * n for n in range(len(chunks))])
    played = np.concatenate([chunk.sound for chunk in chunks]) / 32768
    heard = np.concatenate([chunk.samples for chunk in chunks])
    assert not played[round(1.23 * 48_000) + 100 :].any()
    reference = soxr.resample(played, 48_000, 16_000)
    assert np.abs(heard - reference)[:-100].max() < 0.02
    assert not any(chunk.synthetic for chunk in chunks[:-1])


def test_live_sound_completes_a_chunk_with_the_packet_that_ends_it():
    chunker = Chunker(lead_in=LIVE_LEAD_IN)
    counts = [len(chunker.push(np.ones(960, np.int16), arrived_s=0.0)) for _ in range(10)]
    assert counts == [0, 1] * 5
    slow = Chunker()
    assert [len(slow.push(np.ones(960, np.int16), arrived_s=0.0)) for _ in range(4)] == [0, 0, 1, 0]


def test_lead_in_shows_in_the_media_time():
    chunker = Chunker(lead_in=LIVE_LEAD_IN)
    (chunk,) = chunker.push(np.ones(SOUND_SAMPLES, np.int16), arrived_s=0.0)
    assert chunk.media_time_s == pytest.approx(-LIVE_LEAD_IN / 48_000)
    assert not chunk.sound[:LIVE_LEAD_IN].any()
    assert chunk.sound[LIVE_LEAD_IN:].all()


def test_stereo_is_averaged_and_int16_is_played_bit_for_bit():
    chunker = Chunker()
    left = RNG.integers(-32768, 32767, 2 * SOUND_SAMPLES).astype(np.int16)
    (first, *_) = chunker.push(np.stack((left, left), axis=1), arrived_s=0.0)
    assert np.array_equal(first.sound, left[:SOUND_SAMPLES])
    assert first.samples.shape == (CHUNK_SAMPLES,)


def test_a_chunk_is_synthetic_if_more_than_half_of_it_was_filled_in():
    chunker = Chunker()
    flags = []
    for synthetic, samples in ((False, 1000), (True, 1000), (False, 920), (True, 920 + 1920), (False, 4000)):
        chunks = chunker.push(np.ones(samples, np.int16), arrived_s=0.0, synthetic=synthetic)
        flags += [chunk.synthetic for chunk in chunks]
    assert flags == [False, True, True, False, False]


@pytest.mark.parametrize("bad", [np.zeros(10), np.zeros(10, np.int32), np.zeros((2, 2, 2), np.float32)])
def test_sound_of_another_kind_is_refused(bad):
    with pytest.raises(InvalidAudio):
        Chunker().push(bad, arrived_s=0.0)


def test_a_rate_out_of_range_is_refused():
    with pytest.raises(InvalidAudio, match="4000"):
        Chunker(rate_hz=4_000)
