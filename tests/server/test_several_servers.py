"""Several servers that share one folder for their streams: none touches what another one needs, and what one left behind goes."""

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import threading
from types import SimpleNamespace

import pytest

from tests.server.chunked_parts import Caller, pictures_of, wav
from tests.server.process import running
from webrtc_avatar.chunked.folder import own_folder
from webrtc_avatar.errors import InvalidSettings

HOLD = """
import sys
from pathlib import Path
from webrtc_avatar.chunked.folder import own_folder
sys.stdin.readline()
folder, lock = own_folder(Path(sys.argv[1]))
(folder / "segment").write_text("precious")
print(folder, flush=True)
sys.stdin.readline()
"""


def test_servers_that_start_at_once_keep_each_others_files_and_clean_up_after_those_that_were_killed(tmp_path):
    def start():
        return subprocess.Popen(
            [sys.executable, "-c", HOLD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(start()) for _ in range(4)]
        for server in servers:
            server.stdin.write("\n")
            server.stdin.flush()
        folders = [server.stdout.readline().strip() for server in servers]
        assert len(set(folders)) == 4
        assert {str(path) for path in tmp_path.iterdir()} == set(folders)
        for server in servers[:2]:
            server.kill()
            server.wait()
        assert {str(path) for path in tmp_path.iterdir()} == set(folders), "a killed server leaves its files"
        folder, lock = own_folder(tmp_path)
        assert {str(path) for path in tmp_path.iterdir()} == {*folders[2:], str(folder)}
        assert all(os.path.exists(os.path.join(left, "segment")) for left in folders[2:])
        lock.close()
        for server in servers[2:]:
            server.stdin.close()


def test_a_server_that_is_not_ready_yet_is_not_taken_for_one_that_is_gone(tmp_path, monkeypatch):
    others = []
    make = tempfile.mkdtemp

    def slow(**options):
        """Make the folder, and have another server start before it is locked."""
        monkeypatch.setattr(tempfile, "mkdtemp", make)
        made = make(**options)
        other = threading.Thread(target=lambda: others.append(own_folder(tmp_path)))
        other.start()
        other.join(0.3)
        started.append(other)
        return made

    started = []
    monkeypatch.setattr(tempfile, "mkdtemp", slow)
    own, lock = own_folder(tmp_path)
    started[0].join()
    [(other, other_lock)] = others
    assert {path.name for path in tmp_path.iterdir()} == {own.name, other.name}
    lock.close()
    other_lock.close()


def test_only_what_servers_made_is_deleted(tmp_path):
    (tmp_path / "holiday").mkdir()
    (tmp_path / "server-notes.txt").write_text("precious")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "server-link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "server-unfinished").mkdir()
    own, lock = own_folder(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"holiday", "server-notes.txt", "elsewhere", "server-link", own.name}
    lock.close()


def test_a_folder_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "file").write_text("precious")
    with pytest.raises(InvalidSettings, match=r"cannot be written to .*file.*set hls_folder"):
        own_folder(tmp_path / "file")


async def test_of_two_servers_one_is_killed_and_the_other_goes_on(photo, talk, tmp_path):
    folder = tmp_path / "streams"
    environment = {"WEBRTC_AVATAR_HLS_FOLDER": str(folder), "WEBRTC_AVATAR_GRPC": "false"}
    async with contextlib.AsyncExitStack() as stack:
        (killed, first), (_, second) = await asyncio.gather(
            *(stack.enter_async_context(running(**environment)) for _ in range(2))
        )
        gone, stays = (Caller(SimpleNamespace(client=client), photo) for client in (first, second))
        for caller, name in ((gone, "gone"), (stays, "stays")):
            await caller.init(session_id=name)
            assert (await caller.feed(name, wav(talk[:8_000]), final=caller is gone))[0] == 200
        await gone.until("gone")
        killed.kill()
        await killed.wait()
        assert list(folder.glob("server-*/gone/seg_*"))
        _, lock = own_folder(folder)
        lock.close()
        assert not list(folder.glob("server-*/gone"))
        assert (await stays.feed("stays", wav(talk[8_000:12_000]), final=True))[0] == 200
        await stays.until("stays")
        # At least what was fed: silence may have been filled in meanwhile.
        assert len(pictures_of(await stays.film("stays", tmp_path / "film"))) >= 19
