"""The figures of `bench engine` for a person, for a program, and as a picture."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from html import escape

from rich.console import Group
from rich.table import Table

from webrtc_avatar.client.bench_engine import Outcome
from webrtc_avatar.client.bench_live import machine

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 760, 360, 64, 190, 34, 44
_COLOURS = ("#0b6e99", "#b5532a", "#3f7d3a", "#7a4b9d", "#9a7d0a", "#555555")


def as_json(outcome: Outcome) -> str:
    """Return the outcome for programs."""
    return json.dumps({"machine": machine(), **asdict(outcome)}, indent=2)


def tables(outcome: Outcome) -> Group:
    """Return the outcome for a person."""
    batches = Table(title=f"bench engine, {outcome.runtime}", title_justify="left", caption_justify="left")
    batches.caption = (
        "networks: called in a loop with inputs ready, frames a second; engine: asked by number, answered by\ncallback; over: "
        "what it takes longer, and of CPU time; sound: an async iterator over chunks.\ncall: the networks with one batch; "
        "answer: an idle engine asked for one batch; p50 / p99 in ms."
    )
    for name in ("model", "batch", "networks", "engine", "over", "CPU over", "mean", "sound", "call", "answer"):
        batches.add_column(name, justify="left" if name == "model" else "right")
    for row in outcome.throughput:
        batches.add_row(
            row.avatar,
            str(row.batch),
            _rate(row.network_fps),
            _rate(row.engine_fps),
            f"{100 * row.overhead:+.0f} %",
            f"{100 * row.cpu_overhead:+.0f} %",
            f"{row.batch_mean:.1f}",
            _rate(row.sound_fps),
            f"{row.network_p50_ms:.1f}/{row.network_p99_ms:.1f}",
            f"{row.engine_p50_ms:.1f}/{row.engine_p99_ms:.1f}",
        )
    shared = Table(title="eight callers of one frame against one call of eight", title_justify="left")
    for name in ("model", "one call of 8", "8 calls of one", "ratio"):
        shared.add_column(name, justify="left" if name == "model" else "right")
    for pair in outcome.shared:
        shared.add_row(pair.avatar, f"{pair.one_ms:.1f} ms", f"{pair.eight_ms:.1f} ms", f"{pair.ratio:.2f}")
    live = Table(title="live sessions, 25 chunks a second each", title_justify="left", caption_justify="left")
    live.caption = f"latency: from a chunk to the face that it completes.\n{machine()}"
    for name in ("model", "sessions", "in time, each", "late", "mean batch", "latency p50 / p99"):
        live.add_column(name, justify="left" if name == "model" else "right")
    for run in outcome.sessions:
        live.add_row(
            run.avatar,
            str(run.sessions),
            f"{run.fps:.2f} fps",
            f"{100 * run.late:.1f} %",
            f"{run.batch_mean:.1f}",
            f"{run.p50_ms:.1f} / {run.p99_ms:.1f} ms",
        )
    return Group(*[table for table in (batches, shared, live) if table.row_count])


def plot(outcome: Outcome) -> str:
    """Return an SVG: frames a second over the batch size, the bare networks dashed and the engine's whole."""
    names = list(dict.fromkeys(row.avatar for row in outcome.throughput))
    sizes = sorted({row.batch for row in outcome.throughput})
    rates = [rate for row in outcome.throughput for rate in (row.network_fps, row.engine_fps)]
    low, high = math.floor(math.log10(min(rates))), math.ceil(math.log10(max(rates)) + 1e-9)
    high = max(high, low + 1)

    def across(batch: int) -> float:
        place = sizes.index(batch) / max(1, len(sizes) - 1)
        return _LEFT + place * (_WIDTH - _LEFT - _RIGHT)

    def down(rate: float) -> float:
        return _HEIGHT - _BOTTOM - (math.log10(rate) - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    marks = [_text(_LEFT, 20, f"Frames a second over the batch size, {outcome.runtime}", size=14)]
    for power in range(low, high + 1):
        for step in range(1, 10) if power < high else (1,):
            rate = step * 10.0**power
            marks.append(
                _line([(_LEFT, down(rate)), (_WIDTH - _RIGHT, down(rate))], "#dddddd" if step > 1 else "#999999")
            )
        marks.append(_text(_LEFT - 8, down(10.0**power) + 4, f"{10.0**power:g}", anchor="end"))
    marks += [_text(across(batch), _HEIGHT - _BOTTOM + 18, str(batch), anchor="middle") for batch in sizes]
    marks.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 8, "frames in one call", anchor="middle"))
    for number, name in enumerate(names):
        colour = _COLOURS[number % len(_COLOURS)]
        rows = sorted((row for row in outcome.throughput if row.avatar == name), key=lambda row: row.batch)
        marks.append(_line([(across(row.batch), down(row.network_fps)) for row in rows], colour, width=2, dashed=True))
        marks.append(_line([(across(row.batch), down(row.engine_fps)) for row in rows], colour, width=2))
        marks += [_dot(across(row.batch), down(row.engine_fps), colour) for row in rows]
        for place, (label, dashed) in enumerate(((f"{name}, networks", True), (f"{name}, engine", False))):
            y = _TOP + 12 + 44 * number + 18 * place
            left = _WIDTH - _RIGHT + 14
            marks += [
                _line([(left, y), (left + 26, y)], colour, width=2, dashed=dashed),
                _text(left + 32, y + 4, label),
            ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'font-family="sans-serif">\n<rect width="100%" height="100%" fill="white"/>\n'
        + "\n".join(marks)
        + "\n</svg>\n"
    )


def _rate(fps: float) -> str:
    return f"{fps:.0f}" if fps >= 100 else f"{fps:.1f}"


def _line(points: list[tuple[float, float]], colour: str, *, width: float = 1, dashed: bool = False) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dash = ' stroke-dasharray="6 4"' if dashed else ""
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"{dash}/>'


def _dot(x: float, y: float, colour: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>'


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 12) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="#222222">{escape(text)}</text>'
    )
