"""The command `engine`: gRPC and nothing else, in a process of its own."""

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

import grpc
import numpy as np
import pytest

from webrtc_avatar.audio.window import pad, to_bytes
from webrtc_avatar.rpc import optimized_lipsyncsrv_pb2 as messages
from webrtc_avatar.rpc import optimized_lipsyncsrv_pb2_grpc as stubs

_LARGE = [("grpc.max_receive_message_length", 50 * 1024 * 1024)]
SOUND = np.sin(np.arange(640 * 300) / 20).astype(np.float32).reshape(-1, 640) / 2


@contextlib.asynccontextmanager
async def running(*flags, **environment):
    """Run the command; yield the process and a stub for the address that it prints."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "webrtc_avatar", "engine", "--grpc-port", "0", *flags),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **environment},
    )
    try:
        line = (await asyncio.wait_for(process.stdout.readline(), 60)).decode()
        assert line.startswith("webrtc-avatar: gRPC at 127.0.0.1:"), (line, (await process.stderr.read()).decode())
        async with grpc.aio.insecure_channel(line.split()[-1], options=_LARGE) as channel:
            yield process, stubs.OptimizedLipSyncServiceStub(channel)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def request(count):
    chunks = to_bytes(pad(SOUND, frame_count=count))
    return messages.BatchInferenceWithAudioRequest(model_name="iris", frame_count=count, audio_chunks=chunks)


async def test_it_serves_and_finishes_what_is_under_way_on_sigterm():
    async with running() as (process, stub):
        assert (await stub.GetModelMetadata(messages.GetModelMetadataRequest(model_name="iris"))).width == 512
        call = stub.StreamAudio()
        await call.write(messages.StreamAudioRequest(model_name="iris", audio=SOUND[:8].tobytes()))
        assert (await call.read()).frame_id == 0
        process.send_signal(signal.SIGTERM)
        while (await stub.HealthCheck(messages.HealthRequest())).healthy:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        await call.write(messages.StreamAudioRequest(audio=SOUND[8:20].tobytes(), end=True))
        await call.done_writing()
        assert [(await call.read()).frame_id for _ in range(19)] == list(range(1, 20))
        assert await call.read() is grpc.aio.EOF
        _, log = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0
    assert b"Traceback" not in log
    assert b"stopped" in log


async def test_who_stays_too_long_is_sent_home():
    async with running("--drain-timeout-s", "0.2") as (process, stub):
        call = stub.StreamAudio()
        await call.write(messages.StreamAudioRequest(model_name="iris", audio=SOUND[:8].tobytes()))
        assert (await call.read()).frame_id == 0
        process.send_signal(signal.SIGTERM)
        _, log = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0
    assert b"drain timed out" in log


def restart_peak(process):
    Path(f"/proc/{process.pid}/clear_refs").write_text("5")


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="POSIX only: the peak is read from /proc")
async def test_240_frames_take_little_more_memory_than_they_and_their_sound():
    async with running() as (process, stub):
        memory = Path(f"/proc/{process.pid}/status")

        def megabytes(name):
            return next(
                int(line.split()[1]) / 1024 for line in memory.read_text().splitlines() if line.startswith(name)
            )

        await stub.GenerateBatchWithAudio(request(32))  # what is made once: threads, buffers of the runtime
        before = megabytes("VmRSS")
        restart_peak(process)
        asked = request(240)
        answer = await stub.GenerateBatchWithAudio(asked)
        assert len(answer.responses) == 240
        carried = (asked.ByteSize() + answer.ByteSize()) / 2**20
        assert megabytes("VmHWM") - before - carried < 30


async def test_settings_that_cannot_be_followed_are_said_in_one_line():
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "webrtc_avatar", "engine", "--grpc-port", "0", "--grpc-tls-cert", "nowhere.pem"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, out) == (1, b"")
    assert "grpc_tls_key is not set" in err.decode().splitlines()[-1]
    assert "Traceback" not in err.decode()
