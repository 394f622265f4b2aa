"""What a session tells the face: how it is held, whether it listens, and what the voice does in the tick that plays."""

import asyncio
import threading

import numpy as np
import pytest

from tests.session.conftest import speak
from tests.session.test_session import take
from webrtc_avatar.avatar.cue import Cue
from webrtc_avatar.avatar.style import Style
from webrtc_avatar.session.voice import Voice


def beats(ticks):
    """A voice of 120 Hz that gets loud each fifth tick: (ticks * 640,)."""
    time_s = np.arange(ticks * 640) / 16_000
    buzz = sum(np.sin(2 * np.pi * 120 * number * time_s) / number for number in range(1, 16))
    return (np.repeat([0.3 if tick % 5 == 0 else 0.02 for tick in range(ticks)], 640) * buzz / 2).astype(np.float32)


@pytest.fixture
def watched(monkeypatch):
    """Every cue that an actor is drawn with, and the threads that heard the sound."""
    from webrtc_avatar.avatar.actor import Actor

    seen = []
    draw = Actor.draw

    def note(self, tick, crop, cue):
        seen.append((tick, cue, threading.current_thread()))
        return draw(self, tick, crop, cue)

    monkeypatch.setattr(Actor, "draw", note)
    return seen


async def test_the_face_is_told_of_stress_and_speech_in_the_tick_that_plays(host, watched, monkeypatch):
    session = await host.open()
    subscription = session.subscribe()
    sound = beats(60).reshape(-1, 640)
    monkeypatch.setattr("tests.session.conftest.np.random", None)
    import tests.session.conftest as parts

    def chunk(number, *, loud=True):
        made = parts.Chunk(
            samples=sound[number],
            sound=np.full(parts.SOUND_SAMPLES, number, np.int16),
            media_time_s=number * 0.04,
            arrived_s=asyncio.get_running_loop().time(),
        )
        return made

    monkeypatch.setattr(parts, "numbered_chunk", chunk)
    speaking = asyncio.create_task(speak(session, range(1, 50)))
    ticks = await take(subscription, 45)
    await speaking
    number_of_tick = {tick.index: int(tick.sound[0]) for tick in ticks}
    stressed = [number_of_tick.get(tick) for tick, cue, _ in watched if cue.stress > 0.3]
    stressed = [number for number in stressed if number and number > 10]
    assert stressed
    assert {number % 5 for number in stressed} == {0}
    assert any(cue.speaking for _, cue, _ in watched)
    assert threading.main_thread() not in {thread for _, _, thread in watched}


async def test_who_listens_is_told_and_silence_has_no_stress(host, watched):
    session = await host.open()
    subscription = session.subscribe()
    await take(subscription, 5)
    session.set_listening(True)
    await take(subscription, 5)
    session.set_listening(False)
    await take(subscription, 5)
    told = [cue.listening for _, cue, _ in watched]
    assert told[:3] == [False] * 3
    assert 3 <= sum(told) <= 8
    assert not told[-1]
    assert {cue.stress for _, cue, _ in watched} == {0.0}


async def test_a_style_is_told_to_all_and_turns_the_face(host):
    session = await host.open()
    events = []
    session.listen(events.append)
    subscription = session.subscribe()
    await take(subscription, 3)
    before = session._performer.actor.pose
    session.set_style(Style(pose=(0, 90, 0), gaze=(1, 0)))
    await take(subscription, 25)
    after = session._performer.actor.pose
    assert after.yaw > before.yaw + 2
    assert after.look.gaze[0] > 0.5
    told = [event for event in events if event["type"] == "style"]
    assert told == [{"type": "style", "pose_style": [0, 3.5, 0], "gaze_style": [1, 0]}]


async def test_the_style_stays_when_the_avatar_changes(host):
    session = await host.open()
    session.set_style(Style(pose=(2, 0, 0)))
    await session.set_avatar("iris")
    assert session.style == Style(pose=(2, 0, 0))


async def test_settings_hold_faces_where_nobody_asks_and_a_wish_goes_first(host):
    plain = await host.manager.create()
    wished = await host.manager.create(style=Style(gaze=(0, 1)))
    assert plain.style == Style()
    assert wished.style == Style(gaze=(0, 1))


def test_ticks_without_a_picture_are_heard_with_the_next():
    sound = beats(30).reshape(-1, 640)
    each, late = Voice(), Voice()
    cues = []
    for chunk in sound:
        each.note(chunk)
        late.note(chunk)
        cues.append(each.cue(each.take(), speaking=True, listening=False))
    at_once = late.cue(late.take(), speaking=True, listening=False)
    assert at_once.stress == max(cue.stress for cue in cues[-25:]) > 0.3
    assert late.cue([], speaking=True, listening=True) == Cue(speaking=True, listening=True)
