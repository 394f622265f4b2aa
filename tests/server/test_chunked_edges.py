"""Chunked sessions where something is wrong, large, odd or out of order: each has a defined answer."""

import asyncio
import io
import itertools
import struct
import threading
import zlib

import av
import cv2
import numpy as np
import pytest
from yarl import URL

from tests.server.chunked_parts import BASE, Caller, encoded, form, sound_of, wav
from webrtc_avatar.audio.buffer import AudioChunkBuffer
from webrtc_avatar.chunked import intake
from webrtc_avatar.chunked.intake import Intake
from webrtc_avatar.chunked.sound import continued_kind, read
from webrtc_avatar.chunked.timeline import Timeline
from webrtc_avatar.server.chunked import CHUNKED

SECONDS = 0.4


@pytest.fixture(scope="session")
def voice(talk):
    """A word, float32 at 16 kHz."""
    return talk[8_000 : 8_000 + round(SECONDS * 16_000)]


def film(samples=None):
    """Return an MP4 with ten pictures, and sound if there are samples."""
    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as file:
        video = file.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = None if samples is None else file.add_stream("aac", rate=16_000, layout="mono")
        for _ in range(10):
            file.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((72, 64), np.uint8), format="yuv420p")))
        file.mux(video.encode(None))
        if audio is not None:
            frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
            frame.sample_rate = 16_000
            file.mux(audio.encode(frame))
            file.mux(audio.encode(None))
    return target.getvalue()


def floats(samples, codec="pcm_f32le"):
    """Return a WAV file of floats."""
    target = io.BytesIO()
    with av.open(target, "w", format="wav") as file:
        stream = file.add_stream(codec, rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None].astype(np.float32), format="flt", layout="mono")
        frame.sample_rate = 16_000
        (resampled,) = av.AudioResampler(format=stream.codec_context.format, layout="mono", rate=16_000).resample(frame)
        file.mux(stream.encode(resampled))
    return target.getvalue()


def of_unknown_length(file):
    """Return a WAV file as a program writes it that cannot go back: its lengths are 0xFFFFFFFF."""
    at = file.index(b"data")
    return file[:4] + b"\xff" * 4 + file[8 : at + 4] + b"\xff" * 4 + file[at + 8 :]


