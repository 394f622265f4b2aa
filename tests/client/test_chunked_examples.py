"""The examples of chunked sessions run as they are, against a real server."""

import asyncio
import sys
import time
from pathlib import Path

import av
import numpy as np
from aiohttp import test_utils
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.contrib.media import MediaPlayer

from examples import chunked_microphone, chunked_webrtc_track
from tests.server.process import running
from webrtc_avatar.audio.decode import read
from webrtc_avatar.client import ChunkedStreamingClient

ROOT = Path(__file__).parents[2]
PHOTO = ROOT / "tests" / "avatar" / "photos" / "astronaut.jpg"


async def run(*arguments):
    """Run an example as a command; return its status, its output and its complaints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, *map(str, arguments), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, errors = await process.communicate()
    return process.returncode, out.decode(), errors.decode()


def wait_for_frames(client, count):
    while client.get_status()["total_frames_generated"] < count:
        time.sleep(0.1)


async def hold_a_call(app, sound, client):
    """Call as a browser would, say a file until two seconds of film are there, hang up; return what the answer said."""
    peer = RTCPeerConnection()
    peer.addTrack(MediaPlayer(str(sound)).audio)
    await peer.setLocalDescription(await peer.createOffer())
    offer = {"sdp": peer.localDescription.sdp, "type": peer.localDescription.type}
    async with test_utils.TestClient(test_utils.TestServer(app)) as caller:
        answer = await (await caller.post("/offer", json=offer)).json()
        await peer.setRemoteDescription(RTCSessionDescription(answer["sdp"], answer["type"]))
        client.session_id = answer["session_id"]
        await asyncio.to_thread(wait_for_frames, client, 50)
        await peer.close()
    return answer


async def test_the_examples_do_what_they_promise(speech_folder, tmp_path):
    voice = speech_folder / "sense_and_sensibility_01_austen_64kb-0930.wav"
    async with running() as (_, http):
        url = str(http._base_url)
        film = tmp_path / "film.mp4"
        example = ROOT / "examples" / "chunked_file.py"
        flags = ("--server", url, "--image", PHOTO)
        status, out, errors = await run(example, *flags, "--audio", voice, "--save", film)
        assert status == 0, errors
        assert "83 frames, 3.3 s" in out
        with av.open(str(film)) as container:
            assert {stream.type for stream in container.streams} == {"video", "audio"}
            assert sum(1 for _ in container.decode(video=0)) == 83

        status, _, errors = await run(example, *flags, "--audio", PHOTO)
        assert status == 1
        assert "sound" in errors

        client = ChunkedStreamingClient(url)
        blocks = np.split(read(voice)[:48_000].reshape(-1, 1), 12)
        await asyncio.to_thread(chunked_microphone.speak, client, PHOTO, blocks, 16_000)
        assert client.get_status()["total_frames_generated"] == 75

        answer = await hold_a_call(chunked_webrtc_track.make_app(url, PHOTO), voice, client)
        await asyncio.to_thread(client.wait)
        with av.open(answer["hls_url"]) as container:
            heard = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
        assert np.abs(heard).max() > 0.05


async def test_the_microphone_says_what_it_needs():
    status, out, _ = await run(ROOT / "examples" / "chunked_microphone.py", "--help")
    assert status == 0
    assert "--block-s" in out
