"""Chunked sessions where something is wrong, large, odd or out of order: each has a defined answer."""

import asyncio
import struct
import threading
import zlib

import numpy as np
import pytest
from yarl import URL

from tests.server.chunked_parts import BASE, Caller, form, recorded, sound_of, wav
from webrtc_avatar.audio.buffer import AudioChunkBuffer
from webrtc_avatar.chunked import intake
from webrtc_avatar.chunked.intake import Intake
from webrtc_avatar.chunked.timeline import Timeline
from webrtc_avatar.server.chunked import CHUNKED


async def test_an_hour_at_once_is_decoded_as_it_is_spoken(start, photo):
    caller = Caller(await start(), photo)
    session_id = await caller.init()
    hour = wav(np.zeros(16_000, np.float32), 8_000)[:44] + bytes(2 * 3600 * 2_000)
    hour = hour[:24] + struct.pack("<II", 2_000, 4_000) + hour[32:40] + b"\xff" * 4 + hour[44:]
    status, body = await caller.feed(session_id, hour, True)
    assert status == 200
    assert 20 * 16_000 < body["buffer_samples"] < 31 * 16_000
    status, body = await caller.feed(session_id, hour)
    assert (status, "final" in body["detail"]) == (409, True)
    assert (await caller.client.delete(f"{BASE}/session/{session_id}")).status == 200


async def test_a_long_feed_is_spoken_to_its_end_though_little_of_it_waits(caller, talk, monkeypatch, tmp_path):
    monkeypatch.setattr(intake, "AHEAD_S", 0.6)
    session_id = await caller.init(chunk_duration=0.2)
    status, body = await caller.feed(session_id, wav(np.concatenate([talk[:32_000], talk[:8_000]])), True)
    assert (status, body["buffer_samples"] < 32_000) == (200, True)
    assert (await caller.until(session_id))["total_frames_generated"] == 63
    played = sound_of(await caller.film(session_id, tmp_path / "film"))[1024:][::3]
    assert np.corrcoef(played[:32_000], talk[:32_000])[0, 1] > 0.98
    assert np.corrcoef(played[32_000:39_000], talk[:7_000])[0, 1] > 0.98


async def test_no_silence_is_put_into_a_feed_that_is_slow_to_decode():
    buffer = AudioChunkBuffer(chunk_duration=0.1)
    timeline = Timeline(buffer, patience_s=0.0, most_s=100.0)
    buffer.is_promised = True
    timeline.notice(fed=True)

    async def first():
        return await anext(timeline.moments())

    waiting = asyncio.create_task(first())
    await asyncio.sleep(0.1)
    assert not waiting.done()
    buffer.add_chunk(np.full(3_200, 0.5, np.float32), 16_000)
    timeline.notice(fed=True)
    assert (await waiting).samples[0] == 0.5


def test_more_than_may_wait_is_refused_until_there_is_room():
    buffer = AudioChunkBuffer(max_pending_s=10, chunk_duration=0.5)
    taken = Intake(buffer, raw_rate_hz=16_000)
    taken.take(wav(np.zeros(16_000 * 12, np.float32)), "", final=False)
    assert (taken.is_behind, taken.wants_more) == (True, False)
    assert buffer.pending_samples <= 160_000
    with pytest.raises(intake.BufferFull, match="feed this again"):
        taken.take(wav(np.zeros(16_000, np.float32)), "", final=False)
    for _ in range(99):
        taken.go_on()
    assert buffer.pending_samples <= 160_000
    spoken = 0
    while buffer.pending_samples > 50_000:
        spoken += len(buffer.take().spoken)
    assert taken.wants_more
    taken.take(wav(np.zeros(16_000, np.float32)), "", final=True)
    assert (taken.is_behind, taken.ended, buffer.is_finished) == (False, True, True)
    while (chunk := buffer.take(whole=False)) is not None:
        spoken += len(chunk.spoken)
    assert spoken == 16_000 * 13


async def test_100_mb_are_refused_before_they_are_sent(server, photo):
    caller = Caller(server, photo)
    session_id = await caller.init()
    url = server.client.make_url(f"{BASE}/feed")
    reader, writer = await asyncio.open_connection(url.host, url.port)
    head = (
        f"POST {url.path} HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        "Content-Length: 104857600\r\n\r\n--b\r\n"
        'Content-Disposition: form-data; name="audio_chunk"; filename="x"\r\n\r\n'
    )
    writer.write(head.encode() + bytes(100_000))
    async with asyncio.timeout(10):
        assert b" 413 " in await reader.readline()
        assert b'"code": "too_large"' in await reader.readuntil(b"}}")
    writer.close()
    assert (await caller.feed(session_id, wav(np.zeros(1_600, np.float32)), True))[0] == 200


async def test_a_body_without_length_is_refused_where_it_becomes_too_large(start, photo):
    server = await start(chunked_max_audio_bytes=100_000)
    sent = 0

    async def chunks():
        nonlocal sent
        yield b'--b\r\nContent-Disposition: form-data; name="audio_chunk"; filename="x"\r\n\r\n'
        for _ in range(1_000):
            sent += 100_000
            yield bytes(100_000)

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = await server.client.post(f"{BASE}/feed", data=chunks(), headers=headers)
    assert (answer.status, "100000 bytes" in (await answer.json())["detail"]) == (413, True)
    assert sent < 50_000_000


