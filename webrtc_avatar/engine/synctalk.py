"""SyncTalk_2D on footage: sound to rows of features, and the face of a frame of footage redrawn to fit 16 of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from webrtc_avatar.audio.mel_slaney import MEL_BANDS
from webrtc_avatar.avatar.footage import BORDER_PX, FootageAvatar, read_features
from webrtc_avatar.engine.faults import Fault, fault_of
from webrtc_avatar.engine.model import WINDOW_CHUNKS_AFTER, WINDOW_CHUNKS_BEFORE, Crops, Floats, Job, Rendered
from webrtc_avatar.engine.runtime import Runtime
from webrtc_avatar.engine.synctalk_track import (
    FEATURES,
    MEL_WINDOW,
    NOTHING,
    ROW_CHUNKS_AFTER,
    ROW_CHUNKS_BEFORE,
    ROWS,
    ROWS_AFTER,
    ROWS_BEFORE,
    Context,
    Row,
    SyncTalkTrack,
    silent_row,
)
from webrtc_avatar.errors import FrameOutOfRange, InvalidAvatar, NoFeatures

log = logging.getLogger(__name__)

_FEATURES_SHAPE = (2 * ROWS, 16, 16)
"""16 rows of 512 numbers as the face network takes them: two channels a row."""

_MAX_ENCODED = 64
"""Rows in one call of the audio encoder."""


class Networks(Protocol):
    """Both networks on one device."""

    @property
    def memory_bytes(self) -> int:
        """Weights, and what is kept of the footage at most."""

    def rows(self, mel: Floats) -> Floats:
        """Return features float32 (batch, 512) of windows of mel float32 (batch, 80, 16)."""

    def faces(self, bases: Sequence[int], features: Floats) -> Sequence[Crops]:
        """Return faces uint8 (s, s, 3) BGR on frames of footage, of features float32 (batch, 32, 16, 16)."""


class SyncTalkModel:
    """The networks of an avatar that was filmed, on one runtime; see `Model`.

    A crop is the whole face as the package has it, uint8 (s + 8, s + 8, 3) BGR, with what the network drew within its border.
    """

    def __init__(self, avatar: FootageAvatar, runtime: Runtime) -> None:
        """Load the networks and try them on the first frame.

        Raises:
            InvalidAvatar: a network is unreadable, or its inputs or outputs are not what the package says.
        """
        spec = avatar.model
        if spec.chunks_before + spec.chunks_after < ROW_CHUNKS_BEFORE + ROW_CHUNKS_AFTER:
            raise InvalidAvatar(
                f"avatar {avatar.name!r}: chunks_before {spec.chunks_before} and chunks_after {spec.chunks_after} are too few "
                f"for one row of features, which takes {ROW_CHUNKS_BEFORE + ROW_CHUNKS_AFTER} chunks beside its own"
            )
        self.chunks_before, self.chunks_after = spec.chunks_before, spec.chunks_after
        self._avatar = avatar
        self._features = read_features(avatar)
        self._silence = silent_row()
        self._networks = _open_and_try(avatar, runtime)
        self.memory_bytes = self._networks.memory_bytes

    def track(self, *, first_chunk: int = 0, windowed: bool = False) -> SyncTalkTrack:
        """Return a new track; see `Model.track`."""
        before, after = self.chunks_before, self.chunks_after
        if windowed:
            before, after = WINDOW_CHUNKS_BEFORE, WINDOW_CHUNKS_AFTER
        return SyncTalkTrack(before, after, first_chunk=first_chunk, silence=self._silence)

    def features(self, frame: int) -> Context:
        """Return the 16 rows around a frame of the footage's own sound; see `Model.features`."""
        if self._features is None:
            raise NoFeatures(
                f"avatar {self._avatar.name!r} brings no features of its own, so frame {frame} needs sound: send audio_chunks, "
                "or import it again with its features"
            )
        count = len(self._features)
        if not 0 <= frame < count:
            raise FrameOutOfRange(f"frame {frame} of avatar {self._avatar.name!r}: its features have 0 to {count - 1}")
        return tuple(
            Row(features=self._features[number]) if 0 <= number < count else NOTHING
            for number in range(frame - ROWS_BEFORE, frame + ROWS_AFTER + 1)
        )

    def render(self, jobs: Sequence[Job]) -> list[Rendered]:
        """Return the faces of jobs; see `Model.render`."""
        contexts: list[Context] = [job.context for job in jobs]
        self._encode(contexts)
        features = np.array([[row.features for row in context] for context in contexts], np.float32)
        bases = [self._avatar.fold(job.base) for job in jobs]
        faces = self._networks.faces(bases, features.reshape(len(jobs), *_FEATURES_SHAPE))
        return [Rendered(self._framed(base, face), None) for base, face in zip(bases, faces, strict=True)]

    def bare(self, jobs: Sequence[Job]) -> Callable[[], object]:
        """Return what runs the network of these jobs and nothing else, for a bench to compare with; their rows are encoded."""
        features = np.array([[row.features for row in job.context] for job in jobs], np.float32)
        bases = [self._avatar.fold(job.base) for job in jobs]
        return lambda: self._networks.faces(bases, features.reshape(len(jobs), *_FEATURES_SHAPE))

    def _encode(self, contexts: Sequence[Context]) -> None:
        """Encode the rows that no frame has needed so far."""
        missing = list({id(row): row for context in contexts for row in context if row.features is None}.values())
        for first in range(0, len(missing), _MAX_ENCODED):
            rows = missing[first : first + _MAX_ENCODED]
            mel = np.stack([row.mel for row in rows if row.mel is not None]).transpose(0, 2, 1)
            for row, features in zip(rows, self._networks.rows(np.ascontiguousarray(mel)), strict=True):
                row.features = features

    def _framed(self, base: int, face: Crops) -> Crops:
        crop: Crops = self._avatar.faces[base].copy()
        crop[BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX] = face
        return crop


