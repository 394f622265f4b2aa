import numpy as np
import pytest

from webrtc_avatar.speech.phonemes import Segment
from webrtc_avatar.training.repair import repaired

RATE = 16_000


def _sound(*parts: tuple[float, float]) -> np.ndarray:
    """Noise of given lengths in seconds and levels."""
    rng = np.random.default_rng(0)
    return np.concatenate([level * rng.normal(0, 1, int(length_s * RATE)) for length_s, level in parts]).astype(
        np.float32
    )


def test_a_phoneme_does_not_last_through_the_pause_behind_it():
    samples = _sound((0.2, 0.1), (0.5, 0.0), (0.2, 0.1))
    kept = repaired(samples, [Segment(0.0, 0.6, "aa"), Segment(0.7, 0.9, "I")])
    assert kept[0].end_s == 0.26
    assert kept[1] == Segment(0.7, 0.9, "I")


def test_a_closure_keeps_its_silence():
    samples = _sound((0.2, 0.1), (0.08, 0.0), (0.2, 0.1))
    segments = [Segment(0.0, 0.2, "aa"), Segment(0.2, 0.28, "PP"), Segment(0.28, 0.48, "aa")]
    assert [kept.viseme for kept in repaired(samples, segments)] == ["aa", "PP", "aa"]
    assert repaired(samples, segments)[1].end_s >= 0.26


def test_a_gap_in_which_it_sounds_on_belongs_to_both_sides():
    samples = _sound((0.5, 0.1))
    kept = repaired(samples, [Segment(0.0, 0.2, "aa"), Segment(0.28, 0.5, "I")])
    assert kept[0].end_s == kept[1].start_s == pytest.approx(0.24)


def test_a_silent_gap_belongs_to_the_closure_behind_it_and_to_nothing_else():
    samples = _sound((0.2, 0.1), (0.05, 0.0), (0.25, 0.1))
    closed = repaired(samples, [Segment(0.0, 0.2, "aa"), Segment(0.25, 0.5, "PP")])
    assert closed[1].start_s == 0.2
    assert repaired(samples, [Segment(0.0, 0.2, "aa"), Segment(0.25, 0.5, "I")])[1].start_s == 0.25


def test_a_long_pause_stays_one():
    samples = _sound((0.2, 0.1), (0.4, 0.01), (0.2, 0.1))
    segments = [Segment(0.0, 0.2, "aa"), Segment(0.6, 0.8, "I")]
    assert repaired(samples, segments) == segments
