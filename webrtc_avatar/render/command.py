"""The command `webrtc-avatar render`: a sound file and an avatar become a film.

Exit codes: 0 the film is whole, 1 it could not be made, 2 the command line or a file is wrong, 130 it was interrupted. Only with 0 there
is a film.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from webrtc_avatar.audio.chunk import FRAME_RATE_HZ
from webrtc_avatar.errors import AvatarServerError, CannotWrite, InvalidSettings, UnknownAvatar, UnreadableSound

render_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

_PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")


@render_app.command()
def render(
    *,
    audio: Annotated[
        Path | None, typer.Option(help="The sound: any file that FFmpeg reads, a film's sound too.")
    ] = None,
    text: Annotated[
        str | None, typer.Option(help="In place of a sound: what to say, SSML if it begins with <speak.")
    ] = None,
    voice: Annotated[str | None, typer.Option(help="Who says it, see `webrtc-avatar say --voices`.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The film to make, .mp4.")],
    avatar: Annotated[str, typer.Option(help="Who speaks.")] = "iris",
    avatar_folder: Annotated[
        list[Path] | None, typer.Option(metavar="FOLDER", help="A folder with more avatar packages; may be repeated.")
    ] = None,
    frame_px: Annotated[
        int | None, typer.Option(min=64, max=2048, help="Width and height, such as 512 or 720 [the avatar's own].")
    ] = None,
    start: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="Skip so much of the sound.")] = 0.0,
    duration: Annotated[
        float | None, typer.Option(min=0.04, metavar="SECONDS", help="Take at most so much of it [all].")
    ] = None,
    lead_in: Annotated[float, typer.Option(min=0, max=60, metavar="SECONDS", help="Rest before the sound.")] = 0.0,
    lead_out: Annotated[float, typer.Option(min=0, max=60, metavar="SECONDS", help="Rest behind it.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Decides blinks, glances and sway: the same seed, the same film.")] = 0,
    watermark: Annotated[
        str | None, typer.Option(metavar="TEXT|PNG", help="Burn this into the picture, such as AI-generated [nothing].")
    ] = None,
    still: Annotated[bool, typer.Option("--still", help="Only the mouth moves.")] = False,
    crf: Annotated[int, typer.Option(min=0, max=51, help="Quality of the picture: each 6 more halve the size.")] = 17,
    preset: Annotated[str, typer.Option(help="x264's: from ultrafast to veryslow.")] = "veryfast",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a film that is there.")] = False,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda:N [auto].")] = None,
    runtime: Annotated[str | None, typer.Option(help="auto, onnx or torch [auto].")] = None,
    engine: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST:PORT", help="An engine on another machine, in place of one here; may be repeated."),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file with settings.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Render an avatar saying a sound file: H.264 and AAC in an MP4, nothing sent anywhere."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        if preset not in _PRESETS:
            raise InvalidSettings(f"there is no preset {preset!r}; x264 has {', '.join(_PRESETS)}")
        flags: dict[str, Any] = {
            "avatar_folders": avatar_folder or None,
            "engines": engine or None,
            "device": device,
            "runtime": runtime,
            "watermark": watermark,
            "log_level": "warning",
        }
        if still:
            flags["alive"] = False
        script = {
            "output": output,
            "start_s": start,
            "duration_s": duration,
            "lead_in_s": lead_in,
            "lead_out_s": lead_out,
            "seed": seed,
            "frame_px": frame_px,
            "crf": crf,
            "preset": preset,
            "overwrite": overwrite,
        }
        told = {name: value for name, value in flags.items() if value is not None}
        with _sound(audio, text, voice, config, told) as script["audio"]:
            _render(avatar, script, config, told, quiet)
    except AvatarServerError as error:
        _fail(error)
    except KeyboardInterrupt:
        print(f"webrtc-avatar: interrupted; {output} was not made", file=sys.stderr)
        raise typer.Exit(130) from None


@contextmanager
def _sound(
    audio: Path | None, text: str | None, voice: str | None, config: Path | None, flags: dict[str, Any]
) -> Iterator[Path]:
    """Yield the file with the sound; that of a text is there as long as it is needed."""
    if (audio is None) == (text is None):
        raise InvalidSettings("either --audio with a file or --text with what to say is needed, not both")
    if audio is not None:
        yield audio
        return
    from webrtc_avatar.cli import load_settings
    from webrtc_avatar.speech.alone import write
    from webrtc_avatar.speech.request import SpeechRequest

    with tempfile.TemporaryDirectory(prefix="webrtc-avatar-") as folder:
        path = Path(folder) / "speech.wav"
        write(SpeechRequest(text=text or "", voice=voice), load_settings(config, flags), path)
        yield path


def _render(avatar: str, script: dict[str, Any], config: Path | None, flags: dict[str, Any], quiet: bool) -> None:
    from webrtc_avatar.avatar.library import Library
    from webrtc_avatar.cli import load_settings
    from webrtc_avatar.engine.choice import make_engine
    from webrtc_avatar.metrics import Metrics
    from webrtc_avatar.render.film import Script, render

    settings = load_settings(config, flags)
    logging.getLogger("libav").setLevel(logging.ERROR)
    chosen = Library(settings.avatar_folders).get(avatar)
    engine = make_engine(settings, Metrics())
    engine.start()
    try:
        with _Bar(quiet or not sys.stderr.isatty()) as bar:
            film = asyncio.run(render(chosen, Script(**script), engine=engine, settings=settings, progress=bar.show))
    finally:
        engine.close()
    print(
        f"{script['output']}: {film.frames} frames, {film.length_s:.1f} s in {film.wall_s:.1f} s, "
        f"{film.speed:.1f} times real time"
    )
    if film.failed_frames:
        print(
            f"webrtc-avatar: {film.failed_frames} of them could not be made and show the face before them; "
            "run it again with --config and log_level = \"info\" to see why",
            file=sys.stderr,
        )  # fmt: skip


class _Bar:
    """Progress with frames a second and speed; where nobody looks, nothing."""

    def __init__(self, hidden: bool) -> None:
        self._progress = Progress(
            TextColumn("{task.fields[position]}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[pace]}"),
            TimeRemainingColumn(compact=True),
            console=Console(stderr=True),
            transient=True,
            disable=hidden,
        )
        self._task = self._progress.add_task("film", total=None, position="0:00", pace="")
        self._started_s = time.monotonic()

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, frames: int, announced: int | None) -> None:
        fps = frames / max(time.monotonic() - self._started_s, 1e-3)
        self._progress.update(
            self._task,
            completed=frames,
            total=None if announced is None else max(announced, frames),
            position=_clock(frames / FRAME_RATE_HZ),
            pace=f"{fps:.0f} fps, {fps / FRAME_RATE_HZ:.1f}x real time",
        )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    """Let SIGTERM tidy up as Ctrl-C does."""
    raise KeyboardInterrupt


def _fail(error: AvatarServerError) -> NoReturn:
    print(f"webrtc-avatar: {error.message}", file=sys.stderr)
    asked_wrongly = isinstance(error, UnreadableSound | CannotWrite | UnknownAvatar | InvalidSettings)
    raise typer.Exit(2 if asked_wrongly else 1) from error
