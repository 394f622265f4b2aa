"""One clock, sound delayed by the look-ahead, faces held when late, idle without model calls, epochs."""

import asyncio
import itertools

import numpy as np
import pytest

from tests.session.conftest import numbered_chunk, speak
from webrtc_avatar.errors import ServerDraining, ServerFull, SessionClosed, UnknownAvatar, UnknownSession
from webrtc_avatar.session import State


async def take(subscription, count, timeout_s=5.0):
    ticks = []
    async with asyncio.timeout(timeout_s):
        async for tick in subscription:
            ticks.append(tick)
            if len(ticks) == count:
                break
    return ticks


def numbers(ticks):
    return [int(tick.sound[0]) for tick in ticks if tick.sound[0]]


async def test_ticks_play_every_chunk_once_in_order(host):
    session = await host.open()
    subscription = session.subscribe()
    speaking = asyncio.create_task(speak(session, range(1, 31)))
    ticks = await take(subscription, 25)
    await speaking
    heard = numbers(ticks)
    assert heard == list(range(1, len(heard) + 1))
    assert len(heard) >= 20
    assert [tick.index for tick in ticks] == list(range(ticks[0].index, ticks[0].index + 25))


async def test_sound_is_delayed_by_exactly_the_lookahead(host):
    session = await host.open()
    subscription = session.subscribe()
    session.feed(numbered_chunk(1))
    assert session.lookahead_s == pytest.approx(0.04)
    with pytest.raises(TimeoutError):
        await take(subscription, 1, timeout_s=0.08)
    session.feed(numbered_chunk(2))
    assert numbers(await take(subscription, 1)) == [1]


async def test_ticks_leave_at_25_hz_with_the_picture_of_their_sound(host):
    session = await host.open()
    subscription = session.subscribe()
    speaking = asyncio.create_task(speak(session, range(1, 40)))
    ticks = await take(subscription, 35)
    await speaking
    assert np.diff([tick.due_s for tick in ticks]).mean() == pytest.approx(0.04, abs=0.002)
    y_mouth = ticks[20].frame[288:368, 200:312]
    assert y_mouth.mean() > 200, "a voiced tick shows the model's crop, here a white one"
    assert ticks[0].frame.shape == (768, 512)


async def test_a_silent_microphone_costs_no_model_call_and_the_avatar_lives_on(host):
    session = await host.open()
    subscription = session.subscribe()
    speaking = asyncio.create_task(speak(session, range(1, 20), loud=False))
    ticks = await take(subscription, 15)
    await speaking
    assert host.runtime.calls == 0
    assert session.state is State.IDLE
    assert all((a.frame != b.frame).any() for a, b in itertools.pairwise(ticks))


async def test_a_session_without_any_sound_still_ticks_in_real_time(host):
    session = await host.open()
    loop = asyncio.get_running_loop()
    subscription = session.subscribe()
    first = (await take(subscription, 1))[0]
    start_s = loop.time()
    await take(subscription, 25)
    assert 0.8 < loop.time() - start_s < 1.4
    assert not first.sound.any()


async def test_a_late_face_is_held_and_the_sound_goes_on(host):
    session = await host.open()
    subscription = session.subscribe()
    speaking = asyncio.create_task(speak(session, range(1, 50)))
    await take(subscription, 12)
    host.runtime.allowed.clear()
    stalled = await take(subscription, 10)
    host.runtime.allowed.set()
    after = await take(subscription, 15)
    await speaking
    heard = numbers([*stalled, *after])
    assert heard == list(range(heard[0], heard[0] + 25))
    assert session.figures.held >= 8
    assert host.outcome("held") >= 8
    rendered = session.figures.rendered
    assert rendered >= 15


async def test_a_broken_model_is_an_event_and_not_the_end(host):
    session = await host.open()
    events = []
    session.listen(events.append)
    subscription = session.subscribe()
    host.runtime.fail = True
    speaking = asyncio.create_task(speak(session, range(1, 20)))
    assert numbers(await take(subscription, 12))
    await speaking
    errors = [event for event in events if event["type"] == "error"]
    assert len(errors) == 1, "told once, not for every frame"
    assert errors[0]["code"] == "engine_failure"
    assert "broken on purpose" in errors[0]["message"]


async def test_states_are_told_as_they_change(host):
    session = await host.manager.create()
    events = []
    session.listen(events.append)
    assert session.state is State.CONNECTING
    session.feed(numbered_chunk(1))
    session.start()
    session.subscribe()
    await speak(session, range(1, 8))
    await speak(session, range(8, 32), loud=False)
    await session.aclose("done")
    states = [event["state"] for event in events if event["type"] == "state"]
    assert states == ["idle", "speaking", "idle", "closed"]
    assert events[-1] == {"type": "state", "state": "closed", "session_id": session.id, "reason": "done"}


