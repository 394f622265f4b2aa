"""What every source of footage ends in: frames and faces in the draft, and the manifest that tells of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from webrtc_avatar.avatar.footage_frames import Size
from webrtc_avatar.avatar.importing.draft import Draft
from webrtc_avatar.avatar.importing.networks import NetworkFiles
from webrtc_avatar.errors import CannotImport

SMALLEST_PX = 64


@dataclass(frozen=True, slots=True)
class Options:
    """What people say about an import.

    Attributes:
        name: of the avatar.
        title: for people.
        license: SPDX expression.
        chunks_after: 40 ms chunks after a frame that a live frame waits for, 0 to 11.
    """

    name: str
    title: str
    license: str
    chunks_after: int


@dataclass(frozen=True, slots=True)
class Footage:
    """What `[footage]` says of the pictures that are in the draft.

    Attributes:
        size: width and height of the frames.
        count: how many there are.
        frame_type: of their files.
    """

    size: Size
    count: int
    frame_type: Literal["jpg", "png"]


def write_manifest(
    draft: Draft, options: Options, footage: Footage, network: NetworkFiles, features: dict[str, str | int]
) -> None:
    """Write `avatar.toml` of footage."""
    draft.write_manifest(
        {"format": 1, "name": options.name, "title": options.title, "license": options.license},
        {
            "footage": {
                "width": footage.size[0],
                "height": footage.size[1],
                "frame_count": footage.count,
                "frame_type": footage.frame_type,
            },
            "model": {
                "kind": network.kind,
                "size": network.size,
                **network.files,
                **features,
                "chunks_before": 10,
                "chunks_after": options.chunks_after,
            },
        },
    )


def check_size(size: Size, where: str, *, largest_px: int) -> None:
    """Raise CannotImport where frames are too small or too large."""
    if not all(SMALLEST_PX <= side <= largest_px for side in size):
        raise CannotImport(
            f"{where} is {size[0]}x{size[1]} pixels, expected sides of {SMALLEST_PX} to {largest_px}; scale the footage"
        )
