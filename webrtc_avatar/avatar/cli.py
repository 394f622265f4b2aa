"""The commands `webrtc-avatar avatar import`, `create`, `list`, `inspect` and `check`.

Exit codes: 0 all went well, 1 something is wrong with an avatar or what should become one, 2 with the command line.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from webrtc_avatar.avatar.checking import Finding, check_package
from webrtc_avatar.avatar.footage import FootageAvatar, read_features
from webrtc_avatar.avatar.importing import ImportOptions, import_avatar
from webrtc_avatar.avatar.library import Library, imported_folder
from webrtc_avatar.avatar.manifest import MANIFEST_NAME
from webrtc_avatar.avatar.package import AnyAvatar, drawn, load_avatar
from webrtc_avatar.errors import AvatarServerError, CannotImport, UnknownAvatar

avatar_app = typer.Typer(
    help="Import, create, list, inspect and check avatars.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    no_args_is_help=True,
)

_STAGES = {
    "network": "Converting the network",
    "frames": "Reading frames",
    "files": "Copying files",
    "check": "Checking the package",
}
_COLOURS = {"ok": "green", "warning": "yellow", "fault": "red"}

_Folders = Annotated[
    list[Path] | None,
    typer.Option("--avatar-folder", metavar="FOLDER", help="A folder with more avatar packages; may be repeated."),
]
_Which = Annotated[str, typer.Argument(metavar="NAME|FOLDER", help="An avatar's name, or its package's folder.")]

console = Console(highlight=False)


@avatar_app.command("import")
def import_(
    path: Annotated[Path, typer.Argument(help="A SyncTalk_2D dataset, a video package, or a package of ours.")],
    *,
    name: Annotated[str | None, typer.Option(help="What visitors ask for: a-z 0-9 _ - [the folder's name].")] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="The generator: .pth, .onnx, or a folder of epochs [looked for].")
    ] = None,
    audio_encoder: Annotated[Path | None, typer.Option(help="Its audio encoder: .pth or .onnx [looked for].")] = None,
    into: Annotated[Path | None, typer.Option(help="The folder of avatars that it goes to [your own].")] = None,
    title: Annotated[str | None, typer.Option(help="Name for people [made of the name].")] = None,
    license_: Annotated[
        str, typer.Option("--license", help="SPDX expression of footage and network.")
    ] = "LicenseRef-unknown",
    chunks_after: Annotated[
        int, typer.Option(min=0, max=11, help="Look-ahead of live frames in chunks of 40 ms; 11: as trained.")
    ] = 11,
    force: Annotated[bool, typer.Option("--force", help="Replace an avatar of that name.")] = False,
) -> None:
    """Make an avatar of somebody's footage and network."""
    options = ImportOptions(
        into=into or imported_folder(),
        name=name,
        title=title,
        license=license_,
        checkpoint=checkpoint,
        encoder=audio_encoder,
        chunks_after=chunks_after,
        force=force,
    )
    try:
        with _ended_cleanly(), _progress() as bar:
            imported = import_avatar(path, options, bar)
        avatar = load_avatar(imported.folder)
    except AvatarServerError as error:
        _fail(error)
    for warning in imported.warnings:
        console.print(f"[yellow]Note:[/] {escape(warning)}.")
    console.print(f"\nImported [bold]{avatar.name}[/] from a {imported.source_kind}.")
    console.print(_facts(avatar))
    found = imported.folder.parent == imported_folder()
    folder = "" if found else f" --avatar-folder {imported.folder.parent}"
    console.print("Talk to it:", f"  webrtc-avatar serve --avatar {avatar.name}{folder}", sep="\n", soft_wrap=True)


