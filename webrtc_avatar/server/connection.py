"""One peer: owner of its RTCPeerConnection, its microphone sink and its control channel, from offer to goodbye."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable
from typing import Any

from aiortc import (
    RTCBundlePolicy,
    RTCConfiguration,
    RTCDataChannel,
    RTCIceCandidate,
    RTCIceServer,
    RTCPeerConnection,
    RTCRtpTransceiver,
)

from webrtc_avatar.errors import InvalidRequest, UnsupportedMedia
from webrtc_avatar.media.broadcast import Broadcast
from webrtc_avatar.media.film_broadcast import FilmBroadcast
from webrtc_avatar.media.sink import MicrophoneSink
from webrtc_avatar.metrics import Metrics
from webrtc_avatar.server import negotiation
from webrtc_avatar.server.control import LABEL, ControlChannel
from webrtc_avatar.server.negotiation import Offer
from webrtc_avatar.server.speaking import Speaking
from webrtc_avatar.session import Session
from webrtc_avatar.settings import Settings

log = logging.getLogger(__name__)

GATHER_TIMEOUT_S = 0.3
"""How long an answer waits for a STUN or TURN server; later candidates are left out."""

_LOOPBACK = "127.0.0.1"


class Connection:
    """A peer that watches a session and, with a microphone, drives it."""

    def __init__(
        self,
        session: Session | None,
        speaking: Speaking | None,
        broadcast: Broadcast | FilmBroadcast,
        settings: Settings,
        metrics: Metrics,
        *,
        microphone: bool,
        on_connected: Callable[[], None],
        on_gone: Callable[[str], None],
    ) -> None:
        """Take what the peer is connected to.

        Args:
            session: whose sound and picture the peer gets; none: those of a film, which has no control channel.
            speaking: what the session is asked to say.
            broadcast: the encoders.
            settings: ICE servers and timeouts.
            metrics: where the sink counts.
            microphone: the peer's sound drives the session.
            on_connected: called once, when media can flow.
            on_gone: called once with the reason when the peer left, failed or vanished; `aclose` is still due.
        """
        self._session = session
        self._speaking = speaking
        self._broadcast = broadcast
        self._settings = settings
        self._metrics = metrics
        self._microphone = microphone
        self._on_connected = on_connected
        self._on_gone = on_gone
        self._pc = RTCPeerConnection(
            RTCConfiguration(iceServers=_ice_servers(settings), bundlePolicy=RTCBundlePolicy.MAX_BUNDLE)
        )
        self._sink: MicrophoneSink | None = None
        self._control: ControlChannel | None = None
        self._connected = False
        self._gone = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing: asyncio.Task[None] | None = None

    async def answer(self, offer: Offer) -> str:
        """Apply the offer and return the answer's SDP, with all candidates in it.

        Raises:
            InvalidRequest: the offer cannot be applied.
            UnsupportedMedia: it has nothing to send to, or no microphone where one is needed.
        """
        if offer.video_codec is None and not offer.wants_audio:
            raise UnsupportedMedia("the offer receives neither picture nor sound; set its transceivers to recvonly")
        if self._microphone and not offer.sends_audio:
            raise UnsupportedMedia(
                "the offer has no audio section that sends a microphone (a=sendrecv); to watch only, POST to /whep/{session}"
            )
        self._pc.on("connectionstatechange", self._on_state)
        self._pc.on("datachannel", self._on_datachannel)
        for kind in offer.kinds:
            if kind != "application":
                self._add_media(kind, offer)
        try:
            await self._pc.setRemoteDescription(offer.description)
            self._limit_gathering()
            await self._pc.setLocalDescription()
        except Exception as error:  # aiortc raises whatever a hostile description makes it stumble over
            log.info("offer not applicable", exc_info=True)
            raise InvalidRequest(
                f"the offer cannot be applied ({type(error).__name__}: {error}); send the local description as it is"
            ) from error
        for candidate in offer.candidates:
            await self._add_candidate(candidate)
        for candidate in offer.hidden_candidates:
            self._start(self._add_candidate(candidate), "resolve-candidate")
        self._start(self._watch(), "watch-peer")
        return str(self._pc.localDescription.sdp)

    async def aclose(self) -> None:
        """Close everything, once; later and simultaneous calls wait for the first."""
        if self._closing is None:
            self._gone = True
            self._closing = asyncio.get_running_loop().create_task(self._close(), name="close-peer")
        await asyncio.shield(self._closing)

    def _add_media(self, kind: str, offer: Offer) -> None:
        sends = offer.wants_audio if kind == "audio" else offer.video_codec is not None
        receives = kind == "audio" and self._microphone
        transceiver = self._pc.addTransceiver(kind, _direction(sends, receives))
        if kind == "audio":
            transceiver.setCodecPreferences(negotiation.opus_preferences())
            if sends:
                transceiver.sender.replaceTrack(self._broadcast.audio())
            if receives and self._session is not None:
                self._sink = MicrophoneSink(self._session.feed, metrics=self._metrics)
                self._sink.attach(transceiver.receiver)
        elif offer.video_codec is not None:
            transceiver.setCodecPreferences(negotiation.codec_preferences(offer.video_codec))
            track = self._broadcast.video(offer.video_codec)
            transceiver.sender.replaceTrack(track)
            self._broadcast.bind(transceiver.sender, track)

    def _limit_gathering(self) -> None:
        """Cap the wait for ICE servers, and offer the loopback address where a machine has no other.

        aioice waits up to 5 s for a server that does not answer, and leaves loopback out.
        """
        ice = _transport(self._pc).transport.iceGatherer._connection
        gather = ice.get_component_candidates

        @functools.wraps(gather)
        async def capped(component: int, addresses: list[str]) -> Any:
            return await gather(component=component, addresses=addresses or [_LOOPBACK], timeout=GATHER_TIMEOUT_S)

        ice.get_component_candidates = capped

    async def _add_candidate(self, candidate: RTCIceCandidate) -> None:
        try:
            await _transport(self._pc).transport.addRemoteCandidate(candidate)
        except (OSError, ValueError) as error:
            log.debug("candidate %s not usable: %s", candidate.ip, error)

    def _on_state(self) -> None:
        state = self._pc.connectionState
        if state == "connected" and not self._connected:
            self._connected = True
            self._on_connected()
            if self._sink is not None:
                self._sink.start()
        elif state in ("failed", "closed"):
            self._leave("the peer left" if self._connected else "no connection to the peer came about")

    def _on_datachannel(self, channel: RTCDataChannel) -> None:
        session, speaking = self._session, self._speaking
        if channel.label != LABEL or session is None or speaking is None or self._control is not None or self._gone:
            return
        self._control = ControlChannel(channel, session, speaking, self._metrics, may_command=self._microphone)

    async def _watch(self) -> None:
        """End a peer that never connects, and one from which nothing arrives any more."""
        loop = asyncio.get_running_loop()
        period_s = min(1.0, self._settings.peer_timeout_s / 8)
        began_s = heard_s = loop.time()
        received = -1
        while True:
            await asyncio.sleep(period_s)
            if not self._connected:
                if loop.time() - began_s >= self._settings.connect_timeout_s:
                    self._leave(f"the peer did not connect within {self._settings.connect_timeout_s:g} s")
                    return
                continue
            count = self._received_bytes()
            if count != received:
                received, heard_s = count, loop.time()
            silent_s = loop.time() - heard_s
            if silent_s >= self._settings.peer_timeout_s:
                self._leave(f"nothing arrived from the peer for {silent_s:.1f} s")
                return

    def _received_bytes(self) -> int:
        report = _transport(self._pc)._get_stats()
        return sum(stats.bytesReceived for stats in report.values())

    def _leave(self, reason: str) -> None:
        if not self._gone:
            self._gone = True
            self._on_gone(reason)

    def _start(self, coroutine: Any, name: str) -> None:
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._control is not None:
            await self._control.aclose()
        if self._sink is not None:
            await self._sink.aclose()
        for sender in self._pc.getSenders():
            if sender.track is not None:
                sender.track.stop()
        await self._pc.close()


def _transport(pc: RTCPeerConnection) -> Any:
    """Return the one DTLS transport that all sections share."""
    transceiver: RTCRtpTransceiver = pc.getTransceivers()[0]
    return transceiver.receiver.transport


def _direction(sends: bool, receives: bool) -> str:
    if sends:
        return "sendrecv" if receives else "sendonly"
    return "recvonly" if receives else "inactive"


def _ice_servers(settings: Settings) -> list[RTCIceServer]:
    """Return the ICE servers of the settings; an empty list, unlike None, keeps aiortc from its default STUN server."""
    return [
        RTCIceServer(urls=server.urls, username=server.username, credential=server.credential)
        for server in settings.ice_servers
    ]
