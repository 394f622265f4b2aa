"""Whoever speaks while the avatar speaks silences it; noise and silence do not."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from webrtc_avatar.server.barge_in import WINDOW_SAMPLES, silero

LONG = "This is a long text that goes on for quite a while. " * 8
RATE_HZ = 48_000


def noise(seconds: float) -> np.ndarray:
    return (0.05 * np.random.default_rng(1).standard_normal(round(seconds * RATE_HZ))).astype(np.float32)


async def joined(start, make_peer, voice, **settings):
    server = await start(barge_in=True, microphone="listens", speech_workers=1, **settings)
    peer = make_peer(server, voice=voice)
    await peer.join()
    await peer.event(type="avatar", name="iris")
    return server, peer


async def test_speech_interrupts_what_is_being_said(start, make_peer, speech):
    server, peer = await joined(start, make_peer, np.concatenate([noise(0.01), speech]))
    peer.send({"type": "speak", "text": LONG})
    await peer.event(type="speech", id=1, state="started")
    await peer.event(type="barge_in")
    await peer.event(type="interrupted")
    await peer.event(type="speech", id=1, state="interrupted")
    assert not server.live.get(peer.session_id).speaking.is_busy


@pytest.mark.parametrize("sound", ["silence", "noise", "knocks"])
async def test_what_is_no_speech_interrupts_nothing(start, make_peer, sound):
    voice = {
        "silence": np.zeros(5 * RATE_HZ, np.float32),
        "noise": noise(5),
        "knocks": np.zeros(5 * RATE_HZ, np.float32),
    }[sound]
    if sound == "knocks":
        for second in range(5):
            at = second * RATE_HZ + 1000
            voice[at : at + 2400] = 0.8 * np.exp(-np.arange(2400) / 300) * np.sign(np.sin(np.arange(2400) / 20))
    server, peer = await joined(start, make_peer, voice)
    peer.send({"type": "speak", "text": LONG})
    await peer.event(type="speech", id=1, state="started")
    await asyncio.sleep(2.5)
    assert server.live.get(peer.session_id).speaking.is_busy
    assert not [event for event in peer.events if event["type"] == "barge_in"]


async def test_without_the_setting_nothing_is_interrupted(start, make_peer, speech):
    server = await start(microphone="listens", speech_workers=1)
    peer = make_peer(server)
    await peer.join()
    await peer.event(type="avatar", name="iris")
    peer.send({"type": "speak", "text": LONG})
    await peer.event(type="speech", state="started")
    await asyncio.sleep(2.0)
    assert server.live.get(peer.session_id).speaking.is_busy


def test_the_network_tells_speech_from_noise(speech):
    import soxr

    detect = silero()
    talk = soxr.resample(speech, RATE_HZ, 16_000).astype(np.float32)
    heard = [detect(talk[at : at + WINDOW_SAMPLES]) for at in range(0, len(talk) - WINDOW_SAMPLES, WINDOW_SAMPLES)]
    assert np.mean(np.array(heard) > 0.6) > 0.5
    hiss = noise(3)[::3]
    heard = [detect(hiss[at : at + WINDOW_SAMPLES]) for at in range(0, len(hiss) - WINDOW_SAMPLES, WINDOW_SAMPLES)]
    assert max(heard[20:]) < 0.5