@avatar_app.command("create")
def create(
    *,
    photo: Annotated[Path, typer.Option(help="A JPEG, PNG or WebP of one person who looks at the camera.")],
    name: Annotated[str, typer.Option(help="What visitors ask for: a-z 0-9 _ -.")],
    into: Annotated[Path | None, typer.Option(help="The folder of avatars that it goes to [your own].")] = None,
    title: Annotated[str | None, typer.Option(help="Name for people [made of the name].")] = None,
    license_: Annotated[str, typer.Option("--license", help="SPDX expression of the photo.")] = "LicenseRef-private",
    ear: Annotated[str, typer.Option(help="The drawn avatar that lends its hearing.")] = "iris",
    force: Annotated[bool, typer.Option("--force", help="Replace an avatar of that name.")] = False,
) -> None:
    """Make an avatar of one photo. Only with the consent of whom it shows: see docs/portraits.md."""
    from webrtc_avatar.avatar.portrait import PortraitOptions, create_portrait, read_photo

    shown = title or name.replace("_", " ").replace("-", " ").title()
    options = PortraitOptions(into or imported_folder(), name, shown, license_, force)
    try:
        try:
            data = photo.read_bytes()
        except OSError as error:
            raise CannotImport(f"{photo} cannot be read: {error.strerror}; name a JPEG, PNG or WebP file") from error
        with _ended_cleanly():
            made = create_portrait(read_photo(data), options, drawn(load_avatar(_package(ear, None))))
        avatar = load_avatar(made.folder)
    except AvatarServerError as error:
        _fail(error)
    for warning in made.warnings:
        console.print(f"[yellow]Note:[/] {escape(warning)}.")
    console.print(f"\nCreated [bold]{avatar.name}[/] from {escape(photo.name)}.")
    console.print(_facts(avatar))
    folder = "" if made.folder.parent == imported_folder() else f" --avatar-folder {made.folder.parent}"
    console.print("Talk to it:", f"  webrtc-avatar serve --avatar {avatar.name}{folder}", sep="\n", soft_wrap=True)


@avatar_app.command("list")
def list_(*, avatar_folder: _Folders = None) -> None:
    """Show the avatars that are installed, and those that are broken."""
    library = _library(avatar_folder)
    table = Table("name", "title", "kind", "pixels", "frames", "folder", box=None, pad_edge=False)
    for info in library.infos():
        frames = f"{info.frame_count} ({info.frame_count / 25:.0f} s)" if info.frame_count else "-"
        folder = str(library.folder(info.name))
        table.add_row(info.name, escape(info.title), info.kind, f"{info.width}x{info.height}", frames, escape(folder))
    console.print(table)
    for folder_path, fault in library.broken().items():
        console.print(f"[red]broken:[/] {escape(str(folder_path))}: {escape(fault)}", soft_wrap=True)


@avatar_app.command()
def inspect(which: _Which, *, avatar_folder: _Folders = None) -> None:
    """Tell what is in an avatar's package."""
    try:
        console.print(_facts(load_avatar(_package(which, avatar_folder))))
    except AvatarServerError as error:
        _fail(error)


@avatar_app.command()
def check(which: _Which, *, avatar_folder: _Folders = None) -> None:
    """Look at every frame, box and feature of an avatar, and let its network draw."""
    try:
        folder = _package(which, avatar_folder)
        with _progress() as bar:
            avatar, findings = check_package(folder, bar)
            if avatar is not None:
                bar("network", 0, 1)
                findings.append(_run_network(avatar))
                bar("network", 1, 1)
    except AvatarServerError as error:
        _fail(error)
    table = Table(box=None, show_header=False, pad_edge=False)
    for finding in findings:
        table.add_row(f"[{_COLOURS[finding.level]}]{finding.level}[/]", finding.what, escape(finding.verdict))
    console.print(table)
    if any(finding.level == "fault" for finding in findings):
        raise typer.Exit(1)


