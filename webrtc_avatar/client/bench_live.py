"""`webrtc-avatar bench live`: a server in this process, headless peers in another, and the figures of both.

The cost of a session is the CPU time of this process while all peers are connected, divided by wall time and
sessions; the peers' own work is in their process and is not counted, though it takes the same cores.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families
from rich.table import Table

from webrtc_avatar import __version__
from webrtc_avatar.client.bench_peers import PeersJob
from webrtc_avatar.client.bench_speech import in_step_lag
from webrtc_avatar.client.failures import ConnectionLost
from webrtc_avatar.client.measure import Lag
from webrtc_avatar.client.report import number
from webrtc_avatar.settings import Settings

NOTE = (
    "The server runs in one process, the peers in another on the same cores. The first peer decodes pictures and sound "
    "and measures the lips; the others count frames by their marker bit, so that they take little from the server."
)

_GRACE_S = 60.0
_QUIET_PERCENT = 25.0


@dataclass(frozen=True)
class Outcome:
    """Figures of one run.

    Attributes:
        sessions: how many peers there were.
        seconds: over how long.
        fps_least, fps_mean: of the peers.
        late_p50_ms, late_p95_ms, late_p99_ms: the worst peer's lateness.
        lips_ms: voice to lips by correlation, with `lips_correlation`.
        onsets_p50_ms, onsets_p95_ms: voice to lips at the beginnings of speech.
        offset_ms: audio-video offset; `offset_end_ms` that of the last minute of a long run.
        first_frame_ms: the slowest peer's.
        in_step_ms: what `offset_ms` would read for this speech if sound and picture were perfectly in step.
        cpu_percent: of one core, per session.
        peers_cpu_percent: of one core, of all peers together.
        others_cpu_percent: of one core, of everything else on the machine: high, and the figures are of no use.
        frames: by outcome, as the server counted.
        model_ms: time of model calls by frame.
        batch: frames in a model call, on average.
        reports: all that each peer reported.
    """

    sessions: int
    seconds: float
    loss_percent: float
    fps_least: float | None
    fps_mean: float | None
    late_p50_ms: float | None
    late_p95_ms: float | None
    late_p99_ms: float | None
    lips_ms: float | None
    lips_correlation: float | None
    onsets_p50_ms: float | None
    onsets_p95_ms: float | None
    onsets: int
    offset_ms: float | None
    offset_end_ms: float | None
    first_frame_ms: float | None
    in_step_ms: float | None
    cpu_percent: float
    peers_cpu_percent: float
    others_cpu_percent: float | None
    frames: dict[str, float]
    model_ms: float | None
    batch: float | None
    reports: list[dict[str, Any]]


def machine() -> str:
    """Return what the figures were taken on, in one line."""
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    libraries = ", ".join(f"{name} {version(name)}" for name in ("aiortc", "av", "onnxruntime"))
    return f"{model}, {os.cpu_count()} cores; Python {platform.python_version()}, {libraries}; version {__version__}"


async def bench_live(
    *,
    sessions: list[int],
    seconds: float,
    audio: Path,
    loss_percent: float,
    settings: Settings,
    record: Path | None = None,
) -> list[Outcome]:
    """Run a server and, for each number of sessions, so many peers for so many seconds.

    Raises:
        ConnectionLost: the peers failed.
    """
    from webrtc_avatar.avatar.package import drawn
    from webrtc_avatar.server.app import create_app
    from webrtc_avatar.server.middleware import METRICS
    from webrtc_avatar.server.signalling import LIBRARY

    app = create_app(settings)
    runner = web.AppRunner(app, handle_signals=False, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        in_step = await asyncio.to_thread(in_step_lag, drawn(app[LIBRARY].get(settings.avatar)), audio)
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return [
            await _run(
                PeersJob(url, str(audio), count, seconds, loss_percent, str(record or "")),
                app[METRICS].exposition,
                in_step,
            )
            for count in sessions
        ]
    finally:
        await runner.cleanup()


async def _run(job: PeersJob, exposition: Callable[[], bytes], in_step: Lag | None) -> Outcome:
    command = [sys.executable, "-m", "webrtc_avatar.client.bench_peers", job.as_argument()]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, limit=1 << 24, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(job.seconds + _GRACE_S):
            await _event(process.stdout, "measuring")
            counted, start = _counts(exposition()), _Clock.now()
            peers_cpu_s = float((await _event(process.stdout, "measured"))["cpu_s"])
            spent = _Clock.now().since(start)
            counted = {name: value - counted.get(name, 0.0) for name, value in _counts(exposition()).items()}
            reports = (await _event(process.stdout, "done"))["reports"]
            await process.wait()
    except TimeoutError as error:
        raise ConnectionLost(
            f"the peers did not finish within {job.seconds + _GRACE_S:.0f} s; is the machine overloaded?"
        ) from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return _outcome(job, reports, counted, spent=spent, peers_cpu_s=peers_cpu_s, in_step=in_step)


@dataclass(frozen=True)
class _Clock:
    """Wall time, CPU time of this process, and that of the whole machine where it can be read, in seconds."""

    wall_s: float
    own_s: float
    machine_s: float | None

    @classmethod
    def now(cls) -> _Clock:
        machine_s = None
        with contextlib.suppress(OSError, ValueError):
            user, nice, system, _, _, irq, soft = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:8])
            machine_s = (user + nice + system + irq + soft) / os.sysconf("SC_CLK_TCK")
        return cls(time.monotonic(), time.process_time(), machine_s)

    def since(self, start: _Clock) -> _Clock:
        machine_s = None
        if self.machine_s is not None and start.machine_s is not None:
            machine_s = self.machine_s - start.machine_s
        return _Clock(self.wall_s - start.wall_s, self.own_s - start.own_s, machine_s)


async def _event(lines: asyncio.StreamReader, expected: str) -> dict[str, Any]:
    """Return the peers' next message, which is the expected one."""
    line = await lines.readline()
    message: dict[str, Any] = json.loads(line) if line else {"event": "failed", "message": "the peers' process ended"}
    if message["event"] != expected:
        raise ConnectionLost(f"the peers failed: {message.get('message', message['event'])}")
    return message