def _open_and_try(avatar: FootageAvatar, runtime: Runtime) -> Networks:
    try:
        networks = _open(avatar, runtime)
        rows = networks.rows(np.zeros((1, MEL_BANDS, MEL_WINDOW), np.float32))
        face = networks.faces([0], np.zeros((1, *_FEATURES_SHAPE), np.float32))[0]
    except InvalidAvatar:
        raise
    except Exception as error:  # what a network that is another one raises depends on the runtime
        if fault_of(error) is Fault.MEMORY:
            raise
        raise InvalidAvatar(
            f"avatar {avatar.name!r}: its networks do not run: {str(error).splitlines()[0]}; import it again"
        ) from error
    side = avatar.model.inner_px
    if rows.shape != (1, FEATURES) or face.shape != (side, side, 3) or face.dtype != np.uint8:
        raise InvalidAvatar(
            f"avatar {avatar.name!r}: its networks give rows {rows.shape} and faces {face.dtype} {face.shape}; needed are "
            f"{(1, FEATURES)} and uint8 {(side, side, 3)}; import it again"
        )
    return networks


def _open(avatar: FootageAvatar, runtime: Runtime) -> Networks:
    spec = avatar.model
    budget_bytes = runtime.base_cache_mb * 1_000_000
    if spec.kind == "onnx_generator":
        from webrtc_avatar.engine.runtime.onnx import OnnxRuntime
        from webrtc_avatar.engine.synctalk_onnx import WholeNetworks
        from webrtc_avatar.nets.synctalk2d_folded import mask

        if runtime.name.startswith("torch"):
            log.warning("avatar %s came with ONNX networks, which run on the CPU beside torch", avatar.name)
            runtime = OnnxRuntime(threads=1)
        return WholeNetworks(runtime, spec.files, avatar.faces, mask(spec.inner_px))
    if runtime.name.startswith("torch"):
        from webrtc_avatar.engine.synctalk_torch import TorchNetworks

        return TorchNetworks(runtime.device, runtime.precision, spec.files, avatar.faces, budget_bytes)
    from webrtc_avatar.engine.synctalk_onnx import SplitNetworks

    return SplitNetworks(runtime, spec.files, avatar.faces, budget_bytes)
