"""`import_avatar`: finds out what somebody brings, and makes it a package or leaves nothing behind."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from webrtc_avatar.avatar.checking import check_package
from webrtc_avatar.avatar.files import inner_path
from webrtc_avatar.avatar.importing.dataset import import_dataset, is_dataset
from webrtc_avatar.avatar.importing.draft import Draft, Progress
from webrtc_avatar.avatar.importing.parts import Options
from webrtc_avatar.avatar.importing.video_package import import_video_package, is_video_package, package_title
from webrtc_avatar.avatar.manifest import MANIFEST_NAME, NAME_PATTERN, read_manifest
from webrtc_avatar.errors import CannotImport


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """How to import.

    Attributes:
        into: the folder of packages that it goes to.
        name: what visitors will ask for; none: the source folder's name.
        title: name for people; none: made of the name.
        license: SPDX expression of footage and network.
        checkpoint: the generator; none: looked for.
        encoder: the audio encoder; none: looked for.
        chunks_after: 40 ms chunks of look-ahead of live frames, 0 to 11.
        force: take the place of an avatar of that name.
    """

    into: Path
    name: str | None = None
    title: str | None = None
    license: str = "LicenseRef-unknown"
    checkpoint: Path | None = None
    encoder: Path | None = None
    chunks_after: int = 11
    force: bool = False


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of it.

    Attributes:
        folder: the package.
        source_kind: what was recognised.
        warnings: what people should know.
    """

    folder: Path
    source_kind: str
    warnings: list[str] = field(default_factory=list)


def import_avatar(
    source: Path, options: ImportOptions, progress: Progress = lambda _what, _done, _total: None
) -> Imported:
    """Make a package of a SyncTalk_2D dataset, of a video package, or of a package of ours.

    Args:
        source: its folder.
        options: how.
        progress: told what is being done, how far it is, and how far it goes.

    Raises:
        AvatarExists: an avatar of that name is there.
        CannotImport, InvalidAvatar: something is missing or wrong; nothing is left behind.
    """
    if not source.is_dir():
        raise CannotImport(f"{source} is no folder; give the dataset's or the package's own")
    name = options.name or _name_of(source)
    if not re.fullmatch(NAME_PATTERN, name):
        raise CannotImport(
            f"an avatar cannot be called {name[:80]!r}: use a-z, 0-9, _ and -, up to 64; choose with --name"
        )
    if not 0 <= options.chunks_after <= 11:
        raise CannotImport(f"chunks_after is {options.chunks_after}, expected 0 to 11; 11 is what the original hears")
    with Draft(options.into, name, force=options.force) as draft:
        kind = _fill(source, draft, name, options, progress)
        progress("check", 0, 1)
        folder = draft.finish()
        progress("check", 1, 1)
        return Imported(folder, kind, draft.warnings)


def _fill(source: Path, draft: Draft, name: str, options: ImportOptions, progress: Progress) -> str:
    checkpoint, encoder = options.checkpoint, options.encoder
    told = Options(name, _shown(options.title or name.replace("_", " ").title()), options.license, options.chunks_after)
    if (source / MANIFEST_NAME).is_file():
        _copy_package(source, draft, told, progress)
        return "package"
    if is_video_package(source):
        title = _shown(options.title or package_title(source) or told.title)
        told = Options(name, title, options.license, options.chunks_after)
        import_video_package(source, draft, told, checkpoint=checkpoint, encoder=encoder, progress=progress)
        return "video package"
    if is_dataset(source):
        import_dataset(source, draft, told, checkpoint=checkpoint, encoder=encoder, progress=progress)
        return "SyncTalk_2D dataset"
    raise CannotImport(
        f"{source} is none of what can be imported: a SyncTalk_2D dataset (full_body_img, landmarks), a video package "
        f"(full_body_video.mp4, cache/crop_rectangles.json), or a package with {MANIFEST_NAME}"
    )


def _copy_package(source: Path, draft: Draft, options: Options, progress: Progress) -> None:
    """Copy a package of ours under a name of its own; links stay out, and so does what leads out of it."""
    read_manifest(source)
    files = [path for path in sorted(source.rglob("*")) if path.is_file() and not path.is_symlink()]
    draft.need_bytes(sum(path.stat().st_size for path in files))
    for number, path in enumerate(files, 1):
        target = draft.folder / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(inner_path(source, path.relative_to(source).as_posix()), target)
        progress("files", number, len(files))
    text = (draft.folder / MANIFEST_NAME).read_text(encoding="utf-8")
    renamed = re.sub(r"(?m)^name\s*=.*$", f'name = "{options.name}"', text, count=1)
    (draft.folder / MANIFEST_NAME).write_text(renamed, encoding="utf-8")
    if read_manifest(draft.folder).name != options.name:
        raise CannotImport(
            f"{source.name}/{MANIFEST_NAME} names the avatar in an unusual way; write name = {options.name!r}"
        )
    _, findings = check_package(draft.folder, progress)
    if faults := [finding for finding in findings if finding.level == "fault"]:
        raise CannotImport(f"{source.name} is broken: {faults[0].what}: {faults[0].verdict}")


def _name_of(source: Path) -> str:
    return re.sub(r"[^a-z0-9_-]+", "-", source.resolve().name.lower()).strip("-")[:64] or "avatar"


def _shown(title: str) -> str:
    return "".join(letter for letter in title if letter.isprintable())[:100] or "Avatar"