def _counts(exposition: bytes) -> dict[str, float]:
    """Return the server's counters by name and label value, such as `frames_total/held`."""
    counts: dict[str, float] = {}
    for family in text_string_to_metric_families(exposition.decode()):
        for sample in family.samples:
            labels = [value for name, value in sample.labels.items() if name != "le"]
            if "le" not in sample.labels:
                name = "/".join([sample.name.removeprefix("webrtc_avatar_"), *labels])
                counts[name] = counts.get(name, 0.0) + sample.value
    return counts


def _outcome(
    job: PeersJob,
    reports: list[dict[str, Any]],
    counted: dict[str, float],
    *,
    spent: _Clock,
    peers_cpu_s: float,
    in_step: Lag | None,
) -> Outcome:
    first = reports[0]
    rates = [report["fps"] for report in reports if report["fps"] is not None]
    late = [report["lateness"] for report in reports if report["lateness"] is not None]
    starts = [report["first_frame_ms"] for report in reports if report["first_frame_ms"] is not None]
    onsets, lips = first["onset_delays"] or {}, first["voice_to_lips"] or {}
    calls = sum(value for name, value in counted.items() if name.startswith("batch_size_count"))
    modelled = sum(value for name, value in counted.items() if name.startswith("batch_size_sum"))
    model_s = counted.get("stage_run_seconds_sum/engine", 0.0)
    return Outcome(
        sessions=job.sessions,
        seconds=job.seconds,
        loss_percent=job.loss_percent,
        fps_least=min(rates, default=None),
        fps_mean=sum(rates) / len(rates) if rates else None,
        late_p50_ms=max((item["p50_ms"] for item in late), default=None),
        late_p95_ms=max((item["p95_ms"] for item in late), default=None),
        late_p99_ms=max((item["p99_ms"] for item in late), default=None),
        lips_ms=lips.get("lag_ms"),
        lips_correlation=lips.get("correlation"),
        onsets_p50_ms=onsets.get("p50_ms"),
        onsets_p95_ms=onsets.get("p95_ms"),
        onsets=onsets.get("count", 0),
        offset_ms=(first["audio_video"] or {}).get("lag_ms"),
        offset_end_ms=(first["audio_video_end"] or {}).get("lag_ms"),
        first_frame_ms=max(starts, default=None),
        in_step_ms=None if in_step is None else in_step.lag_ms,
        cpu_percent=100 * spent.own_s / spent.wall_s / job.sessions,
        peers_cpu_percent=100 * peers_cpu_s / spent.wall_s,
        others_cpu_percent=None
        if spent.machine_s is None
        else max(0.0, 100 * (spent.machine_s - spent.own_s - peers_cpu_s) / spent.wall_s),
        frames={
            name.removeprefix("frames_total/"): value
            for name, value in counted.items()
            if name.startswith("frames_total/")
        },
        model_ms=1000 * model_s / modelled if modelled else None,
        batch=modelled / calls if calls else None,
        reports=reports,
    )


