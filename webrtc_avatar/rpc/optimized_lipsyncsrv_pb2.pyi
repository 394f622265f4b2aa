from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AudioEncoding(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FLOAT32: _ClassVar[AudioEncoding]
    INT16: _ClassVar[AudioEncoding]
    OPUS: _ClassVar[AudioEncoding]
FLOAT32: AudioEncoding
INT16: AudioEncoding
OPUS: AudioEncoding

class OptimizedInferenceRequest(_message.Message):
    __slots__ = ("model_name", "frame_id", "audio_chunks", "output")
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    FRAME_ID_FIELD_NUMBER: _ClassVar[int]
    AUDIO_CHUNKS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    frame_id: int
    audio_chunks: _containers.RepeatedScalarFieldContainer[bytes]
    output: OutputOptions
    def __init__(self, model_name: _Optional[str] = ..., frame_id: _Optional[int] = ..., audio_chunks: _Optional[_Iterable[bytes]] = ..., output: _Optional[_Union[OutputOptions, _Mapping]] = ...) -> None: ...

class BatchInferenceRequest(_message.Message):
    __slots__ = ("model_name", "frame_ids", "output")
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    FRAME_IDS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    frame_ids: _containers.RepeatedScalarFieldContainer[int]
    output: OutputOptions
    def __init__(self, model_name: _Optional[str] = ..., frame_ids: _Optional[_Iterable[int]] = ..., output: _Optional[_Union[OutputOptions, _Mapping]] = ...) -> None: ...

class BatchInferenceWithAudioRequest(_message.Message):
    __slots__ = ("model_name", "start_frame_id", "frame_count", "audio_chunks", "audio_encoding", "output")
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    START_FRAME_ID_FIELD_NUMBER: _ClassVar[int]
    FRAME_COUNT_FIELD_NUMBER: _ClassVar[int]
    AUDIO_CHUNKS_FIELD_NUMBER: _ClassVar[int]
    AUDIO_ENCODING_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    start_frame_id: int
    frame_count: int
    audio_chunks: _containers.RepeatedScalarFieldContainer[bytes]
    audio_encoding: AudioEncoding
    output: OutputOptions
    def __init__(self, model_name: _Optional[str] = ..., start_frame_id: _Optional[int] = ..., frame_count: _Optional[int] = ..., audio_chunks: _Optional[_Iterable[bytes]] = ..., audio_encoding: _Optional[_Union[AudioEncoding, str]] = ..., output: _Optional[_Union[OutputOptions, _Mapping]] = ...) -> None: ...

class StreamAudioRequest(_message.Message):
    __slots__ = ("model_name", "audio", "end", "interrupt", "audio_encoding", "output")
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    AUDIO_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    INTERRUPT_FIELD_NUMBER: _ClassVar[int]
    AUDIO_ENCODING_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    audio: bytes
    end: bool
    interrupt: bool
    audio_encoding: AudioEncoding
    output: OutputOptions
    def __init__(self, model_name: _Optional[str] = ..., audio: _Optional[bytes] = ..., end: _Optional[bool] = ..., interrupt: _Optional[bool] = ..., audio_encoding: _Optional[_Union[AudioEncoding, str]] = ..., output: _Optional[_Union[OutputOptions, _Mapping]] = ...) -> None: ...

class OutputOptions(_message.Message):
    __slots__ = ("composition", "format", "jpeg_quality", "blendshapes")
    class Composition(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        FULL_FRAME: _ClassVar[OutputOptions.Composition]
        FACE_ONLY: _ClassVar[OutputOptions.Composition]
    FULL_FRAME: OutputOptions.Composition
    FACE_ONLY: OutputOptions.Composition
    class ImageFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        JPEG: _ClassVar[OutputOptions.ImageFormat]
        PNG: _ClassVar[OutputOptions.ImageFormat]
        WEBP: _ClassVar[OutputOptions.ImageFormat]
        RAW_BGR: _ClassVar[OutputOptions.ImageFormat]
    JPEG: OutputOptions.ImageFormat
    PNG: OutputOptions.ImageFormat
    WEBP: OutputOptions.ImageFormat
    RAW_BGR: OutputOptions.ImageFormat
    COMPOSITION_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    JPEG_QUALITY_FIELD_NUMBER: _ClassVar[int]
    BLENDSHAPES_FIELD_NUMBER: _ClassVar[int]
    composition: OutputOptions.Composition
    format: OutputOptions.ImageFormat
    jpeg_quality: int
    blendshapes: bool
    def __init__(self, composition: _Optional[_Union[OutputOptions.Composition, str]] = ..., format: _Optional[_Union[OutputOptions.ImageFormat, str]] = ..., jpeg_quality: _Optional[int] = ..., blendshapes: _Optional[bool] = ...) -> None: ...

class OptimizedInferenceResponse(_message.Message):
    __slots__ = ("success", "image_data", "frame_id", "processing_time_ms", "error", "bounds", "width", "height", "queue_time_ms", "inference_time_ms", "composite_time_ms", "batch_size", "blendshapes", "time_s", "head_deg")
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    IMAGE_DATA_FIELD_NUMBER: _ClassVar[int]
    FRAME_ID_FIELD_NUMBER: _ClassVar[int]
    PROCESSING_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    BOUNDS_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    QUEUE_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    INFERENCE_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    COMPOSITE_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    BLENDSHAPES_FIELD_NUMBER: _ClassVar[int]
    TIME_S_FIELD_NUMBER: _ClassVar[int]
    HEAD_DEG_FIELD_NUMBER: _ClassVar[int]
    success: bool
    image_data: bytes
    frame_id: int
    processing_time_ms: int
    error: str
    bounds: _containers.RepeatedScalarFieldContainer[int]
    width: int
    height: int
    queue_time_ms: float
    inference_time_ms: float
    composite_time_ms: float
    batch_size: int
    blendshapes: _containers.RepeatedScalarFieldContainer[float]
    time_s: float
    head_deg: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, success: _Optional[bool] = ..., image_data: _Optional[bytes] = ..., frame_id: _Optional[int] = ..., processing_time_ms: _Optional[int] = ..., error: _Optional[str] = ..., bounds: _Optional[_Iterable[int]] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., queue_time_ms: _Optional[float] = ..., inference_time_ms: _Optional[float] = ..., composite_time_ms: _Optional[float] = ..., batch_size: _Optional[int] = ..., blendshapes: _Optional[_Iterable[float]] = ..., time_s: _Optional[float] = ..., head_deg: _Optional[_Iterable[float]] = ...) -> None: ...

class BatchInferenceResponse(_message.Message):
    __slots__ = ("responses", "total_processing_time_ms", "avg_frame_time_ms")
    RESPONSES_FIELD_NUMBER: _ClassVar[int]
    TOTAL_PROCESSING_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    AVG_FRAME_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    responses: _containers.RepeatedCompositeFieldContainer[OptimizedInferenceResponse]
    total_processing_time_ms: int
    avg_frame_time_ms: float
    def __init__(self, responses: _Optional[_Iterable[_Union[OptimizedInferenceResponse, _Mapping]]] = ..., total_processing_time_ms: _Optional[int] = ..., avg_frame_time_ms: _Optional[float] = ...) -> None: ...

class LoadPackageRequest(_message.Message):
    __slots__ = ("package_name", "package_dir")
    PACKAGE_NAME_FIELD_NUMBER: _ClassVar[int]
    PACKAGE_DIR_FIELD_NUMBER: _ClassVar[int]
    package_name: str
    package_dir: str
    def __init__(self, package_name: _Optional[str] = ..., package_dir: _Optional[str] = ...) -> None: ...

class LoadPackageResponse(_message.Message):
    __slots__ = ("success", "package_name", "message", "initialization_time_ms", "frame_count", "device", "error")
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    PACKAGE_NAME_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    INITIALIZATION_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    FRAME_COUNT_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    success: bool
    package_name: str
    message: str
    initialization_time_ms: int
    frame_count: int
    device: str
    error: str
    def __init__(self, success: _Optional[bool] = ..., package_name: _Optional[str] = ..., message: _Optional[str] = ..., initialization_time_ms: _Optional[int] = ..., frame_count: _Optional[int] = ..., device: _Optional[str] = ..., error: _Optional[str] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("loaded_models", "count")
    LOADED_MODELS_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    loaded_models: _containers.RepeatedScalarFieldContainer[str]
    count: int
    def __init__(self, loaded_models: _Optional[_Iterable[str]] = ..., count: _Optional[int] = ...) -> None: ...

class GetModelMetadataRequest(_message.Message):
    __slots__ = ("model_name",)
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    def __init__(self, model_name: _Optional[str] = ...) -> None: ...

class GetModelMetadataResponse(_message.Message):
    __slots__ = ("success", "model_name", "frame_count", "available_videos", "bounds", "error", "width", "height", "fps", "chunks_before", "chunks_after")
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    FRAME_COUNT_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_VIDEOS_FIELD_NUMBER: _ClassVar[int]
    BOUNDS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    FPS_FIELD_NUMBER: _ClassVar[int]
    CHUNKS_BEFORE_FIELD_NUMBER: _ClassVar[int]
    CHUNKS_AFTER_FIELD_NUMBER: _ClassVar[int]
    success: bool
    model_name: str
    frame_count: int
    available_videos: _containers.RepeatedScalarFieldContainer[str]
    bounds: _containers.RepeatedScalarFieldContainer[int]
    error: str
    width: int
    height: int
    fps: float
    chunks_before: int
    chunks_after: int
    def __init__(self, success: _Optional[bool] = ..., model_name: _Optional[str] = ..., frame_count: _Optional[int] = ..., available_videos: _Optional[_Iterable[str]] = ..., bounds: _Optional[_Iterable[int]] = ..., error: _Optional[str] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., fps: _Optional[float] = ..., chunks_before: _Optional[int] = ..., chunks_after: _Optional[int] = ...) -> None: ...

class GetVideoFrameRequest(_message.Message):
    __slots__ = ("model_name", "frame_id", "video_type")
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    FRAME_ID_FIELD_NUMBER: _ClassVar[int]
    VIDEO_TYPE_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    frame_id: int
    video_type: str
    def __init__(self, model_name: _Optional[str] = ..., frame_id: _Optional[int] = ..., video_type: _Optional[str] = ...) -> None: ...

class GetVideoFrameResponse(_message.Message):
    __slots__ = ("success", "frame_data", "frame_id", "video_type", "error")
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    FRAME_DATA_FIELD_NUMBER: _ClassVar[int]
    FRAME_ID_FIELD_NUMBER: _ClassVar[int]
    VIDEO_TYPE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    success: bool
    frame_data: bytes
    frame_id: int
    video_type: str
    error: str
    def __init__(self, success: _Optional[bool] = ..., frame_data: _Optional[bytes] = ..., frame_id: _Optional[int] = ..., video_type: _Optional[str] = ..., error: _Optional[str] = ...) -> None: ...

class StatsRequest(_message.Message):
    __slots__ = ("model_name",)
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    def __init__(self, model_name: _Optional[str] = ...) -> None: ...

class StatsResponse(_message.Message):
    __slots__ = ("model_name", "total_requests", "avg_inference_time_ms", "min_inference_time_ms", "max_inference_time_ms", "frame_count", "device", "optimizations_active")
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    TOTAL_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    AVG_INFERENCE_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    MIN_INFERENCE_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    MAX_INFERENCE_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    FRAME_COUNT_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    OPTIMIZATIONS_ACTIVE_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    total_requests: int
    avg_inference_time_ms: float
    min_inference_time_ms: float
    max_inference_time_ms: float
    frame_count: int
    device: str
    optimizations_active: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, model_name: _Optional[str] = ..., total_requests: _Optional[int] = ..., avg_inference_time_ms: _Optional[float] = ..., min_inference_time_ms: _Optional[float] = ..., max_inference_time_ms: _Optional[float] = ..., frame_count: _Optional[int] = ..., device: _Optional[str] = ..., optimizations_active: _Optional[_Iterable[str]] = ...) -> None: ...

class HealthRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class HealthResponse(_message.Message):
    __slots__ = ("healthy", "status", "loaded_models", "uptime_seconds")
    HEALTHY_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    LOADED_MODELS_FIELD_NUMBER: _ClassVar[int]
    UPTIME_SECONDS_FIELD_NUMBER: _ClassVar[int]
    healthy: bool
    status: str
    loaded_models: int
    uptime_seconds: int
    def __init__(self, healthy: _Optional[bool] = ..., status: _Optional[str] = ..., loaded_models: _Optional[int] = ..., uptime_seconds: _Optional[int] = ...) -> None: ...
