"""Both clients against a real server in a process of its own, with recorded speech and the shipped avatar."""

import asyncio
import datetime
import time

import cv2
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.client.lipsync_server import LipSyncServer, free_port
from webrtc_avatar.audio.decode import read
from webrtc_avatar.audio.window import chunk, pad, window
from webrtc_avatar.client import (
    AccessDenied,
    AsyncLipSyncClient,
    CallFailed,
    CallRefused,
    CallTimedOut,
    FrameFailed,
    LipSyncClient,
    Output,
    ServerGone,
)
from webrtc_avatar.errors import InvalidAudio, UnreadableSound

FACE = Output(face_only=True, quality=60)
"""Small pictures, so that tests spend no time on encoding."""


@pytest.fixture(scope="module")
def server():
    made = LipSyncServer().start()
    yield made
    made.close()


@pytest.fixture
async def client(server):
    async with AsyncLipSyncClient(server.address) as made:
        yield made


@pytest.fixture(scope="session")
def speech(speech_folder):
    """24 s of one reader, samples at 16 kHz."""
    return np.concatenate([read(path) for path in sorted(speech_folder.glob("*.wav"))])


def same(frame, other):
    """Equal up to the one grey level by which batches of different sizes round otherwise, behind a JPEG."""
    return np.abs(frame.picture().astype(int) - other.picture()).max() <= 6


async def test_600_frames_in_three_calls_are_those_of_one(client, server, speech):
    told = []
    split = [
        frame async for frame in client.speak(speech[: 600 * 640], output=FACE, progress=lambda *n: told.append(n))
    ]
    async with AsyncLipSyncClient(server.address, frames_a_call=600) as patient:
        whole = [frame async for frame in patient.speak(speech[: 600 * 640], output=FACE)]
    assert told == [(250, 600), (500, 600), (600, 600)]
    assert [frame.frame_id for frame in split] == list(range(600))
    assert [frame.frame_id for frame in whole] == list(range(600))
    assert all(map(same, split, whole))
    assert max(frame.batch_size for frame in split) > 1


