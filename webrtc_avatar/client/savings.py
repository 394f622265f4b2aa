"""The command `webrtc-avatar savings`: what sending each chunk once saves, as the seed documents tabulate it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from webrtc_avatar.audio.window import SAVINGS_FRAMES, Savings

savings_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

_KIB = 1024
_MIB = 1024 * 1024


@savings_app.command()
def savings(
    frames: Annotated[
        list[int] | None, typer.Argument(min=1, help="Frames of a request; several [1 2 4 8 20 100 240 500].")
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON in place of the table.")] = False,
) -> None:
    """Print how many 40 ms chunks a request of consecutive frames needs, and what each sent once saves."""
    rows = [Savings(count) for count in frames or SAVINGS_FRAMES]
    if as_json:
        print(json.dumps([as_dict(row) for row in rows], indent=2))
    else:
        Console().print(table(rows))
        print(
            "A frame hears 16 chunks, so frames x 16 when each brings its own; frames + 15 when each chunk is sent once."
        )


def as_dict(row: Savings) -> dict[str, float]:
    """Return a row as plain values, bytes for float32."""
    return {
        "frames": row.frames,
        "redundant_chunks": row.redundant_chunks,
        "chunks": row.chunks,
        "saved_chunks": row.saved_chunks,
        "saved_bytes": row.saved_bytes,
        "saved_share": row.share,
    }


def table(rows: Sequence[Savings]) -> Table:
    """Return the table for a person."""
    made = Table()
    for name in ("frames", "16 chunks a frame", "each chunk once", "chunks saved", "share saved", "data saved"):
        made.add_column(name, justify="right")
    for row in rows:
        made.add_row(
            f"{row.frames:,}",
            f"{row.redundant_chunks:,}",
            f"{row.chunks:,}",
            f"{row.saved_chunks:,}",
            f"{100 * row.share:.1f} %",
            _size(row.saved_bytes),
        )
    return made


def _size(count: int) -> str:
    return f"{count / _MIB:.2f} MiB" if count >= _MIB else f"{count / _KIB:.1f} KiB"
