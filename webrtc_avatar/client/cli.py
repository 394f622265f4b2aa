"""The commands `webrtc-avatar peer`, `webrtc-avatar bench live`, `bench engine` and `bench chunked`.

Exit codes: 0 all went well, 1 the server or the connection failed, 2 the command line or a file is wrong.
"""

from __future__ import annotations

import asyncio
import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from webrtc_avatar.client.failures import ConnectionLost, NotMedia, NotWritable
from webrtc_avatar.client.peer import Peer
from webrtc_avatar.client.report import Report
from webrtc_avatar.client.speech_track import PACKET_S, load_speech
from webrtc_avatar.errors import AvatarServerError

peer_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
bench_app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, no_args_is_help=True
)

_WITHOUT_SOUND_S = 10.0
_AFTER_SOUND_S = 1.0
_FILE_COLUMNS = 120


class Codec(StrEnum):
    """Video codecs that a peer can insist on."""

    VP8 = "VP8"
    H264 = "H264"


@peer_app.command()
def peer(
    url: Annotated[str, typer.Argument(help="The server, such as http://127.0.0.1:8080")],
    *,
    audio: Annotated[Path | None, typer.Option(help="Sound file to send in real time.")] = None,
    record: Annotated[Path | None, typer.Option(help="MP4 of what comes back.")] = None,
    json_path: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
    seconds: Annotated[
        float | None, typer.Option(min=1, help="How long; the file repeats [its length, or 10 without one].")
    ] = None,
    avatar: Annotated[str | None, typer.Option(help="The avatar [the server's default].")] = None,
    watch: Annotated[str | None, typer.Option(help="Watch this session (WHEP) and send nothing.")] = None,
    codec: Annotated[Codec | None, typer.Option(help="Take only this video codec.")] = None,
    loss: Annotated[float, typer.Option(min=0, max=90, help="Drop so many percent of the packets, both ways.")] = 0.0,
) -> None:
    """Join a server as a headless peer: send a sound file, record and measure what comes back."""
    try:
        asyncio.run(
            _peer(
                url,
                audio=audio,
                record=record,
                json_path=json_path,
                seconds=seconds,
                avatar=avatar,
                watch=watch,
                codec=codec,
                loss=loss,
            )
        )
    except AvatarServerError as error:
        _fail(error)


async def _peer(
    url: str,
    *,
    audio: Path | None,
    record: Path | None,
    json_path: Path | None,
    seconds: float | None,
    avatar: str | None,
    watch: str | None,
    codec: Codec | None,
    loss: float,
) -> None:
    speech = None
    if audio is not None and watch is None:
        speech = load_speech(audio, lead_in_s=1.0, gap_s=0.8)
    if seconds is None:
        seconds = _WITHOUT_SOUND_S if speech is None else len(speech.packets) * PACKET_S + _AFTER_SOUND_S
    joined = Peer(
        url,
        audio=speech,
        avatar=avatar,
        watch=watch,
        record=record,
        codec=None if codec is None else codec.value,
        loss_percent=loss,
    )
    lost: ConnectionLost | None = None
    async with joined:
        try:
            await joined.run(seconds)
        except ConnectionLost as error:
            lost = error
        report = joined.report()
    _write(report, json_path)
    Console().print(report.table())
    if lost is not None:
        raise lost


def _write(report: Report, path: Path | None) -> None:
    if path is not None:
        _write_text(path, json.dumps(report.as_dict(), indent=2) + "\n")


@bench_app.callback()
def _bench() -> None:
    """Measure the project on this machine."""


