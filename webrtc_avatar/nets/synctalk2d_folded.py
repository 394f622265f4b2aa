"""How SyncTalk_2D is computed for a live picture: once for whatever executes it, ONNX nodes or torch tensors.

The numbers are the original's, the order of the work is not:

- Batch normalisation is inside the convolutions before it.
- A 1x1 convolution of two maps side by side is the sum of one of each. So the footage's share of it needs no sound, and at the
  deepest levels, where it is small, it is part of what is kept for each frame of footage.
- A 1x1 convolution and bilinear enlargement may change places, which takes a quarter of the products.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from webrtc_avatar.nets.synctalk2d_shape import MASK_BOTTOM_PX, MASK_TOP_LEFT_PX, Arrays, Shape

PREPARED_LEVELS = 2
"""The deepest levels whose first convolution of the footage's map is computed with that map."""

_EPSILON = 1e-5
_ENCODER_STRIDES = {3: (3, 1), 6: (3, 3), 9: (3, 2)}
_ENCODER_LAYERS = 13
_ENCODER_PLAIN = (0, 3, 6, 9, 11, 12)
"""Blocks of the audio encoder that do not add their input."""

Value = TypeVar("Value")


class Operations(Protocol[Value]):
    """What executes a network."""

    def conv(
        self,
        x: Value,
        conv: str,
        norm: str | None,
        *,
        stride: tuple[int, int] = (1, 1),
        padding: int = 0,
        inputs: slice | None = None,
        bias: bool = True,
        depthwise: bool = False,
    ) -> Value:
        """Convolve with the tensors under the key `conv`, `norm` folded in; `inputs` takes some of the weight's inputs."""

    def relu(self, x: Value) -> Value:
        """Return max(x, 0); x may be overwritten."""

    def sigmoid(self, x: Value) -> Value:
        """Return 1 / (1 + exp(-x))."""

    def add(self, x: Value, y: Value) -> Value:
        """Return x + y; x may be overwritten."""

    def twice(self, x: Value) -> Value:
        """Return x at twice the height and width: bilinear, corners aligned."""


def image_maps(ops: Operations[Value], shape: Shape, image: Value) -> list[Value]:
    """Return what the face needs of pictures (batch, 6, s, s): one map a level, largest first, as `map_channels` says."""
    maps = [_inverted(ops, image, "inc.inconv.0.conv")]
    for level in range(1, len(shape.encoder)):
        maps.append(_double(ops, maps[-1], f"down{level}.maxpool_conv.0", stride=2))
    first = len(maps) - PREPARED_LEVELS
    return maps[:first] + [_share(ops, shape, level, maps[level]) for level in range(first, len(maps))]


def map_channels(shape: Shape) -> list[int]:
    """Return the channels of each of `image_maps`; map n is as large as the picture divided by 2 to the n."""
    first = len(shape.encoder) - PREPARED_LEVELS
    prepared = [2 * (_met_channels(shape, level) + skip) for level, skip in enumerate(shape.encoder)]
    return [*shape.encoder[:first], *prepared[first:]]


def face(ops: Operations[Value], shape: Shape, maps: Sequence[Value], audio: Value) -> Value:
    """Return the face (batch, 3, s, s), 0..1, of maps and audio features."""
    deepest = len(maps) - 1
    heard = _conv_block(ops, _audio(ops, shape, audio), "fuse_conv.0", slice(shape.encoder[-1], None))
    x = _meet(ops, heard, maps[deepest], "fuse_conv.0")
    x = _double(ops, x, "fuse_conv.1")
    for number in range(1, deepest + 1):
        level, prefix = deepest - number, f"up{number}.conv"
        skip = maps[level]
        if level < len(maps) - PREPARED_LEVELS:
            skip = _share(ops, shape, level, skip)
        # From the deeper map's own size to twice that, after the convolution.
        deep = ops.twice(_conv_block(ops, x, prefix, slice(_met_channels(shape, level))))
        x = _meet(ops, deep, skip, prefix)
    return ops.sigmoid(ops.conv(x, "outc.conv", None))


def audio_row(ops: Operations[Value], mel: Value) -> Value:
    """Return features (batch, 512, 1, 1) of windows of mel (batch, 1, 80, 16)."""
    x = mel
    for layer in range(_ENCODER_LAYERS):
        padding = 0 if layer >= _ENCODER_LAYERS - 2 else 1
        stride = _ENCODER_STRIDES.get(layer, (1, 1))
        y = ops.conv(x, f"{layer}.conv_block.0", f"{layer}.conv_block.1", stride=stride, padding=padding)
        x = ops.relu(y if layer in _ENCODER_PLAIN else ops.add(y, x))
    return x


