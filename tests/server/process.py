"""The command `serve` in a process of its own."""

import asyncio
import contextlib
import os
import sys

import aiohttp

_PATIENT = {"WEBRTC_AVATAR_UNWATCHED_TIMEOUT_S": "60"}


@contextlib.asynccontextmanager
async def running(*flags, **environment):
    """Run the command `serve`; yield the process and a client for the address that it prints."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "webrtc_avatar", "serve", "--port", "0", *flags),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **_PATIENT, **environment},
    )
    try:
        line = (await asyncio.wait_for(process.stdout.readline(), 60)).decode()
        assert "http://127.0.0.1:" in line, (line, (await process.stderr.read()).decode())
        async with aiohttp.ClientSession(line.split()[2]) as client:
            yield process, client
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
