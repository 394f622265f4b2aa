"""A contact sheet of an avatar's sixteen visemes, each render beside what the mouth network draws.

usage: python -m webrtc_avatar.evaluation.sheet MOUTHS OUTPUT.webp [--avatar iris]

MOUTHS is the folder with the rendered mouths, such as models/iris/source.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from webrtc_avatar.avatar.library import Library
from webrtc_avatar.avatar.package import Avatar, drawn
from webrtc_avatar.engine.runtime.onnx import OnnxRuntime
from webrtc_avatar.engine.viseme import VisemeModel
from webrtc_avatar.media.marking import Marking
from webrtc_avatar.speech.visemes import VISEME_NAMES, VISEME_VECTORS
from webrtc_avatar.training.mouth_data import Mouths, load_mouths

_LABEL_PX = 22


def visemes_sheet(avatar: Avatar, mouths: Mouths, *, columns: int = 4) -> npt.NDArray[np.uint8]:
    """Return a sheet, BGR, of the render nearest to each viseme (left) and the network's drawing of its weights (right)."""
    nearest = [int(((mouths.weights - vector) ** 2).sum(1).argmin()) for vector in VISEME_VECTORS]
    drawn = VisemeModel(avatar, OnnxRuntime(threads=1)).draw(mouths.weights[nearest])
    pairs = [
        np.concatenate([mouths.crops[number], np.asarray(cv2.cvtColor(crop, cv2.COLOR_YUV2BGR_I420), np.uint8)], 1)
        for number, crop in zip(nearest, drawn, strict=True)
    ]
    return contact_sheet(pairs, [f"{name}: render, network" for name in VISEME_NAMES], columns=columns)


def contact_sheet(pictures: list[npt.NDArray[np.uint8]], labels: list[str], *, columns: int) -> npt.NDArray[np.uint8]:
    """Return BGR pictures of one size as a sheet with a label above each."""
    height, width = pictures[0].shape[:2]
    rows = -(-len(pictures) // columns)
    sheet = np.full((rows * (height + _LABEL_PX), columns * width, 3), 255, np.uint8)
    for index, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        top, left = index // columns * (height + _LABEL_PX), index % columns * width
        sheet[top + _LABEL_PX : top + _LABEL_PX + height, left : left + width] = picture
        cv2.putText(sheet, label, (left + 4, top + 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return sheet


def main(arguments: list[str] | None = None) -> None:
    """Write the sheet."""
    parser = argparse.ArgumentParser(prog="webrtc_avatar.evaluation.sheet", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("mouths", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--avatar", default="iris")
    options = parser.parse_args(arguments)
    sheet = visemes_sheet(drawn(Library().get(options.avatar)), load_mouths(options.mouths))
    try:
        _, data = cv2.imencode(options.output.suffix, sheet, [cv2.IMWRITE_WEBP_QUALITY, 90])
        options.output.write_bytes(Marking(options.avatar).in_image(data.tobytes()))
    except (OSError, cv2.error):
        parser.error(f"{options.output} could not be written; use an existing folder and a name such as sheet.webp")


if __name__ == "__main__":
    main()
