"""Prometheus metrics: counts, gauges, and the wait and run time of every stage as histograms."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest

_SECONDS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.025, 0.04, 0.06, 0.1, 0.2, 0.5, 1.0)

STAGES = ("sink", "engine", "compose", "encode_video", "encode_audio", "compose_call")


class Metrics:
    """All metrics of one server, in a registry of its own so that servers in one process do not mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.stage_wait = Histogram(
            "webrtc_avatar_stage_wait_seconds",
            "Time that work waits before a stage",
            ["stage"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.stage_run = Histogram(
            "webrtc_avatar_stage_run_seconds",
            "Time that a stage takes",
            ["stage"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        for stage in STAGES:
            self.stage_wait.labels(stage)
            self.stage_run.labels(stage)
        self.batch_size = Histogram(
            "webrtc_avatar_batch_size",
            "Frames in one model call",
            ["model"],
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self.registry,
        )
        self.frames = Counter(
            "webrtc_avatar_frames_total",
            "Frames by outcome: rendered, idle (no model call), held (late: the face is held), dropped (stale or late before the model), failed",
            ["outcome"],
            registry=self.registry,
        )
        self.chunks = Counter(
            "webrtc_avatar_chunks_total",
            "Chunks of sound by kind: received, filled (loss, DTX), late",
            ["kind"],
            registry=self.registry,
        )
        self.batches_retried = Counter(
            "webrtc_avatar_batches_retried_total",
            "Batches that failed and were retried one by one",
            registry=self.registry,
        )
        self.out_of_memory = Counter(
            "webrtc_avatar_out_of_memory_total",
            "Model calls that did not fit into the device's memory; smaller ones followed",
            registry=self.registry,
        )
        self.engine_queue = Gauge(
            "webrtc_avatar_engine_queue",
            "Frames that wait for a model call by lane: live (with a deadline), bulk",
            ["lane"],
            registry=self.registry,
        )
        self.engine_busy = Gauge(
            "webrtc_avatar_engine_busy_workers", "Devices that are in a model call", registry=self.registry
        )
        self.engine_healthy = Gauge(
            "webrtc_avatar_engine_healthy_workers",
            "Devices whose calls do not fail, of all that the server uses",
            registry=self.registry,
        )
        self.model_memory = Gauge(
            "webrtc_avatar_model_memory_bytes", "What the loaded models hold on all devices", registry=self.registry
        )
        self.sessions = Gauge("webrtc_avatar_sessions", "Sessions by state", ["state"], registry=self.registry)
        self.viewers = Gauge("webrtc_avatar_viewers", "Viewers that watch without a microphone", registry=self.registry)
        self.uploaded_faces = Gauge(
            "webrtc_avatar_uploaded_faces", "Faces that visitors uploaded for live sessions", registry=self.registry
        )
        self.lipsync_calls = Gauge(
            "webrtc_avatar_lipsync_calls", "Lip-sync calls under way, over gRPC and WebSocket", registry=self.registry
        )
        self.sessions_refused = Counter(
            "webrtc_avatar_sessions_refused_total", "Offers refused, by error code", ["code"], registry=self.registry
        )
        self.blendshapes = Counter(
            "webrtc_avatar_blendshapes_total",
            "Messages of blendshapes by outcome: sent, skipped (the peer's data channel was behind)",
            ["outcome"],
            registry=self.registry,
        )
        self.chunked_sessions = Gauge(
            "webrtc_avatar_chunked_sessions",
            "Chunked sessions by status: waiting_for_audio, processing, complete, error",
            ["status"],
            registry=self.registry,
        )
        self.chunked_waiting = Gauge(
            "webrtc_avatar_chunked_waiting_seconds",
            "Decoded sound of all chunked sessions that waits for its frames",
            registry=self.registry,
        )
        self.chunked_frames = Counter(
            "webrtc_avatar_chunked_frames_total", "Frames that were written to films", registry=self.registry
        )
        self.chunked_feeds = Counter(
            "webrtc_avatar_chunked_feeds_total",
            "Feeds of chunked sessions by outcome: taken, or the code of the error",
            ["outcome"],
            registry=self.registry,
        )
        self.chunked_bytes = Counter(
            "webrtc_avatar_chunked_fed_bytes_total", "Bytes of feeds that were taken", registry=self.registry
        )
        self.chunked_failures = Counter(
            "webrtc_avatar_chunked_failures_total", "Chunked sessions that broke off", registry=self.registry
        )
        self.key_frames = Counter(
            "webrtc_avatar_key_frames_total", "Key frames by codec", ["codec"], registry=self.registry
        )
        self._add_speech()

    def _add_speech(self) -> None:
        self.speech_requests = Counter(
            "webrtc_avatar_speech_requests_total",
            "Requests for speech by outcome: succeeded, failed, given_up (by their callers)",
            ["outcome"],
            registry=self.registry,
        )
        self.speech_queue = Gauge(
            "webrtc_avatar_speech_queue", "Requests for speech that wait for a process", registry=self.registry
        )
        self.speech_batch_size = Histogram(
            "webrtc_avatar_speech_batch_size",
            "Requests for speech in one batch",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self.registry,
        )
        self.speech_wait = Histogram(
            "webrtc_avatar_speech_wait_seconds",
            "Time that requests for speech wait for their batch",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.speech_run = Histogram(
            "webrtc_avatar_speech_run_seconds", "Time that a batch takes", buckets=_SECONDS, registry=self.registry
        )
        self.speech_retries = Counter(
            "webrtc_avatar_speech_retries_total",
            "Requests that were said again, because their batch or its process failed",
            registry=self.registry,
        )
        self.speech_workers_replaced = Counter(
            "webrtc_avatar_speech_workers_replaced_total",
            "Processes that died, hung or grew too large",
            registry=self.registry,
        )

    def exposition(self) -> bytes:
        """Return everything in the Prometheus text format."""
        return generate_latest(self.registry)
