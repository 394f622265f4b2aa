"""What a session is to say takes the microphone's place, whole and in order, with its mouth and its events."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from webrtc_avatar.audio.chunk import CHUNK_S, silent_chunk
from webrtc_avatar.session.intake import Intake
from webrtc_avatar.session.line import SpeechLine, Spoken, Timed, faded
from webrtc_avatar.speech.visemes import WEIGHTS
from webrtc_avatar.speech.voice import Phoneme

RATE_HZ = 24_000
JAW, PRESS = WEIGHTS.index("jawOpen"), WEIGHTS.index("press")


def tone(seconds: float, rate_hz: int = RATE_HZ, hz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate_hz)) / rate_hz)).astype(np.float32)


def everything(line: SpeechLine) -> list[Spoken]:
    taken = []
    while (spoken := line.take()) is not None:
        taken.append(spoken)
    return taken


def played(spoken: list[Spoken]) -> np.ndarray:
    return np.concatenate([each.chunk.sound for each in spoken]).astype(np.float32) / 32768


def test_pieces_join_without_gap_or_click() -> None:
    whole, pieces = SpeechLine(), SpeechLine()
    sound = tone(1.0)
    whole.put(sound, RATE_HZ)
    whole.close()
    for cut in np.split(sound, [7, 3000, 3001, 15000]):
        pieces.put(cut, RATE_HZ)
    pieces.close()
    np.testing.assert_array_equal(played(everything(pieces)), played(everything(whole)))


def test_all_of_the_sound_is_said_and_then_nothing() -> None:
    line = SpeechLine()
    line.open()
    line.put(tone(0.5), RATE_HZ)
    line.close()
    sound = played(everything(line))
    assert len(sound) == 13 * 1920
    assert np.abs(sound[: 24_000 - 100]).max() == pytest.approx(0.5, abs=0.02)
    assert np.sqrt(np.mean(sound[22_000:24_000] ** 2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.02)
    assert np.abs(sound[24_100:]).max() < 0.01
    assert not line.is_busy


def test_another_rate_follows_on_the_next_chunk() -> None:
    line = SpeechLine()
    line.put(tone(0.1), RATE_HZ)
    line.put(tone(0.1, 48_000), 48_000)
    line.close()
    assert len(everything(line)) == 6


def test_events_come_with_the_chunk_in_which_they_are_due() -> None:
    line = SpeechLine()
    line.put(tone(0.1), RATE_HZ, timed=[Timed(0.0, {"n": 1}), Timed(0.05, {"n": 2}), Timed(0.5, {"n": 4})])
    line.put(tone(0.1), RATE_HZ, timed=[Timed(0.03, {"n": 3})])
    line.close()
    told = [[event["n"] for event in spoken.events] for spoken in everything(line)]
    assert told == [[1], [2], [], [3], [4]]


def test_known_phonemes_close_and_open_the_mouth_in_their_chunks() -> None:
    line = SpeechLine()
    phonemes = [Phoneme(0.0, 0.2, "a"), Phoneme(0.2, 0.32, "m"), Phoneme(0.32, 0.6, "a")]
    line.put(tone(0.3), RATE_HZ, phonemes=phonemes, alphabet="ipa")
    line.put(tone(0.3), RATE_HZ, alphabet="ipa")
    line.close()
    mouths = np.stack([spoken.weights for spoken in everything(line)])
    assert mouths.shape == (15, 12)
    assert mouths[6, PRESS] > 0.4
    assert mouths[6, JAW] < 0.05
    assert mouths[2, JAW] > 0.35
    assert mouths[11, JAW] > 0.35
    assert mouths[2, PRESS] < 0.1


def test_the_mouth_is_the_same_however_the_sound_is_cut() -> None:
    phonemes = [Phoneme(n * 0.1, n * 0.1 + 0.1, symbol) for n, symbol in enumerate("mabiso")]
    whole, pieces = SpeechLine(), SpeechLine()
    whole.put(tone(0.6), RATE_HZ, phonemes=phonemes, alphabet="ipa")
    whole.close()
    pieces.put(tone(0.6)[:1000], RATE_HZ, phonemes=phonemes, alphabet="ipa")
    pieces.put(tone(0.6)[1000:], RATE_HZ, alphabet="ipa")
    pieces.close()
    for one, other in zip(everything(whole), everything(pieces), strict=True):
        np.testing.assert_allclose(one.weights, other.weights, atol=1e-6)


async def test_a_long_text_waits_until_some_of_it_is_said() -> None:
    line = SpeechLine()
    line.put(tone(20), RATE_HZ)
    waiting = asyncio.create_task(line.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    while line.waiting_s >= 15:
        line.take()
    await asyncio.wait_for(waiting, 1)


def test_what_is_cleared_is_never_heard() -> None:
    line = SpeechLine()
    line.open()
    line.put(tone(1), RATE_HZ)
    line.clear()
    assert not line.is_busy
    line.put(tone(0.1, hz=1000), RATE_HZ)
    line.close()
    sound = played(everything(line))
    assert len(sound) == 3 * 1920
    spectrum = np.abs(np.fft.rfft(sound[:4800]))
    assert spectrum[44] < 0.02 * spectrum[100]


def test_what_is_cut_off_dies_away_within_five_milliseconds() -> None:
    sound = np.full(1920, 20_000, np.int16)
    cut = faded(sound)
    assert cut[0] == 20_000
    assert np.abs(np.diff(cut.astype(int))).max() < 100
    assert not cut[240:].any()


def heard(level: float) -> object:
    chunk = silent_chunk(1.0, 2.0)
    chunk.samples[:] = level
    return chunk


@pytest.mark.parametrize("drives", [True, False])
def test_the_microphone_is_heard_while_nothing_is_said_if_it_drives(drives: bool) -> None:
    intake = Intake(silence_dbfs=-50, microphone_drives=drives)
    assert intake.choose(heard(0.3)).chunk.samples.any() == drives
    intake.line.open()
    assert not intake.choose(heard(0.3)).chunk.samples.any()
    intake.line.put(tone(0.1), RATE_HZ)
    driving = intake.choose(heard(0.3))
    assert driving.voiced
    assert driving.chunk.samples.any()
    assert (driving.chunk.media_time_s, driving.chunk.arrived_s) == (1.0, 2.0)
    intake.interrupt()
    assert intake.choose(heard(0.3)).chunk.samples.any() == drives


def test_chunks_are_forty_milliseconds() -> None:
    line = SpeechLine()
    line.put(tone(1), RATE_HZ)
    line.close()
    assert len(everything(line)) * CHUNK_S == pytest.approx(1.0)
