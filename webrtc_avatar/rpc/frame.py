"""Frames of calls: a face that the engine made becomes an encoded picture with its figures."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from typing import Any

from webrtc_avatar.audio.chunk import CHUNK_S
from webrtc_avatar.avatar.arkit import blendshapes, head_degrees
from webrtc_avatar.avatar.painter import Bounds
from webrtc_avatar.engine import Face
from webrtc_avatar.errors import AvatarServerError, EngineFailure, NoBlendshapes
from webrtc_avatar.rpc.casting import Cast
from webrtc_avatar.rpc.images import Composition, Output, encode, face_of

log = logging.getLogger(__name__)

_DECIMALS = 4


@dataclass(frozen=True, slots=True)
class Shapes:
    """A frame's face as numbers, rounded to what can be seen.

    Attributes:
        values: 52, 0 to 1, in the order of `arkit.ARKIT_NAMES`.
        time_s: the frame's, from frame 0.
        head_deg: pitch (down), yaw and roll (to the right of the picture).
    """

    values: list[float]
    time_s: float
    head_deg: list[float]


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame, or why there is none.

    Attributes:
        frame_id: its number.
        image: as `Output` says; empty where there is an error.
        bounds: where the face is in the whole frame.
        width: of `image` in pixels.
        height: of `image` in pixels.
        batch_size: frames in the model call that made it.
        queue_ms: time before that call.
        inference_ms: time of that call.
        composite_ms: time of drawing and encoding.
        shapes: the face as numbers, where they were asked for.
        error: why it failed.
    """

    frame_id: int
    image: bytes = b""
    bounds: Bounds = (0, 0, 0, 0)
    width: int = 0
    height: int = 0
    batch_size: int = 0
    queue_ms: float = 0.0
    inference_ms: float = 0.0
    composite_ms: float = 0.0
    shapes: Shapes | None = None
    error: AvatarServerError | None = None

    @property
    def processing_ms(self) -> float:
        """Time from when it could be rendered to when it was encoded, but for waiting for an encoder."""
        return self.queue_ms + self.inference_ms + self.composite_ms


def draw(cast: Cast, face: Face, output: Output) -> Frame:
    """Return the picture of a face, drawn and encoded; an error of one frame is the frame's own. Any thread may call it."""
    if face.late:
        error: AvatarServerError = EngineFailure(f"frame {face.index} was not rendered in time: the server is busy")
        return Frame(face.index, error=error)
    if face.error is not None or face.crop is None:
        return Frame(face.index, error=face.error or EngineFailure(f"frame {face.index} was not rendered"))
    started_s = time.perf_counter()
    painter = cast.painter
    try:
        base = painter.fold(face.index)
        picture, bounds = painter.paint(base, face.crop), painter.bounds(base)
        width, height = painter.width, painter.height
        if output.composition is Composition.FACE_ONLY:
            picture = face_of(picture, painter.layout, bounds)
            width, height = bounds[2] - bounds[0], bounds[3] - bounds[1]
        elif cast.watermark is not None:
            picture = cast.watermark.burn(picture, painter.layout)
        image = cast.marking.in_image(encode(picture, painter.layout, output))
        shapes = _shapes(cast, face, base) if output.blendshapes else None
    except AvatarServerError as failure:
        return Frame(face.index, error=failure)
    except Exception as failure:  # one frame's picture must not take the others with it
        log.exception("frame %d could not be drawn", face.index)
        return Frame(face.index, error=EngineFailure(f"frame {face.index} could not be drawn: {failure}"))
    composite_s = time.perf_counter() - started_s
    return Frame(
        face.index,
        image,
        bounds,
        width,
        height,
        batch_size=face.batch_size,
        queue_ms=1000 * face.wait_s,
        inference_ms=1000 * face.run_s,
        composite_ms=1000 * composite_s,
        shapes=shapes,
    )


def check_output(cast: Cast, output: Output) -> None:
    """Check that an avatar can be told as it is asked for.

    Raises:
        NoBlendshapes: blendshapes are, and its model yields none.
    """
    if output.blendshapes and (cast.weight_order is None or cast.painter.pose(0) is None):
        raise NoBlendshapes(cast.avatar.name)


def frame_fields(frame: Frame) -> dict[str, Any]:
    """Return a frame's fields but for its image."""
    fields: dict[str, Any] = {
        "success": frame.error is None,
        "frame_id": frame.frame_id,
        "processing_time_ms": round(frame.processing_ms),
        "bounds": list(frame.bounds),
        "width": frame.width,
        "height": frame.height,
        "queue_time_ms": frame.queue_ms,
        "inference_time_ms": frame.inference_ms,
        "composite_time_ms": frame.composite_ms,
        "batch_size": frame.batch_size,
    }
    if frame.shapes is not None:
        fields |= {
            "blendshapes": frame.shapes.values,
            "time_s": frame.shapes.time_s,
            "head_deg": frame.shapes.head_deg,
        }
    if frame.error is not None:
        fields["error"] = frame.error.message
        fields["bounds"] = []
    return fields


def _shapes(cast: Cast, face: Face, base: int) -> Shapes | None:
    """Return the face that frame `base` of the footage shows with a model's mouth in it."""
    pose = cast.painter.pose(base)
    if pose is None or cast.weight_order is None or face.weights is None:
        return None
    # The smile at rest is in the picture's own mouth, which the model's covers.
    values = blendshapes(face.weights[cast.weight_order], replace(pose, smile=0.0))
    return Shapes(
        values=[round(value, _DECIMALS) for value in values.tolist()],
        time_s=round(face.index * CHUNK_S, 3),
        head_deg=[round(angle, _DECIMALS) for angle in head_degrees(pose).tolist()],
    )
