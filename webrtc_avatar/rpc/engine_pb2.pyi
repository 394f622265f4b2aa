from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatusResponse(_message.Message):
    __slots__ = ("runtime_name", "draining", "streams", "queued_live", "queued_bulk", "memory_bytes", "memory_budget_bytes", "workers", "models")
    RUNTIME_NAME_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    QUEUED_LIVE_FIELD_NUMBER: _ClassVar[int]
    QUEUED_BULK_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BUDGET_BYTES_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    runtime_name: str
    draining: bool
    streams: int
    queued_live: int
    queued_bulk: int
    memory_bytes: int
    memory_budget_bytes: int
    workers: _containers.RepeatedCompositeFieldContainer[Worker]
    models: _containers.RepeatedCompositeFieldContainer[Model]
    def __init__(self, runtime_name: _Optional[str] = ..., draining: _Optional[bool] = ..., streams: _Optional[int] = ..., queued_live: _Optional[int] = ..., queued_bulk: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., memory_budget_bytes: _Optional[int] = ..., workers: _Optional[_Iterable[_Union[Worker, _Mapping]]] = ..., models: _Optional[_Iterable[_Union[Model, _Mapping]]] = ...) -> None: ...

class Worker(_message.Message):
    __slots__ = ("device", "busy", "healthy", "batches", "frames", "failures", "batch_size", "wait_p50_s", "wait_p99_s", "run_p50_s", "run_p99_s")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    BUSY_FIELD_NUMBER: _ClassVar[int]
    HEALTHY_FIELD_NUMBER: _ClassVar[int]
    BATCHES_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    WAIT_P50_S_FIELD_NUMBER: _ClassVar[int]
    WAIT_P99_S_FIELD_NUMBER: _ClassVar[int]
    RUN_P50_S_FIELD_NUMBER: _ClassVar[int]
    RUN_P99_S_FIELD_NUMBER: _ClassVar[int]
    device: str
    busy: bool
    healthy: bool
    batches: int
    frames: int
    failures: int
    batch_size: float
    wait_p50_s: float
    wait_p99_s: float
    run_p50_s: float
    run_p99_s: float
    def __init__(self, device: _Optional[str] = ..., busy: _Optional[bool] = ..., healthy: _Optional[bool] = ..., batches: _Optional[int] = ..., frames: _Optional[int] = ..., failures: _Optional[int] = ..., batch_size: _Optional[float] = ..., wait_p50_s: _Optional[float] = ..., wait_p99_s: _Optional[float] = ..., run_p50_s: _Optional[float] = ..., run_p99_s: _Optional[float] = ...) -> None: ...

class Model(_message.Message):
    __slots__ = ("name", "kind", "devices", "memory_bytes", "streams", "queued_live", "queued_bulk", "batch_limit", "batch_s")
    class BatchSEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: float
        def __init__(self, key: _Optional[int] = ..., value: _Optional[float] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    QUEUED_LIVE_FIELD_NUMBER: _ClassVar[int]
    QUEUED_BULK_FIELD_NUMBER: _ClassVar[int]
    BATCH_LIMIT_FIELD_NUMBER: _ClassVar[int]
    BATCH_S_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: str
    devices: _containers.RepeatedScalarFieldContainer[str]
    memory_bytes: int
    streams: int
    queued_live: int
    queued_bulk: int
    batch_limit: int
    batch_s: _containers.ScalarMap[int, float]
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[str] = ..., devices: _Optional[_Iterable[str]] = ..., memory_bytes: _Optional[int] = ..., streams: _Optional[int] = ..., queued_live: _Optional[int] = ..., queued_bulk: _Optional[int] = ..., batch_limit: _Optional[int] = ..., batch_s: _Optional[_Mapping[int, float]] = ...) -> None: ...

class LoadRequest(_message.Message):
    __slots__ = ("avatar", "fingerprint")
    AVATAR_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    avatar: str
    fingerprint: bytes
    def __init__(self, avatar: _Optional[str] = ..., fingerprint: _Optional[bytes] = ...) -> None: ...

class LoadResponse(_message.Message):
    __slots__ = ("chunks_before", "chunks_after")
    CHUNKS_BEFORE_FIELD_NUMBER: _ClassVar[int]
    CHUNKS_AFTER_FIELD_NUMBER: _ClassVar[int]
    chunks_before: int
    chunks_after: int
    def __init__(self, chunks_before: _Optional[int] = ..., chunks_after: _Optional[int] = ...) -> None: ...

