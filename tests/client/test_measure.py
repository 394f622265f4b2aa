import numpy as np
import pytest

from tests.client.echo_server import face
from webrtc_avatar.client import measure
from webrtc_avatar.client.mouth import opening
from webrtc_avatar.client.receiving import SenderReports

RNG = np.random.default_rng(7)


def speech_like(seconds: float) -> np.ndarray:
    """int16 (n,) 48 kHz: noise in syllables of 80 to 240 ms, pauses of 40 to 120 ms, and a pause of 0.6 s each 3 s."""
    parts, length = [np.zeros(48000)], 48000
    while length < seconds * 48000:
        syllable = int(RNG.uniform(0.08, 0.24) * 48000)
        parts.append(RNG.normal(0, 0.1, syllable) * np.hanning(syllable) * RNG.uniform(0.3, 1))
        pause = 0.6 if length // (3 * 48000) != (length + syllable) // (3 * 48000) else RNG.uniform(0.04, 0.12)
        parts.append(np.zeros(int(pause * 48000)))
        length += syllable + parts[-1].size
    return (np.concatenate(parts) * 32767).clip(-32768, 32767).astype(np.int16)


def mouth_of(sound: np.ndarray) -> np.ndarray:
    """The mouth of each 40 ms: as open as the sound is loud."""
    loud = measure.loudness(measure.level_dbfs(sound))
    return 18 + 12 * loud[: loud.size - loud.size % 4].reshape(-1, 4).mean(1)


@pytest.mark.parametrize("delay_ms", [130, 247, 610])
def test_voice_to_lips_is_the_delay_that_was_put_in(delay_ms):
    sound = speech_like(20)
    mouth = mouth_of(sound) + RNG.normal(0, 0.3, sound.size // 1920)
    arrived_s = 100.0 + 0.02 + np.arange(mouth.size) * 0.04 + delay_ms / 1000
    lag = measure.voice_to_lips(measure.level_dbfs(sound), 100.0, arrived_s, mouth)
    assert lag is not None
    assert lag.lag_ms == pytest.approx(delay_ms, abs=4)
    assert lag.correlation > 0.9


def test_onset_delays_find_the_first_moved_frame():
    sound = speech_like(20)
    mouth = mouth_of(sound)
    onsets_s = measure.speech_onsets_s(measure.level_dbfs(sound))
    assert onsets_s.size >= 5
    delays_s = measure.onset_delays_s(onsets_s, np.arange(mouth.size) * 0.04 + 0.3, mouth)
    assert delays_s.size >= 5
    assert np.median(delays_s) == pytest.approx(0.3, abs=0.04)


def test_an_onset_while_the_mouth_still_closes_does_not_count():
    arrived_s = np.arange(100) * 0.04
    mouth = np.full(100, 18.0)
    mouth[::10] = 30
    mouth[40:60] = np.linspace(30, 18, 20)
    assert measure.onset_delays_s(np.array([1.7]), arrived_s, mouth).size == 0


@pytest.mark.parametrize("offset_ms", [-80, 0, 35])
def test_audio_video_offset_is_positive_when_the_sound_is_first(offset_ms):
    sound = speech_like(20)
    mouth = mouth_of(sound)
    level = measure.level_dbfs(sound)
    picture_s = np.arange(mouth.size) * 0.04 + offset_ms / 1000
    lag = measure.audio_video_offset(np.arange(level.size) * 0.01, level, picture_s, mouth)
    assert lag is not None
    assert lag.lag_ms == pytest.approx(offset_ms, abs=3)


def test_lateness_counts_from_the_timeliest_frame():
    media_s = np.arange(5) * 0.04
    arrived_s = 7 + media_s + np.array([0.010, 0.005, 0.030, 0.005, 0.045])
    assert measure.lateness_s(media_s, arrived_s) * 1000 == pytest.approx([5, 0, 25, 0, 40])


def test_frame_rate_leaves_out_the_first_second_and_repeated_media_times():
    arrived_s = np.concatenate([np.linspace(0, 0.99, 5), 1 + np.arange(250) * 0.04])
    media_s = arrived_s.copy()
    media_s[100] = media_s[99]
    fps, span_s = measure.frame_rate(media_s, arrived_s)
    assert span_s == pytest.approx(9.96)
    assert fps == pytest.approx(248 / 9.96)


def test_nothing_to_measure_gives_none_and_not_a_number():
    empty = np.zeros(0)
    assert measure.percentiles(empty) is None
    assert measure.frame_rate(empty, empty) == (None, 0.0)
    assert measure.voice_to_lips(empty, 0.0, empty, empty) is None
    assert measure.voice_to_lips(np.full(500, -100.0), 0.0, np.arange(200) * 0.04, np.full(200, 18.0)) is None


def test_the_relation_of_the_clocks_outlives_a_held_up_sender():
    sound, picture = SenderReports(48_000), SenderReports(90_000)
    for second in range(40):
        held_up_s = 1.5 if second >= 20 else 0.0
        ntp_s = second + 0.3 * (second % 3)
        sound.add(int(ntp_s * 2**32), round((ntp_s - held_up_s + 500) * 48_000))
        ntp_s = second + 0.2
        picture.add(int(ntp_s * 2**32), round((ntp_s - held_up_s + 300) * 90_000))
    assert measure.media_clock_relation_s(sound, picture) == pytest.approx(200, abs=0.001)
    assert measure.media_clock_relation_s(sound, picture, since_s=10) == pytest.approx(200, abs=0.001)


@pytest.mark.parametrize("sway_px", [(0, 0), (10, 0), (-8, 6), (0, -8)])
def test_opening_follows_the_lips_and_not_the_head(sway_px):
    heights = []
    for step in range(6):
        frame = np.roll(face(step / 5)[:512], sway_px[::-1], (0, 1))
        assert frame.shape == (512, 512)
        chroma = face(step / 5)[512:].reshape(2, 256, 256)
        u, v = np.roll(chroma, (sway_px[1] // 2, sway_px[0] // 2), (1, 2))
        heights.append(opening(u, v))
    assert np.all(np.diff(heights) > 1.0)
    assert heights[0] == pytest.approx(11, abs=2)


def test_opening_is_zero_without_lips():
    grey = np.full((256, 256), 128, np.uint8)
    assert opening(grey, grey) == 0.0
