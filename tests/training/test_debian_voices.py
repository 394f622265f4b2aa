import subprocess
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.system_parts import PROMPTS_FOLDER, SPEECH_FOLDER
from webrtc_avatar.audio.chunk import SAMPLE_RATE_HZ
from webrtc_avatar.errors import MissingProgram
from webrtc_avatar.evaluation.recordings import read_sound, recorded_speech, recording_times
from webrtc_avatar.speech.phone_sets import PHONE_SETS, is_voiceless_stop
from webrtc_avatar.speech.phonemes import Phoneme, visemes_of
from webrtc_avatar.speech.visemes import VISEME_NAMES
from webrtc_avatar.training import debian_voices, festival, flite
from webrtc_avatar.training.debian_voices import COPYLEFT_VOICES, FLITE_VOICES, PERMISSIVE_VOICES, mouth_times
from webrtc_avatar.training.festival import Line, speak_lines
from webrtc_avatar.training.flite import FLITE_PITCH_HZ, flite_speak
from webrtc_avatar.training.sentences import SENTENCES
from webrtc_avatar.training.speech import HELD_OUT_EVERY, HELD_OUT_LANGUAGE, festival_speech, flite_speech

ALL_VOICES = (*FLITE_VOICES, *PERMISSIVE_VOICES, *COPYLEFT_VOICES)
BY_NAME = {voice.name: voice for voice in ALL_VOICES}
VOWELS = {"aa", "E", "I", "O", "U", "@"}
POPPING = "Papa keeps a happy puppy, a copper pot and a paper cup of coffee in a packet."
FINNISH = "Papukaija ja apina söivät papua, kalaa ja leipää pitkän pöydän päässä."


def speak(name: str, text: str, *, slower: float = 1.0):
    """What a voice says: (samples, rate_hz, phones as it gives them)."""
    if name in FLITE_PITCH_HZ:
        return flite_speak(text, name, slower=slower)
    voice = BY_NAME[name]
    (spoken,) = speak_lines(name, [Line(text, slower=slower)], package=voice.package, encoding=voice.encoding)
    return spoken


def loudness_db(samples, rate_hz: int, start_s: float, end_s: float) -> float:
    """Root mean square of the second difference, which leaves out the hum of the voice through closed lips."""
    part = np.diff(samples[int(start_s * rate_hz) : int(end_s * rate_hz)].astype(float))
    return float(20 * np.log10(np.sqrt((part**2).mean()) + 1))


def stops_between_vowels(phones, phone_set: str):
    for before, stop, after in zip(phones, phones[1:], phones[2:], strict=False):
        around = [visemes_of(phone.symbol, phone_set) for phone in (before, after)]
        if is_voiceless_stop(stop.symbol, phone_set) and all(found and found[0] in VOWELS for found in around):
            yield before, stop, after


@pytest.mark.parametrize("name", [*FLITE_PITCH_HZ, "kal_diphone", "suo_fi_lj_diphone"])
@pytest.mark.parametrize("slower", [0.85, 1.2])
def test_stops_are_quiet_until_they_open_and_sound_right_after(name: str, slower: float):
    voice = BY_NAME[name]
    text = FINNISH if voice.language == "fi" else POPPING
    samples, rate_hz, phones = speak(name, text, slower=slower)
    depths, bursts = [], []
    for before, stop, after in stops_between_vowels(mouth_times(phones, voice), voice.phones):
        middle_s = (stop.start_s + stop.end_s) / 2
        closed = loudness_db(samples, rate_hz, middle_s - 0.008, middle_s + 0.012)
        vowel = loudness_db(samples, rate_hz, before.start_s, before.end_s)
        opened = loudness_db(samples, rate_hz, stop.end_s + 0.005, min(stop.end_s + 0.06, after.end_s))
        depths.append(vowel - closed)
        bursts.append(opened - closed)
    assert len(depths) >= 5
    assert np.median(depths) > 20
    assert np.mean(np.array(depths) > 12) > 0.8
    assert np.median(bursts) > 18


