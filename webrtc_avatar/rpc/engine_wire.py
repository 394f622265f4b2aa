"""Faces, errors and figures of an engine as messages of `engine.proto`, and back."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from webrtc_avatar.engine.request import Face
from webrtc_avatar.engine.status import EngineStatus, Figures, ModelStatus, WorkerStatus
from webrtc_avatar.errors import (
    AvatarInUse,
    AvatarMismatch,
    AvatarServerError,
    EngineFailure,
    EngineLost,
    FrameOutOfRange,
    InvalidAudio,
    InvalidAvatar,
    InvalidRequest,
    ModelMemoryFull,
    NoFeatures,
    ServerDraining,
    ServerFull,
    Unauthorized,
    UnknownAvatar,
)
from webrtc_avatar.rpc import engine_pb2 as messages

_ERRORS: dict[str, type[AvatarServerError]] = {
    kind.code: kind
    for kind in (
        AvatarInUse,
        AvatarMismatch,
        EngineFailure,
        EngineLost,
        FrameOutOfRange,
        InvalidAudio,
        InvalidAvatar,
        InvalidRequest,
        ModelMemoryFull,
        NoFeatures,
        ServerDraining,
        ServerFull,
        Unauthorized,
        UnknownAvatar,
    )
}


def error_of(code: str, message: str) -> AvatarServerError:
    """Return an error that was raised elsewhere; EngineFailure for one that is not known here."""
    return _ERRORS.get(code, EngineFailure)(message)


def to_face(face: Face) -> messages.Face:
    """Return a face as a message."""
    message = messages.Face(index=face.index, epoch=face.epoch, late=face.late, batch_size=face.batch_size)
    if face.crop is not None:
        message.crop = face.crop.tobytes()
        message.shape.extend(face.crop.shape)
    if face.weights is not None:
        message.weights = np.asarray(face.weights, "<f4").tobytes()
    if face.error is not None:
        message.error.code, message.error.message = face.error.code, face.error.message
    if face.batch_size:
        message.wait_s, message.run_s = face.wait_s, face.run_s
    return message


def from_face(message: messages.Face) -> Face:
    """Return a face; its arrays are views of the message's bytes.

    Raises:
        ValueError: the crop's bytes do not fit its shape.
    """
    crop = np.frombuffer(message.crop, np.uint8).reshape(tuple(message.shape)) if message.shape else None
    return Face(
        index=message.index,
        epoch=message.epoch,
        crop=crop,
        weights=np.frombuffer(message.weights, "<f4") if message.HasField("weights") else None,
        late=message.late,
        error=error_of(message.error.code, message.error.message) if message.HasField("error") else None,
        batch_size=message.batch_size,
        wait_s=message.wait_s,
        run_s=message.run_s,
    )


def to_status(status: EngineStatus, *, runtime_name: str, draining: bool, streams: int) -> messages.StatusResponse:
    """Return an engine's figures as a message."""
    return messages.StatusResponse(
        runtime_name=runtime_name,
        draining=draining,
        streams=streams,
        queued_live=status.queued_live,
        queued_bulk=status.queued_bulk,
        memory_bytes=status.memory_bytes,
        memory_budget_bytes=status.memory_budget_bytes,
        workers=[
            messages.Worker(device=worker.device, busy=worker.busy, healthy=worker.healthy, **asdict(worker.tally))
            for worker in status.workers
        ],
        models=[messages.Model(**asdict(model)) for model in status.models],
    )


def workers_of(status: messages.StatusResponse, prefix: str) -> list[WorkerStatus]:
    """Return the devices of an engine, each with `prefix` before its name."""
    names = Figures.__dataclass_fields__
    return [
        WorkerStatus(
            device=prefix + worker.device,
            busy=worker.busy,
            healthy=worker.healthy,
            tally=Figures(**{name: getattr(worker, name) for name in names}),
        )
        for worker in status.workers
    ]


def models_of(status: messages.StatusResponse, prefix: str) -> list[ModelStatus]:
    """Return the models of an engine, their devices with `prefix` before their names."""
    return [
        ModelStatus(
            name=model.name,
            kind=model.kind,
            devices=tuple(prefix + device for device in model.devices),
            memory_bytes=model.memory_bytes,
            streams=model.streams,
            queued_live=model.queued_live,
            queued_bulk=model.queued_bulk,
            batch_limit=model.batch_limit,
            batch_s=dict(model.batch_s),
        )
        for model in status.models
    ]
