"""`webrtc-avatar bench chunked`: how soon a film begins, how fast it grows, and what sessions side by side cost.

The server runs in a process of its own; the sound is sent over HTTP, and what players would fetch is fetched and decoded.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from webrtc_avatar.audio.chunk import CHUNK_S
from webrtc_avatar.client.bench_chunked_calls import (
    LONGEST_S,
    LOOK_S,
    Calls,
    Speech,
    decodes,
    face_file,
    is_segment,
    listed,
)
from webrtc_avatar.client.bench_chunked_server import Server, Spent, running

PART_S = 0.4
NFES = (5, 10, 20, 50)

_WATCH_S = 0.2
_PLAYERS_WANT = 3

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Start:
    """How soon a film begins.

    Attributes:
        chunk_s: the session's `chunk_duration`, and of the pieces that were fed.
        part_s: duration of low-latency parts; none: the first whole segment is waited for.
        paced: fed at the pace of speech; false: all at once.
        seconds: from the first feed's sending to the moment at which picture and sound of the first segment or part that was
            not there before are decoded; each repeat, in order. The first one finds a server that has just started.
        three_s: until three segments are listed, which players want that begin three before a live stream's end; empty where
            parts are waited for.
    """

    chunk_s: float
    part_s: float | None
    paced: bool
    seconds: list[float]
    three_s: list[float]


@dataclass(frozen=True, slots=True)
class AtOnce:
    """Sound that is fed in one piece.

    Attributes:
        nfe: of the session.
        sound_s: how much.
        frames: that it became.
        frames_s: from the feed's sending until all frames are written; each repeat.
        end_s: until the playlist has its end; each repeat.
        cpu_ms: CPU time of the server by frame, the median; none where the system does not tell.
    """

    nfe: int
    sound_s: float
    frames: int
    frames_s: list[float]
    end_s: list[float]
    cpu_ms: float | None


@dataclass(frozen=True, slots=True)
class Together:
    """Sessions side by side, each with a face of its own, fed at the pace of speech.

    Attributes:
        sessions: how many.
        sound_s: fed to each.
        lag_s: by how much written frames were behind the fed sound, at worst, of all sessions. What is fed, a piece of
            `chunk_duration`, counts from its sending on.
        late_lag_s: the same over the last quarter: above `lag_s` of the beginning, the server does not keep up.
        end_s: from the last feed to the playlist's end, the slowest.
        filled: frames of silence that the server put in because sound came too late for it.
        memory_mb: of the server's process at most; none where the system does not tell.
        cpu_percent: of a core, by session.
        others_percent: of a core, what other programs took: high, and the figures are of no use.
    """

    sessions: int
    sound_s: float
    lag_s: float
    late_lag_s: float
    end_s: float
    filled: int
    memory_mb: float | None
    cpu_percent: float | None
    others_percent: float | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """All figures.

    Attributes:
        starts, at_once, together: see there.
        idle_mb: memory of the server's process before its first session.
        session_mb: memory by session beyond the first.
    """

    starts: list[Start]
    at_once: list[AtOnce]
    together: list[Together]
    idle_mb: float | None
    session_mb: float | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured.

    Attributes:
        audio: speech, which repeats where it is too short.
        photo: whose face; none: the shipped avatar's.
        url: a server that runs already, which is measured with its own settings; none: servers are started.
        sessions: as many side by side, one after the other from 1 on.
        seconds: how long those are fed.
        repeats: of everything else.
        at_once_s: sound that is fed in one piece.
        nfes: whose cost is measured.
    """

    audio: Path
    photo: Path | None = None
    url: str | None = None
    sessions: int = 4
    seconds: float = 20.0
    repeats: int = 3
    at_once_s: float = 10.0
    nfes: tuple[int, ...] = NFES


@dataclass(frozen=True, slots=True)
class _Way:
    """How a film's beginning is measured; see `Start`."""

    chunk_s: float
    part_s: float | None
    paced: bool


_WITHOUT_PARTS = (_Way(1.0, None, True), _Way(1.0, None, False))
_WITH_PARTS = (_Way(0.1, PART_S, True), _Way(1.0, PART_S, False))