@bench_app.command()
def live(
    *,
    sessions: Annotated[
        list[int] | None, typer.Option(min=1, max=64, help="How many peers; repeat for several runs [1 and 4].")
    ] = None,
    seconds: Annotated[float, typer.Option(min=3, help="How long each run is measured.")] = 20.0,
    loss: Annotated[
        float, typer.Option(min=0, max=90, help="Percent of packets that the peers drop, both ways.")
    ] = 0.0,
    audio: Annotated[
        Path | None, typer.Option(help="Speech to send [LibriVox sentences or espeak-ng, whichever is installed].")
    ] = None,
    record: Annotated[Path | None, typer.Option(help="MP4 of what the first peer of the last run received.")] = None,
    json_path: Annotated[Path | None, typer.Option("--json", help="Write all figures to this file.")] = None,
) -> None:
    """Run a server in this process and headless peers in another; print what both measured."""
    from webrtc_avatar.client import bench_live
    from webrtc_avatar.client.bench_speech import bench_speech
    from webrtc_avatar.settings import Settings

    counts = sessions or [1, 4]
    flags: dict[str, Any] = {"max_sessions": max(counts), "grpc": False, "log_level": "warning"}
    try:
        settings = Settings(**flags)
        with bench_speech(audio) as speech:
            outcomes = asyncio.run(
                bench_live.bench_live(
                    sessions=counts,
                    seconds=seconds,
                    audio=speech,
                    loss_percent=loss,
                    settings=settings,
                    record=record,
                )
            )
        if json_path is not None:
            json_path.write_text(bench_live.as_json(outcomes) + "\n")
    except AvatarServerError as error:
        _fail(error)
    Console().print(bench_live.table(outcomes))


