import ctypes

import numpy as np
import pytest

from webrtc_avatar.speech.phonemes import Segment, viseme_segments
from webrtc_avatar.training.sentences import SENTENCES
from webrtc_avatar.training.utterances import Utterance, load_utterances, save_utterances


def _has_espeak() -> bool:
    try:
        ctypes.CDLL("libespeak-ng.so.1")
    except OSError:
        return False
    return True


needs_espeak = pytest.mark.skipif(not _has_espeak(), reason="needs libespeak-ng1: apt install espeak-ng")


def test_utterances_survive_the_disk(tmp_path):
    samples = np.sin(np.arange(3000) / 9).astype(np.float32)
    kept = [
        Utterance("a", 0.2 * samples, [Segment(0.0, 0.5, "aa"), Segment(0.5, 0.75, "PP")], held_out=True),
        Utterance("b", samples[:1000], []),
    ]
    length_s = save_utterances(tmp_path / "speech.npz", kept)
    first, second = load_utterances(tmp_path / "speech.npz")
    assert length_s == pytest.approx(0.25)
    assert first.segments == kept[0].segments
    assert (first.held_out, second.held_out) == (True, False)
    assert np.abs(first.samples).max() == pytest.approx(0.9, abs=1e-3)
    assert np.allclose(second.samples, 0.9 * kept[1].samples / np.abs(kept[1].samples).max(), atol=1e-4)
    assert second.segments == []


def test_sentences_cover_many_languages_and_do_not_repeat():
    texts = [text for sentences in SENTENCES.values() for text in sentences]
    assert len(SENTENCES) >= 8
    assert len(texts) >= 300
    assert len(set(texts)) == len(texts)


@needs_espeak
def test_espeak_times_its_phonemes():
    from webrtc_avatar.training.espeak import speak

    samples, rate_hz, phonemes = speak("Mama, papa.", "en-us")
    visemes = [segment.viseme for segment in viseme_segments(phonemes)]
    assert visemes == ["PP", "aa", "PP", "@", "PP", "aa", "PP", "@"]
    assert all(phoneme.start_s <= phoneme.end_s for phoneme in phonemes)
    assert 0 <= phonemes[0].start_s < phonemes[-1].end_s <= len(samples) / rate_hz + 0.05


@needs_espeak
def test_espeak_refuses_an_unknown_voice_by_name():
    from webrtc_avatar.training.espeak import speak

    with pytest.raises(ValueError, match="xx-nowhere"):
        speak("hello", "xx-nowhere")