async def test_many_tiny_feeds_are_one_sound(caller, talk, tmp_path):
    session_id = await caller.init(chunk_duration=10)
    said = talk[:6_400]
    for at in range(0, len(said), 160):
        assert (await caller.feed(session_id, wav(said[at : at + 160]), at + 160 >= len(said)))[0] == 200
    assert (await caller.until(session_id))["total_frames_generated"] == 10
    played = sound_of(await caller.film(session_id, tmp_path / "film"))[1024:][::3][:6_000]
    assert np.corrcoef(played, said[: len(played)])[0, 1] > 0.98


async def test_feeds_at_the_same_time_are_taken_whole_one_after_the_other(caller, tmp_path):
    session_id = await caller.init(chunk_duration=10)
    tones = [200 * place for place in range(1, 9)]
    waves = [0.3 * np.sin(2 * np.pi * tone * np.arange(3_200) / 16_000) for tone in tones]
    feeds = [caller.feed(session_id, wav(samples)) for samples in waves]
    assert {status for status, _ in await asyncio.gather(*feeds)} == {200}
    await caller.post("feed", session_id=session_id, is_final_chunk="true")
    assert (await caller.until(session_id))["total_frames_generated"] == 40
    played = sound_of(await caller.film(session_id, tmp_path / "film"))[1024:]
    pieces = played[: 8 * 9_600].reshape(8, 9_600)[:, 3_000:6_000]
    frequencies = [int(np.abs(np.fft.rfft(piece)).argmax() * 16) for piece in pieces]
    np.testing.assert_allclose(sorted(frequencies), tones, atol=20)


async def test_who_comes_too_late_is_told_so(caller, voice):
    session_id = await caller.init(session_id="again", chunk_duration=0.1)
    status, body = await caller.post("init", image=caller.photo, session_id="again")
    assert (status, "choose another name" in body["detail"]) == (409, True)
    assert (await caller.feed(session_id, wav(voice), True))[0] == 200
    status, body = await caller.feed(session_id, wav(voice))
    assert (status, "final chunk" in body["detail"], body["error"]["code"]) == (409, True, "session_finished")
    assert (await caller.client.delete(f"{BASE}/session/{session_id}")).status == 200
    assert (await caller.feed(session_id, wav(voice)))[0] == 404
    assert (await caller.client.get(f"{BASE}/status/{session_id}")).status == 404
    assert (await caller.client.delete(f"{BASE}/session/{session_id}")).status == 404
    assert await caller.init(session_id="again") == "again"


async def test_a_session_deleted_while_it_is_fed_leaves_nothing_running(caller, talk):
    session_id = await caller.init(chunk_duration=0.1)
    data = recorded(talk[:16_000])
    feeds = [asyncio.create_task(caller.feed(session_id, part)) for part in (data[:1_000], data[1_000:], wav(talk))]
    await asyncio.sleep(0)
    assert (await caller.client.delete(f"{BASE}/session/{session_id}")).status == 200
    assert {status for status, _ in await asyncio.gather(*feeds)} <= {200, 404, 409, 415}
    assert not [thread for thread in threading.enumerate() if thread.name == "chunked-continued"]


