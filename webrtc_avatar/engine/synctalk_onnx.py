"""SyncTalk_2D's networks on ONNX Runtime: a frame at a time, since larger batches take it no less time for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from webrtc_avatar.engine.base_slots import BaseSlots
from webrtc_avatar.engine.model import Crops, Floats
from webrtc_avatar.engine.runtime import Network, Runtime
from webrtc_avatar.errors import InvalidAvatar

BORDER_PX = 4
PATIENCE_TURNS = 4
"""So many times through the footage, there and back, until a kept frame counts as played by nobody."""


class SplitNetworks:
    """The network in two parts, of which the first, that sees the footage alone, is computed once a frame of footage.

    Args:
        runtime: what loads the graphs.
        files: `image`, `face` and `audio`.
        crops: uint8 (frames, s + 8, s + 8, 3) BGR.
        budget_bytes: for what is kept.
    """

    def __init__(self, runtime: Runtime, files: Mapping[str, Path], crops: Crops, budget_bytes: int) -> None:
        self._crops = crops
        self._image = runtime.load(files["image"], "synctalk2d_image")
        self._face = runtime.load(files["face"], "synctalk2d_face")
        self._audio = runtime.load(files["audio"], "synctalk2d_audio")
        self._weight_bytes = sum(files[name].stat().st_size for name in ("image", "face", "audio"))
        maps = self._make(0)
        self._map_bytes = sum(kept.nbytes for kept in maps.values())
        count = min(budget_bytes // self._map_bytes, len(crops))
        self._slots = BaseSlots(count, patience=2 * PATIENCE_TURNS * len(crops))
        self._kept: list[dict[str, Floats]] = []

    @property
    def memory_bytes(self) -> int:
        """Weights, and what is kept of the footage at most."""
        return self._weight_bytes + self._slots.count * self._map_bytes

    def rows(self, mel: Floats) -> Floats:
        """Return features float32 (batch, 512) of windows of mel float32 (batch, 80, 16)."""
        return np.asarray(self._audio({"mel": mel})["row"])

    def faces(self, bases: Sequence[int], features: Floats) -> Sequence[Crops]:
        """Return faces uint8 (s, s, 3) BGR on frames of footage, of features float32 (batch, 32, 16, 16)."""
        return [
            self._face({**self._maps(base), "audio": features[number : number + 1]})["face"][0]
            for number, base in enumerate(bases)
        ]

    def _maps(self, base: int) -> dict[str, Floats]:
        slot = self._slots.find(base)
        if slot is not None:
            return self._kept[slot]
        maps = self._make(base)
        slot = self._slots.take(base)
        if slot is not None:
            if slot == len(self._kept):
                self._kept.append(maps)
            self._kept[slot] = maps
        return maps

    def _make(self, base: int) -> dict[str, Floats]:
        return dict(self._image({"crop": np.ascontiguousarray(self._crops[base : base + 1])}))


class WholeNetworks:
    """A generator that came as one ONNX file, with the audio encoder beside it; nothing of it can be kept.

    Args:
        runtime: what loads the graphs.
        files: `generator` and `audio`.
        crops: uint8 (frames, s + 8, s + 8, 3) BGR.
        mask: float32 (s, s), 0 where the generator must not see the footage.
    """

    def __init__(self, runtime: Runtime, files: Mapping[str, Path], crops: Crops, mask: Floats) -> None:
        self._crops = crops
        self._mask = mask
        self.memory_bytes = sum(files[name].stat().st_size for name in ("generator", "audio"))
        self._generator = runtime.load(files["generator"], "onnx_generator")
        self._audio = runtime.load(files["audio"], "onnx_audio_encoder")
        shapes = _inputs(self._generator)
        images = [name for name, shape in shapes.items() if len(shape) == 4 and shape[1] == 6]
        if len(images) != 1 or len(shapes) != 2:
            raise InvalidAvatar(
                f"{files['generator'].name} has the inputs {shapes}; needed are a picture of 6 channels and one for sound"
            )
        self._image_name = images[0]
        self._sound_name = next(name for name in shapes if name != self._image_name)
        self._features_shape = (
            1,
            *(
                int(side) if isinstance(side, int) else known
                for side, known in zip(shapes[self._sound_name][1:], (32, 16, 16), strict=False)
            ),
        )
        (self._mel_name, self._mel_shape), *_ = _inputs(self._audio).items()

    def rows(self, mel: Floats) -> Floats:
        """Return features float32 (batch, 512) of windows of mel float32 (batch, 80, 16)."""
        windows = mel[:, None] if len(self._mel_shape) == 4 else mel
        if isinstance(self._mel_shape[0], int):  # exported for one window at a time
            rows = [_only(self._audio({self._mel_name: window[None]})) for window in windows]
            return np.concatenate([row.reshape(1, -1) for row in rows])
        return _only(self._audio({self._mel_name: windows})).reshape(len(mel), -1)

    def faces(self, bases: Sequence[int], features: Floats) -> Sequence[Crops]:
        """Return faces uint8 (s, s, 3) BGR on frames of footage, of features float32 (batch, 32, 16, 16)."""
        return [self._draw(base, features[number]) for number, base in enumerate(bases)]

    def _draw(self, base: int, features: Floats) -> Crops:
        inner = self._crops[base, BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX].transpose(2, 0, 1)
        whole = inner.astype(np.float32)[None] / 255
        image = np.concatenate([whole, whole * self._mask], axis=1)
        sound = features.reshape(self._features_shape)
        face = _only(self._generator({self._image_name: image, self._sound_name: sound}))[0]
        # Cut off, as the original does; one that was exported without its sigmoid could leave the range.
        levels: Crops = np.clip(face * 255, 0, 255).astype(np.uint8).transpose(1, 2, 0)
        return levels


def _only(outputs: Mapping[str, Floats]) -> Floats:
    return np.asarray(next(iter(outputs.values())), np.float32)


def _inputs(network: Network) -> dict[str, list[int | str | None]]:
    """Return the shapes of a network's inputs by name; the runtime must know them."""
    shapes = getattr(network, "inputs", None)
    if shapes is None:
        raise InvalidAvatar(
            "avatars with ONNX networks of their own run on ONNX Runtime alone; set runtime to onnx, or import the checkpoint"
        )
    return dict(shapes)
