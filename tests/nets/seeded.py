"""Networks with weights that follow from a seed, as the published test vectors of SyncTalk_2D were made with."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import nn

from webrtc_avatar.nets.synctalk2d import MelEncoder, SyncTalk2D
from webrtc_avatar.nets.synctalk2d_shape import AVE_SHAPES

SHAPES = AVE_SHAPES
_HEAD_GAIN = {160: 0.15, 328: 0.10}


def seeded_arrays(shapes: Mapping[str, tuple[int, ...]], seed: int = 1) -> dict[str, np.ndarray]:
    """Return weights by name from names and shapes alone, drawn in the order of the names."""
    rng = np.random.Generator(np.random.PCG64(seed))
    arrays: dict[str, np.ndarray] = {}
    for key in sorted(shapes):
        shape = shapes[key]
        if key.endswith("num_batches_tracked"):
            arrays[key] = np.zeros(shape, np.int64)
            continue
        z = rng.standard_normal(int(np.prod(shape)))
        if key.endswith("running_mean"):
            z = 0.1 * z
        elif key.endswith("running_var"):
            z = 1 + 0.25 * np.abs(z)
        elif len(shape) == 1:
            z = 1 + 0.1 * z if key.endswith("weight") else 0.05 * z
        else:
            z = z * 1.4 / np.sqrt(np.prod(shape[1:]))
        arrays[key] = z.astype(np.float32).reshape(shape)
    return arrays


def generator_arrays(kind: int) -> dict[str, np.ndarray]:
    """Return the state of a SyncTalk_2D network: `kind` is 160 or 328."""
    arrays = seeded_arrays(_shapes(SyncTalk2D(SHAPES[kind])))
    arrays["outc.conv.weight"] *= np.float32(_HEAD_GAIN[kind])
    return arrays


def encoder_arrays() -> dict[str, np.ndarray]:
    """Return the state of its audio encoder."""
    return seeded_arrays(_shapes(MelEncoder()))


def vector_inputs(kind: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return pictures uint8 (2, 6, s, s) and features float32 (2, 32, 16, 16)."""
    size = SHAPES[kind].size
    image = np.random.Generator(np.random.PCG64(seed + 1000)).integers(0, 256, (2, 6, size, size), dtype=np.uint8)
    image[1] = np.floor(image[1] * 0.1)
    audio = 2 * np.abs(np.random.Generator(np.random.PCG64(seed + 2000)).standard_normal((2, 32, 16, 16)))
    return image, audio.astype(np.float32)


def _shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in network.state_dict().items()}
