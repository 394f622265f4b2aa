"""What a SyncTalk_2D checkpoint's tensors say about its network: sizes, channels, key layouts. Needs numpy alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy.typing as npt

Arrays = Mapping[str, npt.NDArray[Any]]

AudioMode = Literal["ave", "hubert", "wenet"]
AUDIO_MODES: tuple[AudioMode, ...] = ("ave", "hubert", "wenet")

_STRIDES: Mapping[AudioMode, tuple[int, int]] = {"ave": (1, 1), "hubert": (2, 2), "wenet": (1, 2)}

BORDER_PX = 4
"""Of a crop, on each side, what the network neither sees nor draws."""

MASK_TOP_LEFT_PX = 5
MASK_BOTTOM_PX = 10
"""Of the inner face, what the mask leaves uncovered: 5 pixels on the left, at the top and on the right, 10 at the bottom."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Channels of every part, and the picture's size.

    Attributes:
        size: width and height of the network's picture in pixels: 160 or 320.
        encoder: channels of the stem and of each level below it.
        audio: channels into the audio branch, out of conv1 and conv2, and out of conv3, conv4 and conv5.
        audio_stride: stride of the audio branch's conv3.
        fuse: channels after either block where picture and sound meet.
        decoder: channels of each level up.
    """

    size: int
    encoder: tuple[int, ...]
    audio: tuple[int, int, int, int, int, int]
    audio_stride: tuple[int, int]
    fuse: tuple[int, int]
    decoder: tuple[int, ...]

    @property
    def crop_size(self) -> int:
        """Width and height of the face's crop in pixels, border included: 168 or 328."""
        return self.size + 2 * BORDER_PX


AVE_SHAPES = {
    160: Shape(160, (32, 64, 128, 256, 512), (32, 64, 128, 256, 256, 512), (1, 1), (512, 256), (128, 64, 32, 32)),
    328: Shape(
        320, (32, 32, 64, 128, 256, 512), (32, 64, 128, 256, 256, 512), (1, 1), (512, 256), (128, 64, 32, 32, 16)
    ),
}
"""Both published networks in mode `ave`, by the names of their sizes."""


def shape_of(arrays: Arrays, mode: AudioMode = "ave") -> Shape:
    """Return the shape of the network whose state `arrays` is, with k1 keys.

    Args:
        arrays: tensors by their key in the original's state.
        mode: where its features come from. `ave` and `hubert` have tensors of the same shapes, so this cannot be told.

    Raises:
        ValueError: they are not those of a SyncTalk_2D network, or `wenet` does not fit them.
    """
    block = "double_conv.1.conv.6.weight"
    try:
        levels = 5 if "down5.maxpool_conv.0.double_conv.0.conv.0.weight" in arrays else 4
        encoder = [_outputs(arrays, "inc.inconv.0.conv.6.weight")]
        encoder += [_outputs(arrays, f"down{n}.maxpool_conv.0.{block}") for n in range(1, levels + 1)]
        heard = _inputs(arrays, "audio_model.conv1.conv.0.weight")
        audio = [f"audio_model.conv{n}.conv.6.weight" for n in (1, 2)]
        audio += ["audio_model.conv3.weight", "audio_model.conv4.conv.6.weight", "audio_model.conv5.weight"]
        made = tuple(_outputs(arrays, key) for key in audio)
        fuse = _outputs(arrays, f"fuse_conv.0.{block}"), _outputs(arrays, f"fuse_conv.1.{block}")
        decoder = tuple(_outputs(arrays, f"up{n}.conv.{block}") for n in range(1, levels + 1))
    except KeyError as error:
        raise ValueError(f"tensor {error.args[0]!r} is missing or no convolution's weight") from error
    return Shape(
        size=10 << levels,
        encoder=tuple(encoder),
        audio=(heard, made[0], made[1], made[2], made[3], made[4]),
        audio_stride=_STRIDES[mode],
        fuse=fuse,
        decoder=decoder,
    )


def k1_key(key: str) -> str:
    """Return a tensor's key as SyncTalk_2D has it, of one of a newer Ultralight-Digital-Human, which has two steps fewer."""
    if key.startswith("inc.inconv.conv."):
        return "inc.inconv.0.conv." + key.removeprefix("inc.inconv.conv.")
    return key.replace(".maxpool_conv.double_conv.", ".maxpool_conv.0.double_conv.")


def _outputs(arrays: Arrays, key: str) -> int:
    return int(_weight(arrays, key).shape[0])


def _inputs(arrays: Arrays, key: str) -> int:
    return int(_weight(arrays, key).shape[1])


def _weight(arrays: Arrays, key: str) -> npt.NDArray[Any]:
    if key not in arrays or arrays[key].ndim != 4:
        raise KeyError(key)
    return arrays[key]