def test_times_that_are_40_ms_wrong_would_be_noticed():
    voice = BY_NAME["slt"]
    samples, rate_hz, phones = speak("slt", POPPING)
    closed = {
        late_s: np.median(
            [
                loudness_db(samples, rate_hz, middle_s + late_s - 0.008, middle_s + late_s + 0.012)
                for _, stop, _ in stops_between_vowels(mouth_times(phones, voice), voice.phones)
                for middle_s in [(stop.start_s + stop.end_s) / 2]
            ]
        )
        for late_s in (-0.04, 0.0, 0.04)
    }
    assert closed[0.0] < min(closed[-0.04], closed[0.04]) - 15


@pytest.mark.parametrize("name", [*FLITE_PITCH_HZ, "kal_diphone", "suo_fi_lj_diphone"])
def test_phones_follow_each_other_to_the_end_of_the_sound(name: str):
    samples, rate_hz, phones = speak(name, FINNISH if name.startswith("suo") else POPPING)
    assert all(first.end_s == second.start_s for first, second in pairwise(phones))
    assert phones[-1].end_s == pytest.approx(len(samples) / rate_hz, abs=0.12)


@pytest.mark.parametrize("name", ["slt", "kal_diphone", "suo_fi_lj_diphone"])
def test_a_voice_can_speak_slowly(name: str):
    text = FINNISH if name.startswith("suo") else "Good evening."
    usual, slow = (len(speak(name, text, slower=slower)[0]) for slower in (1.0, 1.25))
    assert slow == pytest.approx(1.25 * usual, rel=0.02)


def test_a_voice_of_diphones_can_speak_higher_in_the_same_time():
    text = "How are you on this warm evening by the river?"
    low, high = speak_lines(
        "kal_diphone", [Line(text, semitones=-4), Line(text, semitones=4)], package="festvox-kallpc16k"
    )
    assert low[2] == high[2]
    assert not np.array_equal(low[0][:10_000], high[0][:10_000])


def test_every_phone_of_every_set_has_known_visemes():
    for phone_set, table in PHONE_SETS.items():
        assert {viseme for visemes in table.values() for viseme in visemes} <= set(VISEME_NAMES), phone_set
        for needed in ("PP", "DD", "kk", "SS", "LL", "aa", "E", "I", "O", "U"):
            assert (needed,) in table.values(), (phone_set, needed)
    assert {voice.phones for voice in ALL_VOICES} == set(PHONE_SETS)


@pytest.mark.parametrize("name", ["kal_diphone", "suo_fi_lj_diphone"])
def test_the_table_of_a_phone_set_holds_all_that_the_voice_knows(name: str, tmp_path: Path):
    script = tmp_path / "phones.scm"
    script.write_text(
        f"(voice_{name})\n"
        '(mapcar (lambda (phone) (format t "%s\\n" (car phone))) (cadr (assoc \'phones (PhoneSet.description nil))))\n'
    )
    listed = subprocess.run(["festival", "--batch", str(script)], capture_output=True, text=True, check=True)
    phones = set(listed.stdout.split())
    assert len(phones) > 30
    assert phones <= set(PHONE_SETS[BY_NAME[name].phones])


def test_mouth_times_shift_all_and_open_stops_at_the_burst():
    voice = debian_voices.DebianVoice("v", "en", "radio", "p", "l", closed_share=0.6, late_s=0.01)
    heard = [Phoneme(0.0, 0.2, "aa"), Phoneme(0.2, 0.3, "p"), Phoneme(0.3, 0.4, "iy"), Phoneme(0.4, 0.5, "th")]
    vowel, stop, second, friction = mouth_times(heard, voice)
    assert (vowel.start_s, vowel.end_s) == pytest.approx((0.01, 0.21))
    assert (stop.start_s, stop.end_s) == pytest.approx((0.21, 0.27))
    assert (second.start_s, second.end_s) == pytest.approx((0.27, 0.41))
    assert (friction.start_s, friction.end_s) == pytest.approx((0.41, 0.51))


