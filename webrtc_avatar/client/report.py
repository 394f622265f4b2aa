"""What a peer measured: for programs as JSON, for a person as a table."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from rich.table import Table

from webrtc_avatar.client.measure import Lag, Percentiles


@dataclass(frozen=True)
class Report:
    """Figures of one peer. None stands for what could not be measured: too short, nothing decoded, or no speech.

    Attributes:
        session_id: the session.
        seconds: from the first frame's arrival to the last one's.
        frames_received: complete frames.
        fps: frames with new media times per second, after the first second.
        fps_span_s: over how long; a figure to rely on takes 10 s.
        lateness: of frames, against the timeliest.
        first_frame_ms: from sending the offer to the first decoded picture.
        voice_to_lips: lag of the best correlation between what was said and the mouth in the arrived frames.
        onset_delays: from each beginning of speech after 300 ms of silence to the first frame whose mouth has moved.
        audio_video: lag of the returned picture behind the returned sound on the senders' media timeline.
        audio_video_end: the same over the last minute alone, for runs of more than two minutes.
        packets: packets received.
        packets_lost: packets that never came.
        frames_broken: frames that did not decode.
        dropped_on_purpose: datagrams dropped by the peer itself to simulate loss.
        uplink_late_ms: by how much the peer itself sent its sound late, at worst; above 20 ms the peer was starved.
        events: how many messages of each type came on the data channel.
        server: the server's latest `stats` message.
    """

    session_id: str = ""
    seconds: float = 0.0
    frames_received: int = 0
    fps: float | None = None
    fps_span_s: float = 0.0
    lateness: Percentiles | None = None
    first_frame_ms: float | None = None
    voice_to_lips: Lag | None = None
    onset_delays: Percentiles | None = None
    audio_video: Lag | None = None
    audio_video_end: Lag | None = None
    packets: int = 0
    packets_lost: int = 0
    frames_broken: int = 0
    dropped_on_purpose: int = 0
    uplink_late_ms: float = 0.0
    events: dict[str, int] = field(default_factory=dict)
    server: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return asdict(self)

    def table(self, title: str = "headless peer") -> Table:
        """Return a table for a person."""
        table = Table(title=title, title_justify="left")
        table.add_column("figure")
        table.add_column("value", justify="right")
        for name, value in self._rows():
            table.add_row(name, value)
        return table

    def _rows(self) -> list[tuple[str, str]]:
        late, onsets = self.lateness, self.onset_delays
        return [
            ("session", self.session_id or "none"),
            ("frames received", f"{self.frames_received} in {self.seconds:.1f} s"),
            ("frames a second", f"{number(self.fps, 2)} over {self.fps_span_s:.0f} s"),
            ("lateness p50 / p95 / p99", _three(late)),
            ("first frame", number(self.first_frame_ms, 0, " ms")),
            ("voice to lips, correlation", lag_text(self.voice_to_lips)),
            ("voice to lips, onsets p50 / p95", _two(onsets)),
            ("audio-video offset (+: sound first)", lag_text(self.audio_video)),
            ("audio-video offset, last minute", lag_text(self.audio_video_end)),
            (
                "packets received / lost / dropped on purpose",
                f"{self.packets} / {self.packets_lost} / {self.dropped_on_purpose}",
            ),
            ("frames that did not decode", str(self.frames_broken)),
            ("own sound sent late by at most", f"{self.uplink_late_ms:.0f} ms"),
        ]


def number(value: float | None, digits: int = 1, unit: str = "") -> str:
    """Return a figure as text; a dash for what was not measured."""
    return "-" if value is None else f"{value:.{digits}f}{unit}"


def lag_text(lag: Lag | None) -> str:
    """Return a lag with its correlation."""
    return "-" if lag is None else f"{lag.lag_ms:+.0f} ms (r {lag.correlation:.2f})"


def _three(values: Percentiles | None) -> str:
    return "-" if values is None else f"{values.p50_ms:.1f} / {values.p95_ms:.1f} / {values.p99_ms:.1f} ms"


def _two(values: Percentiles | None) -> str:
    return "-" if values is None else f"{values.p50_ms:.0f} / {values.p95_ms:.0f} ms ({values.count} onsets)"
