"""RTP timestamps become one stream without holes."""

import random

from webrtc_avatar.media.timeline import MediaTimeline, Placement


def play(timeline: MediaTimeline, timestamp: int, now_s: float, samples: int = 960) -> Placement:
    place = timeline.place(timestamp % (1 << 32), samples, now_s)
    timeline.advance(place.gap + max(0, samples - place.skip))
    return place


def test_consecutive_packets_need_no_filling_across_the_wrap():
    timeline = MediaTimeline()
    start = (1 << 32) - 5 * 960
    assert [play(timeline, start + 960 * n, 0.02 * n) for n in range(12)] == [Placement()] * 12
    assert timeline.position == 12 * 960
    assert timeline.anchors == 1


def test_a_gap_is_filled_to_the_sample():
    timeline = MediaTimeline()
    play(timeline, 7, 0.0)
    assert play(timeline, 7 + 960 * 11, 0.22) == Placement(gap=960 * 10)


def test_sound_whose_time_was_filled_is_cut_or_dropped():
    timeline = MediaTimeline()
    play(timeline, 0, 0.0)
    timeline.advance(960 + 300)
    assert play(timeline, 960, 0.08) == Placement(skip=960 + 300)
    assert play(timeline, 1920, 0.08) == Placement(skip=300)
    assert play(timeline, 2880, 0.09) == Placement()


def test_a_jump_of_more_than_a_second_is_no_gap():
    timeline = MediaTimeline()
    play(timeline, 0, 0.0)
    assert play(timeline, 960 + 48_001, 2.0) == Placement()
    assert timeline.anchors == 2
    assert play(timeline, 500, 2.02) == Placement()
    assert timeline.anchors == 3


def test_a_jump_without_time_having_passed_is_no_gap():
    timeline = MediaTimeline()
    play(timeline, 0, 0.0)
    assert play(timeline, 960 + 40_000, 0.02) == Placement()
    assert timeline.position == 1920


def test_timestamps_that_stay_behind_are_believed_after_a_while():
    timeline = MediaTimeline()
    play(timeline, 0, 0.0)
    timeline.advance(24_000)
    places = [play(timeline, 960 * (n + 1), 1.0 + 0.02 * n) for n in range(20)]
    dropped = sum(place.skip >= 960 for place in places)
    assert dropped in (10, 11)  # 0.2 s of 20 ms packets
    assert places[-1] == Placement()


def test_a_burst_after_a_stall_catches_up_without_a_new_beginning():
    timeline = MediaTimeline()
    play(timeline, 0, 0.0)
    timeline.advance(24_000)
    places = [play(timeline, 960 * (n + 1), 1.0 + 0.001 * n) for n in range(60)]
    assert timeline.anchors == 1
    assert all(place.skip >= 960 for place in places[:25])
    assert places[25:] == [Placement()] * 35


def test_a_slow_burst_is_still_a_burst_while_it_catches_up():
    timeline = MediaTimeline()
    play(timeline, 0, 0.0)
    timeline.advance(45_000)
    places = [play(timeline, 960 * (n + 1), 1.0 + 0.006 * n) for n in range(60)]
    assert timeline.anchors == 1
    assert places[47:] == [Placement()] * 13


def test_drift_between_the_clocks_never_piles_up():
    timeline = MediaTimeline()
    rng = random.Random(1)
    for n in range(50 * 3600 * 2):
        play(timeline, 12345 + 960 * n, n * 0.02 * 1.0005 + rng.random() * 0.05)
    assert timeline.position == 960 * 50 * 3600 * 2
    assert timeline.anchors == 1
