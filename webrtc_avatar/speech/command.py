"""The command `webrtc-avatar say`: a text becomes a sound file, or the voices are listed.

Exit codes: 0 the file is whole, 1 it could not be made, 2 the command line or the text is wrong.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from webrtc_avatar.errors import (
    AvatarServerError,
    CannotWrite,
    InvalidRequest,
    InvalidSettings,
    SpeechRefused,
    UnknownVoice,
)

if TYPE_CHECKING:
    from webrtc_avatar.speech.registry import Registry

say_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

_WRONG = (InvalidRequest, InvalidSettings, SpeechRefused, UnknownVoice, CannotWrite)
_FILE_COLUMNS = 120


@say_app.command()
def say(
    *,
    text: Annotated[
        str | None, typer.Argument(help="What to say, SSML if it begins with <speak; - reads it from standard input.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to make: .wav, .ogg (Opus) or .pcm.")
    ] = None,
    voice: Annotated[str | None, typer.Option(help="ENGINE/NAME, or an engine for its default voice.")] = None,
    speed: Annotated[float, typer.Option(min=0.5, max=2, help="Times the voice's own.")] = 1.0,
    pitch: Annotated[float, typer.Option(min=0.5, max=2, help="Times the voice's own.")] = 1.0,
    emotion: Annotated[str | None, typer.Option(help="As the voice names it.")] = None,
    style: Annotated[str | None, typer.Option(help="As the voice names it.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Draws what is random: the same seed, the same sound.")] = 0,
    voices: Annotated[bool, typer.Option("--voices", help="List the voices that are installed.")] = False,
    config: Annotated[Path | None, typer.Option(help="A TOML file with settings.")] = None,
) -> None:
    """Say a text into a sound file, nothing sent anywhere but to voices that are services."""
    from webrtc_avatar.cli import load_settings
    from webrtc_avatar.speech.alone import write
    from webrtc_avatar.speech.registry import Registry
    from webrtc_avatar.speech.request import SpeechRequest

    try:
        settings = load_settings(config, {})
        if voices:
            _list(Registry(settings))
            return
        if text is None or output is None:
            raise InvalidSettings(
                "a text and the file to make are needed: webrtc-avatar say 'Good morning.' -o morning.wav"
            )
        request = SpeechRequest(
            text=sys.stdin.read() if text == "-" else text,
            voice=voice,
            speed=speed,
            pitch=pitch,
            emotion=emotion,
            style=style,
            seed=seed,
        )
        started_s = time.perf_counter()
        length_s = write(request, settings, output)
    except AvatarServerError as error:
        typer.echo(f"webrtc-avatar: {error.message}", err=True)
        raise typer.Exit(2 if isinstance(error, _WRONG) else 1) from error
    typer.echo(f"{output}: {length_s:.1f} s of sound in {time.perf_counter() - started_s:.1f} s")


def _list(registry: Registry) -> None:
    console = Console()
    if not console.is_terminal:
        console.width = _FILE_COLUMNS
    table = Table("voice", "language", "what it follows", "licence")
    for info in registry.voices():
        table.add_row(info.id, info.language, ", ".join(sorted(info.abilities)), info.licence)
    console.print(table)
    for name, reason in registry.unavailable().items():
        console.print(f"{name}: {reason}", style="dim")
