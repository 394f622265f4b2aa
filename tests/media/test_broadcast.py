"""A session is encoded once for all who watch; viewers come, go, fall behind and ask for key frames."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from fractions import Fraction

import av
import numpy as np
import pytest
from aiortc.mediastreams import MediaStreamError

from tests.media.peers import TickingSession, lag_and_match, place_of, tone
from webrtc_avatar.errors import SessionClosed
from webrtc_avatar.media import channel as channel_module
from webrtc_avatar.media.broadcast import Broadcast
from webrtc_avatar.media.opus import OpusDecoder
from webrtc_avatar.metrics import Metrics
from webrtc_avatar.settings import Settings


@asynccontextmanager
async def broadcasting(*, ticking=True):
    """Yield a broadcast and its session; afterwards nothing may be left of them."""
    tasks = asyncio.all_tasks()
    session = TickingSession()
    with ThreadPoolExecutor(1) as executor:
        broadcast = Broadcast(session, settings=Settings(), metrics=Metrics(), executor=executor)
        if ticking:
            session.start()
        try:
            yield broadcast, session
        finally:
            await broadcast.aclose()
            await broadcast.aclose()
            await session.aclose()
    assert not session.subscriptions
    assert asyncio.all_tasks() == tasks
    assert broadcast.open_encoders == 0


async def read(track, count):
    return [await asyncio.wait_for(track.recv(), 10) for _ in range(count)]


def decode(codec, packets):
    decoder = av.CodecContext.create("h264" if codec == "H264" else "libvpx", "r")
    decoder.thread_count = 1
    pictures = []
    for packet in packets:
        pictures += decoder.decode(av.Packet(bytes(packet)))
    return [picture.to_ndarray()[:512] for picture in pictures + decoder.decode(None)]


def is_key(codec, packet):
    data = bytes(packet)
    if codec == "VP8":
        return not data[0] & 1
    return any(data[n + 3] & 31 == 5 for n in range(len(data) - 4) if data[n : n + 3] == b"\x00\x00\x01")


@pytest.mark.parametrize("codec", ["VP8", "H264"])
async def test_a_viewer_gets_every_picture_and_all_the_sound_on_one_time_line(codec):
    async with broadcasting(ticking=False) as (broadcast, session):
        video, audio = broadcast.video(codec), broadcast.audio()
        first = asyncio.gather(read(video, 1), read(audio, 2))
        await session.was_subscribed.wait()
        session.tick()
        pictures, sounds = await first
        for _ in range(24):
            session.tick()
            pictures += await read(video, 1)
            sounds += await read(audio, 2)
    assert is_key(codec, pictures[0])
    assert sum(is_key(codec, packet) for packet in pictures) == 1
    shown = decode(codec, pictures)
    ticks = [packet.pts // 3600 for packet in pictures]
    assert ticks == list(range(ticks[0], ticks[0] + 25))
    assert [place_of(luma) for luma in shown] == [tick % 24 for tick in ticks]
    assert [packet.pts for packet in sounds] == [ticks[0] * 1920 + 960 * n for n in range(50)]
    decoder = OpusDecoder()
    heard = np.concatenate([decoder.decode(bytes(packet)) for packet in sounds])
    said = np.concatenate([tone(tick) for tick in ticks])
    assert lag_and_match(heard, said[:40_000])[1] > 0.98
    assert float(pictures[0].pts * pictures[0].time_base) == float(sounds[0].pts * sounds[0].time_base)


async def test_picture_and_first_half_of_the_sound_leave_together_and_the_second_half_later():
    async def departures(track, count):
        return {(packet := await track.recv()).pts * packet.time_base: time.monotonic() for _ in range(count)}

    async with broadcasting() as (broadcast, _):
        pictures, sounds = await asyncio.gather(
            departures(broadcast.video("VP8"), 25), departures(broadcast.audio(), 50)
        )
    skew = np.abs([left_s - sounds[media_s] for media_s, left_s in pictures.items() if media_s in sounds])
    firsts = [media_s for media_s in sounds if media_s * 25 % 1 == 0]
    halves = [sounds[media_s + Fraction(1, 50)] - sounds[media_s] for media_s in firsts]
    print(f"skew median {1e3 * np.median(skew):.2f} ms, largest {1e3 * skew.max():.2f} ms")
    assert np.median(skew) < 0.002
    assert np.median(halves) == pytest.approx(0.02, abs=0.005)


async def test_all_viewers_of_a_codec_share_one_encoder_that_goes_with_the_last(monkeypatch):
    opened = []
    open_encoder = channel_module.open_encoder
    monkeypatch.setattr(
        channel_module, "open_encoder", lambda codec, **options: opened.append(codec) or open_encoder(codec, **options)
    )
    async with broadcasting() as (broadcast, session):
        viewers = [broadcast.video("VP8"), broadcast.video("VP8"), broadcast.video("H264")]
        assert broadcast.open_encoders == 0
        assert session.subscribed == 0
        received = await asyncio.gather(*(read(viewer, 10) for viewer in viewers))
        assert broadcast.open_encoders == 2
        assert sorted(opened) == ["H264", "VP8"]
        assert session.subscribed == 1
        assert [bytes(packet) for packet in received[0]] == [bytes(packet) for packet in received[1]]
        viewers[0].stop()
        viewers[2].stop()
        assert broadcast.open_encoders == 1
        viewers[1].stop()
        viewers[1].stop()
        assert broadcast.open_encoders == 0
        await asyncio.sleep(0)
        assert not session.subscriptions
        assert is_key("VP8", (await read(broadcast.video("VP8"), 1))[0])
        assert len(opened) == 3


async def test_a_late_viewer_begins_at_a_key_frame_at_once():
    async with broadcasting(ticking=False) as (broadcast, session):
        first, late = broadcast.video("VP8"), broadcast.video("VP8")
        reading = asyncio.create_task(read(first, 1))
        await session.was_subscribed.wait()
        session.tick()
        await reading
        for _ in range(10):
            session.tick()
            assert not is_key("VP8", (await read(first, 1))[0])
        packets = []
        for _ in range(5):
            reading = asyncio.create_task(read(late, 1))
            await asyncio.sleep(0)
            tick = session.tick()
            packets += await reading
            assert packets[-1].pts == tick.index * 3600
            await read(first, 1)
        assert [is_key("VP8", packet) for packet in packets] == [True, False, False, False, False]
        assert [place_of(luma) for luma in decode("VP8", packets)] == [packet.pts // 3600 % 24 for packet in packets]


async def test_many_requests_cost_few_key_frames():
    async with broadcasting() as (broadcast, _):
        track = broadcast.video("VP8")
        keys = 0
        for _ in range(50):
            keys += is_key("VP8", (await read(track, 1))[0])
            track.request_key_frame()
        assert 3 <= keys <= 7


async def test_a_slow_viewer_loses_pictures_and_resumes_at_a_key_frame():
    async with broadcasting() as (broadcast, session):
        slow, fast = broadcast.video("VP8"), broadcast.video("VP8")
        await read(slow, 3)
        seen = await read(fast, 30)
        assert len(seen) == 30
        packets = await read(slow, 6)
        assert slow.dropped > 10
        last = max(n for n, packet in enumerate(packets) if is_key("VP8", packet))
        assert place_of(decode("VP8", packets[last:])[0]) == packets[last].pts // 3600 % 24
        assert session.index - packets[0].pts // 3600 < 20


async def test_a_picture_that_takes_too_long_is_skipped_and_the_sound_goes_on(monkeypatch):
    held = threading.Event()

    class StuckEncoder:
        def encode(self, *_, **__):
            held.wait(10)
            return channel_module.EncodedPicture(b"\x00late", is_key=True)

    monkeypatch.setattr(channel_module, "open_encoder", lambda *_, **__: StuckEncoder())
    async with broadcasting() as (broadcast, _):
        video = asyncio.create_task(read(broadcast.video("VP8"), 1))
        sounds = await read(broadcast.audio(), 30)
        assert [packet.pts - sounds[0].pts for packet in sounds] == [960 * n for n in range(30)]
        assert not video.done()
        held.set()
        (packet,) = await video
        assert packet.pts // 3600 * 1920 == sounds[0].pts


async def test_an_encoder_that_fails_is_opened_anew(monkeypatch, caplog):
    open_encoder = channel_module.open_encoder
    failures = [1, 1]

    def fail_twice(codec, **options):
        encoder = open_encoder(codec, **options)
        if failures:
            failures.pop()
            encoder.encode = lambda *_, **__: 1 / 0
        return encoder

    monkeypatch.setattr(channel_module, "open_encoder", fail_twice)
    async with broadcasting() as (broadcast, _):
        (packet,) = await read(broadcast.video("H264"), 1)
        assert is_key("H264", packet)
    assert caplog.text.count("encoding failed") == 1


async def test_when_the_session_ends_all_tracks_end():
    async with broadcasting() as (broadcast, session):
        tracks = [broadcast.video("VP8"), broadcast.video("H264"), broadcast.audio()]
        await asyncio.gather(*(read(track, 2) for track in tracks))
        waiting = [asyncio.create_task(read(track, 1000)) for track in tracks]
        await session.aclose()
        for task in waiting:
            with pytest.raises(MediaStreamError):
                await asyncio.wait_for(task, 5)
        assert [track.readyState for track in tracks] == ["ended"] * 3
        with pytest.raises(SessionClosed):
            broadcast.video("VP8")


async def test_a_track_that_was_never_read_ends_with_the_broadcast():
    async with broadcasting() as (broadcast, session):
        track = broadcast.video("VP8")
        await broadcast.aclose()
        with pytest.raises(MediaStreamError):
            await track.recv()
        assert session.subscribed == 0


async def test_a_viewer_who_leaves_before_reading_leaves_nothing_behind():
    async with broadcasting() as (broadcast, _):
        for track in (broadcast.video("VP8"), broadcast.audio()):
            track.stop()
        assert not broadcast._tracks


async def test_a_change_of_the_pictures_size_begins_a_new_stream():
    async with broadcasting(ticking=False) as (broadcast, session):
        track = broadcast.video("VP8")
        reading = asyncio.create_task(read(track, 1))
        await session.was_subscribed.wait()
        session.tick()
        packets = await reading
        session.tick(frame=np.full((384, 256), 90, np.uint8))
        packets += await read(track, 1)
        assert [is_key("VP8", packet) for packet in packets] == [True, True]