async def bench_chunked(plan: Plan, on_progress: Progress = lambda _: None) -> Outcome:
    """Measure what a plan says.

    Raises:
        ServerUnreachable: the server does not start, or does not answer.
        SessionRefused: it refuses something.
        SessionBroke: a film was not finished.
        NotMedia: the photo or the speech cannot be read.
    """
    speech = Speech(plan.audio)
    faces = [face_file(plan.photo, number) for number in range(plan.sessions)]
    if plan.url is not None:
        async with Calls(Server(plan.url.rstrip("/"))) as calls:
            starts, at_once = await _alone(calls, faces[0], speech, plan, on_progress)
            return await _side_by_side(
                calls, faces, speech, plan, on_progress, Outcome(starts, at_once, [], None, None)
            )
    async with running(sessions=1, part_s=PART_S) as server, Calls(server) as calls:
        with_parts = [await _starts(calls, faces[0], speech, way, plan, on_progress) for way in _WITH_PARTS]
    async with running(sessions=1, part_s=None) as server, Calls(server) as calls:
        starts, at_once = await _alone(calls, faces[0], speech, plan, on_progress)
    # What a process has once used it may keep: memory is measured in a fresh one.
    async with running(sessions=plan.sessions, part_s=None) as server, Calls(server) as calls:
        alone = Outcome(starts + with_parts, at_once, [], server.memory_mb(), None)
        return await _side_by_side(calls, faces, speech, plan, on_progress, alone)


async def _alone(
    calls: Calls, face: bytes, speech: Speech, plan: Plan, on_progress: Progress
) -> tuple[list[Start], list[AtOnce]]:
    """Measure one session at a time, with whole segments."""
    starts = [await _starts(calls, face, speech, way, plan, on_progress) for way in _WITHOUT_PARTS]
    return starts, [await _at_once(calls, face, speech, nfe, plan, on_progress) for nfe in plan.nfes]


async def _side_by_side(
    calls: Calls, faces: list[bytes], speech: Speech, plan: Plan, on_progress: Progress, alone: Outcome
) -> Outcome:
    """Measure more and more sessions at once, and return all figures."""
    together = []
    for count in range(1, plan.sessions + 1):
        on_progress(f"{count} session{'s' if count > 1 else ''} side by side for {plan.seconds:g} s")
        together.append(await _together(calls, faces[:count], speech, plan.seconds))
    memory = [run.memory_mb for run in together if run.memory_mb is not None]
    session_mb = (memory[-1] - memory[0]) / (len(memory) - 1) if len(memory) > 1 else None
    return replace(alone, together=together, session_mb=session_mb)


async def _starts(calls: Calls, face: bytes, speech: Speech, way: _Way, plan: Plan, on_progress: Progress) -> Start:
    seconds, three_s = [], []
    for number in range(plan.repeats):
        on_progress(f"the film's beginning, {'as spoken' if way.paced else 'at once'}, {number + 1} of {plan.repeats}")
        session_id = await calls.init(face, chunk_duration=way.chunk_s)
        before_s = await calls.frames(session_id) * CHUNK_S
        begin_s = time.monotonic()
        fed = asyncio.Event()
        watching = asyncio.create_task(_first_playable(calls, session_id, before_s, fed, whole=way.part_s is None))
        feeding = asyncio.create_task(_feed_on(calls, session_id, speech, way.chunk_s, fed, paced=way.paced))
        try:
            async with asyncio.timeout(LONGEST_S):
                await _first_of(watching, feeding)
        finally:
            feeding.cancel()
            watching.cancel()
            await asyncio.gather(feeding, watching, return_exceptions=True)
        first, *third = watching.result()
        seconds.append(first - begin_s)
        three_s += [moment - begin_s for moment in third]
        await calls.delete(session_id)
    return Start(way.chunk_s, way.part_s, way.paced, seconds, three_s)


async def _first_of(watching: asyncio.Task[list[float]], feeding: asyncio.Task[None]) -> None:
    """Wait for what is watched; what goes wrong with the feeding is told."""
    both: set[asyncio.Future[Any]] = {watching, feeding}
    while not watching.done():
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if feeding.done() and feeding.exception() is not None:
            feeding.result()
        if feeding.done():
            await watching
    watching.result()


async def _feed_on(
    calls: Calls, session_id: str, speech: Speech, piece_s: float, fed: asyncio.Event, *, paced: bool
) -> None:
    """Feed for a while, as it is spoken; or ten seconds of it at once. Tell when the first piece was taken."""
    if not paced:
        await calls.feed(session_id, speech.wav(0, 10), final=True)
        fed.set()
        return
    begin_s = time.monotonic()
    for number in range(round(LONGEST_S / piece_s)):
        await asyncio.sleep(begin_s + number * piece_s - time.monotonic())
        await calls.feed(session_id, speech.wav(number * piece_s, piece_s), final=False)
        fed.set()


