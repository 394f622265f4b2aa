"""The server's hand on a process that speaks: starts it, gives it batches, and notices when it dies, hangs or grows."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from webrtc_avatar.speech.batching import wire
from webrtc_avatar.speech.batching.wire import Message
from webrtc_avatar.speech.voice import Utterance

_START_S = 60.0
"""A process whose voice has not loaded by then will not speak."""
_LOOK_S = 0.25
_LAST_WORDS_S = 2.0
_KILL = getattr(signal, "SIGKILL", signal.SIGTERM)
"""Windows has the latter alone, and it kills there."""
_MOST_MESSAGE_BYTES = 1 << 20
"""What is read ahead of one process."""


class WorkerLost(Exception):
    """A process is gone; the message says why."""


class WorkerProcess:
    """One process. Lives on the event loop.

    Args:
        factories: `module:attribute` of each engine of voices, by its name.
        settings: of the server, as JSON.
        warm: voices to load before it is ready.
        answer_timeout_s: silence for so long while it has work means that it hangs.
        memory_bytes: it may not hold more.
    """

    def __init__(
        self,
        *,
        factories: Mapping[str, str],
        settings: Mapping[str, Any],
        warm: Sequence[str],
        answer_timeout_s: float,
        memory_bytes: int,
    ) -> None:
        self._first = Message(
            {"op": "begin", "factories": dict(factories), "settings": dict(settings), "warm": list(warm)}
        )
        self._answer_timeout_s, self._memory_bytes = answer_timeout_s, memory_bytes
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._why_killed: str | None = None
        self._batch = 0

    @property
    def pid(self) -> int | None:
        """Number of the process; None before it is started."""
        return self._process.pid if self._process is not None else None

    async def start(self) -> None:
        """Start it and wait until it is ready.

        Raises:
            WorkerLost: it did not become ready.
        """
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "OMP_NUM_THREADS": "1",
        }
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "webrtc_avatar.speech.batching.worker",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=environment, limit=_MOST_MESSAGE_BYTES,
        )  # fmt: skip
        self._watch = asyncio.create_task(self._look(), name="speech-memory")
        self._send(self._first)
        await self._receive(_START_S)

    async def run(self, utterances: Sequence[Utterance]) -> AsyncIterator[Message]:
        """Have a batch said; yields `piece`, `failure` and `broken` messages, and ends when it is done.

        Raises:
            WorkerLost: the process died, hung or grew too large; start another one.
        """
        self._batch += 1
        fields = [wire.utterance_fields(utterance) for utterance in utterances]
        self._send(Message({"op": "speak", "batch": self._batch, "utterances": fields}))
        while True:
            message = await self._receive(self._answer_timeout_s)
            if message.fields["op"] == "done":
                return
            yield message

    def give_up(self) -> None:
        """Let it stop after the piece that it is saying; `run` ends soon."""
        with suppress(WorkerLost):
            self._send(Message({"op": "give_up", "batch": self._batch}))

    async def ended(self) -> str:
        """Wait until the process ends, and return why it did."""
        assert self._process is not None
        await self._process.wait()
        return await self._why()

    async def aclose(self) -> None:
        """Kill it; calling it twice is fine."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        process = self._process
        if process is None:
            return
        self._signal()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(_LAST_WORDS_S):
                while await process.stdout.read(_MOST_MESSAGE_BYTES):
                    pass  # what is left unread would keep the pipe open
                await process.stdin.wait_closed()
        await process.wait()
        await asyncio.sleep(0)  # the loop lets go of both pipes

    def _send(self, message: Message) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(wire.encode(message))
        except (OSError, RuntimeError) as error:
            raise WorkerLost("the process that speaks is gone") from error

    async def _receive(self, timeout_s: float) -> Message:
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(timeout_s):
                return await wire.receive(self._process.stdout)
        except TimeoutError:
            self._kill(f"the process that speaks said nothing for {timeout_s:g} s")
            raise WorkerLost(self._why_killed) from None
        except (EOFError, OSError):  # asyncio's IncompleteReadError is an EOFError
            raise WorkerLost(await self._why()) from None

    async def _why(self) -> str:
        assert self._process is not None
        try:
            async with asyncio.timeout(_LAST_WORDS_S):
                await self._process.wait()
        except TimeoutError:
            self._kill("the process that speaks closed its output")
            await self._process.wait()
        return self._why_killed or f"the process that speaks ended with {self._process.returncode}"

    def _kill(self, why: str) -> None:
        self._why_killed = why
        self._signal()

    def _signal(self) -> None:
        """Kill the process. Not by asyncio's own method, which reaps it before asyncio's watcher can."""
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, _KILL)

    async def _look(self) -> None:
        """Kill it when it holds too much."""
        while True:
            await asyncio.sleep(_LOOK_S)
            held = resident_bytes(self.pid or 0)
            if held is not None and held > self._memory_bytes:
                self._kill(
                    f"the process that speaks held {held >> 20} MB of memory, more than the {self._memory_bytes >> 20} MB "
                    "that speech_worker_memory_mb allows"
                )
                return


def resident_bytes(pid: int) -> int | None:
    """Return the memory that a process holds; None where the system does not tell (only Linux does)."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")