class RenderRequest(_message.Message):
    __slots__ = ("open", "asks")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    ASKS_FIELD_NUMBER: _ClassVar[int]
    open: Open
    asks: _containers.RepeatedCompositeFieldContainer[Ask]
    def __init__(self, open: _Optional[_Union[Open, _Mapping]] = ..., asks: _Optional[_Iterable[_Union[Ask, _Mapping]]] = ...) -> None: ...

class Open(_message.Message):
    __slots__ = ("avatar", "fingerprint", "first_chunk", "windowed", "bulk", "epoch")
    AVATAR_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    FIRST_CHUNK_FIELD_NUMBER: _ClassVar[int]
    WINDOWED_FIELD_NUMBER: _ClassVar[int]
    BULK_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    avatar: str
    fingerprint: bytes
    first_chunk: int
    windowed: bool
    bulk: bool
    epoch: int
    def __init__(self, avatar: _Optional[str] = ..., fingerprint: _Optional[bytes] = ..., first_chunk: _Optional[int] = ..., windowed: _Optional[bool] = ..., bulk: _Optional[bool] = ..., epoch: _Optional[int] = ...) -> None: ...

class Ask(_message.Message):
    __slots__ = ("chunk", "frame", "finish", "reset", "epoch", "remaining_ms")
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    FINISH_FIELD_NUMBER: _ClassVar[int]
    RESET_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    REMAINING_MS_FIELD_NUMBER: _ClassVar[int]
    chunk: Chunk
    frame: Frame
    finish: Finish
    reset: int
    epoch: int
    remaining_ms: float
    def __init__(self, chunk: _Optional[_Union[Chunk, _Mapping]] = ..., frame: _Optional[_Union[Frame, _Mapping]] = ..., finish: _Optional[_Union[Finish, _Mapping]] = ..., reset: _Optional[int] = ..., epoch: _Optional[int] = ..., remaining_ms: _Optional[float] = ...) -> None: ...

class Chunk(_message.Message):
    __slots__ = ("index", "samples", "base")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    BASE_FIELD_NUMBER: _ClassVar[int]
    index: int
    samples: bytes
    base: int
    def __init__(self, index: _Optional[int] = ..., samples: _Optional[bytes] = ..., base: _Optional[int] = ...) -> None: ...

class Frame(_message.Message):
    __slots__ = ("frame", "index", "base")
    FRAME_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    BASE_FIELD_NUMBER: _ClassVar[int]
    frame: int
    index: int
    base: int
    def __init__(self, frame: _Optional[int] = ..., index: _Optional[int] = ..., base: _Optional[int] = ...) -> None: ...

class Finish(_message.Message):
    __slots__ = ("index", "bases", "first", "end")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    BASES_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    index: int
    bases: _containers.RepeatedScalarFieldContainer[int]
    first: int
    end: int
    def __init__(self, index: _Optional[int] = ..., bases: _Optional[_Iterable[int]] = ..., first: _Optional[int] = ..., end: _Optional[int] = ...) -> None: ...

class RenderResponse(_message.Message):
    __slots__ = ("faces",)
    FACES_FIELD_NUMBER: _ClassVar[int]
    faces: _containers.RepeatedCompositeFieldContainer[Face]
    def __init__(self, faces: _Optional[_Iterable[_Union[Face, _Mapping]]] = ...) -> None: ...

class Face(_message.Message):
    __slots__ = ("index", "epoch", "crop", "shape", "weights", "late", "error", "batch_size", "wait_s", "run_s")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    CROP_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    LATE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    WAIT_S_FIELD_NUMBER: _ClassVar[int]
    RUN_S_FIELD_NUMBER: _ClassVar[int]
    index: int
    epoch: int
    crop: bytes
    shape: _containers.RepeatedScalarFieldContainer[int]
    weights: bytes
    late: bool
    error: Error
    batch_size: int
    wait_s: float
    run_s: float
    def __init__(self, index: _Optional[int] = ..., epoch: _Optional[int] = ..., crop: _Optional[bytes] = ..., shape: _Optional[_Iterable[int]] = ..., weights: _Optional[bytes] = ..., late: _Optional[bool] = ..., error: _Optional[_Union[Error, _Mapping]] = ..., batch_size: _Optional[int] = ..., wait_s: _Optional[float] = ..., run_s: _Optional[float] = ...) -> None: ...

class Error(_message.Message):
    __slots__ = ("code", "message")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...
