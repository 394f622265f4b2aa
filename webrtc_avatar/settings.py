"""Every knob, once. Sources, strongest first: flags, environment (`WEBRTC_AVATAR_*`), a TOML file, these defaults."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from webrtc_avatar.avatar.style import Style
from webrtc_avatar.avatar.watermark import Place, Watermark, Watermarks
from webrtc_avatar.errors import InvalidSettings

_Degrees = Annotated[float, Field(ge=-90, le=90)]
_Share = Annotated[float, Field(ge=-1, le=1)]


def _number(value: object) -> object:
    """Read digits, which is how the environment gives a number."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


Address = Annotated[str, Field(pattern=r"^(\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+):\d{1,5}$")]
"""HOST:PORT, with an IPv6 address in brackets."""

_FramePx = Annotated[Literal[512, 720], BeforeValidator(_number)]


def _also(name: str, environment: str) -> AliasChoices:
    """Let a setting be known by a name of its own in the environment, besides the usual one."""
    return AliasChoices(name, f"WEBRTC_AVATAR_{name.upper()}", environment)


ANY_ORIGIN = "*"


def _origin(value: str) -> str:
    """Return an origin as browsers write it: lower case, without the scheme's own port (RFC 6454 6.1)."""
    found = re.fullmatch(r"([a-z][a-z0-9+.-]*)://([^/\s:@?#*]+|\[[0-9a-f:.]+\])(:\d{1,5})?", value.lower())
    if value == ANY_ORIGIN:
        return value
    if found is None:
        raise ValueError(
            f'an origin is https://example.org or http://localhost:3000, without a path or a slash at its end, or "*" for any; got {value!r}'
        )
    port = "" if (found[1], found[3]) in (("http", ":80"), ("https", ":443")) else found[3] or ""
    return f"{found[1]}://{found[2]}{port}"


Origin = Annotated[str, AfterValidator(_origin)]


class IceServer(BaseModel):
    """One STUN or TURN server, as browsers take it in `RTCConfiguration.iceServers`."""

    model_config = ConfigDict(extra="forbid")

    urls: str | list[str]
    username: str | None = None
    credential: str | None = None


