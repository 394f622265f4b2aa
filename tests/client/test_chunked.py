"""The client of chunked sessions against a real server in a process of its own."""

import asyncio
import io
import wave

import av
import cv2
import numpy as np
import pytest

from tests.server.process import running
from webrtc_avatar.audio.decode import read
from webrtc_avatar.avatar.library import default_folders
from webrtc_avatar.client import ChunkedStreamingClient, ServerUnreachable, SessionRefused
from webrtc_avatar.client.chunked_sound import wav_of, wav_of_bytes
from webrtc_avatar.errors import InvalidAudio, InvalidRequest


@pytest.fixture(scope="session")
def photo(tmp_path_factory):
    plate = next(folder / "iris" / "plate_1024.webp" for folder in default_folders() if (folder / "iris").is_dir())
    path = tmp_path_factory.mktemp("photo") / "me.jpg"
    cv2.imwrite(str(path), cv2.resize(cv2.imread(str(plate)), (512, 512), interpolation=cv2.INTER_AREA))
    return path


def speak(url, photo, speech_wav):
    """Use the client as its users do; return what was fed, and what came back."""
    with ChunkedStreamingClient(url) as client:
        with pytest.raises(SessionRefused, match="nfe") as refused:
            client.init_session(photo, nfe=99)
        assert refused.value.http_status == 400
        with pytest.raises(InvalidRequest):
            client.get_status()
        session_id = client.init_session(
            photo, chunk_duration=0.5, audio_sample_rate=16_000, pose_style=[0, 1, 0], gaze_style=(0.1, 0)
        )
        assert client.get_status()["status"] == "waiting_for_audio"
        voice = read(speech_wav)[:40_000]
        for start in range(0, len(voice), 8_000):
            answer = client.feed_audio_chunk(voice[start : start + 8_000])
            assert answer["session_id"] == session_id
        client.feed_audio_chunk((np.stack([voice[:8_000]] * 2, axis=1) * 32767).astype(np.int16))
        with pytest.raises(InvalidAudio):
            client.feed_audio_chunk(np.zeros(4, np.int64))
        client.feed_audio_chunk(None, is_final=True)
        done = client.wait(timeout_s=60)
        assert done["total_frames_generated"] == 75
        with av.open(client.hls_url) as container:
            assert sum(1 for _ in container.decode(video=0)) == 75
        assert client.cleanup()["status"] == "success"
        assert client.session_id is None
        assert client.cleanup() is None
        # The order of arguments in the seed document's client; the last piece may turn out to be empty.
        client.init_session(str(photo), True, 42, 10, 2.0, 1.0, 16_000)
        client.feed_audio_chunk(voice[:16_000])
        client.feed_audio_chunk(voice[:0], is_final=True)
        assert client.wait(timeout_s=60)["total_frames_generated"] == 25
        client.cleanup()
        client.init_session(photo.read_bytes(), session_id="second")
        answers = list(client.feed_file(speech_wav, piece_s=0.7))
        assert len(answers) == -(-len(read(speech_wav)) // 11_200)
        assert client.wait(timeout_s=60)["total_frames_generated"] == -(-len(read(speech_wav)) // 640)
    with pytest.raises(SessionRefused) as gone:
        ChunkedStreamingClient(url)._ask("GET", "status/second")
    assert gone.value.refusal == "unknown_session"


async def test_a_face_and_a_voice_become_a_film_that_ffmpeg_plays_over_http(photo, speech_wav):
    async with running() as (_, http):
        await asyncio.to_thread(speak, str(http._base_url), photo, speech_wav)


def test_without_a_server_it_is_said_so(photo):
    with pytest.raises(ServerUnreachable, match="webrtc-avatar serve"):
        ChunkedStreamingClient("127.0.0.1:9").init_session(photo)


def decoded(wav):
    """Return a WAV file's samples, int16 (n, channels), and its rate."""
    with wave.open(io.BytesIO(wav)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, file.getnchannels())
        return samples, file.getframerate()


def frame_of(samples, kind, layout):
    frame = av.AudioFrame.from_ndarray(samples, format=kind, layout=layout)
    frame.sample_rate = 48_000
    return frame


@pytest.mark.parametrize(
    "sound",
    [
        np.array([0.5, -1.0, np.nan, 2.0], np.float32),
        np.array([[0.5], [-1.0], [0.0], [1.0]]),
        np.array([16384, -32767, 0, 32767], np.int16),
        np.array([16384, -32767, 0, 32767], np.int32) * 65536,
        frame_of(np.array([[16384, -32767, 0, 32767]], np.int16), "s16", "mono"),
        frame_of(np.array([[0.5, -1.0, 0.0, 1.0]], np.float32), "fltp", "mono"),
    ],
    ids=["floats", "a column of doubles", "int16", "int32", "a packed frame", "a planar frame"],
)
def test_sound_of_every_shape_becomes_the_same_file(sound):
    samples, rate_hz = decoded(wav_of(sound, 48_000))
    assert rate_hz == 48_000
    assert samples[:, 0].tolist() == [16384, -32767, 0, 32767]


def test_a_frame_keeps_its_channels_and_its_own_rate():
    packed = np.arange(8, dtype=np.int16).reshape(1, 8)
    samples, rate_hz = decoded(wav_of(frame_of(packed, "s16", "stereo"), 16_000))
    assert rate_hz == 48_000
    assert samples.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_what_is_no_sound_is_said_to_be_none():
    with pytest.raises(InvalidAudio, match="AudioFrame itself"):
        wav_of(np.zeros((1, 1920), np.int16), 48_000)
    with pytest.raises(InvalidAudio, match="int64"):
        wav_of(np.zeros(4, np.int64), 48_000)
    with pytest.raises(InvalidAudio, match="half a sample"):
        wav_of_bytes(b"123", 48_000)
    assert wav_of(np.zeros(0, np.float32), 48_000) is None


def test_bare_bytes_are_samples_where_their_rate_is_told_and_a_wav_file_stays_as_it_is():
    wav = wav_of_bytes(np.array([1, -2, 3], "<i2").tobytes(), 16_000)
    assert decoded(wav)[0][:, 0].tolist() == [1, -2, 3]
    assert wav_of_bytes(wav, 8_000) == wav