@bench_app.command()
def engine(
    *,
    avatar: Annotated[list[str] | None, typer.Option(help="Whose model; may be repeated [iris].")] = None,
    avatar_folder: Annotated[
        list[Path] | None, typer.Option(metavar="FOLDER", help="A folder with more avatar packages; may be repeated.")
    ] = None,
    batch: Annotated[
        list[int] | None, typer.Option(min=1, max=256, help="Frames in one call; may be repeated [1, 2, 4, 8, 16].")
    ] = None,
    sessions: Annotated[
        list[int] | None, typer.Option(min=0, max=256, help="Live sessions; may be repeated, 0: none [1, 4, 8].")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long each thing is measured.")] = 4.0,
    device: Annotated[str, typer.Option(help="auto, cpu, mps, cuda:N or a list.")] = "auto",
    runtime: Annotated[str, typer.Option(help="auto, onnx, torch or tensorrt.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, float32, float16 or bfloat16.")] = "auto",
    engine_threads: Annotated[int, typer.Option(min=1, help="Threads of one model call on a CPU.")] = 1,
    json_path: Annotated[Path | None, typer.Option("--json", help="Write all figures to this file.")] = None,
    plot_path: Annotated[Path | None, typer.Option("--plot", help="Write a picture (SVG) to this file.")] = None,
) -> None:
    """Measure the engine in this process beside the bare networks; print what it adds to them."""
    from webrtc_avatar.avatar.library import Library
    from webrtc_avatar.cli import load_settings
    from webrtc_avatar.client import bench_engine, bench_engine_report

    flags = {"device": device, "runtime": runtime, "precision": precision, "engine_threads": engine_threads}
    try:
        settings = load_settings(None, flags)
        library = Library([*(avatar_folder or []), *settings.avatar_folders])
        console = Console(stderr=True)
        outcome = bench_engine.bench_engine(
            [library.get(name) for name in avatar or [settings.avatar]],
            batches=batch or [1, 2, 4, 8, 16],
            sessions=[count for count in sessions or [1, 4, 8] if count],
            seconds=seconds,
            settings=settings,
            on_progress=lambda step: console.print(f"measuring {step}"),
        )
        if json_path is not None:
            _write_text(json_path, bench_engine_report.as_json(outcome) + "\n")
        if plot_path is not None:
            _write_text(plot_path, bench_engine_report.plot(outcome))
    except AvatarServerError as error:
        _fail(error)
    shown = Console()
    if not shown.is_terminal:
        shown.width = _FILE_COLUMNS
    shown.print(bench_engine_report.tables(outcome))


@bench_app.command()
def chunked(
    *,
    url: Annotated[
        str | None, typer.Option(help="A server that runs, measured as it is set [servers of its own].")
    ] = None,
    photo: Annotated[Path | None, typer.Option(help="Whose face is uploaded [the shipped avatar's].")] = None,
    audio: Annotated[
        Path | None, typer.Option(help="Speech to feed [LibriVox sentences or espeak-ng, whichever is installed].")
    ] = None,
    sessions: Annotated[int, typer.Option(min=1, max=64, help="Side by side, one more each time.")] = 4,
    seconds: Annotated[float, typer.Option(min=1, help="How long those are fed.")] = 20.0,
    repeats: Annotated[int, typer.Option(min=1, max=20, help="How often everything else is measured.")] = 3,
    nfe: Annotated[
        list[int] | None, typer.Option(min=5, max=50, help="Whose cost; may be repeated [5, 10, 20, 50].")
    ] = None,
    json_path: Annotated[Path | None, typer.Option("--json", help="Write all figures to this file.")] = None,
) -> None:
    """Feed chunked sessions of a server in another process; print how soon and how fast their films come."""
    from webrtc_avatar.client import bench_chunked, bench_chunked_report
    from webrtc_avatar.client.bench_speech import bench_speech

    console = Console(stderr=True)
    try:
        with bench_speech(audio) as speech:
            plan = bench_chunked.Plan(
                speech, photo, url, sessions, seconds, repeats, nfes=tuple(nfe or bench_chunked.NFES)
            )
            outcome = asyncio.run(
                bench_chunked.bench_chunked(plan, on_progress=lambda step: console.print(f"measuring {step}"))
            )
        if json_path is not None:
            _write_text(json_path, bench_chunked_report.as_json(outcome) + "\n")
    except AvatarServerError as error:
        _fail(error)
    shown = Console()
    if not shown.is_terminal:
        shown.width = _FILE_COLUMNS
    shown.print(bench_chunked_report.tables(outcome))


@bench_app.command()
def speech(
    *,
    url: Annotated[
        str | None, typer.Option(help="A running server for what a viewer hears [one is started for it].")
    ] = None,
    voice: Annotated[str | None, typer.Option(help="Whose voice, ENGINE/NAME [the default one].")] = None,
    batch: Annotated[
        list[int] | None, typer.Option(min=1, max=64, help="Most requests in a batch; may be repeated [1, 2, 4, 8].")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=64, help="Processes that speak [2].")] = None,
    requests: Annotated[int, typer.Option(min=1, help="At once.")] = 48,
    rounds: Annotated[int, typer.Option(min=1, help="How often everything is measured, in turns.")] = 5,
    json_path: Annotated[Path | None, typer.Option("--json", help="Write all figures to this file.")] = None,
) -> None:
    """Have many texts said with and without batches, and a session speak and fall silent; print rates and waits."""
    from webrtc_avatar.cli import load_settings
    from webrtc_avatar.client import bench_voices, bench_voices_live, bench_voices_report
    from webrtc_avatar.settings import Settings

    console = Console(stderr=True)
    sizes = batch or [1, 2, 4, 8]

    def tell(step: str) -> None:
        console.print(f"measuring {step}")

    async def measure(settings: Settings) -> bench_voices_report.Outcome:
        calls = await asyncio.to_thread(bench_voices.bench_calls, settings, sizes=sizes, rounds=rounds)
        throughput = await bench_voices.bench_throughput(
            settings, sizes=[0, *sizes], requests=requests, rounds=rounds, on_progress=tell
        )
        heard = await bench_voices_live.bench_server(url, repeats=2 * rounds, on_progress=tell)
        return bench_voices_report.Outcome(throughput, calls, heard)

    try:
        flags = {"voice": voice, "speech_workers": workers}
        settings = load_settings(None, {name: value for name, value in flags.items() if value is not None})
        outcome = asyncio.run(measure(settings))
        if json_path is not None:
            _write_text(json_path, bench_voices_report.as_json(outcome) + "\n")
    except AvatarServerError as error:
        _fail(error)
    shown = Console()
    if not shown.is_terminal:
        shown.width = _FILE_COLUMNS
    shown.print(bench_voices_report.tables(outcome))


def _write_text(path: Path, text: str) -> None:
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise NotWritable(
            f"{path} cannot be written ({error.strerror}); name a file in a folder that exists"
        ) from error


def _fail(error: AvatarServerError) -> NoReturn:
    typer.echo(f"webrtc-avatar: {error.message}", err=True)
    raise typer.Exit(2 if isinstance(error, NotMedia | NotWritable) else 1) from error