def _run_network(avatar: AnyAvatar) -> Finding:
    """Let the engine render two frames of silence, and the painter put them into the footage."""
    import asyncio
    import time

    import numpy as np

    from webrtc_avatar.audio.chunk import CHUNK_SAMPLES
    from webrtc_avatar.avatar.painters import painter_of
    from webrtc_avatar.cli import load_settings
    from webrtc_avatar.engine import Engine, Face
    from webrtc_avatar.engine.bulk import frames
    from webrtc_avatar.metrics import Metrics

    async def render() -> list[Face]:
        engine = Engine(load_settings(None, {}), Metrics())
        engine.start()
        try:
            return [face async for face in frames(engine, avatar, [np.zeros(CHUNK_SAMPLES, np.float32)] * 2)]
        finally:
            engine.close()

    started_s = time.monotonic()
    try:
        faces = asyncio.run(render())
        for number, face in enumerate(faces):
            if face.error is not None:
                return Finding("network", face.error.message, "fault")
            painter_of(avatar).paint(number % painter_of(avatar).frame_count, face.crop)
    except AvatarServerError as error:
        return Finding("network", error.message, "fault")
    return Finding("network", f"loads and draws {len(faces)} frames of silence in {time.monotonic() - started_s:.1f} s")


def _facts(avatar: AnyAvatar) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    rows = [("name", avatar.name), ("title", avatar.title), ("license", avatar.license)]
    if isinstance(avatar, FootageAvatar):
        sides = avatar.boxes[:, 2] - avatar.boxes[:, 0]
        features = read_features(avatar)
        model = avatar.model
        rows += [
            (
                "footage",
                f"{avatar.frame_count} frames of {avatar.width}x{avatar.height}, {avatar.frame_count / 25:.1f} s",
            ),
            ("face", f"{int(sides.min())} to {int(sides.max())} pixels wide"),
            ("network", f"{model.kind} {model.size}, hears {model.chunks_before} chunks before a frame"),
            ("look-ahead", f"{40 * model.chunks_after} ms"),
            ("features", "none" if features is None else f"{len(features)} rows of {features.shape[1]}"),
        ]
    else:
        rows += [
            ("drawn", f"{avatar.frame_size}x{avatar.frame_size} pixels, {len(avatar.eyes)} pictures of the eyes"),
            ("network", f"{avatar.model.kind}, hears {avatar.model.chunks_before} chunks before a frame"),
            ("look-ahead", f"{40 * avatar.model.chunks_after} ms"),
        ]
    rows += [("folder", str(avatar.folder)), ("on disk", f"{_disk_bytes(avatar.folder) / 1e6:.1f} MB")]
    for key, value in rows:
        table.add_row(f"[dim]{key}[/]", escape(value))
    return table


def _disk_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _library(folders: list[Path] | None) -> Library:
    from webrtc_avatar.cli import load_settings

    return Library(folders or load_settings(None, {}).avatar_folders)


def _package(which: str, folders: list[Path] | None) -> Path:
    if (Path(which) / MANIFEST_NAME).is_file():
        return Path(which)
    library = _library(folders)
    folder = library.folder(which)
    if folder is None:
        known = ", ".join(info.name for info in library.infos()) or "none"
        raise UnknownAvatar(f"there is no avatar and no package {which[:200]!r}; installed: {known}")
    return folder


@contextmanager
def _ended_cleanly() -> Iterator[None]:
    """Let SIGTERM end the command as Ctrl-C does, so that nothing half done stays behind."""
    former = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


@contextmanager
def _progress() -> Iterator[_Bar]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield _Bar(progress)


class _Bar:
    """Shows one line a stage."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks = {stage: progress.add_task(title, visible=False, total=None) for stage, title in _STAGES.items()}

    def __call__(self, stage: str, done: int, total: int) -> None:
        self._progress.update(self._tasks[stage], completed=done, total=total, visible=True)


def _fail(error: AvatarServerError) -> NoReturn:
    Console(stderr=True, highlight=False).print(f"webrtc-avatar: {escape(error.message)}", soft_wrap=True)
    raise typer.Exit(1) from error