def _three_voices(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = SENTENCES["en"][HELD_OUT_EVERY - 3 : HELD_OUT_EVERY]
    monkeypatch.setattr(debian_voices, "ENGLISH_SHARE", 1.0)
    monkeypatch.setattr(debian_voices, "HELD_OUT_EVERY", len(texts))
    monkeypatch.setattr(debian_voices, "SENTENCES", {"en": texts})
    monkeypatch.setattr(debian_voices, "FLITE_VOICES", FLITE_VOICES[:1])
    monkeypatch.setattr(debian_voices, "PERMISSIVE_VOICES", PERMISSIVE_VOICES[:1])


@pytest.mark.parametrize("source", [flite_speech, festival_speech])
def test_a_source_repeats_from_its_seed_and_holds_sentences_out(source, monkeypatch: pytest.MonkeyPatch):
    _three_voices(monkeypatch)
    first, again, other = (list(source(np.random.default_rng(seed))) for seed in (3, 3, 4))
    assert [utterance.held_out for utterance in first] == [False, False, True]
    for one, same, different in zip(first, again, other, strict=True):
        assert np.array_equal(one.samples, same.samples)
        assert one.segments == same.segments
        assert len(one.samples) != len(different.samples)
        assert 0 <= one.segments[0].start_s < one.segments[-1].end_s <= one.length_s + 0.05


def test_sentences_are_held_out_as_everywhere():
    assert debian_voices.HELD_OUT_EVERY == HELD_OUT_EVERY


def test_each_voice_has_sentences_and_says_under_what_licence_it_is():
    assert len({voice.name for voice in ALL_VOICES}) == len(ALL_VOICES) == 20
    assert all(SENTENCES[voice.language] for voice in ALL_VOICES)
    assert HELD_OUT_LANGUAGE not in {voice.language for voice in ALL_VOICES}
    assert {voice.licence for voice in (*FLITE_VOICES, *PERMISSIVE_VOICES)} == {"permissive"}
    assert all("GPL" in voice.licence for voice in COPYLEFT_VOICES)


@pytest.mark.parametrize(
    "speaks", [lambda: flite_speak("hello", "slt"), lambda: speak_lines("x", [], package="voice-x")]
)
def test_a_missing_program_is_named_with_its_package(speaks, monkeypatch: pytest.MonkeyPatch):
    for module in (flite, festival):
        monkeypatch.setattr(module.shutil, "which", lambda _: None)
    with pytest.raises(MissingProgram, match=r"apt-get install (flite|festival voice-x)"):
        speaks()


def test_a_missing_voice_is_named_with_its_package():
    with pytest.raises(MissingProgram, match=r"nobody_diphone.*apt-get install festvox-nobody"):
        speak_lines("nobody_diphone", [Line("hello")], package="festvox-nobody")


@pytest.mark.parametrize(
    ("name", "folder", "count"), [("librivox", SPEECH_FOLDER, 5), ("asterisk", PROMPTS_FOLDER, 60)]
)
def test_recordings_are_loud_where_their_vowels_are(name, folder: str, count: int):
    speech = recorded_speech(name, Path(folder))
    assert len(speech) == count
    fits = []
    for utterance in speech:
        assert utterance.held_out
        assert np.abs(utterance.samples).max() == pytest.approx(0.9, abs=0.01)
        assert 0 <= utterance.segments[0].start_s < utterance.segments[-1].end_s <= utterance.length_s
        samples = utterance.samples * 32768
        louds = {True: [], False: []}
        for start_s, end_s, viseme in utterance.segments:
            if end_s - start_s >= 0.03:
                louds[viseme in VOWELS].append(loudness_db(samples, SAMPLE_RATE_HZ, start_s, end_s))
        fits.append(np.median(louds[True]) - np.median(louds[False]))
    assert np.median(fits) > 4


def test_recordings_that_are_not_installed_are_named_with_their_package(tmp_path: Path):
    with pytest.raises(MissingProgram, match="asterisk-core-sounds-en-g722"):
        recorded_speech("asterisk", tmp_path / "nowhere")


def test_aligning_gives_the_times_that_are_kept():
    from webrtc_avatar.training.align import align, librivox_words, mouth_segments

    name, words = next(librivox_words(Path(SPEECH_FOLDER)))
    aligned = align(read_sound(Path(SPEECH_FOLDER) / f"{name}.wav"), words)
    assert aligned is not None
    kept = recording_times("librivox")[name]
    found = mouth_segments(aligned.phones)
    assert [segment.viseme for segment in found] == [segment.viseme for segment in kept]
    assert np.allclose([s[:2] for s in found], [s[:2] for s in kept], atol=0.03)