def recorded(samples):
    """Return WebM as `MediaRecorder` writes it: for a live stream, without lengths."""
    target = io.BytesIO()
    with av.open(target, "w", format="webm", options={"live": "1", "cluster_time_limit": "200"}) as file:
        stream = file.add_stream("libopus", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate = 16_000
        fifo = av.AudioFifo()
        for part in av.AudioResampler(format="flt", layout="mono", rate=48_000).resample(frame):
            part.pts = None
            fifo.write(part)
        while (part := fifo.read(960, partial=True)) is not None:
            file.mux(stream.encode(part))
        file.mux(stream.encode(None))
    return target.getvalue()


def with_some(samples, value):
    broken = samples.copy()
    broken[::50] = value
    return floats(broken)


def fine(voice):
    return {
        "8 kHz": wav(voice[::2], 8_000),
        "96 kHz": wav(np.repeat(voice, 6), 96_000),
        "5.1": encoded(voice, "wav", "pcm_s16le", 48_000, layout="5.1"),
        "one channel silent": wav(np.stack([voice, np.zeros_like(voice)], axis=1)),
        "8 bit": encoded(voice, "wav", "pcm_u8", 16_000),
        "24 bit": encoded(voice, "wav", "pcm_s24le", 48_000),
        "32 bit": encoded(voice, "wav", "pcm_s32le", 48_000),
        "float64": floats(voice, "pcm_f64le"),
        "NaN": with_some(voice, np.nan),
        "Inf": with_some(voice, np.inf),
        "far too loud": floats(voice * 1e30),
        "length unknown": of_unknown_length(wav(voice)),
        "MP3": encoded(voice, "mp3", "libmp3lame", 44_100),
        "Ogg/Opus": encoded(voice, "ogg", "libopus", 48_000),
        "AAC, ADTS": encoded(voice, "adts", "aac", 44_100),
        "AAC, M4A": encoded(voice, "ipod", "aac", 44_100),
        "FLAC": encoded(voice, "flac", "flac", 44_100),
        "WebM/Opus": recorded(voice),
        "a film's": film(voice),
        "twice as long, cut off": wav(np.tile(voice, 2))[: 44 + 2 * len(voice)],
        "bare": ((voice * 32767).astype("<i2").tobytes(), "audio/l16"),
    }


async def test_sound_of_every_kind_is_spoken(start, photo, voice):
    caller = Caller(await start(chunked_max_sessions=99), photo)
    opened = {}
    for kind, sound in fine(voice).items():
        opened[kind] = await caller.init(chunk_duration=0.1, audio_sample_rate=16_000)
        status, body = await caller.feed(opened[kind], sound, True)
        assert status == 200, (kind, body)
    for kind, session_id in opened.items():
        frames = (await caller.until(session_id))["total_frames_generated"]
        assert 10 <= frames <= 13, kind
    await asyncio.gather(*(caller.client.delete(f"{BASE}/session/{name}") for name in opened.values()))
    assert not [thread for thread in threading.enumerate() if thread.name == "chunked-continued"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_a_number_becomes_silence_or_full_scale_and_harms_nothing_behind_it(voice, value):
    buffer = AudioChunkBuffer(chunk_duration=0.1)
    for samples, rate_hz in read(with_some(voice, value), content_type="", raw_rate_hz=1):
        buffer.add_chunk(samples, rate_hz)
    heard = buffer.finish().spoken
    expected = voice.copy()
    expected[::50] = 0 if np.isnan(value) else np.sign(value)
    np.testing.assert_allclose(heard, expected, atol=1e-6)


REFUSED = {
    "nothing": (b"", 400, "empty"),
    "zeros": (bytes(5_000), 415, "cannot be read"),
    "noise": (np.random.default_rng(0).bytes(5_000), 415, ""),
    "half a sample": ((b"abc", "audio/l16"), 400, "two bytes a sample"),
    "a header alone": (wav(np.zeros(0, np.float32)), 415, "nothing"),
    "a film without sound": (film(), 415, "holds no sound"),
    "a picture": (bytes(cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes()), 415, "no sound"),
    "M4A without its end": (film(np.zeros(6_400, np.float32))[:-900], 415, ""),
    "cut out of a file": (recorded(np.zeros(16_000, np.float32))[400:], 415, "from its beginning on"),
    "a list of files": (b"ffconcat version 1.0\nfile '/etc/hostname'\n", 415, ""),
    "a protocol": (b"concat:/etc/hostname|/etc/hostname", 415, ""),
    "HLS": (b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n", 415, ""),
    "SDP": (b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=-\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n", 415, ""),
    "a page": (b"<html></html>", 415, ""),
}


async def test_what_is_no_sound_is_refused_and_changes_nothing(caller, voice):
    session_id = await caller.init(chunk_duration=0.1)
    for kind, (sound, expected, detail) in REFUSED.items():
        status, body = await caller.feed(session_id, sound)
        assert (status, detail in body["detail"]) == (expected, True), (kind, body)
    assert (await caller.status(session_id))["status"] == "waiting_for_audio"
    status, body = await caller.post("feed", session_id=session_id, audio_chunk="UklGRg==")
    assert (status, "send it as a file" in body["detail"]) == (400, True)
    status, body = await caller.post("feed", session_id=session_id)
    assert (status, "no file named audio_chunk" in body["detail"]) == (400, True)
    status, body = await caller.post("feed", audio_chunk=wav(voice))
    assert (status, "no session_id" in body["detail"]) == (400, True)
    status, body = await caller.post("feed", session_id=session_id, audio_chunk=wav(voice), is_final_chunk="perhaps")
    assert (status, "is_final_chunk is true or false" in body["detail"]) == (400, True)
    assert (await caller.feed(session_id, wav(voice), True))[0] == 200
    assert (await caller.until(session_id))["total_frames_generated"] == 10


async def test_files_that_name_files_of_the_server_are_refused(caller, voice, monkeypatch, tmp_path):
    (tmp_path / "secret.wav").write_bytes(wav(voice))
    monkeypatch.chdir(tmp_path)
    session_id = await caller.init()
    assert (await caller.feed(session_id, b"ffconcat version 1.0\nfile 'secret.wav'\n"))[0] == 415


async def test_files_that_name_addresses_make_the_server_call_nobody(caller):
    called = asyncio.Event()

    async def note(_reader, writer):
        called.set()
        writer.close()

    listener = await asyncio.start_server(note, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/x.ts"
    session_id = await caller.init()
    for sound in (
        f"ffconcat version 1.0\nfile '{url}'\n",
        f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{url}\n#EXT-X-ENDLIST\n",
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'profiles="urn:mpeg:dash:profile:isoff-live:2011" mediaPresentationDuration="PT1S"><Period><AdaptationSet '
        f'mimeType="audio/mp4"><Representation id="1"><BaseURL>{url}</BaseURL></Representation></AdaptationSet></Period></MPD>',
    ):
        assert (await caller.feed(session_id, sound.encode()))[0] == 415
    listener.close()
    await listener.wait_closed()
    assert not called.is_set()


async def test_what_a_recorder_writes_in_pieces_is_one_recording(caller, talk, tmp_path):
    said = talk[:16_000]
    data = recorded(said)
    session_id = await caller.init(chunk_duration=10)
    cuts = [0, 1, 3, 137, 400, 401, len(data) // 2, len(data) // 2 + 7, len(data)]
    for first, last in itertools.pairwise(cuts):
        status, body = await caller.feed(session_id, (data[first:last], "audio/webm;codecs=opus"))
        assert status == 200, body
    await caller.post("feed", session_id=session_id, is_final_chunk="true")
    assert (await caller.until(session_id))["total_frames_generated"] in (25, 26)
    played = sound_of(await caller.film(session_id, tmp_path / "film"))[1024:][::3][:15_000]
    assert np.corrcoef(played, said[: len(played)])[0, 1] > 0.9


@pytest.mark.parametrize("kind", ["webm", "ogg", "mp4"])
def test_a_file_in_pieces_is_the_whole_file_sample_for_sample(talk, kind):
    said = talk[:24_000]
    data = {
        "webm": lambda: recorded(said),
        "ogg": lambda: encoded(said, "ogg", "libopus", 48_000),
        "mp4": lambda: encoded(
            said, "mp4", "aac", 48_000, movflags="frag_keyframe+empty_moov+default_base_moof", frag_duration="200000"
        ),
    }[kind]()
    assert continued_kind(data) is not None
    expected = AudioChunkBuffer(chunk_duration=0.1)
    for samples, rate_hz in read(data, content_type="", raw_rate_hz=1):
        expected.add_chunk(samples, rate_hz)
    heard = expected.finish().spoken
    for size in (333, 4_096):
        buffer = AudioChunkBuffer(chunk_duration=0.1)
        taken = Intake(buffer, raw_rate_hz=16_000)
        for at in range(0, len(data), size):
            taken.take(data[at : at + size], "", final=False)
        taken.take(b"", "", final=True)
        taken.close()
        np.testing.assert_array_equal(buffer.finish().spoken, heard)


async def test_a_recording_that_stops_lets_another_file_follow(caller, voice):
    session_id = await caller.init(chunk_duration=10)
    data = recorded(voice)
    assert (await caller.feed(session_id, data[: len(data) // 2]))[0] == 200
    assert (await caller.feed(session_id, wav(voice)))[0] == 200
    assert (await caller.feed(session_id, b"\x1aE\xdf\xa3" + b"\x55" * 900))[0] == 415
    assert (await caller.feed(session_id, wav(voice), True))[0] == 200
    assert 22 <= (await caller.until(session_id))["total_frames_generated"] <= 32
    assert not [thread for thread in threading.enumerate() if thread.name == "chunked-continued"]


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
