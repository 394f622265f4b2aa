"""A real server on a free port of the loopback address, and peers that are closed in the end."""

import asyncio
import shutil

import cv2
import pytest
from aiohttp.test_utils import TestClient, TestServer

from tests.server.chunked_parts import SECONDS, Caller
from tests.server.peer import Peer, read_speech
from webrtc_avatar.audio.decode import read
from webrtc_avatar.avatar.library import default_folders
from webrtc_avatar.server.app import create_app
from webrtc_avatar.server.signalling import LIVE
from webrtc_avatar.settings import Settings


@pytest.fixture(scope="session")
def speech():
    return read_speech()


class Server:
    """A running server, a client for it, and a look inside."""

    def __init__(self, client):
        self.client = client

    @property
    def live(self):
        return self.client.app[LIVE]

    def metric(self, name, **labels):
        from webrtc_avatar.server.middleware import METRICS

        return self.client.app[METRICS].registry.get_sample_value(name, labels)

    def ended(self, session_id):
        """Return a future of the reason for which a session ends."""
        future = asyncio.get_running_loop().create_future()
        live = self.live.get(session_id)

        def on_event(event):
            if event.get("state") == "closed" and not future.done():
                future.set_result(event["reason"])

        live.session.listen(on_event)
        return future


@pytest.fixture
async def start():
    """Start servers with settings of one's own."""
    clients = []

    async def start_server(**settings):
        client = TestClient(TestServer(create_app(Settings(idle_seed=1, **settings))))
        await client.start_server()
        clients.append(client)
        return Server(client)

    yield start_server
    for client in clients:
        await client.close()


@pytest.fixture
async def server(start):
    return await start()


@pytest.fixture
async def make_peer(speech):
    """Make peers; `microphone=False` for those that only watch, `voice` for what another one says."""
    peers = []

    def make(server, *, microphone=True, voice=speech):
        peer = Peer(server.client, voice if microphone else None)
        peers.append(peer)
        return peer

    yield make
    for peer in peers:
        await peer.aclose()


@pytest.fixture
def second_avatar(tmp_path):
    """A folder with a copy of the shipped avatar under another name."""
    source = next(folder / "iris" for folder in default_folders() if (folder / "iris").is_dir())
    copy = tmp_path / "avatars" / "juno"
    shutil.copytree(source, copy)
    manifest = copy / "avatar.toml"
    manifest.write_text(manifest.read_text().replace('name = "iris"', 'name = "juno"'))
    return copy.parent


@pytest.fixture(scope="session")
def photo():
    """A face: the shipped avatar's own, as JPEG."""
    plate = next(folder / "iris" / "plate_1024.webp" for folder in default_folders() if (folder / "iris").is_dir())
    small = cv2.resize(cv2.imread(str(plate)), (512, 512), interpolation=cv2.INTER_AREA)
    return bytes(cv2.imencode(".jpg", small)[1].tobytes())


@pytest.fixture(scope="session")
def talk(speech_folder):
    """Some seconds of a voice, float32 at 16 kHz."""
    return read(speech_folder / "sense_and_sensibility_01_austen_64kb-0870.wav")


@pytest.fixture
def caller(server, photo):
    return Caller(server, photo)


@pytest.fixture(scope="session")
def voice(talk):
    """A word, float32 at 16 kHz."""
    return talk[8_000 : 8_000 + round(SECONDS * 16_000)]
