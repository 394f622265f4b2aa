"""The server as a process: what it prints, how it refuses to start, how it ends."""

import asyncio
import json
import os
import signal
import socket
import sys

import pytest

from tests.server.peer import Peer
from tests.server.process import running


async def serve_fails(*flags, **environment):
    """Run `serve`, which is expected to refuse; return its exit status and what it said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "webrtc_avatar", "serve", *flags),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **environment},
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert out == b""
    return process.returncode, err.decode().splitlines()[-1]


async def ended(process):
    """Wait for the end; return the exit status and the log."""
    _, log = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, log.decode()


async def test_a_taken_port_is_said_in_one_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        status, line = await serve_fails("--port", port)
    assert status == 1
    assert port in line
    assert "choose another --port" in line


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--avatar", "nobody"), "installed: iris"),
        (("--port", "99999"), "port: "),
        (("--config", "nowhere.toml"), "no settings file nowhere.toml"),
    ],
)
async def test_settings_that_cannot_be_followed_are_said_in_one_line(flags, said):
    status, line = await serve_fails(*flags)
    assert status == 1
    assert said in line


async def test_a_process_without_sessions_ends_at_once_on_sigterm():
    async with running() as (process, client):
        async with client.get("/ready") as response:
            assert response.status == 200
        process.send_signal(signal.SIGTERM)
        status, log = await ended(process)
    assert status == 0
    assert "Traceback" not in log


async def test_sigterm_lets_a_conversation_finish_and_takes_nobody_in(speech):
    async with running("--drain-timeout-s", "60") as (process, client):
        peer = Peer(client, speech)
        try:
            session_id = await peer.join()
            await peer.until(lambda: peer.pictures)
            process.send_signal(signal.SIGTERM)
            while True:
                async with client.get("/ready") as response:
                    if response.status == 503:
                        break
            async with client.post("/api/sessions") as response:
                assert response.status == 503
                assert int(response.headers["Retry-After"]) > 0
                assert (await response.json())["error"]["code"] == "server_draining"
            peer.pictures.clear()
            await peer.until(lambda: len(peer.pictures) >= 10)
            assert process.returncode is None
            async with client.delete(f"/api/sessions/{session_id}") as response:
                assert response.status == 204
        finally:
            await peer.aclose()
        status, log = await ended(process)
    assert status == 0, log
    assert "Traceback" not in log


async def test_who_stays_too_long_is_sent_home():
    async with running("--drain-timeout-s", "0.3") as (process, client):
        async with client.post("/api/sessions") as response:
            assert response.status == 201
        process.send_signal(signal.SIGTERM)
        status, log = await ended(process)
    assert status == 0
    assert "drain timed out" in log


async def test_a_second_signal_ends_at_once():
    async with running("--drain-timeout-s", "3600") as (process, client):
        async with client.post("/api/sessions") as response:
            assert response.status == 201
        process.send_signal(signal.SIGINT)
        while True:
            async with client.get("/ready") as response:
                if response.status == 503:
                    break
        process.send_signal(signal.SIGINT)
        status, log = await ended(process)
    assert status == 0
    assert "server shutting down" in log


async def test_json_logs_name_the_session_in_every_record_about_it():
    async with running("--log-format", "json") as (process, client):
        async with client.post("/api/sessions") as response:
            session_id = (await response.json())["session_id"]
        async with client.delete(f"/api/sessions/{session_id}") as response:
            assert response.status == 204
        process.send_signal(signal.SIGTERM)
        _, log = await ended(process)
    records = [json.loads(line) for line in log.splitlines()]
    assert all({"time", "level", "logger", "message"} <= record.keys() for record in records)
    about = [record for record in records if "session opened" in record["message"] or "ended" in record["message"]]
    assert len(about) == 2
    for record in about:
        assert session_id in (record.get("session"), *record["message"].replace("session=", "").split())


async def test_a_taken_grpc_port_is_said_in_one_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        status, line = await serve_fails("--port", "0", "--grpc-port", port)
    assert status == 1
    assert port in line
    assert "--grpc-port" in line
    assert "--no-grpc" in line


async def test_without_grpc_nothing_else_listens():
    async with running("--no-grpc") as (process, client):
        async with client.get("/ready") as response:
            assert response.status == 200
        process.send_signal(signal.SIGTERM)
        out, _ = await asyncio.wait_for(process.communicate(), 60)
    assert b"gRPC" not in out
