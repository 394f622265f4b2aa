"""A session says what is on its line: with phonemes no sound is heard for its mouth, without them its ear hears it."""

import asyncio

import numpy as np
import pytest

from webrtc_avatar.session.line import Timed
from webrtc_avatar.speech.visemes import WEIGHTS
from webrtc_avatar.speech.voice import Phoneme

RATE_HZ = 24_000
TONE = (0.3 * np.sin(2 * np.pi * 200 * np.arange(RATE_HZ) / RATE_HZ)).astype(np.float32)
PHONEMES = [Phoneme(0.0, 0.4, "a"), Phoneme(0.4, 0.6, "m"), Phoneme(0.6, 1.0, "a")]


@pytest.fixture
async def speaking(host):
    """A watched session whose mouth network keeps what it is asked to draw."""
    drawn = []

    def mouth(inputs):
        drawn.extend(inputs["weights"].copy())
        return {"crop": np.full((len(inputs["weights"]), 240, 224), 255, np.uint8)}

    host.runtime.mouth = mouth
    session = await host.open()
    host.runtime.calls = 0
    drawn.clear()
    return session, session.subscribe(), drawn


async def say(session, subscription, **mouth):
    events = []
    session.listen(events.append)
    session.line.open()
    session.line.put(TONE, RATE_HZ, timed=[Timed(0.0, {"type": "begun"})], **mouth)
    session.line.mark({"type": "ended"})
    session.line.close()
    sounds = []
    async with asyncio.timeout(10):
        async for tick in subscription:
            sounds.append(tick.sound)
            if any(event["type"] == "ended" for event in events):
                return sounds, events
    raise AssertionError


async def test_known_phonemes_move_the_mouth_and_the_ear_rests(host, speaking):
    session, subscription, drawn = speaking
    sounds, events = await say(session, subscription, phonemes=PHONEMES, alphabet="ipa")
    assert host.runtime.calls <= 1, "for the look-ahead before the first word"
    assert len(drawn) >= 24
    press = np.array(drawn)[:, WEIGHTS.index("press")]
    jaw = np.array(drawn)[:, WEIGHTS.index("jawOpen")]
    assert 11 <= int(press.argmax()) <= 13
    assert jaw[5] > 0.3 > 0.05 > jaw[12]
    loud = [np.abs(sound.astype(int)).max() > 3000 for sound in sounds]
    assert sum(loud) == 25
    assert loud[loud.index(True) :][:25] == [True] * 25
    begun, ended = (next(event for event in events if event["type"] == kind) for kind in ("begun", "ended"))
    assert ended["time_s"] - begun["time_s"] == pytest.approx(0.96, abs=0.081)


async def test_without_phonemes_the_ear_hears_it(host, speaking):
    session, subscription, drawn = speaking
    await say(session, subscription)
    assert host.runtime.calls > 10
    assert not np.array(drawn).any(), "the stand-in ear hears nothing"
