from __future__ import annotations

import math
import pickle
from typing import Any

import pytest

from webrtc_avatar.errors import AvatarServerError, InvalidRequest, InvalidSsml, NothingToSay, UnsupportedParameter
from webrtc_avatar.speech.voice import Ability, Pause, Phoneme, Say, Utterance, VoiceInfo, check
from webrtc_avatar.speech.voices.closures import hold_closures

PLAIN = VoiceInfo(id="a/b", language="en", title="", rate_hz=16_000)
ABLE = VoiceInfo(
    id="a/b",
    language="en",
    title="",
    rate_hz=16_000,
    abilities=frozenset({"speed", "pitch", "volume", "emotion", "style", "checkpoint", "break", "phoneme"}),
    checkpoints=("one",),
    styles=("calm",),
)


@pytest.mark.parametrize(
    ("ability", "parts", "parameters"),
    [
        ("speed", None, {"speed": 1.5}),
        ("speed", (Say(text="x", speed=0.9),), {}),
        ("pitch", None, {"pitch": 0.8}),
        ("volume", (Say(text="x", volume_db=3.0),), {}),
        ("emotion", None, {"emotion": "joy"}),
        ("style", None, {"style": "calm"}),
        ("checkpoint", None, {"checkpoint": "one"}),
        ("break", (Say(text="x"), Pause(0.1)), {}),
        ("phoneme", (Say(text="x", phonemes="ks"),), {}),
    ],
)
def test_what_a_voice_cannot_do_is_refused(ability: Ability, parts: Any, parameters: dict[str, Any]) -> None:
    utterance = Utterance(parts=parts or (Say(text="x"),), voice="a/b", **parameters)
    check(utterance, ABLE)
    with pytest.raises(UnsupportedParameter, match=repr(ability)) as caught:
        check(utterance, PLAIN)
    assert caught.value.parameter == ability


@pytest.mark.parametrize(
    ("parts", "parameters"),
    [
        ((), {"speed": 2.1}),
        ((), {"speed": math.nan}),
        ((), {"pitch": 0.0}),
        ((Say(text="x", speed=1.9),), {"speed": 1.9}),
        ((Say(text="x", volume_db=99.0),), {}),
        ((Pause(11.0),), {}),
        ((Pause(-1.0),), {}),
        ((Pause(10.0),) * 7, {}),
        ((), {"style": "angry"}),
        ((), {"checkpoint": "two"}),
    ],
)
def test_numbers_and_names_out_of_range_are_refused(parts: Any, parameters: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        check(Utterance(parts=(Say(text="x"), *parts), voice="a/b", **parameters), ABLE)


def test_an_empty_text_is_refused() -> None:
    for parts in ((), (Say(text=" \n"),), (Pause(1.0),)):
        with pytest.raises(NothingToSay):
            check(Utterance(parts=parts, voice="a/b"), ABLE)


def test_only_like_utterances_are_in_a_group() -> None:
    one = Utterance.of_text("one", "a/b", speed=1.2)
    assert one.group == Utterance.of_text("two", "a/b", speed=1.2, seed=5).group
    for other in ({"speed": 1.3}, {"pitch": 1.2}, {"emotion": "joy"}, {"style": "calm"}, {"checkpoint": "one"}):
        assert one.group != Utterance.of_text("one", "a/b", **{"speed": 1.2, **other}).group


@pytest.mark.parametrize(
    "error",
    [
        UnsupportedParameter("pitch", voice="a/b", abilities=("speed",)),
        InvalidSsml("line 3", line=3, column=4),
        NothingToSay("nothing"),
    ],
)
def test_errors_cross_to_another_process_whole(error: AvatarServerError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert vars(again) == vars(error)
    assert str(again) == str(error)


def test_stops_are_closed_before_their_burst_and_take_that_from_the_sound_before() -> None:
    given = [Phoneme(0.0, 0.2, "a"), Phoneme(0.2, 0.3, "p"), Phoneme(0.3, 0.5, "a"), Phoneme(0.5, 0.6, "tʃ")]
    first, stop, second, friction = hold_closures(given, before_s=0.03, release_s=0.02)
    assert (first.end_s, stop.start_s, stop.end_s) == pytest.approx((0.17, 0.17, 0.22))
    assert second.start_s == stop.end_s
    assert friction == given[3]