async def test_interrupt_silences_within_two_ticks_and_speech_after_it_is_heard(host):
    session = await host.open()
    subscription = session.subscribe()
    speaking = asyncio.create_task(speak(session, range(1, 60)))
    await take(subscription, 15)
    session.interrupt()
    interrupted_at = session.figures.ticks
    ticks = await take(subscription, 25)
    await speaking
    sounds = [int(tick.sound[-1]) for tick in ticks]
    assert 0 in sounds[:3], "what was on its way is silenced"
    assert sounds[-1] > sounds[0]
    assert session.epoch == 1
    assert session.figures.ticks > interrupted_at


async def test_stats_come_every_second(host):
    session = await host.open()
    stats = asyncio.get_running_loop().create_future()
    session.listen(lambda event: event["type"] == "stats" and not stats.done() and stats.set_result(event))
    session.subscribe()
    event = await asyncio.wait_for(stats, 5)
    assert event["avatar"] == "iris"
    assert event["lookahead_ms"] == 40
    assert 20 < event["fps"] < 30


async def test_a_slow_consumer_loses_the_oldest_and_harms_nobody(host):
    session = await host.open()
    slow, quick = session.subscribe(), session.subscribe()
    ticks = await take(quick, 12)
    assert [tick.index for tick in ticks] == list(range(ticks[0].index, ticks[0].index + 12))
    late = await take(slow, 1)
    assert late[0].index > ticks[0].index
    assert slow.dropped >= 7


async def test_an_unknown_avatar_leaves_the_present_one(host):
    session = await host.open()
    with pytest.raises(UnknownAvatar, match="iris"):
        await session.set_avatar("nobody")
    await session.set_avatar("iris")
    assert session.avatar_name == "iris"
    assert len(await take(session.subscribe(), 3)) == 3


async def test_closing_twice_ends_iterators_and_leaves_no_tasks(host):
    session = await host.open()
    subscription = session.subscribe()
    before = {task.get_name() for task in asyncio.all_tasks()}
    assert f"clock-{session.id}" in before
    await asyncio.gather(session.aclose("a"), session.aclose("b"))
    assert [tick async for tick in subscription] == []
    assert not [task for task in asyncio.all_tasks() if session.id in task.get_name()]
    with pytest.raises(SessionClosed):
        session.subscribe()
    session.feed(numbered_chunk(1))
    session.interrupt()


async def test_what_an_overloaded_machine_drops_leaves_a_gap_in_media_time_and_no_delay(host):
    session = await host.open()
    subscription = session.subscribe()
    await take(subscription, 2)
    fed_before = session._chunk_count
    for number in range(1, 61):
        session.feed(numbered_chunk(number))
    ticks = [tick for tick in await take(subscription, 4) if tick.sound[0]]
    await asyncio.sleep(0)
    ticks += [tick for tick in await take(subscription, 12) if tick.sound[0]]
    offsets = {tick.index - int(tick.sound[0]) for tick in ticks}
    assert offsets == {fed_before - 1}, "a tick's index is the number of its chunk, whatever was dropped before it"
    assert host.metrics.registry.get_sample_value("webrtc_avatar_chunks_total", {"kind": "late"}) >= 20


async def test_the_manager_keeps_its_limits(host):
    sessions = [await host.manager.create() for _ in range(host.manager.capacity)]
    with pytest.raises(ServerFull, match=f"all {host.manager.capacity} sessions are taken") as full:
        await host.manager.create()
    assert full.value.retry_after_s > 0
    await host.manager.close(sessions[0].id, "leaves")
    with pytest.raises(UnknownSession):
        host.manager.get(sessions[0].id)
    assert (await host.manager.create()).state is State.CONNECTING


async def test_drain_waits_for_those_inside_and_refuses_new_ones(host):
    session = await host.open()
    draining = asyncio.create_task(host.manager.drain(5))
    await asyncio.sleep(0)
    with pytest.raises(ServerDraining):
        await host.manager.create()
    assert session.state is State.IDLE
    await host.manager.close(session.id, "leaves by itself")
    await asyncio.wait_for(draining, 1)


async def test_drain_ends_those_who_stay_too_long(host):
    session = await host.open()
    await host.manager.drain(0.05)
    assert session.state is State.CLOSED
