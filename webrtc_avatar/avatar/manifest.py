"""`avatar.toml`, format 1: what a package must say about itself, checked key by key.

docs/avatars.md describes every key for people who make avatars.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from webrtc_avatar.avatar.files import read_limited
from webrtc_avatar.errors import InvalidAvatar
from webrtc_avatar.nets.registry import MODEL_KINDS

FORMAT = 1
MANIFEST_NAME = "avatar.toml"
NAME_PATTERN = r"^[a-z0-9_-]{1,64}$"
MAX_MANIFEST_BYTES = 256 * 1024
MAX_EYE_CROPS = 256
MAX_FOOTAGE_FRAMES = 90_000
"""An hour."""

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels of the frame; right and bottom exclusive; all even, so that a crop fits I420."""

Gaze = tuple[Annotated[float, Field(ge=-1, le=1)], Annotated[float, Field(ge=-1, le=1)]]
"""Where eyes look, as seen in the picture: x to the right, y up, of the furthest that the crops show; [0, 0] meets the viewer."""

_File = Annotated[str, Field(min_length=1, max_length=200)]
_Share = Annotated[float, Field(ge=0, le=1)]
_Label = Annotated[str, Field(min_length=1, max_length=32)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, allow_inf_nan=False)


class ModelSection(_Section):
    """`[model]`: the networks and the sound that they need around a frame."""

    kind: str
    ear: _File
    mouth: _File
    chunks_before: int = Field(ge=0, le=16)
    chunks_after: int = Field(ge=0, le=7)
    weights: tuple[_Label, ...]
    visemes: tuple[_Label, ...]

    @model_validator(mode="after")
    def _fits_kind(self) -> ModelSection:
        kind = MODEL_KINDS.get(self.kind)
        if kind is None:
            raise ValueError(f"kind {self.kind!r} is unknown; this version runs {', '.join(sorted(MODEL_KINDS))}")
        for name, labels, count in (("weights", self.weights, kind.weights), ("visemes", self.visemes, kind.visemes)):
            if len(labels) != count or len(set(labels)) != count:
                raise ValueError(
                    f"{name} has {len(labels)} labels, {len(set(labels))} of them different; "
                    f"{self.kind} needs {count} different ones, in the order of the network's output"
                )
        return self


class PlateSection(_Section):
    """`[plate]`: the still picture and what moves it."""

    image: _File
    background: _File
    matte: _File
    flow: _File | None = None
    fine: _File | None = None


class _BoxSection(_Section):
    box: Box
    feather: int = Field(ge=0, le=64)

    @field_validator("box")
    @classmethod
    def _even_and_not_empty(cls, box: Box) -> Box:
        if any(edge % 2 for edge in box):
            raise ValueError(
                f"box {list(box)} has odd edges; all four must be even, as chroma is half as wide and high"
            )
        left, top, right, bottom = box
        if left < 0 or top < 0 or right <= left or bottom <= top:
            raise ValueError(f"box {list(box)} is empty or negative; write [left, top, right, bottom] in pixels")
        return box

    @model_validator(mode="after")
    def _feather_fits(self) -> _BoxSection:
        left, top, right, bottom = self.box
        if 2 * self.feather > min(right - left, bottom - top):
            raise ValueError(
                f"feather {self.feather} is too wide for box {list(self.box)}; use at most half its shorter side"
            )
        return self


class MouthSection(_BoxSection):
    """`[mouth]`: where the mouth's crop is pasted, and its warmest smile at rest."""

    smile: _File | None = None


class EyeCropEntry(_Section):
    """One `[[eyes.crops]]`: a picture of both eyes and what they do in it."""

    file: _File
    lid: _Share
    gaze: Gaze
    brow_raise: _Share = 0.0
    squint: _Share = 0.0


class EyesSection(_BoxSection):
    """`[eyes]`: where the eyes' crops are pasted, and the crops."""

    crops: tuple[EyeCropEntry, ...] = Field(min_length=1, max_length=MAX_EYE_CROPS)

    @model_validator(mode="after")
    def _has_rest_and_no_double(self) -> EyesSection:
        states = [(crop.lid, crop.gaze, crop.brow_raise, crop.squint) for crop in self.crops]
        if len(set(states)) != len(states):
            raise ValueError("two crops carry the same lid, gaze, brow_raise and squint; keep one of them")
        if (0.0, (0.0, 0.0), 0.0, 0.0) not in states:
            raise ValueError("no crop at rest; add one with lid = 0.0, gaze = [0, 0], brow_raise = 0.0, squint = 0.0")
        return self


