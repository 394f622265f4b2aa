"""A server of its own for `webrtc-avatar bench chunked`, and what its process takes of memory and CPU."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from webrtc_avatar.client.failures import ServerUnreachable

_START_S = 60.0


@dataclass(frozen=True, slots=True)
class Server:
    """A running server.

    Attributes:
        url: where it listens.
        pid: its process; none where it was there before, perhaps on another machine.
    """

    url: str
    pid: int | None = None

    def memory_mb(self) -> float | None:
        """Return what of its process lies in memory (resident set), in megabytes; None where the system does not tell."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
            return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
        return None

    def cpu_s(self) -> float | None:
        """Return the CPU time that its process has taken, in seconds; None where the system does not tell."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return None


@dataclass(frozen=True, slots=True)
class Spent:
    """Time on the clock and of the CPU, in seconds; None where the system does not tell.

    Attributes:
        wall_s: on the clock.
        server_s: CPU time of the server's process.
        machine_s: CPU time of the whole machine, this process and the server included.
        own_s: CPU time of this process.
    """

    wall_s: float
    server_s: float | None
    machine_s: float | None
    own_s: float

    @classmethod
    def by_now(cls, server: Server) -> Spent:
        """Return what was spent until now."""
        machine_s = None
        with contextlib.suppress(OSError, ValueError):
            user, nice, system, _, _, irq, soft = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:8])
            machine_s = (user + nice + system + irq + soft) / os.sysconf("SC_CLK_TCK")
        return cls(time.monotonic(), server.cpu_s(), machine_s, time.process_time())

    def since(self, start: Spent) -> Spent:
        """Return what was spent from `start` on."""
        return Spent(
            self.wall_s - start.wall_s,
            _less(self.server_s, start.server_s),
            _less(self.machine_s, start.machine_s),
            self.own_s - start.own_s,
        )

    @property
    def others_percent(self) -> float | None:
        """What other programs took, in percent of a core."""
        if self.machine_s is None or self.server_s is None:
            return None
        return max(0.0, 100 * (self.machine_s - self.server_s - self.own_s) / self.wall_s)


def _less(value: float | None, start: float | None) -> float | None:
    return None if value is None or start is None else value - start


@contextlib.asynccontextmanager
async def running(*, sessions: int, part_s: float | None) -> AsyncIterator[Server]:
    """Run a server in a process of its own.

    Args:
        sessions: so many at once, at least.
        part_s: duration of low-latency parts; none: segments alone.

    Raises:
        ServerUnreachable: it does not start.
    """
    settings = {"WEBRTC_AVATAR_CHUNKED_MAX_SESSIONS": str(sessions + 1)}
    if part_s is not None:
        settings["WEBRTC_AVATAR_HLS_PART_S"] = f"{part_s:g}"
    command = [sys.executable, "-m", "webrtc_avatar", "serve", "--port", "0", "--no-grpc", "--log-level", "warning"]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"} | settings
    )
    assert process.stdout is not None
    try:
        try:
            line = (await asyncio.wait_for(process.stdout.readline(), _START_S)).decode()
        except TimeoutError:
            line = ""
        addresses = [word for word in line.split() if word.startswith("http://")]
        if not addresses:
            raise ServerUnreachable("the server that should be measured did not start; see what it printed")
        yield Server(addresses[0].rstrip("/"), process.pid)
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 10)
        except TimeoutError:
            process.kill()
            await process.wait()
