"""SyncTalk_2D's networks on torch: what is kept of the footage lies on the device, features go up and faces come down."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from webrtc_avatar.engine.base_slots import BaseSlots
from webrtc_avatar.engine.model import Crops, Floats
from webrtc_avatar.engine.synctalk_onnx import PATIENCE_TURNS
from webrtc_avatar.errors import InvalidAvatar, InvalidCheckpoint
from webrtc_avatar.nets.synctalk2d_checkpoint import load_weights
from webrtc_avatar.nets.synctalk2d_shape import Arrays
from webrtc_avatar.nets.synctalk2d_torch import FoldedSyncTalk2D, to_tensor

_LOUD = 4.0
"""Larger than most features are, to see whether float16 can hold what becomes of them."""

log = logging.getLogger(__name__)

_SCRATCH = 16
"""Frames of footage in one call for which no place is left."""


class TorchNetworks:
    """Both networks on one device.

    Args:
        device: in torch's words.
        precision: of weights and maps: `float32`, `float16` or `bfloat16`.
        files: `weights`.
        crops: uint8 (frames, s + 8, s + 8, 3) BGR.
        budget_bytes: for what is kept of the footage.
    """

    def __init__(self, device: str, precision: str, files: Mapping[str, Path], crops: Crops, budget_bytes: int) -> None:
        self._device = torch.device(device)
        self._crops = crops
        on_cuda = self._device.type == "cuda"
        self._stream = torch.cuda.Stream(self._device) if on_cuda else None  # type: ignore[no-untyped-call]
        try:
            generator, encoder = load_weights(files["weights"])
            with torch.inference_mode(), self._on_stream():
                maps = self._open(generator, encoder, precision)
        except (InvalidCheckpoint, ValueError) as error:
            raise InvalidAvatar(f"{files['weights'].name}: {error}; import the avatar again") from error
        self._weight_bytes = files["weights"].stat().st_size
        self._map_bytes = sum(made.numel() * made.element_size() for made in maps)
        count = min(budget_bytes // self._map_bytes, len(crops))
        self._slots = BaseSlots(count, patience=2 * PATIENCE_TURNS * len(crops))
        self._kept = [self._empty(made, count + _SCRATCH) for made in maps]

    @property
    def memory_bytes(self) -> int:
        """Weights, and what is kept of the footage."""
        return self._weight_bytes + (self._slots.count + _SCRATCH) * self._map_bytes

    @torch.inference_mode()
    def rows(self, mel: Floats) -> Floats:
        """Return features float32 (batch, 512) of windows of mel float32 (batch, 80, 16)."""
        with self._on_stream():
            return self._download(self._networks.rows(to_tensor(mel, self._device)))

    @torch.inference_mode()
    def faces(self, bases: Sequence[int], features: Floats) -> Sequence[Crops]:
        """Return faces uint8 (s, s, 3) BGR on frames of footage, of features float32 (batch, 32, 16, 16)."""
        made: list[Crops] = []
        with self._on_stream():
            for first in range(0, len(bases), _SCRATCH):
                slots = self._place(bases[first : first + _SCRATCH])
                audio = to_tensor(features[first : first + _SCRATCH], self._device)
                maps = [kept.index_select(0, slots).permute(0, 3, 1, 2) for kept in self._kept]
                made.append(self._download(self._networks.faces(maps, audio)))
        return [face for part in made for face in part]

    def _open(self, generator: Arrays, encoder: Arrays, precision: str) -> list[torch.Tensor]:
        """Load the networks and return the maps of the first frame; float16 gives way where its range is too small."""
        for dtype in (getattr(torch, precision), torch.bfloat16):
            self._networks = FoldedSyncTalk2D(generator, encoder, self._device, dtype)
            crop = self._upload([0])
            loud = torch.full((1, self._networks.shape.audio[0], 16, 16), _LOUD, device=self._device)
            if dtype != torch.float16 or not self._networks.overflows(crop, loud):
                break
            log.warning("this network's numbers are too large for float16; it is run in bfloat16")
        return self._networks.maps(crop)

    def _place(self, bases: Sequence[int]) -> torch.Tensor:
        """Return the places of frames of footage, int64 (batch,), whose maps are there then."""
        slots: dict[int, int] = {}
        missing: list[int] = []
        for base in bases:
            if base in slots:
                continue
            slot = self._slots.find(base)
            if slot is None:
                missing.append(base)
                slot = self._slots.take(base)
                slot = self._slots.count + len(missing) - 1 if slot is None else slot
            slots[base] = slot
        if missing:
            places = self._numbers([slots[base] for base in missing])
            try:
                maps = self._networks.maps(self._upload(missing))
                for kept, new in zip(self._kept, maps, strict=True):
                    kept.index_copy_(0, places, new.permute(0, 2, 3, 1))
            except Exception:
                self._slots.clear()  # places that were promised hold nothing
                raise
        return self._numbers([slots[base] for base in bases])

    def _upload(self, bases: Sequence[int]) -> torch.Tensor:
        return to_tensor(np.stack([self._crops[base] for base in bases]), self._device)

    def _numbers(self, numbers: Sequence[int]) -> torch.Tensor:
        return to_tensor(np.array(numbers, np.int64), self._device)

    def _download(self, made: torch.Tensor) -> np.ndarray:
        if self._stream is None:
            return made.cpu().numpy()
        host = torch.empty(made.shape, dtype=made.dtype, pin_memory=True)
        host.copy_(made, non_blocking=True)
        self._stream.synchronize()
        return host.numpy()

    def _empty(self, like: torch.Tensor, count: int) -> torch.Tensor:
        """Return room for maps, (count, h, w, channels): what is selected from channels-last maps would not be such any more."""
        _, channels, height, width = like.shape
        return torch.empty((count, height, width, channels), dtype=like.dtype, device=self._device)

    def _on_stream(self) -> torch.cuda.StreamContext:
        """Return a context in which work goes to the model's own stream, where the device has streams."""
        return torch.cuda.stream(self._stream)