def as_json(outcomes: list[Outcome]) -> str:
    """Return the outcomes for programs."""
    return json.dumps({"machine": machine(), "note": NOTE, "runs": [asdict(outcome) for outcome in outcomes]}, indent=2)


def table(outcomes: list[Outcome]) -> Table:
    """Return the outcomes for a person, one column a run."""
    shown = Table(title="bench live", title_justify="left", caption=f"{machine()}\n{NOTE}", caption_justify="left")
    disturbed = max((run.others_cpu_percent or 0.0 for run in outcomes), default=0.0)
    if disturbed > _QUIET_PERCENT:
        shown.caption = (
            f"Other programs took {disturbed:.0f} % of a core: run this again on a quiet machine.\n{shown.caption}"
        )
    shown.add_column("figure")
    for run in outcomes:
        shown.add_column(f"{run.sessions} session{'s' if run.sessions > 1 else ''}", justify="right")
    rows: list[tuple[str, Callable[[Outcome], str]]] = [
        ("seconds, loss", lambda r: f"{r.seconds:.0f} s, {r.loss_percent:g} %"),
        ("frames a second, least / mean", lambda r: f"{number(r.fps_least, 2)} / {number(r.fps_mean, 2)}"),
        (
            "lateness p50 / p95 / p99, worst peer",
            lambda r: f"{number(r.late_p50_ms)} / {number(r.late_p95_ms)} / {number(r.late_p99_ms, 1, ' ms')}",
        ),
        (
            "voice to lips by correlation",
            lambda r: f"{number(r.lips_ms, 0, ' ms')} (r {number(r.lips_correlation, 2)})",
        ),
        (
            "voice to lips at onsets p50 / p95",
            lambda r: f"{number(r.onsets_p50_ms, 0)} / {number(r.onsets_p95_ms, 0, ' ms')} ({r.onsets})",
        ),
        ("audio-video offset (+: sound first)", lambda r: number(r.offset_ms, 0, " ms")),
        ("  the same, were both perfectly in step", lambda r: number(r.in_step_ms, 0, " ms")),
        ("audio-video offset, last minute", lambda r: number(r.offset_end_ms, 0, " ms")),
        ("first frame, slowest peer", lambda r: number(r.first_frame_ms, 0, " ms")),
        ("CPU per session", lambda r: f"{r.cpu_percent:.1f} % of a core"),
        (
            "CPU of all peers / of other programs",
            lambda r: f"{r.peers_cpu_percent:.0f} / {number(r.others_cpu_percent, 0)} %",
        ),
        (
            "frames held / dropped / failed",
            lambda r: " / ".join(f"{r.frames.get(n, 0):.0f}" for n in ("held", "dropped", "failed")),
        ),
        ("frames rendered / idle", lambda r: " / ".join(f"{r.frames.get(n, 0):.0f}" for n in ("rendered", "idle"))),
        ("model calls, a frame", lambda r: number(r.model_ms, 2, " ms")),
        ("frames in a model call, mean", lambda r: number(r.batch, 2)),
    ]
    for name, text in rows:
        shown.add_row(name, *(text(run) for run in outcomes))
    return shown
