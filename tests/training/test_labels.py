# ruff: noqa: RUF001
import numpy as np
import pytest

from webrtc_avatar.speech.phonemes import (
    Phoneme,
    Segment,
    hold_closures,
    mouth_curves,
    viseme_segments,
    viseme_shares,
    viseme_track,
    visemes_of,
)
from webrtc_avatar.speech.visemes import VISEME_NAMES, VISEME_VECTORS, VISEMES, WEIGHTS

JAW, PRESS = WEIGHTS.index("jawOpen"), WEIGHTS.index("press")


@pytest.mark.parametrize(
    ("symbol", "alphabet", "visemes"),
    [
        ("p", "ipa", ("PP",)),
        ("mʲ", "ipa", ("PP",)),
        ("ʲ", "ipa", ("I",)),
        ("ε", "ipa", ("E",)),
        ("ũ", "ipa", ("kk",)),
        ("tʃ", "ipa", ("CH",)),
        ("pf", "ipa", ("PP", "FF")),
        ("oʊ", "ipa", ("O", "U")),
        ("uː", "ipa", ("U",)),
        ("ɑ̃", "ipa", ("aa",)),
        ("yː", "ipa", ("U",)),
        ("əl", "ipa", ("@", "LL")),
        ("ˈ", "ipa", ()),
        ("(en)", "ipa", ()),
        ("I", "misaki", ("aa", "I")),
        ("AW1", "arpabet", ("aa", "U")),
        ("SIL", "arpabet", ()),
    ],
)
def test_phonemes_become_visemes(symbol, alphabet, visemes):
    assert visemes_of(symbol, alphabet) == visemes


def test_a_diphthong_moves_from_its_first_vowel_to_its_second():
    first, second = viseme_segments([Phoneme(0.0, 0.2, "aʊ")])
    assert (first.viseme, second.viseme) == ("aa", "U")
    assert first.start_s == 0.0
    assert first.end_s == second.start_s
    assert second.end_s == 0.2


def test_a_length_mark_prolongs_the_phoneme_before_it():
    assert viseme_segments([Phoneme(0.0, 0.1, "u"), Phoneme(0.1, 0.2, "ː")]) == [Segment(0.0, 0.2, "U")]


def test_a_stop_is_held_before_its_burst_and_let_go_after_it():
    heard = [Phoneme(0.0, 0.2, "ɑ"), Phoneme(0.2, 0.25, "p"), Phoneme(0.25, 0.4, "ɑ"), Phoneme(0.4, 0.45, "m")]
    first, stop, second, nasal = hold_closures(heard, before_s=0.05, release_s=0.01)
    assert first.end_s == stop.start_s == pytest.approx(0.15)
    assert second.start_s == stop.end_s == pytest.approx(0.21)
    assert nasal == heard[-1]


def test_an_affricate_keeps_its_friction():
    heard = [Phoneme(0.0, 0.2, "ɑ"), Phoneme(0.2, 0.3, "tʃ")]
    assert hold_closures(heard, before_s=0.05, release_s=0.01) == heard


def test_a_stop_never_swallows_the_phoneme_before_it():
    heard = [Phoneme(0.18, 0.2, "k"), Phoneme(0.2, 0.25, "p")]
    for phoneme in hold_closures(heard, before_s=0.05, release_s=0.01):
        assert phoneme.start_s <= phoneme.end_s


def test_a_vowel_between_two_closures_opens_the_mouth():
    curves = mouth_curves([Segment(0.3, 0.37, "PP"), Segment(0.37, 0.49, "aa"), Segment(0.49, 0.56, "PP")], 100, 100)
    assert curves[43, JAW] > 0.4
    assert curves[43, PRESS] < 0.1


def test_shares_sum_to_one_and_rest_is_silence():
    shares = viseme_shares([Segment(0.4, 0.5, "aa"), Segment(0.5, 0.56, "PP")], 100, 100)
    assert np.allclose(shares.sum(1), 1, atol=1e-6)
    assert shares.min() >= 0
    assert shares[0, 0] == 1
    assert shares[45].argmax() == VISEME_NAMES.index("aa")


def test_lips_close_between_two_vowels_even_for_a_very_short_b():
    curves = mouth_curves([Segment(0.3, 0.5, "aa"), Segment(0.5, 0.51, "PP"), Segment(0.51, 0.7, "aa")], 100, 100)
    assert curves[50, JAW] < 0.12
    assert curves[50, PRESS] > 0.35
    assert curves[40, JAW] > 0.45


def test_the_mouth_opens_before_the_sound_and_closes_after_it():
    jaw = mouth_curves([Segment(0.5, 0.6, "aa")], 120, 100)[:, JAW]
    assert 0.1 < jaw[45] < jaw[50]
    assert jaw[30] < 0.02
    assert jaw[90] < 0.02


def test_the_track_names_what_sounds():
    track = viseme_track([Segment(0.02, 0.05, "SS")], 8, 100)
    assert [VISEME_NAMES[number] for number in track] == ["sil", "sil", "SS", "SS", "SS", "sil", "sil", "sil"]


def test_viseme_vectors_are_what_the_mouth_can_draw():
    assert VISEME_VECTORS.shape == (16, 12)
    assert VISEME_VECTORS.dtype == np.float32
    assert not VISEMES["sil"].any()
    assert VISEMES["aa"][JAW] == max(vector[JAW] for vector in VISEMES.values())
