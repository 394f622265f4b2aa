"""Sound of every kind that is fed to chunked sessions, and what only looks like it: each has a defined answer."""

import asyncio
import io
import itertools
import threading

import av
import cv2
import numpy as np
import pytest

from tests.server.chunked_parts import BASE, Caller, encoded, recorded, sound_of, wav
from webrtc_avatar.audio.buffer import AudioChunkBuffer
from webrtc_avatar.chunked.intake import Intake
from webrtc_avatar.chunked.sound import continued_kind, read


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
