"""Stress and pitch: known ones from tones and espeak-ng, plausible ones from real speech, none from noise and whisper."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import time
import wave
from pathlib import Path

import numpy as np
import pytest

from webrtc_avatar.avatar.prosody import Prosody, ProsodyEar

RATE_HZ = 16_000
LIBRIVOX = sorted(Path("/usr/share/pocketsphinx/test/data/librivox").glob("*.wav"))


def hear(samples: np.ndarray) -> list[Prosody]:
    ear = ProsodyEar()
    chunks = samples[: len(samples) // 640 * 640].astype(np.float32).reshape(-1, 640)
    return [ear.hear(chunk) for chunk in chunks]


def read(path: Path) -> np.ndarray:
    with wave.open(str(path)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16) / 32768
        rate_hz = file.getframerate()
    times = np.arange(int(len(samples) * RATE_HZ / rate_hz)) * rate_hz / RATE_HZ
    return np.interp(times, np.arange(len(samples)), samples)


def voice(hz: np.ndarray | float, seconds: float, *, formants_hz: tuple[float, ...] = (600, 1200, 2500)) -> np.ndarray:
    """A buzz of a given pitch through a vowel's resonances."""
    pitch_hz = np.broadcast_to(hz, round(seconds * RATE_HZ)).astype(float)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / RATE_HZ
    sound = np.zeros(len(phase))
    for number in range(1, 40):
        partial_hz = number * pitch_hz
        height = sum(1 / (1 + ((partial_hz - formant_hz) / 120) ** 2) for formant_hz in formants_hz) + 0.02
        sound += np.where(partial_hz < 7000, height / number**0.5, 0) * np.sin(number * phase)
    return 0.2 * sound / np.abs(sound).max()


def noise(seconds: float, level: float) -> np.ndarray:
    return level * np.random.default_rng(0).standard_normal(round(seconds * RATE_HZ))


def say(folder: Path, text: str, *flags: str) -> np.ndarray:
    speaker = shutil.which("espeak-ng")
    assert speaker, "these tests need espeak-ng: apt install espeak-ng"
    subprocess.run([speaker, "-w", str(folder / "say.wav"), *flags, text], check=True, timeout=30)
    return read(folder / "say.wav")


@pytest.mark.parametrize("hz", [80.0, 110.0, 155.0, 220.0, 310.0, 380.0])
def test_a_steady_voice_has_its_pitch(hz: float) -> None:
    heard = [prosody.pitch_hz for prosody in hear(voice(hz, 1.0))][3:]
    assert min(heard) > 0
    assert np.abs(12 * np.log2(np.array(heard) / hz)).max() < 0.3


def test_a_glide_is_followed_without_octave_jumps() -> None:
    glide = 100 * 2 ** np.linspace(0, 1.5, 2 * RATE_HZ)
    heard = np.array([prosody.pitch_hz for prosody in hear(voice(glide, 2.0))])[3:]
    truth = glide[640 * np.arange(3, 3 + len(heard))]
    assert (heard > 0).mean() > 0.95
    assert np.abs(12 * np.log2(heard[heard > 0] / truth[heard > 0])).max() < 1.0


@pytest.mark.parametrize("low_hz", [95.0, 210.0])
def test_pitch_is_told_against_the_speakers_own_median(low_hz: float) -> None:
    pitch = np.full(round(3.0 * RATE_HZ), low_hz)
    pitch[round(2.0 * RATE_HZ) : round(2.4 * RATE_HZ)] *= 2 ** (4 / 12)
    heard = [prosody.pitch for prosody in hear(voice(pitch, 3.0))]
    assert max(map(abs, heard[10:49])) < 0.05
    assert heard[52:58] == pytest.approx([4 / 6] * 6, abs=0.08)
    assert max(map(abs, heard[64:])) < 0.05