async def test_a_file_of_any_kind_gives_a_frame_for_each_40_ms(client, speech_wav):
    frames = [frame async for frame in client.speak(speech_wav, output=Output())]
    assert len(frames) == -(-len(read(speech_wav)) // 640)
    shown = frames[40]
    assert shown.image[:2] == b"\xff\xd8"
    assert shown.picture().shape == (512, 512, 3)
    assert (shown.width, shown.height) == (512, 512)
    assert shown.error is None
    assert shown.inference_time_ms > 0


async def test_frames_move_with_the_voice(client, speech):
    frames = [frame.picture().astype(int) async for frame in client.speak(speech[: 60 * 640], output=FACE)]
    still = [frame.picture().astype(int) async for frame in client.speak(np.zeros(60 * 640, np.float32), output=FACE)]
    change = [np.abs(a - b).mean() for a, b in zip(frames, still, strict=True)]
    assert max(change) > 3


async def test_the_face_alone_fits_into_the_whole_frame(client, speech):
    options = {"face": Output("png", face_only=True), "whole": Output("png")}
    made = {}
    for name, output in options.items():
        made[name] = [frame async for frame in client.speak(speech[20_000:23_200], output=output, start_frame=30)]
    for face, whole in zip(made["face"], made["whole"], strict=True):
        x0, y0, x1, y1 = face.bounds
        assert (face.width, face.height) == (x1 - x0, y1 - y0)
        assert np.abs(whole.picture()[y0:y1, x0:x1].astype(int) - face.picture()).max() <= 2
    assert made["face"][0].frame_id == 30


@pytest.mark.parametrize(
    ("kind", "start"), [("jpeg", b"\xff\xd8"), ("png", b"\x89PNG"), ("webp", b"RIFF"), ("raw", b"")]
)
async def test_every_format_decodes_to_the_same_picture(client, speech, kind, start):
    frames = [frame async for frame in client.speak(speech[20_000:20_640], output=Output(kind))]
    exact = [frame async for frame in client.speak(speech[20_000:20_640], output=Output("raw"))]
    assert frames[0].image.startswith(start)
    assert len(exact[0].image) == 512 * 512 * 3
    assert cv2.PSNR(frames[0].picture(), exact[0].picture()) > 30


async def test_int16_sounds_the_same(client, speech):
    part = speech[20_000:26_400]
    near = [frame async for frame in client.speak(part, output=FACE, encoding="int16")]
    exact = [frame async for frame in client.speak(part, output=FACE)]
    assert all(map(same, near, exact))


async def test_one_frame_of_a_window_is_that_of_the_whole(client, speech):
    chunks = chunk(speech[: 60 * 640])
    frames = [frame async for frame in client.speak(speech[: 60 * 640], output=FACE)]
    one = await client.frame(41, "iris", window=window(pad(chunks), 41), output=FACE)
    assert same(one, frames[41])
    with pytest.raises(CallRefused, match="16"):
        await client.frame(41, "iris", window=chunks[:15])


async def test_live_sound_gives_the_same_frames_as_a_file(client, speech):
    part = speech[: 50 * 640]

    async def microphone():
        for first in range(0, len(part), 1_000):
            yield part[first : first + 1_000]

    live = [frame async for frame in client.stream_audio(microphone(), output=FACE)]
    assert [frame.frame_id for frame in live] == list(range(50))
    filed = [frame async for frame in client.speak(part, output=FACE)]
    assert all(map(same, live, filed))


async def test_a_live_frame_comes_when_its_window_is_complete_and_not_before(client, speech):
    chunks = chunk(speech[20_000 : 20_000 + 20 * 640])
    async with client.live("iris", output=FACE) as live:
        frames = aiter(live)
        waiting = asyncio.create_task(anext(frames))
        for each in chunks[:7]:
            await live.send(each)
        await client.health()
        assert not waiting.done()
        await live.send(chunks[7])
        assert (await asyncio.wait_for(waiting, 20)).frame_id == 0
        await live.send(chunks[8])
        assert (await asyncio.wait_for(anext(frames), 20)).frame_id == 1
        await live.end()
        rest = [(await asyncio.wait_for(anext(frames), 20)).frame_id for _ in range(7)]
        assert rest == list(range(2, 9))
        await live.finish()
        with pytest.raises(StopAsyncIteration):
            await asyncio.wait_for(anext(frames), 20)


async def test_what_goes_wrong_with_live_sound_is_told_as_it_is(client, speech):
    async def broken():
        yield speech[:6_400]
        raise RuntimeError("the microphone was unplugged")

    with pytest.raises(RuntimeError, match="unplugged"):
        async for _ in client.stream_audio(broken(), output=FACE):
            pass
    with pytest.raises(CallRefused, match="nobody"):
        async for _ in client.stream_audio([speech[:640]], "nobody"):
            pass
    with pytest.raises(InvalidAudio, match="float32 of one channel"):
        async for _ in client.stream_audio([speech[:640].astype(np.float64)]):
            pass


async def test_the_server_tells_of_itself_and_its_avatars(client):
    about = await client.metadata("iris")
    assert (about.name, about.width, about.height, about.fps) == ("iris", 512, 512, 25)
    assert about.frame_count == 1500
    assert await client.models() == ["iris"]
    assert (await client.load("iris")).success
    assert (await client.footage(3, "iris", about.videos[0]))[:2] == b"\xff\xd8"
    assert (await client.health()).healthy
    assert (await client.stats("iris")).total_requests > 0


async def test_a_refusal_has_the_server_s_own_words(client, speech):
    with pytest.raises(CallRefused, match="nobody") as caught:
        await anext(client.speak(speech[:640], "nobody"))
    assert (caught.value.grpc_status, caught.value.reason) == ("NOT_FOUND", "unknown_avatar")
    with pytest.raises(CallFailed, match="features"):
        (await anext(client.frames([3, 1], "iris"))).picture()


async def test_a_frame_that_failed_says_why_when_its_picture_is_asked_for(client):
    from webrtc_avatar.client.lipsync_frames import frame_of
    from webrtc_avatar.rpc import optimized_lipsyncsrv_pb2 as messages

    frame = frame_of(messages.OptimizedInferenceResponse(frame_id=7, success=False, error="no memory"), "jpeg")
    assert frame.error == "no memory"
    with pytest.raises(FrameFailed, match="frame 7 could not be made: no memory"):
        _ = frame.image


async def test_no_sound_is_no_call(client, tmp_path):
    with pytest.raises(UnreadableSound, match="is not a file"):
        await anext(client.speak(tmp_path / "none.wav"))
    with pytest.raises(InvalidAudio, match="the sound is empty"):
        await anext(client.speak(np.zeros(0, np.float32)))


async def test_answers_that_do_not_fit_into_a_message_are_asked_for_in_parts(client, speech):
    told = []
    part = speech[20_000 : 20_000 + 130 * 640]
    frames = client.speak(part, output=Output("raw"), progress=lambda *news: told.append(news))
    count = 0
    async for frame in frames:
        assert frame.frame_id == count
        count += 1
    assert count == 130, "130 frames of 786 kB are twice what a message holds"
    assert told == [(130, 130)]


async def rendered(client, after_s=0.01):
    await asyncio.sleep(after_s)
    return (await client.stats("iris")).total_requests


async def test_leaving_the_iteration_ends_the_calls_on_the_server(server, speech):
    async with AsyncLipSyncClient(server.address, frames_a_call=200) as client, asyncio.timeout(60):
        before = await rendered(client)
        frames = client.speak(speech, output=FACE)
        task = asyncio.create_task(anext(frames))
        while await rendered(client) == before:
            pass
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        settled = -1
        while settled != (settled := await rendered(client, after_s=0.3)):
            pass
        assert settled - before < 380, "three calls of 200 were under way"


async def test_nobody_there_is_told_after_the_tries():
    address = f"127.0.0.1:{free_port()}"
    async with AsyncLipSyncClient(address, retries=1) as client:
        started_s = time.monotonic()
        with pytest.raises(ServerGone, match=rf"no lip-sync service answers at {address} .*; tried 2 times") as caught:
            await client.health()
    assert caught.value.grpc_status == "UNAVAILABLE"
    assert time.monotonic() - started_s >= 0.2


async def test_a_server_that_goes_away_midway_and_comes_back_costs_nothing_but_time(speech):
    server = LipSyncServer().start()
    try:
        async with AsyncLipSyncClient(server.address, frames_a_call=20, calls_at_a_time=2, retries=9) as client:
            ids = []
            async for frame in client.speak(speech[: 120 * 640], output=FACE):
                ids.append(frame.frame_id)
                if len(ids) == 30:
                    await asyncio.to_thread(server.kill)
                    await asyncio.to_thread(server.start)
        assert ids == list(range(120))
    finally:
        server.close()


async def test_a_server_that_stays_away_is_an_error_and_what_had_come_stays(speech):
    server = LipSyncServer().start()
    try:
        async with AsyncLipSyncClient(server.address, frames_a_call=20, calls_at_a_time=1, retries=1) as client:
            ids = []

            async def listen():
                async for frame in client.speak(speech[: 120 * 640], output=FACE):
                    ids.append(frame.frame_id)
                    if len(ids) == 1:
                        await asyncio.to_thread(server.kill)

            with pytest.raises(ServerGone, match="tried 2 times"):
                await listen()
        assert ids == list(range(len(ids)))
        assert len(ids) >= 20
    finally:
        server.close()


async def test_a_call_that_takes_too_long_says_so(server, speech):
    async with AsyncLipSyncClient(server.address, timeout_s=0.05) as client:
        with pytest.raises(CallTimedOut):
            async for _ in client.speak(speech[: 200 * 640]):
                pass


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    secret = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, secret.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(secret, hashes.SHA256())
    )
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        secret.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return cert, key