class FootageSection(_Section):
    """`[footage]`: what was filmed, and where the face is in it."""

    width: int = Field(ge=64, le=4096)
    height: int = Field(ge=64, le=4096)
    frame_count: int = Field(ge=1, le=MAX_FOOTAGE_FRAMES)
    frames: _File = "frames"
    frame_type: Literal["jpg", "png"] = "jpg"
    faces: _File = "faces.safetensors"


class FootageModelSection(_Section):
    """`[model]` of footage: files of the network, and the sound that it needs around a frame."""

    kind: Literal["synctalk2d", "onnx_generator"]
    size: Literal[160, 328]
    weights: _File | None = None
    image: _File | None = None
    face: _File | None = None
    audio: _File
    generator: _File | None = None
    features: _File | None = None
    chunks_before: int = Field(default=10, ge=0, le=16)
    chunks_after: int = Field(default=11, ge=0, le=11)

    @model_validator(mode="after")
    def _has_its_files(self) -> FootageModelSection:
        needed = {"synctalk2d": ("weights", "image", "face"), "onnx_generator": ("generator",)}[self.kind]
        if missing := [name for name in needed if getattr(self, name) is None]:
            raise ValueError(f"kind {self.kind} needs {', '.join(missing)}; import the avatar again")
        return self


class FootageManifest(_Section):
    """The whole of `avatar.toml` of an avatar that was filmed."""

    format: Literal[1]
    name: str = Field(pattern=NAME_PATTERN)
    title: str = Field(min_length=1, max_length=100)
    license: str = Field(min_length=1, max_length=100)
    footage: FootageSection
    model: FootageModelSection


class Manifest(_Section):
    """The whole of `avatar.toml` of an avatar that is drawn."""

    format: Literal[1]
    name: str = Field(pattern=NAME_PATTERN)
    title: str = Field(min_length=1, max_length=100)
    license: str = Field(min_length=1, max_length=100)
    frame_size: int = Field(ge=64, le=2048, multiple_of=2)
    model: ModelSection
    plate: PlateSection
    mouth: MouthSection
    eyes: EyesSection

    @model_validator(mode="after")
    def _boxes_in_frame(self) -> Manifest:
        for name, section in (("mouth", self.mouth), ("eyes", self.eyes)):
            if max(section.box) > self.frame_size:
                raise ValueError(
                    f"[{name}] box {list(section.box)} leaves the frame of {self.frame_size}x{self.frame_size}; "
                    "move it inside or correct frame_size"
                )
        return self


AnyManifest = Manifest | FootageManifest


def read_manifest(folder: Path) -> AnyManifest:
    """Return the checked `avatar.toml` of a package folder; a section `[footage]` makes it one of footage.

    Raises:
        InvalidAvatar: it is missing, too large, not TOML, of another format version, or says something impossible.
    """
    data = read_limited(folder, MANIFEST_NAME, max_bytes=MAX_MANIFEST_BYTES)
    where = f"{folder.name}/{MANIFEST_NAME}"
    try:
        content = tomllib.loads(data.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidAvatar(f"{where} is not TOML in UTF-8: {error}; correct the file") from error
    version = content.get("format")
    if version != FORMAT or isinstance(version, bool):
        raise InvalidAvatar(
            f"{where}: format is {version!r}, this version reads format = {FORMAT}; "
            "pack the avatar again or upgrade the server"
        )
    try:
        return (FootageManifest if "footage" in content else Manifest).model_validate(content)
    except ValidationError as error:
        raise InvalidAvatar(f"{where}: {_explained(error)}; docs/avatars.md describes the format") from error


def _explained(error: ValidationError, *, most: int = 3) -> str:
    problems = [
        f"{'.'.join(str(step) for step in problem['loc']) or 'file'}: {problem['msg'].removeprefix('Value error, ')}"
        for problem in error.errors(include_url=False, include_input=False)
    ]
    more = f" (and {len(problems) - most} more)" if len(problems) > most else ""
    return "; ".join(problems[:most]) + more
