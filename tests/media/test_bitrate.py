"""The bitrate of a shared encoder follows the weakest viewer, and encoders follow the bitrate."""

import numpy as np
import pytest

from webrtc_avatar.media.bitrate import SharedBitrate
from webrtc_avatar.media.video_encoder import open_encoder

MAX_BPS = 1_200_000


def shared():
    return SharedBitrate(min_bps=150_000, max_bps=MAX_BPS)


def test_the_weakest_viewer_decides_within_the_limits():
    bitrate = shared()
    assert bitrate.target_bps == MAX_BPS
    bitrate.estimate("a", 5_000_000)
    assert bitrate.target_bps == MAX_BPS
    bitrate.estimate("b", 400_000)
    bitrate.estimate("c", 900_000)
    assert bitrate.target_bps == 400_000
    bitrate.estimate("b", 10)
    assert bitrate.target_bps == 150_000
    bitrate.forget("b")
    assert bitrate.target_bps == 900_000


def test_heavy_loss_lowers_and_little_loss_raises_again():
    bitrate = shared()
    for second in range(5):
        bitrate.loss("a", 0.05, 10.0 + second)
    assert bitrate.target_bps == MAX_BPS
    bitrate.loss("a", 0.2, 20.0)
    bitrate.loss("a", 0.2, 20.1)
    assert bitrate.target_bps == pytest.approx(MAX_BPS * 0.9)
    for second in range(60):
        bitrate.loss("a", 0.5, 30.0 + second)
    assert bitrate.target_bps == 150_000
    for second in range(60):
        bitrate.loss("a", 0.0, 100.0 + second)
    assert bitrate.target_bps == MAX_BPS


def busy_picture(index):
    rng = np.random.default_rng(index)
    picture = np.full((384, 256), 128, np.uint8)
    picture[:256] = rng.integers(60, 200, (32, 32)).repeat(8, axis=0).repeat(8, axis=1)
    return picture


def rates(encoder, plan, picture=busy_picture):
    """Encode so many pictures at each bitrate of the plan; return what came out in bit/s and the key frames' indices."""
    index, measured, keys = 0, [], []
    for bitrate_bps, count in plan:
        sizes = []
        for _ in range(count):
            encoded = encoder.encode(picture(index), index, bitrate_bps=bitrate_bps)
            sizes.append(len(encoded.data))
            if encoded.is_key:
                keys.append(index)
            index += 1
        tail = sizes[count // 2 :]
        measured.append(sum(tail) * 8 * 25 / len(tail))
    return measured, keys


def test_h264_follows_down_and_up_without_a_key_frame():
    (high, low, again), keys = rates(
        open_encoder("H264", max_bitrate_bps=MAX_BPS), [(MAX_BPS, 75), (300_000, 75), (MAX_BPS, 75)]
    )
    assert low == pytest.approx(300_000, rel=0.25)
    assert high == pytest.approx(MAX_BPS, rel=0.25)
    assert again == pytest.approx(MAX_BPS, rel=0.25)
    assert keys == [0]


def test_vp8_follows_large_changes_with_a_key_frame_and_lets_small_ones_be():
    encoder = open_encoder("VP8", max_bitrate_bps=MAX_BPS)
    (high, _, low), keys = rates(encoder, [(MAX_BPS, 75), (MAX_BPS * 0.9, 75), (300_000, 75)])
    assert keys == [0, 150]
    assert encoder.bitrate_bps == 300_000
    assert low < 0.5 * high


def test_vp8_waits_before_it_opens_anew_so_that_an_unsteady_estimate_costs_few_key_frames():
    plan = [(300_000, 5), (MAX_BPS, 5)] * 15
    _, keys = rates(open_encoder("VP8", max_bitrate_bps=MAX_BPS), plan)
    assert len(keys) <= 3


@pytest.mark.parametrize("codec", ["VP8", "H264"])
def test_a_key_frame_comes_when_asked_for_and_can_be_decoded_alone(codec):
    encoder = open_encoder(codec, max_bitrate_bps=MAX_BPS)
    pictures = [encoder.encode(busy_picture(n), n, bitrate_bps=MAX_BPS, key=n in (3, 7)) for n in range(10)]
    assert [n for n, picture in enumerate(pictures) if picture.is_key] == [0, 3, 7]
    if codec == "H264":
        for n in (0, 3, 7):
            assert pictures[n].data[4] & 31 == 7, "the parameter sets come first"
