"""The figures of `bench chunked` for a person and for a program."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from statistics import median

from rich.console import Group
from rich.table import Table

from webrtc_avatar.client.bench_chunked import Outcome, Start, Together
from webrtc_avatar.client.bench_live import machine
from webrtc_avatar.client.report import number

_QUIET_PERCENT = 25.0


def as_json(outcome: Outcome) -> str:
    """Return the outcome for programs."""
    return json.dumps({"machine": machine(), **asdict(outcome)}, indent=2)


def tables(outcome: Outcome) -> Group:
    """Return the outcome for a person; targets are those of a machine with two cores."""
    alone = Table(title="bench chunked, one session", title_justify="left", caption_justify="left")
    alone.caption = "Median / worst of the repeats."
    for name in ("figure", "value", "target"):
        alone.add_column(name, justify="left" if name == "figure" else "right")
    for start in outcome.starts:
        alone.add_row(f"first feed to {_start(start)}", _both(start.seconds), _target(start))
        if start.three_s:
            alone.add_row("  three segments are listed", _both(start.three_s), "")
    for run in outcome.at_once:
        name = f"{run.sound_s:g} s at once, nfe {run.nfe}"
        alone.add_row(f"{name}: {run.frames} frames", _both(run.frames_s), "4 s" if run.sound_s == 10 else "")
        alone.add_row("  the playlist's end", _both(run.end_s), "")
        alone.add_row("  CPU of the server, a frame", number(run.cpu_ms, 1, " ms"), "")
    return Group(alone, _side_by_side(outcome))


def _side_by_side(outcome: Outcome) -> Table:
    shown = Table(title="bench chunked, sessions side by side", title_justify="left", caption_justify="left")
    shown.caption = machine()
    if outcome.session_mb is not None:
        shown.caption = (
            f"Memory: {number(outcome.idle_mb, 0)} MB before any session; {outcome.session_mb:.0f} MB by session beyond the "
            f"first (target 150).\n{shown.caption}"
        )
    disturbed = max((run.others_percent or 0.0 for run in outcome.together), default=0.0)
    if disturbed > _QUIET_PERCENT:
        shown.caption = (
            f"Other programs took {disturbed:.0f} % of a core: run this again on a quiet machine.\n{shown.caption}"
        )
    shown.add_column("figure")
    for run in outcome.together:
        shown.add_column(f"{run.sessions} session{'s' if run.sessions > 1 else ''}", justify="right")
    rows: list[tuple[str, Callable[[Together], str]]] = [
        ("sound fed to each, as spoken", lambda r: f"{r.sound_s:g} s"),
        ("frames behind the fed sound, worst", lambda r: number(r.lag_s, 2, " s")),
        ("  in the last quarter", lambda r: number(r.late_lag_s, 2, " s")),
        ("last feed to the playlist's end", lambda r: number(r.end_s, 2, " s")),
        ("frames of silence filled in", lambda r: str(r.filled)),
        ("CPU of the server, a session", lambda r: number(r.cpu_percent, 0, " % of a core")),
        ("memory of the server at most", lambda r: number(r.memory_mb, 0, " MB")),
    ]
    for name, text in rows:
        shown.add_row(name, *(text(run) for run in outcome.together))
    return shown


def _start(start: Start) -> str:
    what = "segment" if start.part_s is None else f"part of {start.part_s:g} s"
    how = f"fed as spoken in {start.chunk_s:g} s" if start.paced else "fed 10 s at once"
    return f"playable {what}, {how}"


def _target(start: Start) -> str:
    return "2.5 s" if start.part_s is None else "0.8 s"


def _both(seconds: list[float]) -> str:
    return f"{median(seconds):.2f} / {max(seconds):.2f} s"
