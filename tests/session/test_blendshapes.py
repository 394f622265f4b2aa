"""Ticks carry the face as blendshapes, for who asked: 25 a second, on the picture's clock, at rest after an interrupt."""

import asyncio
import shutil

import numpy as np
import pytest

from tests.session.conftest import speak
from tests.session.test_session import take
from webrtc_avatar.avatar.arkit import ARKIT_NAMES, MOUTH_WEIGHTS
from webrtc_avatar.avatar.library import Library, default_folders
from webrtc_avatar.errors import NoBlendshapes

JAW = ARKIT_NAMES.index("jawOpen")
MOUTH = [place for place, name in enumerate(ARKIT_NAMES) if not name.startswith(("eye", "brow", "mouthSmile"))]
"""What only a voice moves."""
QUEUED = 4
"""Ticks that wait in a subscription while an avatar is loaded."""


@pytest.fixture
def open_jaw(host):
    """Let every sound open the jaw by 0.4."""

    def ear(inputs):
        host.runtime.calls += 1
        host.runtime.allowed.wait(5)
        weights = np.zeros((len(inputs["mel"]), 4, 12), np.float32)
        weights[..., MOUTH_WEIGHTS.index("jawOpen")] = 0.4
        return {"weights": weights, "visemes": np.zeros((len(weights), 4, 16), np.float32)}

    host.runtime.ear = ear
    return host


def jaws(ticks):
    return [float(tick.blendshapes.values[JAW]) for tick in ticks]


async def test_every_tick_carries_the_face_at_its_own_media_time(open_jaw):
    session = await open_jaw.open()
    subscription = session.subscribe(blendshapes=True)
    speaking = asyncio.create_task(speak(session, range(1, 40)))
    ticks = await take(subscription, 30)
    await speaking
    told = [tick.blendshapes for tick in ticks]
    assert [face.index for face in told] == [tick.index for tick in ticks]
    assert np.allclose([face.time_s for face in told], [0.04 * tick.index for tick in ticks])
    assert np.diff([face.time_s for face in told]).min() > 0
    assert np.diff([tick.due_s for tick in ticks]).mean() == pytest.approx(0.04, abs=0.002)
    assert told[-1].values.shape == (52,)
    assert told[-1].head_deg.shape == (3,)
    assert max(abs(face.head_deg).max() for face in told) > 0


async def test_the_mouth_s_shapes_are_those_of_the_picture(open_jaw):
    session = await open_jaw.open()
    subscription = session.subscribe(blendshapes=True)
    await speak(session, range(1, 20), loud=True)
    ticks = await take(subscription, 3)
    for tick in ticks:
        shown = tick.frame[288:368, 200:312].mean() > 200  # the stand-in's mouths are white
        assert shown == (tick.blendshapes.values[JAW] > 0.2)
    assert jaws(ticks)[-1] == pytest.approx(0.4)


async def test_who_did_not_ask_gets_none_and_none_are_made(open_jaw, monkeypatch):
    made = []
    monkeypatch.setattr("webrtc_avatar.session.performer.blendshapes", lambda *face: made.append(face))
    session = await open_jaw.open()
    subscription = session.subscribe()
    speaking = asyncio.create_task(speak(session, range(1, 12)))
    ticks = await take(subscription, 10)
    await speaking
    assert [tick.blendshapes for tick in ticks] == [None] * 10
    assert made == []


async def test_they_end_with_the_last_who_asked(open_jaw):
    session = await open_jaw.open()
    picture, face = session.subscribe(), session.subscribe(blendshapes=True)
    assert (await take(face, 3))[-1].blendshapes is not None
    face.close()
    assert (await take(picture, 6))[-1].blendshapes is None


async def test_asking_is_enough_to_be_told_a_mouth_without_any_picture_being_watched(open_jaw):
    session = await open_jaw.open()
    subscription = session.subscribe(blendshapes=True)
    speaking = asyncio.create_task(speak(session, range(1, 14)))
    ticks = await take(subscription, 11)
    await speaking
    assert max(jaws(ticks)) == pytest.approx(0.4)


async def test_an_interrupt_brings_the_mouth_to_rest_within_six_ticks(open_jaw):
    session = await open_jaw.open()
    subscription = session.subscribe(blendshapes=True)
    speaking = asyncio.create_task(speak(session, range(1, 20)))
    assert jaws(await take(subscription, 14))[-1] == pytest.approx(0.4)
    speaking.cancel()
    session.interrupt()
    ticks = await take(subscription, 14)
    assert ticks[7].blendshapes.values[MOUTH].max() == 0
    assert jaws(ticks) == sorted(jaws(ticks), reverse=True)
    assert np.diff([tick.index for tick in ticks]).tolist() == [1] * 13


async def test_silence_is_a_mouth_at_rest_below_living_eyes(open_jaw):
    session = await open_jaw.open()
    ticks = await take(session.subscribe(blendshapes=True), 30)
    assert max(tick.blendshapes.values[MOUTH].max() for tick in ticks) == 0
    assert len({tuple(tick.blendshapes.head_deg) for tick in ticks}) == 30


async def test_a_late_face_holds_the_last_mouth_under_its_own_time(open_jaw):
    session = await open_jaw.open()
    subscription = session.subscribe(blendshapes=True)
    speaking = asyncio.create_task(speak(session, range(1, 40)))
    await take(subscription, 12)
    open_jaw.runtime.allowed.clear()
    ticks = await take(subscription, 8)
    open_jaw.runtime.allowed.set()
    await speaking
    assert session.figures.held >= 4
    assert jaws(ticks) == pytest.approx([0.4] * 8)
    assert [tick.blendshapes.index for tick in ticks] == [tick.index for tick in ticks]


@pytest.fixture
def speechless(tmp_path):
    """A folder with a copy of the shipped avatar whose model names its weights otherwise."""
    source = next(folder / "iris" for folder in default_folders() if (folder / "iris").is_dir())
    copy = shutil.copytree(source, tmp_path / "mime", ignore=shutil.ignore_patterns("source"))
    manifest = (copy / "avatar.toml").read_text().replace('name = "iris"', 'name = "mime"')
    (copy / "avatar.toml").write_text(manifest.replace('"pucker"', '"component_2"'))
    return tmp_path


async def test_an_avatar_without_mouth_weights_refuses_and_one_that_comes_later_tells_none(open_jaw, speechless):
    open_jaw.manager._library = Library([speechless])
    session = await open_jaw.open()
    subscription = session.subscribe(blendshapes=True)
    assert (await take(subscription, 3))[-1].blendshapes is not None
    await session.set_avatar("mime")
    assert (await take(subscription, QUEUED + 4))[-1].blendshapes is None
    with pytest.raises(NoBlendshapes, match="'mime' yields no blendshapes"):
        session.subscribe(blendshapes=True)
    await session.set_avatar("iris")
    assert (await take(subscription, QUEUED + 4))[-1].blendshapes is not None