class Settings(BaseSettings):
    """What an operator can set. Durations end in `_s` or `_ms`, rates in `_bps`."""

    model_config = SettingsConfigDict(env_prefix="WEBRTC_AVATAR_", extra="forbid", frozen=True)

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8080, ge=0, le=65535, description="HTTP port; 0 takes a free one")
    grpc: bool = Field(True, description="serve lip-sync over gRPC beside HTTP")
    grpc_port: int = Field(50051, ge=0, le=65535, description="gRPC port; 0 takes a free one")
    grpc_tls_cert: Path | None = Field(
        None, description="PEM file with the certificate chain of the gRPC port; none: no TLS there"
    )
    grpc_tls_key: Path | None = Field(None, description="PEM file with its private key")
    token: SecretStr | None = Field(
        None, description="bearer token that gRPC calls and /ws/lipsync must carry; none: anybody may call"
    )
    rpc_max_calls: int = Field(64, ge=1, description="lip-sync calls at once; the next one is refused")
    rpc_max_frames: int = Field(1000, ge=1, description="frames of one lip-sync call")
    rpc_max_message_bytes: int = Field(
        50 * 1024 * 1024, ge=64 * 1024, description="largest message of a lip-sync call, either way"
    )
    rpc_threads: int | None = Field(
        None,
        ge=1,
        le=64,
        description="threads that compose and encode pictures for lip-sync calls. None: half the cores, 16 at most",
    )
    avatar: str = Field("iris", description="the avatar of those who name none")
    avatar_folders: list[Path] = Field(
        default_factory=list, description="more folders with avatar packages, searched first"
    )

    max_sessions: int | None = Field(
        None, ge=1, description="sessions at once; the next one is answered 503. None: two a core, 12 at most"
    )
    max_viewers: int = Field(64, ge=0, description="viewers of one session")
    peer_timeout_s: float = Field(8.0, gt=0, description="a peer from which nothing was heard for so long is gone")
    connect_timeout_s: float = Field(15.0, gt=0, description="a peer that has not connected by then is given up")
    unwatched_timeout_s: float = Field(
        10.0, gt=0, description="a session without microphone and viewers ends after this"
    )
    drain_timeout_s: float = Field(20.0, ge=0, description="how long SIGTERM waits for sessions to end by themselves")
    max_request_bytes: int = Field(256 * 1024, ge=1024, description="largest accepted request body")

    allowed_origins: list[Origin] = Field(
        default_factory=list,
        description="other sites whose pages may use everything, such as https://example.org; `*`: any; none: own pages only",
    )
    ice_servers: list[IceServer] = Field(
        default_factory=list, description="STUN and TURN servers; none: nothing waits for any"
    )

    frame_px: _FramePx = Field(
        512,
        description="width and height of the video in pixels, 512 or 720; of footage, the side of a square of as many pixels",
    )
    video_bitrate_bps: int = Field(1_200_000, ge=50_000, description="upper bound of the video bitrate per codec")
    video_min_bitrate_bps: int = Field(150_000, ge=20_000, description="the bitrate never falls below this")
    video_codecs: tuple[Literal["VP8", "H264"], ...] = Field(("VP8", "H264"), description="offered, best first")
    audio_bitrate_bps: int = Field(48_000, ge=6_000, le=510_000, description="Opus bitrate of the returned sound")

    device: str = Field(
        "auto", description="auto, cpu, mps, cuda:N, or several: cuda:0,cuda:1 has one engine thread each"
    )
    runtime: Literal["auto", "onnx", "torch", "tensorrt"] = Field(
        "auto", description="what runs the networks; auto: torch on CUDA and MPS, else ONNX Runtime"
    )
    precision: Literal["auto", "float32", "float16", "bfloat16"] = Field(
        "auto", description="of the networks; auto: float32 on a CPU, float16 elsewhere"
    )
    engine_threads: int = Field(1, ge=1, le=64, description="threads of one model call on a CPU")
    media_threads: int = Field(2, ge=1, le=64, description="threads that compose and encode pictures")
    max_batch_size: int = Field(16, ge=1, le=256, description="most frames in one model call")
    max_wait_ms: float = Field(
        4.0, ge=0, le=100, description="longest wait of a frame for others to share its model call with"
    )
    model_memory_mb: int = Field(
        4096, ge=1, description="networks kept on one device; over it, those go that nobody has used for longest"
    )
    base_cache_mb: int = Field(
        512, ge=0, description="what a model of footage may keep on a device of what depends on the footage alone"
    )
    frame_cache_mb: int = Field(
        256, ge=0, description="decoded frames of footage that are kept in memory, of all avatars"
    )
    engines: list[Address] = Field(
        default_factory=list,
        description="HOST:PORT of engines on other machines (`webrtc-avatar engine`); none: the engine in this process",
    )
    engine_token: SecretStr | None = Field(None, description="the token of those engines")
    engine_tls_ca: Path | None = Field(
        None, description="PEM file with the certificates by which those engines are trusted; none: no TLS to them"
    )
    engine_max_streams: int = Field(
        256, ge=1, description="streams of media servers that this machine's engine renders for at once"
    )
    render_budget_ms: float = Field(
        30.0,
        gt=0,
        le=200,
        description="time between a chunk's arrival and its frame's departure; a model that needs longer gets up to 200",
    )
    silence_dbfs: float = Field(-52.0, ge=-90, le=0, description="sound below this level counts as silence")
    idle_seed: int | None = Field(None, description="seed of blinks, gaze and sway; none: another one each session")

    alive: bool = Field(True, description="false: a still head and open eyes, only the mouth moves")
    pose_style: tuple[_Degrees, _Degrees, _Degrees] = Field(
        (0.0, 0.0, 0.0), description="[pitch, yaw, roll] of the head in degrees: down, and to the picture's right"
    )
    gaze_style: tuple[_Share, _Share] = Field(
        (0.0, 0.0), description="[x, y] of the gaze, -1 to 1: to the picture's right, and up"
    )

    watermark: str | None = Field(
        None, description="burned into every whole picture: a text, or the path of a .png; none: no mark"
    )
    watermark_portraits: str | None = Field(
        None, description="the same for faces made from a photo, uploaded ones included; none: as `watermark`"
    )
    watermark_place: Place = Field(
        "bottom_right", description="its corner: top_left, top_right, bottom_left, bottom_right"
    )
    watermark_opacity: float = Field(0.8, ge=0.2, le=1, description="how opaque it is")

    c2pa_certificate: Path | None = Field(
        None,
        description="PEM file with the certificate chain that films of `render` are signed by (C2PA); none: unsigned",
    )
    c2pa_key: Path | None = Field(None, description="PEM file with its private key")

    chunked_max_sessions: int = Field(8, ge=1, description="chunked sessions at once, those that are over included")
    chunked_idle_timeout_s: float = Field(
        3000.0, gt=0, description="a chunked session that nobody feeds or watches for so long ends, and its files go"
    )
    chunked_max_duration_s: float = Field(3 * 3600.0, gt=0, description="the longest film of a chunked session")
    chunked_max_pending_s: float = Field(
        300.0,
        ge=10,
        description="decoded sound of a chunked session that may wait; of a longer feed the rest is decoded as its frames are made",
    )
    chunked_max_audio_bytes: int = Field(32 * 1024 * 1024, ge=1024, description="largest file of one feed")
    chunked_max_image_bytes: int = Field(10 * 1024 * 1024, ge=1024, description="largest file of an uploaded face")
    chunked_max_image_pixels: int = Field(40_000_000, ge=10_000, description="most pixels of an uploaded face")
    max_faces: int = Field(
        16, ge=0, description="photos that visitors may have uploaded for live sessions at once; 0: none are taken"
    )
    face_uploads_per_minute: int = Field(
        10,
        ge=1,
        description="photos that one address may upload in a minute; behind a proxy all visitors have its address",
    )
    face_unused_timeout_s: float = Field(
        300.0, gt=0, description="an uploaded face that no session has shown by then goes"
    )
    face_grace_s: float = Field(
        60.0, gt=0, description="an uploaded face goes so long after its session, for those who reconnect"
    )
    save_faces: bool = Field(
        False,
        description="visitors may save uploaded faces as avatars, for everybody, into the first of `avatar_folders`",
    )
    hls_folder: Path | None = Field(None, description="where segments are written; none: the system's temporary folder")
    hls_segment_s: float = Field(2.0, ge=0.4, le=10, description="duration of HLS segments")
    hls_part_s: float | None = Field(
        None, ge=0.2, le=10, description="duration of low-latency parts of HLS segments; none: there are no parts"
    )

    microphone: Literal["drives", "listens"] = Field(
        "drives",
        description="drives: the avatar says what the microphone hears, unless it speaks text; listens: it speaks text alone",
    )
    barge_in: bool = Field(False, description="whoever begins to speak while the avatar speaks text silences it")
    barge_in_after_s: float = Field(0.2, gt=0, le=2, description="speech for so long is meant, not a cough")
    voice: str = Field("hibari/heart", description="the voice of those who name none, ENGINE/NAME")
    speech_preset: Literal["default", "throughput", "latency"] = Field(
        "default", description="what batching is tuned for; the settings below win over it"
    )
    speech_batching: bool = Field(
        True,
        validation_alias=_also("speech_batching", "ENABLE_BATCHING"),
        description="group compatible requests for speech",
    )
    speech_max_batch_size: int | None = Field(
        None,
        ge=1,
        le=64,
        validation_alias=_also("speech_max_batch_size", "MAX_BATCH_SIZE"),
        description="most requests for speech in one batch. None: as the preset says, 4",
    )
    speech_batch_timeout_ms: int | None = Field(
        None,
        ge=0,
        le=60_000,
        validation_alias=_also("speech_batch_timeout_ms", "BATCH_TIMEOUT_MS"),
        description="longest wait of a request for company; what is said live never waits. None: as the preset says, 500",
    )
    speech_max_batch_text_length: int | None = Field(
        None,
        ge=1,
        validation_alias=_also("speech_max_batch_text_length", "MAX_BATCH_TEXT_LENGTH"),
        description="most characters of one batch; a longer request goes alone. None: as the preset says, 2000",
    )
    speech_workers: int | None = Field(
        None,
        ge=1,
        le=64,
        validation_alias=_also("speech_workers", "CONCURRENT_REQUESTS"),
        description="processes that speak. None: as the preset says, 2",
    )
    speech_timeout_s: float = Field(
        30.0, gt=0, description="a process that says nothing for so long while it has work is replaced"
    )
    speech_worker_memory_mb: int = Field(1024, ge=64, description="a process that speaks and holds more is replaced")
    speech_voice_folders: list[Path] = Field(
        default_factory=list, description="folders with files of further voices, of hibari and of piper"
    )
    speech_openai_url: str | None = Field(
        None,
        pattern=r"^https?://",
        description="a service with OpenAI's `/audio/speech`, as https://api.openai.com/v1; none: there are no voices `openai/...`",
    )
    speech_openai_key: SecretStr | None = Field(None, description="its key")
    speech_openai_models: list[str] = Field(
        default_factory=lambda: ["gpt-4o-mini-tts", "tts-1", "tts-1-hd"],
        min_length=1,
        description="its models; the first speaks for those who name no checkpoint",
    )
    speech_openai_voices: list[str] = Field(
        default_factory=lambda: ["alloy", "ash", "coral", "echo", "fable", "nova", "onyx", "sage", "shimmer"],
        min_length=1,
        description="its voices; the first is the default",
    )
    speech_openai_timeout_s: float = Field(
        8.0, gt=0, le=120, description="how long it may take to connect, and between two pieces of sound"
    )
    speech_openai_retries: int = Field(2, ge=0, le=5, description="further tries where it is busy or does not answer")
    speech_threads: int = Field(1, ge=1, le=64, description="threads of a worker that synthesizes speech")
    speech_max_queue: int = Field(256, ge=1, description="requests for speech that may wait; the next one is refused")
    speech_max_text_chars: int = Field(5000, ge=1, description="characters of one request for speech")
    speech_max_audio_bytes: int = Field(
        32 * 1024 * 1024, ge=1024, description="largest file that a session is given to play"
    )
    speech_preload: bool = Field(
        True, description="`serve` loads the voice when it starts; false: when somebody first asks for it"
    )

    log_format: Literal["text", "json"] = Field("text", description="one line a record: for a person, or for a machine")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least severe record that is written"
    )

    @property
    def style(self) -> Style:
        """How faces are held where nobody asks for another style."""
        return Style(pose=self.pose_style, gaze=self.gaze_style, alive=self.alive)

    @property
    def watermarks(self) -> Watermarks:
        """What is burned into whose pictures."""

        def of(mark: str | None) -> Watermark | None:
            return None if mark is None else Watermark(mark, self.watermark_place, self.watermark_opacity)

        return Watermarks(everybody=of(self.watermark), portraits=of(self.watermark_portraits))

    @model_validator(mode="after")
    def _can_be_drawn(self) -> Settings:
        try:
            for mark in (self.watermarks.everybody, self.watermarks.portraits):
                if mark is not None:
                    mark.check()
        except InvalidSettings as error:
            raise ValueError(error.message) from error
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources; a TOML file is read only where `from_file` names one."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @classmethod
    def from_file(cls, path: Path, **flags: object) -> Settings:
        """Return settings with the TOML file at `path` below the environment and `flags`."""

        class FromFile(cls):  # type: ignore[misc, valid-type]
            model_config = SettingsConfigDict(toml_file=path)

        settings: Settings = FromFile(**flags)
        return settings
