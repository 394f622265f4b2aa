"""Makes an avatar package from a folder of renders, all but its networks.

    python -m webrtc_avatar.training.pack RENDERS models/iris

RENDERS holds what `models/iris/source/render_plates.py` makes: `plate_512.png`, `plate.png`, `background.png`, `matte.png`,
`segments.png`, `position.npz`, `camera.json`, `smile.png`, `eyes/eyes.json` and the eye crops. `ear.onnx` and `mouth.onnx` are added by
`webrtc_avatar.training.ear` and `webrtc_avatar.training.mouth`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from webrtc_avatar.speech.visemes import VISEME_NAMES, WEIGHTS
from webrtc_avatar.training.flow import fields

FRAME_PX = 512
MOUTH_BOX_PX = (144, 248, 368, 408)
FEATHER_PX = 8
FINE_NAME = "plate_1024.webp"
"""The plate at twice the size, without loss, in a third less than a PNG takes."""
CHUNKS_BEFORE, CHUNKS_AFTER = 15, 1
GAZES = {
    "centre": (0.0, 0.0),
    "image_left": (-1.0, 0.0),
    "image_right": (1.0, 0.0),
    "up": (0.0, 1.0),
    "down": (0.0, -1.0),
}
"""What the renders' names of gazes mean: x to the picture's right, y up. Renders may also give [x, y] themselves."""
_WITHOUT_LOSS = {".png": [cv2.IMWRITE_PNG_COMPRESSION, 9], ".webp": [cv2.IMWRITE_WEBP_QUALITY, 101]}


def pack(renders: Path, package: Path, *, name: str, title: str, licence: str) -> None:
    """Write the package's pictures, its flow and its `avatar.toml`.

    Args:
        renders: the folder of renders.
        package: the folder to write; made where missing.
        name: the avatar's short name.
        title: its name for people.
        licence: SPDX expression of the renders.

    Raises:
        FileNotFoundError: a render is missing.
    """
    (package / "eyes").mkdir(parents=True, exist_ok=True)
    _write(package / "plate.png", _read(renders / "plate_512.png"))
    _write(package / FINE_NAME, _read(renders / "plate.png"))
    background = cv2.resize(_read(renders / "background.png"), (FRAME_PX, FRAME_PX), interpolation=cv2.INTER_AREA)
    _write(package / "background.png", np.asarray(background, np.uint8))
    _write(package / "matte.png", _read(renders / "matte.png", cv2.IMREAD_GRAYSCALE))
    _write(package / "smile.png", _read(renders / "smile.png"))
    np.savez_compressed(package / "flow.npz", allow_pickle=False, **fields(renders))
    eyes = json.loads((renders / "eyes" / "eyes.json").read_text())
    for crop in eyes["crops"]:
        _write(package / "eyes" / crop["file"], _read(renders / "eyes" / crop["file"]))
    (package / "avatar.toml").write_text(_manifest(eyes, name=name, title=title, licence=licence), encoding="utf-8")


def _manifest(eyes: dict[str, Any], *, name: str, title: str, licence: str) -> str:
    lines = [
        "format = 1",
        f"name = {_toml(name)}",
        f"title = {_toml(title)}",
        f"license = {_toml(licence)}",
        f"frame_size = {FRAME_PX}",
        "",
        "[model]",
        'kind = "viseme_kernel"',
        'ear = "ear.onnx"',
        'mouth = "mouth.onnx"',
        f"chunks_before = {CHUNKS_BEFORE}",
        f"chunks_after = {CHUNKS_AFTER}",
        f"weights = {_toml(list(WEIGHTS))}",
        f"visemes = {_toml(list(VISEME_NAMES))}",
        "",
        "[plate]",
        'image = "plate.png"',
        'background = "background.png"',
        'matte = "matte.png"',
        'flow = "flow.npz"',
        f"fine = {_toml(FINE_NAME)}",
        "",
        "[mouth]",
        f"box = {_toml(list(MOUTH_BOX_PX))}",
        f"feather = {FEATHER_PX}",
        'smile = "smile.png"',
        "",
        "[eyes]",
        f"box = {_toml(eyes['box_px'])}",
        f"feather = {FEATHER_PX}",
    ]
    for crop in eyes["crops"]:
        lines += ["", "[[eyes.crops]]", f"file = {_toml('eyes/' + crop['file'])}"]
        gaze = GAZES[crop["gaze"]] if isinstance(crop["gaze"], str) else crop["gaze"]
        named = {**crop, "gaze": [float(share) for share in gaze]}
        lines += [f"{key} = {_toml(named[key])}" for key in ("lid", "gaze", "brow_raise", "squint")]
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    """Return a string, number or list of them as TOML, which agrees with JSON on these."""
    return json.dumps(value, ensure_ascii=False)


def _read(path: Path, flag: int = cv2.IMREAD_COLOR) -> np.ndarray[Any, np.dtype[np.uint8]]:
    image = cv2.imread(str(path), flag)
    if image is None:
        raise FileNotFoundError(f"{path} is missing or no image; render it with models/iris/source/render_plates.py")
    return np.asarray(image, np.uint8)


def _write(path: Path, image: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
    if not cv2.imwrite(str(path), image, _WITHOUT_LOSS[path.suffix]):
        raise OSError(f"{path} could not be written; check the folder's permissions")


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("renders", type=Path)
    parser.add_argument("package", type=Path)
    parser.add_argument("--name", default="iris")
    parser.add_argument("--title", default="Iris")
    parser.add_argument("--licence", default="CC0-1.0")
    arguments = parser.parse_args()
    pack(arguments.renders, arguments.package, name=arguments.name, title=arguments.title, licence=arguments.licence)


if __name__ == "__main__":
    main()