async def test_tls_and_a_token_let_in_only_those_who_have_both(certificate, speech):
    cert, key = certificate
    server = LipSyncServer(grpc_tls_cert=cert, grpc_tls_key=key, token="open sesame").start()
    address = f"localhost:{server.port}"
    try:
        async with AsyncLipSyncClient(address, tls=cert, token="open sesame") as client:
            assert len([frame async for frame in client.speak(speech[:1_280], output=FACE)]) == 2
            live = [frame async for frame in client.stream_audio([speech[:1_280]], output=FACE)]
            assert len(live) == 2
        async with AsyncLipSyncClient(address, tls=cert, token="open barley") as client:
            with pytest.raises(AccessDenied, match="token"):
                await client.models()
        async with AsyncLipSyncClient(address, retries=0) as client:
            with pytest.raises(ServerGone):
                await client.models()
    finally:
        server.close()


def test_the_client_without_asyncio_does_the_same(server, speech):
    told = []
    with LipSyncClient(server.address, frames_a_call=20) as client:
        frames = client.speak(speech[: 50 * 640], output=FACE, progress=lambda *news: told.append(news))
        assert [frame.frame_id for frame in frames] == list(range(50))
        assert told == [(20, 50), (40, 50), (50, 50)]
        live = client.stream_audio(iter([speech[:3_200], speech[3_200:6_400]]), output=FACE)
        assert [frame.frame_id for frame in live] == list(range(10))
        assert client.metadata("iris").fps == 25
        assert client.health().healthy
        with pytest.raises(CallRefused, match="nobody"):
            next(client.speak(speech[:640], "nobody"))
        left = client.speak(speech[: 100 * 640], output=FACE)
        assert next(left).frame_id == 0
        left.close()
    client.close()
