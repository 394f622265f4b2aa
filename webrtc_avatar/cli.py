"""Commands and flags, nothing else. What a command needs is imported when it runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from webrtc_avatar import __version__
from webrtc_avatar.errors import AvatarServerError, InvalidSettings

if TYPE_CHECKING:
    from webrtc_avatar.settings import Settings

app = typer.Typer(
    help="A real-time avatar server: a voice in, a lip-synced face out, over WebRTC.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

_DELEGATED: dict[str, Any] = {
    "context_settings": {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
}


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


@app.command()
def serve(
    *,
    host: Annotated[str | None, typer.Option(help="Address to listen on [127.0.0.1].")] = None,
    port: Annotated[int | None, typer.Option(help="HTTP port; 0 takes a free one [8080].")] = None,
    grpc: Annotated[
        bool | None, typer.Option("--grpc/--no-grpc", help="Serve lip-sync over gRPC as well [yes].")
    ] = None,
    grpc_port: Annotated[int | None, typer.Option(help="gRPC port; 0 takes a free one [50051].")] = None,
    grpc_tls_cert: Annotated[
        Path | None, typer.Option(metavar="FILE", help="PEM certificate of the gRPC port.")
    ] = None,
    grpc_tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="PEM key of that certificate.")] = None,
    avatar: Annotated[str | None, typer.Option(help="The avatar of those who name none [iris].")] = None,
    avatar_folder: Annotated[
        list[Path] | None, typer.Option(metavar="FOLDER", help="A folder with more avatar packages; may be repeated.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file with settings.")] = None,
    max_sessions: Annotated[int | None, typer.Option(help="Sessions at once [two a core, 12 at most].")] = None,
    max_viewers: Annotated[int | None, typer.Option(help="Viewers of one session [64].")] = None,
    ice_server: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL", help="URL of a STUN or TURN server, such as stun:stun.example.org; may be repeated."
        ),
    ] = None,
    allowed_origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN", help="Another site whose pages may use the server, or * for any; may be repeated."
        ),
    ] = None,
    frame_px: Annotated[int | None, typer.Option(help="Width and height of the video, 512 or 720 [512].")] = None,
    video_bitrate_bps: Annotated[int | None, typer.Option(help="Upper bound of the video bitrate.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, mps, cuda:N or a list [auto].")] = None,
    runtime: Annotated[str | None, typer.Option(help="auto, onnx, torch or tensorrt [auto].")] = None,
    engine: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST:PORT", help="An engine on another machine, in place of one here; may be repeated."),
    ] = None,
    engine_tls_ca: Annotated[
        Path | None, typer.Option(metavar="FILE", help="PEM certificates by which those engines are trusted.")
    ] = None,
    engine_threads: Annotated[int | None, typer.Option(help="Threads of one model call on a CPU [1].")] = None,
    media_threads: Annotated[int | None, typer.Option(help="Threads that compose and encode [2].")] = None,
    drain_timeout_s: Annotated[float | None, typer.Option(help="How long SIGTERM waits for sessions [20].")] = None,
    alive: Annotated[
        bool | None,
        typer.Option("--alive/--still", help="Blinks, glances, sway, nods; or only the mouth moves [alive]."),
    ] = None,
    pose_style: Annotated[
        tuple[float, float, float] | None,
        typer.Option(metavar="PITCH YAW ROLL", help="How the head is held, degrees: down, to the right [0 0 0]."),
    ] = None,
    gaze_style: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="X Y", help="Where the eyes look, -1 to 1: to the right, up [0 0]."),
    ] = None,
    watermark: Annotated[
        str | None,
        typer.Option(metavar="TEXT|PNG", help="Burn this into every picture, such as AI-generated [nothing]."),
    ] = None,
    log_format: Annotated[str | None, typer.Option(help="text or json [text].")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error [info].")] = None,
) -> None:
    """Serve the pages and the avatars.

    Every setting can also come from the environment (WEBRTC_AVATAR_PORT=…) or from a TOML file; flags win over the
    environment, the environment over the file.
    """
    flags = {
        "host": host,
        "port": port,
        "grpc": grpc,
        "grpc_port": grpc_port,
        "grpc_tls_cert": grpc_tls_cert,
        "grpc_tls_key": grpc_tls_key,
        "avatar": avatar,
        "avatar_folders": avatar_folder or None,
        "max_sessions": max_sessions,
        "max_viewers": max_viewers,
        "allowed_origins": allowed_origin or None,
        "ice_servers": [{"urls": url} for url in ice_server] if ice_server else None,
        "frame_px": frame_px,
        "video_bitrate_bps": video_bitrate_bps,
        "device": device,
        "runtime": runtime,
        "engines": engine or None,
        "engine_tls_ca": engine_tls_ca,
        "engine_threads": engine_threads,
        "media_threads": media_threads,
        "drain_timeout_s": drain_timeout_s,
        "alive": alive,
        "pose_style": pose_style,
        "gaze_style": gaze_style,
        "watermark": watermark,
        "log_format": log_format,
        "log_level": log_level,
    }
    try:
        settings = load_settings(config, {name: value for name, value in flags.items() if value is not None})
        from webrtc_avatar import log

        log.configure(settings)
        from webrtc_avatar.server.serve import serve as run

        run(settings)
    except AvatarServerError as error:
        _fail(error)


@app.command()
def engine(
    *,
    host: Annotated[str | None, typer.Option(help="Address to listen on [127.0.0.1].")] = None,
    grpc_port: Annotated[int | None, typer.Option(help="gRPC port; 0 takes a free one [50051].")] = None,
    grpc_tls_cert: Annotated[Path | None, typer.Option(metavar="FILE", help="PEM certificate of the port.")] = None,
    grpc_tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="PEM key of that certificate.")] = None,
    avatar: Annotated[str | None, typer.Option(help="The avatar that is loaded at the start [iris].")] = None,
    avatar_folder: Annotated[
        list[Path] | None, typer.Option(metavar="FOLDER", help="A folder with more avatar packages; may be repeated.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file with settings.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda:N, or several: cuda:0,cuda:1 [auto].")] = None,
    runtime: Annotated[str | None, typer.Option(help="auto, onnx, torch or tensorrt [auto].")] = None,
    engine_threads: Annotated[int | None, typer.Option(help="Threads of one model call on a CPU [1].")] = None,
    max_batch_size: Annotated[int | None, typer.Option(help="Most frames in one model call [16].")] = None,
    rpc_threads: Annotated[int | None, typer.Option(help="Threads that compose and encode [half the cores].")] = None,
    drain_timeout_s: Annotated[float | None, typer.Option(help="How long SIGTERM waits for calls [20].")] = None,
    log_format: Annotated[str | None, typer.Option(help="text or json [text].")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error [info].")] = None,
) -> None:
    """Serve lip-sync over gRPC alone: no pages, no sessions. Settings come from the same places as those of `serve`."""
    flags = {
        "host": host,
        "grpc_port": grpc_port,
        "grpc_tls_cert": grpc_tls_cert,
        "grpc_tls_key": grpc_tls_key,
        "avatar": avatar,
        "avatar_folders": avatar_folder or None,
        "device": device,
        "runtime": runtime,
        "engine_threads": engine_threads,
        "max_batch_size": max_batch_size,
        "rpc_threads": rpc_threads,
        "drain_timeout_s": drain_timeout_s,
        "log_format": log_format,
        "log_level": log_level,
    }
    try:
        settings = load_settings(config, {name: value for name, value in flags.items() if value is not None})
        from webrtc_avatar import log

        log.configure(settings)
        from webrtc_avatar.server.engine_alone import serve_engine

        serve_engine(settings)
    except AvatarServerError as error:
        _fail(error)


@app.command(**_DELEGATED)
def peer(context: typer.Context) -> None:
    """Join a server as a headless peer: send a sound file, record and measure what comes back."""
    from webrtc_avatar.client.cli import peer_app

    peer_app(args=context.args, prog_name="webrtc-avatar peer")


@app.command(**_DELEGATED)
def bench(context: typer.Context) -> None:
    """Measure: `bench live` runs a server and peers, and prints a table."""
    from webrtc_avatar.client.cli import bench_app

    bench_app(args=context.args, prog_name="webrtc-avatar bench")


@app.command(**_DELEGATED)
def render(context: typer.Context) -> None:
    """Render a film: an avatar says a sound file, as MP4 with sound."""
    from webrtc_avatar.render.command import render_app

    render_app(args=context.args, prog_name="webrtc-avatar render")


@app.command(**_DELEGATED)
def say(context: typer.Context) -> None:
    """Say a text into a sound file, or list the voices."""
    from webrtc_avatar.speech.command import say_app

    say_app(args=context.args, prog_name="webrtc-avatar say")


@app.command(**_DELEGATED)
def savings(context: typer.Context) -> None:
    """Print what sending each chunk of sound once saves."""
    from webrtc_avatar.client.savings import savings_app

    savings_app(args=context.args, prog_name="webrtc-avatar savings")


@app.command(**_DELEGATED)
def avatar(context: typer.Context) -> None:
    """Import, list, inspect and check avatars."""
    from webrtc_avatar.avatar.cli import avatar_app

    avatar_app(args=context.args, prog_name="webrtc-avatar avatar")


@app.command(name="eval", **_DELEGATED)
def evaluate(context: typer.Context) -> None:
    """Tell how well an avatar speaks: one table, on speech and mouths that it was not made from."""
    from webrtc_avatar.evaluation.command import eval_app

    eval_app(args=context.args, prog_name="webrtc-avatar eval")


def load_settings(config: Path | None, flags: dict[str, Any]) -> Settings:
    """Return the settings of flags, environment and file.

    Raises:
        InvalidSettings: one of them has a value that cannot be, or a name that does not exist.
    """
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    from webrtc_avatar.settings import Settings

    if config is not None and not config.is_file():
        raise InvalidSettings(f"there is no settings file {config}; check the path given to --config")
    try:
        return Settings.from_file(config, **flags) if config is not None else Settings(**flags)
    except ValidationError as error:
        faults = "; ".join(f"{_place(fault['loc'])}: {fault['msg']}" for fault in error.errors())
        raise InvalidSettings(f"settings cannot be followed: {faults}") from error
    except (SettingsError, ValueError, OSError) as error:
        raise InvalidSettings(f"settings cannot be read: {error}") from error


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location) or "settings"


def _fail(error: AvatarServerError) -> NoReturn:
    print(f"webrtc-avatar: {error.message}", file=sys.stderr)
    raise typer.Exit(1) from error
