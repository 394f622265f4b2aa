"""Tables and JSON of `webrtc-avatar bench speech`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median

from rich.console import Group
from rich.table import Table

from webrtc_avatar.client.bench_live import machine
from webrtc_avatar.client.bench_voices import Call, Throughput
from webrtc_avatar.client.bench_voices_live import Heard


@dataclass(frozen=True, slots=True)
class Outcome:
    """All that was measured."""

    throughput: list[Throughput] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    heard: Heard | None = None


def as_json(outcome: Outcome) -> str:
    """Return all figures."""
    return json.dumps({"machine": machine(), **asdict(outcome)}, indent=2)


def tables(outcome: Outcome) -> Group:
    """Return what a person reads."""
    shown: list[Table | str] = [machine(), ""]
    if outcome.throughput:
        shown.append(_throughput(outcome.throughput))
    if outcome.calls:
        shown.append(_calls(outcome.calls))
    if outcome.heard is not None:
        shown.append(_heard(outcome.heard))
    return Group(*shown)


def _throughput(runs: Sequence[Throughput]) -> Table:
    table = Table(title="Many requests at once")
    for name in (
        "texts",
        "batching",
        "requests/s",
        "against off",
        "sound s/s",
        "first sound p50",
        "p99",
        "whole p50",
        "p99",
    ):
        table.add_column(name, justify="left" if name in ("texts", "batching") else "right")
    for run in runs:
        off = next((each for each in runs if each.kind == run.kind and not each.batch_size), None)
        gain = "" if off is None else f"{median(run.per_s) / median(off.per_s):.2f}"
        table.add_row(
            run.kind,
            f"up to {run.batch_size}" if run.batch_size else "off",
            f"{median(run.per_s):.1f}",
            gain,
            f"{median(run.sound_per_s):.0f}",
            f"{run.wait.p50_ms:.0f} ms",
            f"{run.wait.p99_ms:.0f} ms",
            f"{run.done.p50_ms:.0f} ms",
            f"{run.done.p99_ms:.0f} ms",
        )
    return table


def _calls(calls: Sequence[Call]) -> Table:
    table = Table(title="The voice alone, one thread: time by utterance")
    table.add_column("texts")
    sizes = sorted({call.batch_size for call in calls})
    for size in sizes:
        table.add_column(f"{size} in a call", justify="right")
    for kind in dict.fromkeys(call.kind for call in calls):
        found = {call.batch_size: call.ms for call in calls if call.kind == kind}
        table.add_row(kind, *(f"{found[size]:.1f} ms" for size in sizes))
    return table


def _heard(heard: Heard) -> Table:
    table = Table(title="As a viewer hears and sees it")
    for name in ("", "median", "slowest"):
        table.add_column(name, justify="right" if name else "left")
    for name, values in (
        ("request to first sound", heard.first_ms),
        ("interrupt to last sound", heard.silent_ms),
        ("interrupt to last movement of the mouth", heard.still_ms),
    ):
        table.add_row(name, f"{median(values):.0f} ms", f"{max(values):.0f} ms")
    return table
