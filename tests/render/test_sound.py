import numpy as np
import pytest

from tests.audio.test_decode import sweep, write
from webrtc_avatar.audio.decode import SoundFile
from webrtc_avatar.render.sound import film_rate, length_s, moments


@pytest.mark.parametrize(
    ("rate_hz", "expected"), [(16_000, 16_000), (44_100, 44_100), (22_000, 22_050), (96_000, 48_000), (6_000, 8_000)]
)
def test_a_film_keeps_the_sound_s_rate_where_aac_has_it(rate_hz, expected):
    assert film_rate(rate_hz) == expected
    assert expected % 25 == 0


@pytest.mark.parametrize(("rate_hz", "channels"), [(16_000, 1), (44_100, 2), (96_000, 1), (22_000, 1)])
def test_moments_hold_both_sounds_of_the_same_40_ms(tmp_path, rate_hz, channels):
    layout = {1: "mono", 2: "stereo"}[channels]
    sound = np.stack([sweep(1.0, rate_hz)] * channels)
    path = write(tmp_path / "a.wav", "pcm_f32le", rate_hz, sound, layout=layout)
    with SoundFile(path) as opened:
        cut = list(moments(opened))
    size = film_rate(rate_hz) // 25
    assert len(cut) == 25
    assert all(moment.samples.shape == (640,) for moment in cut)
    assert all(moment.sound.shape == (size, channels) for moment in cut)
    played = np.concatenate([moment.sound for moment in cut])[:, 0]
    heard = np.concatenate([moment.samples for moment in cut])
    middle = slice(2_000, 14_000)
    assert np.abs(heard - sweep(1.0, 16_000))[middle].max() < 0.01
    middle = slice(film_rate(rate_hz) // 8, film_rate(rate_hz) * 7 // 8)
    assert np.abs(played - sweep(1.0, film_rate(rate_hz)))[middle].max() < 0.01


def test_the_last_moment_is_short_to_hear_and_whole_for_the_model(tmp_path):
    path = write(tmp_path / "a.wav", "pcm_f32le", 48_000, sweep(0.1, 48_000)[None])
    with SoundFile(path) as opened:
        *_, last = moments(opened)
    assert last.samples.shape == (640,)
    assert not last.samples[320:].any()
    assert last.sound.shape == (960, 1)


def test_silence_can_lie_before_and_behind(tmp_path):
    path = write(tmp_path / "a.wav", "pcm_f32le", 16_000, np.full((1, 16_000), 0.5, np.float32))
    with SoundFile(path) as opened:
        assert length_s(opened, lead_in_s=0.4, lead_out_s=0.6) == 2.0
        heard = np.concatenate([moment.samples for moment in moments(opened, lead_in_s=0.4, lead_out_s=0.6)])
    assert np.flatnonzero(heard)[[0, -1]].tolist() == [6_400, 22_399]
    assert len(heard) == 32_000
