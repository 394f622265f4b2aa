"""Avatars of footage with networks whose weights follow from a seed, and the published footage and sound."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from tests.nets.seeded import SHAPES, encoder_arrays, generator_arrays
from webrtc_avatar.audio.chunk import CHUNK_SAMPLES
from webrtc_avatar.avatar.footage import cut_face, to_and_fro
from webrtc_avatar.avatar.tensors import write_tensors
from webrtc_avatar.engine.model import Job
from webrtc_avatar.nets.synctalk2d_checkpoint import convert

VECTORS = Path(__file__).parents[1] / "interop" / "vectors"


@dataclass(frozen=True)
class Published:
    """The original's own run: 5 frames of footage, sound, 19 frames."""

    sound: np.ndarray
    boxes: np.ndarray
    sources: list[np.ndarray]
    order: list[int]
    means: np.ndarray
    outputs: dict[int, np.ndarray]


def published(kind: int) -> Published:
    with np.load(VECTORS / f"e2e_synctalk2d_{kind}_ave.npz", allow_pickle=False) as vectors:
        kept = {int(key[4:]): vectors[key] for key in vectors.files if key.startswith("out_") and key != "out_mean"}
        return Published(
            sound=vectors["pcm_i16"].astype(np.float32) / 32768,
            boxes=vectors["boxes"],
            sources=[vectors[f"source_{number}"] for number in range(len(vectors["boxes"]))],
            order=vectors["frame_order"].tolist(),
            means=vectors["out_mean"],
            outputs=kept,
        )


def crops(kind: int) -> np.ndarray:
    """The published footage as a package has it, uint8 (5, s + 8, s + 8, 3)."""
    side = SHAPES[kind].crop_size
    return np.stack(
        [cut_face(source, np.array([0, 0, *source.shape[1::-1]]), side) for source in published(kind).sources]
    )


def make_avatar(folder: Path, kind: int, /, **spec: object) -> SimpleNamespace:
    """Return an avatar of the published footage, whose networks are written into `folder`; it acts like `FootageAvatar`."""
    if not (folder / "face.onnx").exists():
        convert(generator_arrays(kind), encoder_arrays(), folder)
    faces = crops(kind)
    files = {name: folder / f"{name}.onnx" for name in ("image", "face", "audio")}
    files["weights"] = folder / "weights.safetensors"
    model = {
        "kind": "synctalk2d",
        "size": kind,
        "files": files,
        "features": None,
        "chunks_before": 10,
        "chunks_after": 11,
        "inner_px": SHAPES[kind].size,
        "crop_px": SHAPES[kind].crop_size,
    }
    model.update(spec)
    return SimpleNamespace(
        name="seeded",
        folder=folder,
        frame_count=len(faces),
        faces=faces,
        fold=lambda frame: to_and_fro(frame, len(faces)),
        model=SimpleNamespace(**model),
    )


def write_features(folder: Path, rows: np.ndarray) -> Path:
    path = folder / "features.safetensors"
    path.unlink(missing_ok=True)
    write_tensors(path, {"features": rows})
    return path


def chunks(sound: np.ndarray) -> list[np.ndarray]:
    """Cut sound into chunks; the last may be shorter."""
    return [sound[first : first + CHUNK_SAMPLES] for first in range(0, len(sound), CHUNK_SAMPLES)]


def contexts_of(track, pieces: list[np.ndarray]) -> list:
    """Push all pieces and finish."""
    made = [context for piece in pieces if (context := track.push(piece)) is not None]
    return made + track.finish()


def rows_of(model, contexts: list) -> np.ndarray:
    """Return the rows that frames hear, float32 (frames, 16, 512)."""
    model.render([Job(context, 0) for context in contexts])
    return np.array([[row.features for row in context] for context in contexts])