async def _first_playable(
    calls: Calls, session_id: str, before_s: float, fed: asyncio.Event, *, whole: bool
) -> list[float]:
    """Return when the first segment or part was decoded, and where whole segments are meant, when three were listed.

    Args:
        calls: of the player.
        session_id: whose film.
        before_s: what the film had before; what ends there or earlier does not count.
        fed: set once something was fed: a film that is opened earlier begins with the idle avatar.
        whole: whole segments are meant.

    Returns:
        `time.monotonic()` seconds.
    """
    moments: list[float] = []
    await fed.wait()
    while True:
        media = listed((await calls.film(session_id, "playlist.m3u8") or b"").decode())
        fresh = [name for name, end_s in media if end_s > before_s + CHUNK_S]
        if fresh and not moments:
            init, first = await calls.film(session_id, "init.mp4"), await calls.film(session_id, fresh[0])
            playable: bool = bool(init and first) and await asyncio.to_thread(decodes, (init or b"") + (first or b""))
            moments += [time.monotonic()] if playable else []
        if moments and not whole:
            return moments
        if moments and len([name for name in fresh if is_segment(name)]) >= _PLAYERS_WANT:
            return [*moments, time.monotonic()]
        await asyncio.sleep(LOOK_S)


async def _at_once(calls: Calls, face: bytes, speech: Speech, nfe: int, plan: Plan, on_progress: Progress) -> AtOnce:
    wanted = -(-round(plan.at_once_s * 1000) // round(CHUNK_S * 1000))
    frames_s, end_s, cpu_ms = [], [], []
    for number in range(plan.repeats):
        on_progress(f"{plan.at_once_s:g} s of sound at once, nfe {nfe}, {number + 1} of {plan.repeats}")
        session_id = await calls.init(face, nfe=nfe)
        start = Spent.by_now(calls.server)
        async with asyncio.timeout(LONGEST_S):
            await calls.feed(session_id, speech.wav(0, plan.at_once_s), final=True)
            await calls.drawn(session_id, wanted)
            frames_s.append(time.monotonic() - start.wall_s)
            await calls.ended(session_id)
        spent = Spent.by_now(calls.server).since(start)
        end_s.append(spent.wall_s)
        if spent.server_s is not None:
            cpu_ms.append(1000 * spent.server_s / wanted)
        await calls.delete(session_id)
    return AtOnce(nfe, plan.at_once_s, wanted, frames_s, end_s, median(cpu_ms) if cpu_ms else None)


async def _together(calls: Calls, faces: list[bytes], speech: Speech, seconds: float) -> Together:
    piece_s = 0.5
    pieces = max(round(seconds / piece_s), 1)
    sessions = [await calls.init(face, chunk_duration=piece_s) for face in faces]
    lags: list[tuple[float, float]] = []
    memory: list[float] = []
    start = Spent.by_now(calls.server)
    fed = [0] * len(sessions)

    async def feed(place: int) -> float:
        """Feed one session at the pace of speech, a little after the one before; return when its film had ended."""
        begin_s = start.wall_s + place * piece_s / len(sessions)
        for number in range(pieces):
            await asyncio.sleep(begin_s + number * piece_s - time.monotonic())
            fed[place] += 1
            await calls.feed(
                sessions[place], speech.wav(10 * place + number * piece_s, piece_s), final=number == pieces - 1
            )
        last_s = time.monotonic()
        await calls.ended(sessions[place])
        return time.monotonic() - last_s

    async def watch() -> None:
        while True:
            for place, session_id in enumerate(sessions):
                fed_s = fed[place] * piece_s
                behind_s = fed_s - await calls.frames(session_id) * CHUNK_S
                lags.append((time.monotonic() - start.wall_s, behind_s))
            memory.extend(value for value in [calls.server.memory_mb()] if value is not None)
            await asyncio.sleep(_WATCH_S)

    watching = asyncio.create_task(watch())
    try:
        async with asyncio.timeout(seconds + LONGEST_S):
            ends = await _unless(watching, *(feed(place) for place in range(len(sessions))))
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    spent = Spent.by_now(calls.server).since(start)
    frames = [await calls.frames(session_id) for session_id in sessions]
    for session_id in sessions:
        await calls.delete(session_id)
    return Together(
        sessions=len(sessions),
        sound_s=pieces * piece_s,
        lag_s=max(lag for _, lag in lags),
        late_lag_s=max((lag for at_s, lag in lags if at_s > 0.75 * seconds), default=0.0),
        end_s=max(ends),
        filled=sum(frames) - len(sessions) * -(-round(pieces * piece_s * 1000) // round(CHUNK_S * 1000)),
        memory_mb=max(memory, default=None),
        cpu_percent=None if spent.server_s is None else 100 * spent.server_s / spent.wall_s / len(sessions),
        others_percent=spent.others_percent,
    )


async def _unless(watching: asyncio.Task[None], *work: Awaitable[float]) -> list[float]:
    """Return what the work returns; what goes wrong with the watching is told."""
    working = asyncio.ensure_future(asyncio.gather(*work))
    both: set[asyncio.Future[Any]] = {working, watching}
    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    if watching.done() and not working.done():
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        watching.result()
    return await working
