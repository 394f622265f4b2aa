"""The rendered mouths: crops, the weights that they show, and which of them are held out to measure with.

A folder with `mouth.json` and either one image file a crop, as the render scripts leave them, or all crops as the frames
of `mouths.mkv`, which is how the repository keeps them: 48 dB or better in a fifth of the lossless size.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt

VIDEO_NAME = "mouths.mkv"
FACTS_NAME = "mouth.json"
SWEEP = "sweep"

_CODEC, _PIXELS = "libx264rgb", "bgr24"
_OPTIONS = {"crf": "9", "preset": "slow"}
"""H.264 without a change of colour space or of chroma's size."""


@dataclass(frozen=True, slots=True, eq=False)
class Mouths:
    """Rendered mouths.

    Attributes:
        weights: float32 (n, 12), in the order of `weight_names`.
        crops: uint8 (n, height, width, 3) BGR.
        held_out: bool (n,), true for crops that measure and are never fitted.
        kinds: str (n,), why each was rendered: see `choose_mouths.py`. Crops of kind "sweep" are the frames of slow sweeps through
            visemes, in order; they measure too.
        weight_names: names of the weights.
    """

    weights: npt.NDArray[np.float32]
    crops: npt.NDArray[np.uint8]
    held_out: npt.NDArray[np.bool_]
    kinds: npt.NDArray[np.str_]
    weight_names: tuple[str, ...]

    def take(self, chosen: npt.NDArray[Any]) -> Mouths:
        """Return the mouths that a mask or an index array chooses."""
        return Mouths(
            self.weights[chosen], self.crops[chosen], self.held_out[chosen], self.kinds[chosen], self.weight_names
        )

    @property
    def seen(self) -> Mouths:
        """The mouths that a network is fitted to."""
        return self.take(~self.held_out & (self.kinds != SWEEP))

    @property
    def unseen(self) -> Mouths:
        """The held-out mouths."""
        return self.take(self.held_out)

    @property
    def sweeps(self) -> Mouths:
        """The frames of slow sweeps, in order."""
        return self.take(self.kinds == SWEEP)


def load_mouths(folder: Path) -> Mouths:
    """Read a folder of rendered mouths.

    Raises:
        FileNotFoundError: `mouth.json` or a crop is missing.
        ValueError: the crops are not one for each state.
    """
    facts = json.loads((folder / FACTS_NAME).read_text())
    names = [crop["file"] for crop in facts["crops"]]
    video = folder / VIDEO_NAME
    crops = _frames(video) if video.exists() else np.stack([_image(folder / name) for name in names])
    if len(crops) != len(names):
        raise ValueError(f"{video} has {len(crops)} frames, {FACTS_NAME} lists {len(names)} crops; make both again")
    return Mouths(
        weights=np.array([crop["weights"] for crop in facts["crops"]], np.float32),
        crops=crops,
        held_out=np.isin(names, facts["held_out"]),
        kinds=np.array([crop["kind"] for crop in facts["crops"]]),
        weight_names=tuple(facts["weights"]),
    )


def _image(path: Path) -> npt.NDArray[np.uint8]:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise FileNotFoundError(f"{path} is missing or no image; render the mouths again")
    return np.asarray(image, np.uint8)


def _frames(path: Path) -> npt.NDArray[np.uint8]:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)])


def write_video(crops: npt.NDArray[np.uint8], path: Path) -> None:
    """Write crops (n, height, width, 3) BGR as the frames of one video, nearly without loss."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(_CODEC, rate=25, options=_OPTIONS)
        stream.height, stream.width = crops.shape[1:3]
        stream.pix_fmt = _PIXELS
        stream.codec_context.thread_count = 1
        for crop in crops:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(crop, format=_PIXELS)))
        container.mux(stream.encode())


def write_facts(facts: dict[str, Any], path: Path) -> None:
    """Write `mouth.json`: `weights` (names), `held_out` (files) and `crops` (file, kind, weights), a line a crop."""
    crops = ",\n  ".join(json.dumps(crop) for crop in facts["crops"])
    head = ",\n ".join(f"{json.dumps(key)}: {json.dumps(facts[key])}" for key in ("weights", "held_out"))
    path.write_text(f'{{\n {head},\n "crops": [\n  {crops}\n ]\n}}\n')
