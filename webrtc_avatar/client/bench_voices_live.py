"""The part of `webrtc-avatar bench speech` that a peer measures: how soon a session is heard, and how soon it falls silent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from webrtc_avatar.client.bench_chunked_server import running
from webrtc_avatar.client.bench_voices import TEXTS
from webrtc_avatar.client.failures import ConnectionLost
from webrtc_avatar.client.peer import Peer
from webrtc_avatar.client.speech import SpeechClient

Progress = Callable[[str], None]

LOUD_DBFS = -45.0
"""A packet with 10 ms above this is heard."""
_PATIENCE_S = 10.0
_SPOKEN_S = 1.5
_SILENT_S = 0.5
_LOOK_S = 0.02
_MOVED_PX = 1.0


@dataclass(frozen=True, slots=True)
class Heard:
    """What a peer heard and saw, in milliseconds, one figure for each repeat.

    Attributes:
        first_ms: from the request to the first sound of a short sentence.
        silent_ms: from an interrupt to the last sound.
        still_ms: from an interrupt to the last frame in which the mouth still moves.
    """

    first_ms: list[float]
    silent_ms: list[float]
    still_ms: list[float]


async def bench_server(url: str | None, *, repeats: int, on_progress: Progress) -> Heard:
    """Measure a running server, or one that is started for it; see `bench_heard`."""
    if url is not None:
        return await bench_heard(url, repeats=repeats, on_progress=on_progress)
    async with running(sessions=1, part_s=None) as server:
        return await bench_heard(server.url, repeats=repeats, on_progress=on_progress)


async def bench_heard(url: str, *, repeats: int, on_progress: Progress) -> Heard:
    """Have a session speak and fall silent, again and again, and listen as a viewer.

    Raises:
        ConnectionLost: nothing was heard.
        ServerUnreachable, RequestRefused: see `SpeechClient`.
    """
    heard = Heard([], [], [])
    async with SpeechClient(url) as client:
        await client.voices()
        session_id = await client.open_session()
        async with Peer(url, watch=session_id) as peer:
            await asyncio.sleep(1.0)
            for number in range(repeats):
                on_progress(f"first sound and interrupt, {number + 1} of {repeats}")
                heard.first_ms.append(
                    await _first(client, peer, session_id, TEXTS["short"][number % len(TEXTS["short"])])
                )
                await client.interrupt(session_id)
                await _silence(peer)
                silent_ms, still_ms = await _interrupted(
                    client, peer, session_id, TEXTS["long"][number % len(TEXTS["long"])]
                )
                heard.silent_ms.append(silent_ms)
                heard.still_ms.append(still_ms)
    return heard


async def _first(client: SpeechClient, peer: Peer, session_id: str, text: str) -> float:
    asked_s = time.monotonic()
    await client.speak(session_id, text)
    return 1000 * (await _loud_after(peer, asked_s) - asked_s)


async def _interrupted(client: SpeechClient, peer: Peer, session_id: str, text: str) -> tuple[float, float]:
    asked_s = time.monotonic()
    await client.speak(session_id, text)
    await asyncio.sleep(await _loud_after(peer, asked_s) - time.monotonic() + _SPOKEN_S)
    cut_s = time.monotonic()
    await client.interrupt(session_id)
    await _silence(peer)
    last_s = max((at_s for at_s, level in peer.heard() if level > LOUD_DBFS), default=cut_s)
    frames = [frame for frame in peer.seen() if frame.arrived_s > cut_s - 0.2]
    moved = [b.arrived_s for a, b in pairwise(frames) if abs(b.mouth - a.mouth) > _MOVED_PX]
    return 1000 * max(last_s - cut_s, 0.0), 1000 * max(max(moved, default=cut_s) - cut_s, 0.0)


async def _loud_after(peer: Peer, since_s: float) -> float:
    """Return when the first loud packet arrived."""
    until_s = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until_s:
        for at_s, level in reversed(peer.heard()):
            if at_s < since_s:
                break
            if level > LOUD_DBFS:
                return min(at for at, loud in peer.heard() if at >= since_s and loud > LOUD_DBFS)
        await asyncio.sleep(_LOOK_S)
    raise ConnectionLost(f"nothing was heard within {_PATIENCE_S:g} s of the request")


async def _silence(peer: Peer) -> None:
    """Wait until nothing has been heard for a while."""
    until_s = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until_s:
        await asyncio.sleep(_SILENT_S)
        now_s = time.monotonic()
        if all(level <= LOUD_DBFS for at_s, level in peer.heard() if at_s > now_s - _SILENT_S):
            return
    raise ConnectionLost(f"the session was still heard {_PATIENCE_S:g} s after it was interrupted")
