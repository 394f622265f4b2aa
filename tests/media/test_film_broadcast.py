"""A growing film read back and shown to viewers at the pace of the clock."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import av
import numpy as np
import pytest
from aiortc.mediastreams import MediaStreamError

from tests.media.test_hls import FLASH_EVERY, picture, sound, write
from tests.media.test_loopback_viewers import Viewer
from webrtc_avatar.client.measure import media_clock_relation_s
from webrtc_avatar.client.receiving import AudioTap, VideoTap
from webrtc_avatar.errors import SessionClosed
from webrtc_avatar.media.film_broadcast import FilmBroadcast
from webrtc_avatar.media.film_reader import FilmReader
from webrtc_avatar.media.opus import OpusDecoder
from webrtc_avatar.metrics import Metrics
from webrtc_avatar.settings import Settings


def brightness(pictures):
    """Return the mean luma of each decoded picture."""
    decoder = av.CodecContext.create("h264", "r")
    frames = [frame for data in pictures for frame in decoder.decode(av.Packet(data))]
    return np.array([frame.to_ndarray(format="gray").mean() for frame in [*frames, *decoder.decode(None)]])


@pytest.mark.parametrize("part_s", [None, 0.4])
def test_what_is_read_back_while_it_is_written_is_the_film_frame_by_frame(tmp_path, part_s):
    writer, _ = write(tmp_path, 1, part_s=part_s)
    reader, frames, latest = FilmReader(writer, 0), [], 0
    for number in range(1, 130):
        writer.add(picture(number), sound(number))
        frames += reader.read()
        latest = max(latest, number - len(frames))
    assert latest <= 13
    writer.finish()
    frames += reader.read()
    assert reader.ended
    assert [frame.index for frame in frames] == list(range(130))
    flashes = np.flatnonzero(brightness([frame.picture for frame in frames]) > 128)
    assert flashes.tolist() == list(range(0, 130, FLASH_EVERY))
    loud = np.array([np.abs(frame.sound.astype(int)).mean() > 3000 for frame in frames])
    assert np.flatnonzero(loud).tolist() == flashes.tolist()


def test_a_reader_may_begin_at_any_segment_and_finds_the_same_packets(tmp_path):
    writer, _ = write(tmp_path, 160)
    whole = FilmReader(writer, 0).read()
    later = FilmReader(writer, writer.segment_of(77)).read()
    assert later[0].index == 50
    assert later[0].is_key
    assert [frame.picture for frame in later] == [frame.picture for frame in whole[50:]]
    assert np.array_equal(later[3].sound, whole[53].sound)


class GrowingFilm:
    """A film to which frames are added by hand."""

    def __init__(self, folder):
        self.writer, _ = write(folder, 1)
        self.count = 1
        self.place_s = 0.0
        self._changed = asyncio.Event()

    def grow(self, count):
        for _ in range(count):
            self.writer.add(picture(self.count), sound(self.count))
            self.count += 1
        self._tell()

    def end(self):
        self.writer.finish()
        self._tell()

    def _tell(self):
        self._changed.set()
        self._changed = asyncio.Event()

    longest_group = 50

    async def now_s(self):
        return self.place_s

    def reader(self, place_s):
        return FilmReader(self.writer, self.writer.segment_of(round(place_s * 25)))

    def note_viewers(self):
        pass

    async def changed(self):
        await self._changed.wait()


@asynccontextmanager
async def showing(folder):
    film, ended = GrowingFilm(folder), asyncio.Event()
    with ThreadPoolExecutor(1) as pool:
        broadcast = FilmBroadcast(film, Settings(), Metrics(), pool, ended.set)
        try:
            yield film, broadcast, ended
        finally:
            await broadcast.aclose()


async def follow(track):
    """Return what a track gives until it ends: packets with the time when they came."""
    came = []
    try:
        while True:
            packet = await track.recv()
            came.append((time.monotonic(), packet))
    except MediaStreamError:
        return came


async def test_viewers_get_pictures_and_sound_in_step_at_the_pace_of_the_clock_and_go_at_the_end(tmp_path):
    async with showing(tmp_path) as (film, broadcast, ended):
        film.grow(60)
        film.end()
        pictures, sounds = await asyncio.gather(follow(broadcast.video("H264")), follow(broadcast.audio()))
        assert ended.is_set()
        with pytest.raises(SessionClosed):
            broadcast.video("H264")
    assert [packet.pts for _, packet in pictures] == [index * 3600 for index in range(61)]
    assert [packet.pts for _, packet in sounds] == [half * 960 for half in range(122)]
    skew_s = [sound_s - picture_s for (picture_s, _), (sound_s, _) in zip(pictures, sounds[::2], strict=True)]
    assert np.median(np.abs(skew_s)) < 0.005
    assert pictures[-1][0] - pictures[0][0] > 55 * 0.04
    flashes = np.flatnonzero(brightness([bytes(packet) for _, packet in pictures]) > 128) * 0.04
    opus = OpusDecoder()
    heard = np.abs(np.concatenate([opus.decode(bytes(packet)) for _, packet in sounds]).astype(int)) > 6000
    onsets = [at / 48_000 for at in np.flatnonzero(heard) if not heard[max(at - 9600, 0) : at].any()]
    assert np.abs(np.array(onsets) - flashes).max() < 0.01


async def test_a_real_viewer_gets_picture_and_sound_within_40_ms_of_each_other(tmp_path):
    async with showing(tmp_path) as (film, broadcast, _):
        film.grow(120)
        film.end()
        viewer = Viewer(broadcast, "H264")
        frames, packets = [], []
        taps = {"video": VideoTap(frames.append), "audio": AudioTap(packets.append)}

        def tap(track):
            taps[track.kind].attach(next(t.receiver for t in viewer.client.getTransceivers() if t.kind == track.kind))

        viewer.client.on("track", tap)
        await viewer.connect()
        async with asyncio.timeout(30):
            while len(frames) < 120:  # noqa: ASYNC110 - frames come on their own
                await asyncio.sleep(0.1)
        await viewer.aclose()
    relation_s = media_clock_relation_s(taps["audio"].reports, taps["video"].reports)
    shown_s = np.array([frame.timestamp for frame in frames]) / 90_000 + relation_s
    flashes_s = shown_s[brightness([frame.data for frame in frames]) > 128]
    opus = OpusDecoder()
    heard = [np.abs(opus.decode(packet.data).astype(int)).max() > 6000 for packet in packets]
    onsets_s = np.array(
        [packets[n].timestamp / 48_000 for n in range(1, len(packets)) if heard[n] and not heard[n - 1]]
    )
    skews_s = [np.abs(onsets_s - flash_s).min() for flash_s in flashes_s[1:]]
    assert len(skews_s) >= 4
    assert max(skews_s) < 0.04


async def test_who_comes_later_sees_the_pictures_since_the_last_key_frame_at_once(tmp_path):
    async with showing(tmp_path) as (film, broadcast, _):
        film.grow(120)
        film.place_s = 2.8
        first = broadcast.video("H264")
        for _ in range(30):
            await first.recv()
        later = broadcast.video("H264")
        packets = [await later.recv() for _ in range(30)]
        assert [packet.pts for packet in packets] == [index * 3600 for index in range(50, 80)]
        assert len(brightness([bytes(packet) for packet in packets])) == 30


async def test_viewers_of_a_film_that_runs_dry_go_on_where_they_were(tmp_path):
    async with showing(tmp_path) as (film, broadcast, _):
        film.grow(30)
        seen = asyncio.create_task(follow(broadcast.video("H264")))
        heard = asyncio.create_task(follow(broadcast.audio()))
        await asyncio.sleep(2)
        film.grow(30)
        film.end()
        pictures, sounds = await seen, await heard
    assert [packet.pts for _, packet in pictures] == [index * 3600 for index in range(61)]
    assert len(sounds) == 122
    gaps_s = np.diff([came_s for came_s, _ in pictures])
    assert gaps_s.max() > 0.5
    assert np.median(gaps_s[45:]) > 0.03


async def test_nothing_is_read_while_nobody_watches(tmp_path):
    async with showing(tmp_path) as (film, broadcast, ended):
        film.grow(30)
        track = broadcast.video("H264")
        assert not broadcast.is_watched
        await track.recv()
        assert broadcast.is_watched
        track.stop()
        assert not broadcast.is_watched
        assert not ended.is_set()
        again = broadcast.video("H264")
        assert (await again.recv()).pts == 0