def test_loud_syllables_among_soft_ones_are_the_stressed_ones() -> None:
    syllables = [1.0 if number % 4 == 2 else 0.35 for number in range(24)]
    envelope = np.concatenate([level * np.hanning(round(0.2 * RATE_HZ)) for level in syllables])
    heard = hear(np.concatenate([np.zeros(RATE_HZ // 2), voice(130.0, 4.8) * envelope]))
    found = [(number * 0.04 - 0.5) / 0.2 for number, prosody in enumerate(heard) if prosody.stress > 0.3]
    late = [int(place) for place in found if place > 4]
    assert late == [6, 10, 14, 18, 22]


@pytest.mark.parametrize("word", ["b@n'An@", "k@mpj'u:t@"])
def test_the_stressed_syllable_of_a_word_is_the_most_stressed(tmp_path: Path, word: str) -> None:
    alone = say(tmp_path, f"[[{word}]]", "-v", "en", "-s", "130")
    heard = hear(np.concatenate([np.zeros(3200), alone, np.zeros(3200), alone, np.zeros(1600)]))
    second = heard[len(heard) // 2 :]
    onset = int(np.argmax([prosody.stress for prosody in second]))
    loud = np.array([np.abs(part).max() for part in np.array_split(alone, 30)])
    assert second[onset].stress > 0.3
    share = (onset * 640 - 3200) / len(alone)
    assert abs(share - int(np.argmax(loud)) / 30) < 0.25, "it begins where the word is loudest, or just before"


def test_a_question_ends_higher_than_a_statement(tmp_path: Path) -> None:
    ends = []
    for mark in ("?", "."):
        heard = [p.pitch for p in hear(say(tmp_path, f"You are going to the station{mark}", "-v", "en", "-s", "140"))]
        ends.append(max(pitch for pitch in heard[-12:]))
    assert ends[0] > ends[1] + 0.1


@pytest.mark.parametrize("path", LIBRIVOX, ids=lambda path: path.stem[-4:])
def test_real_speech_has_stresses_and_a_pitch_of_one_person(path: Path) -> None:
    heard = hear(read(path))
    seconds = len(heard) * 0.04
    hz = np.array([prosody.pitch_hz for prosody in heard])
    assert 0.3 < (hz > 0).mean() < 0.8
    assert 70 < np.median(hz[hz > 0]) < 140, "a man reads"
    both = (hz[1:] > 0) & (hz[:-1] > 0)
    assert np.abs(12 * np.log2(hz[1:][both] / hz[:-1][both])).max() < 6
    assert 0.7 < sum(prosody.stress > 0 for prosody in heard) / seconds < 4
    relative = np.array([prosody.pitch for prosody in heard])
    assert relative.max() > 0.3


def test_librivox_is_there() -> None:
    assert len(LIBRIVOX) >= 5, "these tests need real speech: apt install pocketsphinx-testdata"


@pytest.mark.parametrize(
    "sound",
    [np.zeros(5 * RATE_HZ), noise(5.0, 1e-3), noise(5.0, 0.05), 1e-4 * voice(120.0, 5.0), np.ones(5 * RATE_HZ)],
    ids=["silence", "soft noise", "loud noise", "inaudible voice", "direct current"],
)
def test_what_is_no_speech_moves_nothing(sound: np.ndarray) -> None:
    heard = hear(sound)[5:]
    assert sum(prosody.stress > 0 for prosody in heard) <= 1
    assert sum(prosody.pitch_hz > 0 for prosody in heard) <= 2


def test_a_whisper_has_stresses_and_no_pitch() -> None:
    syllables = np.concatenate(
        [level * np.hanning(round(0.25 * RATE_HZ)) for level in (1.0, 0.3, 0.3, 0.9, 0.3, 1.0, 0.3, 0.3) * 2]
    )
    heard = hear(np.concatenate([np.zeros(8000), noise(4.0, 0.08) * syllables]))
    assert sum(prosody.stress > 0.3 for prosody in heard) >= 4
    assert sum(prosody.pitch_hz > 0 for prosody in heard) <= 2


def test_loudness_as_such_changes_nothing() -> None:
    sound = read(LIBRIVOX[0])
    usual, soft = hear(sound), hear(0.4 * sound)
    agree = [(a.stress > 0) == (b.stress > 0) for a, b in zip(usual, soft, strict=True)]
    assert np.mean(agree[50:]) > 0.97


def test_the_same_sound_is_heard_the_same() -> None:
    sound = read(LIBRIVOX[1])
    assert hear(sound) == hear(sound)


def test_report_the_cost_of_a_chunk() -> None:
    chunks = read(LIBRIVOX[0])[: 100 * 640].astype(np.float32).reshape(-1, 640)
    ear, times = ProsodyEar(), []
    for chunk in chunks:
        start = time.perf_counter()
        ear.hear(chunk)
        times.append(1000 * (time.perf_counter() - start))
    print(f"prosody: median {statistics.median(times):.3f} ms a chunk, worst {max(times):.3f} ms")
