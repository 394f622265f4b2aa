"""What a chunked session shows while nobody feeds, and who may watch it over WHEP: the film's own packets."""

import asyncio
import re

import av
import numpy as np
import pytest

from tests.media.peers import prefer
from tests.server.chunked_parts import Caller, wav
from tests.server.peer import Peer
from webrtc_avatar.audio.buffer import AudioChunkBuffer
from webrtc_avatar.chunked.timeline import Timeline
from webrtc_avatar.server.chunked import CHUNKED

SDP = {"Content-Type": "application/sdp"}


@pytest.fixture
async def watch():
    """Return a viewer of a chunked session that has been answered."""
    peers = []

    async def connect(caller, session_id, status=201):
        peers.append(Peer(caller.client))
        response = await peers[-1].watch(session_id)
        assert response.status == status, await response.text()
        return peers[-1]

    yield connect
    for peer in peers:
        await peer.aclose()


class Clock:
    """A timeline on a clock that is set by hand."""

    def __init__(self):
        self.now_s = 100.0
        self.buffer = AudioChunkBuffer(chunk_duration=1.0, source_sr=16_000)
        self.timeline = Timeline(self.buffer, patience_s=2.0, most_s=1000, clock=lambda: self.now_s)
        self.said = []
        self._task = asyncio.create_task(self._follow())

    async def _follow(self):
        async for moment in self.timeline.moments():
            self.said.append(float(np.abs(moment.samples).max()))

    def feed(self, seconds):
        self.buffer.add_chunk(np.full(round(seconds * 16_000), 0.5, np.float32))
        self.timeline.notice(fed=True)

    async def at(self, seconds):
        """Set the clock to a time and return how many frames there are and how many of them are silent."""
        self.now_s = 100.0 + seconds
        if self.said:
            self.timeline.begin(0.0)
        for _ in range(400):
            await asyncio.sleep(0)
        return len(self.said), sum(level == 0 for level in self.said)


HELD = 1
"""Frames that a resampler holds back while more may come."""


async def test_a_film_begins_with_the_first_feed_or_when_somebody_watches():
    clock = Clock()
    assert await clock.at(50) == (0, 0)
    clock.feed(2)
    assert await clock.at(50) == (50 - HELD, 0)
    clock = Clock()
    assert await clock.at(50) == (0, 0)
    clock.timeline.begin(2.0)
    frames, silent = await clock.at(50)
    assert 50 <= frames == silent <= 55


async def test_pieces_that_come_as_fast_as_they_are_spoken_are_not_interrupted_however_they_jitter():
    clock = Clock()
    for number, late_s in enumerate([0, 0.9, 0.2, 0.7, 0, 0.9]):
        await clock.at(number + late_s)
        clock.feed(1)
        assert await clock.at(number + late_s) == (25 * (number + 1) - HELD, 0)
        clock.timeline.begin(2.0 - (0.5 if number else 0.0))


async def test_silence_keeps_the_film_ahead_of_its_players_once_nobody_feeds():
    clock = Clock()
    clock.feed(5)
    assert await clock.at(0.5) == (125 - HELD, 0)
    clock.timeline.begin(2.0)  # players began with 2 s at 0.5 s: the film has to be 1.5 s ahead of the clock
    for seconds in np.arange(0.5, 12, 0.25):
        frames, _ = await clock.at(seconds)
        assert frames * 0.04 >= max(4.9, seconds + 1.5 - 0.01 if seconds >= 2 else 0)
    assert frames * 0.04 <= seconds + 1.5 + 0.21
    clock.feed(1)
    assert (await clock.at(seconds))[0] == frames + 25 - HELD


async def test_an_unfed_session_is_a_live_film_as_soon_as_it_is_opened(caller, talk):
    session_id = await caller.init()
    assert (await caller.status(session_id))["status"] == "waiting_for_audio"
    answer = await caller.client.get(f"/hls/{session_id}/playlist.m3u8")
    assert "seg_0.m4s" in await answer.text()
    assert (await caller.status(session_id))["status"] == "waiting_for_audio"
    before = (await caller.status(session_id))["total_frames_generated"]
    await caller.feed(session_id, wav(talk[:32_000]), True)
    assert (await caller.until(session_id))["total_frames_generated"] >= before + 50


async def test_who_reloads_at_once_is_answered_when_there_is_a_new_segment(caller, talk):
    session_id = await caller.init()
    texts = [await (await caller.client.get(f"/hls/{session_id}/playlist.m3u8")).text() for _ in range(2)]
    counts = [len(re.findall("#EXTINF", text)) for text in texts]
    assert counts[1] > counts[0] >= 1


async def test_viewers_see_the_very_pictures_of_the_film_and_go_when_it_is_over(server, caller, talk, watch, tmp_path):
    session_id = await caller.init()
    viewer = await watch(caller, session_id)
    await viewer.until(lambda: viewer.pictures)
    assert server.metric("webrtc_avatar_viewers") == 1
    assert viewer.location.startswith(f"/whep/{session_id}/")
    await caller.feed(session_id, wav(talk[:32_000]), True)
    await viewer.until(lambda: viewer.sounds and np.abs(viewer.sounds[-1].astype(int)).max() > 2000)
    closed = asyncio.Event()
    viewer.pc.on("connectionstatechange", lambda: viewer.pc.connectionState == "closed" and closed.set())
    await asyncio.wait_for(closed.wait(), 30)
    assert server.metric("webrtc_avatar_viewers") == 0
    with av.open(str(await caller.film(session_id, tmp_path / "film"))) as film:
        written = [frame.to_ndarray() for frame in film.decode(video=0)]
    seen = viewer.pictures[-10:]
    last = max(n for n, frame in enumerate(written) if np.array_equal(frame, seen[-1]))
    assert all(np.array_equal(a, b) for a, b in zip(seen, written[last - 9 : last + 1], strict=True))
    response = await caller.client.post(f"/whep/{session_id}", data=await Peer(caller.client).offer(), headers=SDP)
    assert (response.status, (await response.json())["error"]["code"]) == (410, "session_closed")


async def test_a_viewer_may_leave_and_too_many_are_refused(start, photo, watch):
    caller = Caller(await start(max_viewers=1), photo)
    session_id = await caller.init()
    viewer = await watch(caller, session_id)
    await watch(caller, session_id, status=503)
    assert (await caller.client.delete(viewer.location)).status == 200
    assert (await caller.client.delete(viewer.location)).status == 404
    again = await watch(caller, session_id)
    await again.until(lambda: again.pictures and again.sounds)
    session = caller.client.app[CHUNKED].get(session_id)
    came_s = session.active_s
    await again.until(lambda: session.active_s > came_s + 1)  # a viewer keeps the session from being idle
    await caller.client.delete(f"/api/audio-driven/chunked/session/{session_id}")
    assert (await caller.client.delete(again.location)).status == 404


async def test_viewers_who_do_not_take_h264_are_told_so(caller):
    session_id = await caller.init()
    peer = Peer(caller.client)
    prefer(peer.pc, "video", "VP8")
    response = await peer.watch(session_id)
    assert response.status == 415
    assert "H264" in (await response.json())["error"]["message"]
    await peer.aclose()