def mask(size: int) -> npt.NDArray[np.float32]:
    """Return float32 (size, size): 0 where the network must draw the mouth itself, else 1."""
    kept = np.ones((size, size), np.float32)
    left = top = MASK_TOP_LEFT_PX
    kept[top : size - MASK_BOTTOM_PX, left : size - MASK_TOP_LEFT_PX] = 0
    return kept


def folded(arrays: Arrays, conv: str, norm: str | None) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return weight and bias of a convolution with the batch normalisation behind it inside, computed in float64.

    Without normalisation among the arrays, as in exported networks, they are the convolution's own.

    Raises:
        KeyError: a tensor is missing.
    """
    if f"{norm}.weight" not in arrays:
        return arrays[f"{conv}.weight"].astype(np.float32), arrays[f"{conv}.bias"].astype(np.float32)
    scale = arrays[f"{norm}.weight"].astype(np.float64)
    scale = scale / np.sqrt(arrays[f"{norm}.running_var"].astype(np.float64) + _EPSILON)
    mean = arrays[f"{norm}.running_mean"].astype(np.float64)
    if f"{conv}.bias" in arrays:
        mean = mean - arrays[f"{conv}.bias"]
    bias = arrays[f"{norm}.bias"] - mean * scale
    weight = arrays[f"{conv}.weight"].astype(np.float64) * scale[:, None, None, None]
    return weight.astype(np.float32), bias.astype(np.float32)


def _met_channels(shape: Shape, level: int) -> int:
    """Return how many channels the encoder's map of a level meets: the sound's at the deepest, elsewhere the decoder's."""
    number = len(shape.encoder) - 1 - level
    return (shape.audio[-1], shape.fuse[1], *shape.decoder)[number]


def _share(ops: Operations[Value], shape: Shape, level: int, skip: Value) -> Value:
    """Return the encoder's share, bias included, of the convolution in which it meets the decoder, or the sound."""
    deepest = len(shape.encoder) - 1
    if level == deepest:
        return _conv_block(ops, skip, "fuse_conv.0", slice(shape.encoder[-1]), bias=True)
    prefix = f"up{deepest - level}.conv"
    return _conv_block(ops, skip, prefix, slice(_met_channels(shape, level), None), bias=True)


def _conv_block(ops: Operations[Value], x: Value, prefix: str, inputs: slice, *, bias: bool = False) -> Value:
    first = f"{prefix}.double_conv.0.conv"
    return ops.conv(x, f"{first}.0", f"{first}.1", inputs=inputs, bias=bias)


def _meet(ops: Operations[Value], fresh: Value, kept: Value, prefix: str) -> Value:
    """Return the block whose first convolution has been computed as two shares."""
    first = f"{prefix}.double_conv.0.conv"
    x = _narrow(ops, ops.relu(ops.add(fresh, kept)), first)
    return _inverted(ops, x, f"{prefix}.double_conv.1.conv", residual=True)


def _audio(ops: Operations[Value], shape: Shape, audio: Value) -> Value:
    a, b, c = shape.audio[:3]
    x = _inverted(ops, audio, "audio_model.conv1.conv", residual=a == b)
    x = _inverted(ops, x, "audio_model.conv2.conv", residual=b == c)
    x = ops.relu(ops.conv(x, "audio_model.conv3", "audio_model.bn3", stride=shape.audio_stride, padding=1))
    x = _inverted(ops, x, "audio_model.conv4.conv", residual=True)
    x = ops.relu(ops.conv(x, "audio_model.conv5", "audio_model.bn5", stride=(2, 2), padding=3))
    x = _inverted(ops, x, "audio_model.conv6.conv", residual=True)
    return _inverted(ops, x, "audio_model.conv7.conv", residual=True)


def _double(ops: Operations[Value], x: Value, prefix: str, *, stride: int = 1) -> Value:
    x = _inverted(ops, x, f"{prefix}.double_conv.0.conv", stride=stride)
    return _inverted(ops, x, f"{prefix}.double_conv.1.conv", residual=True)


def _inverted(ops: Operations[Value], x: Value, prefix: str, *, stride: int = 1, residual: bool = False) -> Value:
    wide = ops.relu(ops.conv(x, f"{prefix}.0", f"{prefix}.1"))
    y = _narrow(ops, wide, prefix, stride=stride)
    return ops.add(y, x) if residual else y


def _narrow(ops: Operations[Value], wide: Value, prefix: str, *, stride: int = 1) -> Value:
    """Return the last two of an inverted residual's three convolutions."""
    y = ops.conv(wide, f"{prefix}.3", f"{prefix}.4", stride=(stride, stride), padding=1, depthwise=True)
    return ops.conv(ops.relu(y), f"{prefix}.6", f"{prefix}.7")
