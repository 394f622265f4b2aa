"""A headless peer: joins a server as a browser would, sends a sound file in real time, records and measures.

async with Peer("http://127.0.0.1:8080", audio=Path("speech.wav"), record=Path("out.mp4")) as peer:
    await peer.run(20)
    print(peer.report().fps)
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpReceiver, RTCSessionDescription
from aiortc.codecs import is_rtx

from webrtc_avatar.client import measure
from webrtc_avatar.client.decoding import Decoding, SeenFrame
from webrtc_avatar.client.failures import ConnectionLost
from webrtc_avatar.client.loss import PacketLoss
from webrtc_avatar.client.receiving import AudioTap, EncodedFrame, VideoTap
from webrtc_avatar.client.report import Report
from webrtc_avatar.client.signalling import Answer, Signalling
from webrtc_avatar.client.speech_track import Speech, SpeechTrack, load_speech

LEAD_IN_S = 1.0
"""Silence before the file, which makes its first word an onset."""

GAP_S = 0.8
"""Silence between repetitions of the file."""

_LAST_MINUTE_S = 60.0


class Peer:
    """One connection to a server.

    Args:
        url: the server, such as `http://127.0.0.1:8080`.
        audio: sound file to send, or sound that `load_speech` made; None sends none (only with `watch`, or silence).
        avatar: name of the avatar; None takes the server's default.
        watch: id of a session to watch (WHEP) instead of opening one.
        record: MP4 to write.
        loop: repeat the file, 0.8 s apart; else silence follows it.
        muted: begin with silence, see `mute`.
        decode: look at the pictures and listen to the sound; False only counts frames after the first picture, at next
            to no cost.
        codec: take only this video codec; None leaves the choice to the server.
        loss_percent: drop so many of the datagrams in both directions, once connected.
        seed: of the loss.
        connect_timeout_s: how long the connection and the first frame may take.

    Attributes:
        events: messages of the data channel, in order, each with `received_s` added (`time.monotonic()`).
        session_id: the session's id, once started.
    """

    def __init__(
        self,
        url: str,
        *,
        audio: Path | Speech | None = None,
        avatar: str | None = None,
        watch: str | None = None,
        record: Path | None = None,
        loop: bool = True,
        muted: bool = False,
        decode: bool = True,
        codec: Literal["VP8", "H264"] | None = None,
        loss_percent: float = 0.0,
        seed: int = 0,
        connect_timeout_s: float = 15.0,
    ) -> None:
        self.events: list[dict[str, Any]] = []
        self.session_id = ""
        self._avatar, self._watch, self._record, self._loop = avatar, watch, record, loop
        self._audio, self._muted, self._codec, self._decode = audio, muted, codec, decode or record is not None
        self._connect_timeout_s = connect_timeout_s
        self._signalling = Signalling(url)
        self._loss = PacketLoss(loss_percent, seed=seed) if loss_percent > 0 else None
        self._connection: RTCPeerConnection | None = None
        self._channel: Any = None
        self._track: SpeechTrack | None = None
        self._decoding: Decoding | None = None
        self._answer: Answer | None = None
        self._video = VideoTap(self._on_frame)
        self._sound = AudioTap(self._on_sound)
        self._mimes: dict[int, str] = {}
        self._arrivals: list[tuple[int, float]] = []
        self._offered_s = 0.0
        self._relation_s: float | None = None
        self._lost = asyncio.Event()
        self._flows = asyncio.Event()
        self._event_waiters: list[tuple[str, asyncio.Future[dict[str, Any]]]] = []

    async def __aenter__(self) -> Peer:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def start(self) -> None:
        """Connect, and return when the first frame has come.

        Raises:
            ServerUnreachable, OfferRefused, NotMedia, NotWritable, ConnectionLost: see `webrtc_avatar.client`.
        """
        try:
            speech = self._audio
            if isinstance(speech, Path):
                speech = await asyncio.to_thread(load_speech, speech, lead_in_s=LEAD_IN_S, gap_s=GAP_S)
            async with asyncio.timeout(self._connect_timeout_s):
                await self._connect(speech)
        except TimeoutError as error:
            await self.aclose()
            raise ConnectionLost(
                f"no picture came within {self._connect_timeout_s:.0f} s of the offer; "
                "is UDP between this machine and the server open?"
            ) from error
        except BaseException:
            await self.aclose()
            raise

    async def _connect(self, speech: Speech | None) -> None:
        self._decoding = Decoding(record=self._record, on_broken=self._want_key_frame)
        connection = self._connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        connection.on("connectionstatechange", self._on_state)
        if self._watch is None and speech is not None:
            self._track = SpeechTrack(speech, loop=self._loop)
            self._track.muted = self._muted
            audio = connection.addTransceiver(self._track, direction="sendrecv")
        else:
            audio = connection.addTransceiver("audio", direction="recvonly")
        video = connection.addTransceiver("video", direction="recvonly")
        if self._codec is not None:
            capabilities = RTCRtpReceiver.getCapabilities("video")
            offered = capabilities.codecs if capabilities is not None else []
            wanted = [c for c in offered if c.mimeType.lower() == f"video/{self._codec.lower()}" or is_rtx(c)]
            video.setCodecPreferences(wanted)
        self._sound.attach(audio.receiver)
        self._video.attach(video.receiver)
        if self._watch is None:
            self._channel = connection.createDataChannel("control")
            self._channel.on("message", self._on_message)
        await connection.setLocalDescription(await connection.createOffer())
        self._offered_s = time.monotonic()
        sdp = connection.localDescription.sdp
        if self._watch is None:
            self._answer = await self._signalling.offer(sdp, avatar=self._avatar)
        else:
            self._answer = await self._signalling.watch(sdp, self._watch)
        self.session_id = self._answer.session_id
        await connection.setRemoteDescription(RTCSessionDescription(self._answer.sdp, "answer"))
        self._mimes = {codec.payloadType: codec.mimeType for codec in video._codecs if codec.payloadType is not None}
        await _first(self._flows, self._lost)
        self._raise_if_lost()

    async def run(self, seconds: float) -> None:
        """Stay for so many seconds.

        Raises:
            ConnectionLost: if the connection ends before.
        """
        try:
            async with asyncio.timeout(seconds):
                await self._lost.wait()
        except TimeoutError:
            return
        self._raise_if_lost()

    def _raise_if_lost(self) -> None:
        if self._lost.is_set():
            raise ConnectionLost("the media connection failed or was closed by the server; look into the server's log")

    def send(self, message: dict[str, Any]) -> None:
        """Send one message on the data channel "control".

        Raises:
            ConnectionLost: if there is no open data channel.
        """
        if self._channel is None or self._channel.readyState != "open":
            raise ConnectionLost("the data channel is not open; start the peer first, without `watch`")
        self._channel.send(json.dumps(message))

    def interrupt(self) -> None:
        """Ask the server to fall silent at once."""
        self.send({"type": "interrupt"})

    def set_avatar(self, name: str) -> None:
        """Ask for another avatar."""
        self.send({"type": "avatar", "name": name})

    def mute(self, muted: bool = True) -> None:
        """Send silence instead of the file, which goes on meanwhile; `mute(False)` ends that."""
        self._muted = muted
        if self._track is not None:
            self._track.muted = muted

    async def event(self, kind: str) -> dict[str, Any]:
        """Wait for the next message of this type on the data channel and return it."""
        waiter: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._event_waiters.append((kind, waiter))
        return await waiter

    def heard(self) -> list[tuple[float, float]]:
        """Return (`time.monotonic()` of its arrival, level in dBFS of its loudest 10 ms) of each packet of sound, in order."""
        return [] if self._decoding is None else list(self._decoding.heard)

    def seen(self) -> list[SeenFrame]:
        """Return what was seen of each frame, in order."""
        return [] if self._decoding is None else list(self._decoding.frames)

    def report(self, *, since_s: float = 0.0) -> Report:
        """Return the figures so far; those of frames only from `since_s` (`time.monotonic()`) on."""
        arrivals = np.asarray(self._arrivals, np.float64).reshape(-1, 2)
        arrivals = arrivals[arrivals[:, 1] >= since_s]
        media_s, arrived_s = arrivals[:, 0] / self._video.rate_hz, arrivals[:, 1]
        fps, span_s = measure.frame_rate(media_s, arrived_s)
        stats = [event for event in self.events if event.get("type") == "stats"]
        decoding = self._decoding
        first_s = decoding.first_frame_s if decoding is not None else None
        return Report(
            session_id=self.session_id,
            seconds=float(np.ptp(arrived_s)) if arrived_s.size else 0.0,
            frames_received=int(arrived_s.size),
            fps=fps,
            fps_span_s=span_s,
            lateness=measure.percentiles(measure.lateness_s(media_s, arrived_s)),
            first_frame_ms=None if first_s is None else (first_s - self._offered_s) * 1000,
            packets=self._video.packets + self._sound.packets,
            packets_lost=self._video.lost + self._sound.lost,
            frames_broken=decoding.broken if decoding is not None else 0,
            dropped_on_purpose=self._loss.dropped if self._loss is not None else 0,
            uplink_late_ms=self._track.latest_s * 1000 if self._track is not None else 0.0,
            events=dict(Counter(str(event.get("type")) for event in self.events)),
            server=stats[-1] if stats else {},
            **(self._lips(decoding, since_s) if decoding is not None and self._decode else {}),
        )

    def _lips(self, decoding: Decoding, since_s: float) -> dict[str, Any]:
        """Return the figures that take a look at the mouth."""
        frames, levels = [frame for frame in decoding.frames if frame.arrived_s >= since_s], list(decoding.levels)
        mouth = np.asarray([frame.mouth for frame in frames], np.float64)
        arrived_s = np.asarray([frame.arrived_s for frame in frames], np.float64)
        figures: dict[str, Any] = {}
        if self._track is not None and self._track.started_s is not None:
            spoken = measure.level_dbfs(self._track.spoken())
            started_s = self._track.started_s
            figures["voice_to_lips"] = measure.voice_to_lips(spoken, started_s, arrived_s, mouth)
            onsets_s = measure.speech_onsets_s(spoken) + started_s
            figures["onset_delays"] = measure.percentiles(measure.onset_delays_s(onsets_s, arrived_s, mouth))
        picture_s = np.asarray([frame.timestamp for frame in frames], np.float64) / self._video.rate_hz
        sound_s = np.asarray([timestamp for timestamp, _ in levels], np.float64) / self._sound.rate_hz
        level = np.asarray([value for _, value in levels], np.float64)
        figures["audio_video"] = self._offset(sound_s, level, picture_s, mouth, None)
        if picture_s.size and np.ptp(picture_s) > 2 * _LAST_MINUTE_S:
            late, loud = picture_s > picture_s[-1] - _LAST_MINUTE_S, sound_s > sound_s[-1] - _LAST_MINUTE_S
            figures["audio_video_end"] = self._offset(
                sound_s[loud], level[loud], picture_s[late], mouth[late], _LAST_MINUTE_S
            )
        return figures

    def _offset(
        self,
        sound_s: measure.Floats,
        level: measure.Floats,
        picture_s: measure.Floats,
        mouth: measure.Floats,
        since_s: float | None,
    ) -> measure.Lag | None:
        relation_s = measure.media_clock_relation_s(self._sound.reports, self._video.reports, since_s=since_s)
        if relation_s is None:
            return None
        return measure.audio_video_offset(sound_s, level, picture_s + relation_s, mouth)

    async def aclose(self) -> None:
        """Leave: tell the server, close the connection, finish the recording. Twice is fine."""
        answer, self._answer = self._answer, None
        if answer is not None:
            await self._signalling.end(answer.resource)
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()
        if self._track is not None:
            self._track.stop()
        await self._signalling.aclose()
        if self._decoding is not None:
            await asyncio.to_thread(self._decoding.close)
        for _, waiter in self._event_waiters:
            waiter.cancel()
        self._event_waiters.clear()

    def _on_state(self) -> None:
        if self._connection is None:
            return
        state = self._connection.connectionState
        if state == "connected" and self._loss is not None:
            self._loss.attach(self._connection)
        elif state in ("failed", "closed"):
            self._lost.set()

    def _on_message(self, message: str | bytes) -> None:
        try:
            event = json.loads(message)
        except ValueError:
            return
        if not isinstance(event, dict):
            return
        self.events.append(event | {"received_s": time.monotonic()})
        for kind, waiter in [item for item in self._event_waiters if item[0] == event.get("type")]:
            self._event_waiters.remove((kind, waiter))
            if not waiter.done():
                waiter.set_result(event)

    def _on_frame(self, frame: EncodedFrame) -> None:
        self._arrivals.append((frame.timestamp, frame.arrived_s))
        self._flows.set()
        if self._decoding is not None and (self._decode or self._decoding.first_frame_s is None):
            self._decoding.look(frame, self._mimes.get(frame.payload_type, ""))
            self._relate()

    def _on_sound(self, packet: EncodedFrame) -> None:
        if self._decoding is not None and self._decode:
            self._decoding.listen(packet)

    def _relate(self) -> None:
        """Tell the recording how the two media clocks relate, and again if that changes by more than 5 ms."""
        if self._record is None or self._decoding is None:
            return
        relation_s = measure.media_clock_relation_s(self._sound.reports, self._video.reports, since_s=_LAST_MINUTE_S)
        if relation_s is None or (self._relation_s is not None and abs(relation_s - self._relation_s) < 0.005):
            return
        self._relation_s = relation_s
        self._decoding.relate(relation_s)

    def _want_key_frame(self) -> None:
        """Ask for a key frame with the next packet; called on the decoding thread."""
        self._video.want_key_frame = True


async def _first(*events: asyncio.Event) -> None:
    """Wait until one of the events is set."""
    tasks = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