def bomb():
    """Return a PNG of 30,000 x 30,000 pixels in little more than its header."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")


PICTURES = {
    "GIF": (b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;", 400),
    "SVG": (b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>', 400),
    "HEIC": (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(99), 400),
    "a bomb": (bomb(), 413),
    "a cut JPEG": (None, 400),
    "nothing": (b"", 400),
}  # fmt: skip


async def test_pictures_that_cannot_be_used_are_refused(caller, photo):
    for kind, (image, expected) in PICTURES.items():
        status, body = await caller.post("init", image=photo[:200] if image is None else image)
        assert (status, bool(body["detail"])) == (expected, True), (kind, body)
    status, body = await caller.post("init", image="a text")
    assert (status, "send it as a file" in body["detail"]) == (400, True)
    status, body = await caller.post("init", seed=1)
    assert (status, "no file named image" in body["detail"]) == (400, True)


DETAILS = [
    ("nfe", "4", "nfe is a whole number from 5 to 50; got 4"),
    ("nfe", "51", "nfe is a whole number from 5 to 50; got 51"),
    ("nfe", "5.5", "nfe is a whole number from 5 to 50; got '5.5'"),
    ("cfg_scale", "0.99", "cfg_scale is a number from 1 to 5; got '0.99'"),
    ("cfg_scale", "inf", "cfg_scale is a number from 1 to 5; got 'inf'"),
    ("chunk_duration", "0.09", "chunk_duration is a number from 0.1 to 10; got '0.09'"),
    ("chunk_duration", "11", "chunk_duration is a number from 0.1 to 10; got '11'"),
    ("audio_sample_rate", "7999", "audio_sample_rate is a whole number from 8000 to 192000; got 7999"),
    ("audio_sample_rate", "192001", "audio_sample_rate is a whole number from 8000 to 192000; got 192001"),
    ("crop", "2", "crop is true or false; got '2'"),
    ("session_id", "a/b", "session_id is 1 to 64 letters, digits, - and _; got 'a/b'"),
    ("session_id", "x" * 65, f"session_id is 1 to 64 letters, digits, - and _; got '{'x' * 65}'"),
    ("audio_sample_rate", "100", "audio_sample_rate is a whole number from 8000 to 192000; got 100"),
    ("nfe", "many", "nfe is a whole number from 5 to 50; got 'many'"),
    ("cfg_scale", "nan", "cfg_scale is a number from 1 to 5; got 'nan'"),
    ("cfg_scale", "5.1", "cfg_scale is a number from 1 to 5; got '5.1'"),
    ("chunk_duration", "10.5", "chunk_duration is a number from 0.1 to 10; got '10.5'"),
    ("session_id", "../../etc", "session_id is 1 to 64 letters, digits, - and _; got '../../etc'"),
    ("pose_style", "{", "pose_style is a JSON list of numbers; got '{'"),
    ("pose_style", "[1, 2", "pose_style is a JSON list of numbers; got '[1, 2'"),
]


async def test_what_is_out_of_range_is_told_exactly(caller):
    for field, value, detail in DETAILS:
        status, body = await caller.post("init", image=caller.photo, **{field: value})
        assert (status, body["detail"]) == (400, detail)
    for field, value in (
        ("pose_style", "[1, 2]"),
        ("gaze_style", "[1, 2, 3]"),
        ("gaze_style", '["x", 0]'),
        ("seed", "x"),
    ):
        status, body = await caller.post("init", image=caller.photo, **{field: value})
        assert (status, field in body["detail"]) == (400, True)
    assert len(caller.client.app[CHUNKED]) == 0


OUTSIDE = [
    "/hls/{}/../../etc/passwd",
    "/hls/{}/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "/hls/{}/..%5c..%5c.lock",
    "/hls/../.lock/playlist.m3u8",
    "/hls/{}/seg_0.m4s%00",
    "/hls/{}/.playlist.m3u8.part",
    "/hls/{}//etc/passwd",
    "/hls/.faces/playlist.m3u8",
    "/hls/{}/seg_" + "9" * 30 + ".m4s",
]


async def test_no_path_leads_out_of_a_sessions_folder(caller):
    session_id = await caller.init(chunk_duration=0.1)
    base = str(caller.client.make_url("/")).rstrip("/")
    for path in OUTSIDE:
        answer = await caller.client.session.get(URL(base + path.format(session_id), encoded=True))
        assert answer.status in (400, 404), path


async def test_a_form_that_is_broken_is_refused(caller):
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    for body in (b"", b"--b\r\n\r\nno name\r\n--b--\r\n", b"--b\r\nContent-Disposition: form-data; name=image\r\n\r\n"):
        answer = await caller.client.post(f"{BASE}/init", data=body, headers=headers)
        assert answer.status == 400, body
    many = form(**{f"x{number}": "y" for number in range(40)})
    answer = await caller.client.post(f"{BASE}/init", data=many)
    assert (answer.status, "at most 32" in (await answer.json())["detail"]) == (400, True)
    answer = await caller.client.post(f"{BASE}/init", data=b"--b", headers={"Content-Type": "multipart/form-data"})
    assert answer.status == 400


async def test_feeds_frames_and_failures_are_counted(server, photo, voice):
    caller = Caller(server, photo)
    session_id = await caller.init(chunk_duration=10)
    assert server.metric("webrtc_avatar_chunked_sessions", status="waiting_for_audio") == 1
    sound = wav(voice)
    await caller.feed(session_id, sound)
    await caller.feed(session_id, b"noise")
    await caller.feed(session_id, sound, True)
    assert 0 <= server.metric("webrtc_avatar_chunked_waiting_seconds") <= 0.8
    frames = (await caller.until(session_id))["total_frames_generated"]
    assert server.metric("webrtc_avatar_chunked_feeds_total", outcome="taken") == 2
    assert server.metric("webrtc_avatar_chunked_feeds_total", outcome="unreadable_sound") == 1
    assert server.metric("webrtc_avatar_chunked_fed_bytes_total") == 2 * len(sound)
    assert server.metric("webrtc_avatar_chunked_frames_total") == frames == 20
    assert server.metric("webrtc_avatar_chunked_sessions", status="complete") == 1
    assert server.metric("webrtc_avatar_chunked_failures_total") == 0
    broken = await caller.init(chunk_duration=10)
    folder = caller.client.app[CHUNKED].get(broken).folder
    folder.rename(folder.with_name("moved"))
    await caller.feed(broken, sound, True)
    await caller.until(broken, "error")
    assert server.metric("webrtc_avatar_chunked_failures_total") == 1
    status, body = await caller.feed(broken, sound)
    assert (status, "cannot be written" in body["detail"]) == (409, True)
