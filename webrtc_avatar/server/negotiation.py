"""What an SDP offer asks for, checked before any WebRTC object is made.

Source: RFC 8829 (JSEP), RFC 8843 (BUNDLE: the transport attributes of the tagged section hold for all), RFC 8839.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, TypeGuard

from aiortc import RTCIceCandidate, RTCRtpSender, RTCSessionDescription
from aiortc.codecs import CODECS, is_rtx
from aiortc.rtcpeerconnection import find_common_codecs
from aiortc.rtcrtpparameters import RTCRtpCodecCapability, RTCRtpCodecParameters
from aiortc.sdp import MediaDescription, SessionDescription

from webrtc_avatar.errors import InvalidRequest, UnsupportedMedia

VideoCodec = Literal["VP8", "H264"]

MAX_SECTIONS = 8
MAX_CANDIDATES = 64
_RECEIVES = ("recvonly", "sendrecv", None)
_SENDS = ("sendonly", "sendrecv", None)


@dataclass(frozen=True, slots=True)
class Offer:
    """An offer that this server can answer.

    Attributes:
        description: the offer without ICE candidates, the bundle's transport in every section.
        kinds: the media sections' kinds in order, such as ("audio", "video", "application").
        video_codec: the codec to send, or None where the peer takes no picture.
        wants_audio: whether the peer takes the sound.
        sends_audio: whether the peer has a microphone (or the like) to send.
        candidates: where the peer may be reached, as addresses.
        hidden_candidates: the same as multicast DNS names, which take time to resolve.
    """

    description: RTCSessionDescription
    kinds: tuple[str, ...]
    video_codec: VideoCodec | None
    wants_audio: bool
    sends_audio: bool
    candidates: tuple[RTCIceCandidate, ...]
    hidden_candidates: tuple[RTCIceCandidate, ...]


def read_offer(text: str, video_codecs: tuple[VideoCodec, ...]) -> Offer:
    """Return what the SDP `text` offers; `video_codecs` are those that may be sent, best first.

    Raises:
        InvalidRequest: it is not an SDP offer that can be understood.
        UnsupportedMedia: it is one, but nothing in it can be served.
    """
    parsed = _parse(text)
    sections = {media.kind: media for media in parsed.media}
    if len(sections) != len(parsed.media):
        raise UnsupportedMedia(
            "the offer has several sections of one kind; expected at most one audio, one video and one data section"
        )
    if not {"audio", "video"} & set(sections):
        raise UnsupportedMedia("the offer has no audio and no video section (m-line); add a transceiver for each")
    primary = _bundle(parsed)
    _check_transport(primary, parsed)
    audio, video = sections.get("audio"), sections.get("video")
    if audio is not None and not any(codec.name.lower() == "opus" for codec in _common(audio)):
        raise UnsupportedMedia(
            "the offer's audio section has no Opus at 48000 Hz; every browser offers it, so must you"
        )
    candidates = [item for item in primary.ice_candidates if item.protocol.lower() == "udp" and item.component == 1]
    return Offer(
        description=_normalised(parsed, primary),
        kinds=tuple(media.kind for media in parsed.media),
        video_codec=_choose_codec(video, video_codecs) if video and video.direction in _RECEIVES else None,
        wants_audio=audio is not None and audio.direction in _RECEIVES,
        sends_audio=audio is not None and audio.direction in _SENDS,
        candidates=tuple(item for item in candidates if _is_address(item.ip))[:MAX_CANDIDATES],
        hidden_candidates=tuple(item for item in candidates if item.ip.endswith(".local"))[:MAX_CANDIDATES],
    )


def codec_preferences(codec: VideoCodec) -> list[RTCRtpCodecCapability]:
    """Return the capabilities to prefer so that `codec` is sent, with retransmission."""
    capabilities = RTCRtpSender.getCapabilities("video").codecs
    wanted = [item for item in capabilities if item.name.upper() == codec]
    wanted.sort(key=lambda item: item.parameters.get("profile-level-id") != "42e01f")
    return wanted + [item for item in capabilities if is_rtx(item)]


def opus_preferences() -> list[RTCRtpCodecCapability]:
    """Return the capabilities to prefer so that sound is Opus both ways."""
    return [item for item in RTCRtpSender.getCapabilities("audio").codecs if item.name.lower() == "opus"]


@contextmanager
def _hostile_text() -> Iterator[None]:
    """Turn whatever aiortc's SDP code stumbles over into an answer."""
    try:
        yield
    except Exception as error:
        raise InvalidRequest(
            f"the SDP cannot be parsed ({type(error).__name__}: {error!s:.120}); "
            "send the peer connection's local description as it is"
        ) from error


def _parse(text: str) -> SessionDescription:
    with _hostile_text():
        parsed = SessionDescription.parse(text)
    if not parsed.media:
        raise InvalidRequest("the SDP has no media section; expected an offer with audio and video (lines m=…)")
    if len(parsed.media) > MAX_SECTIONS:
        raise InvalidRequest(f"the SDP has {len(parsed.media)} media sections; at most {MAX_SECTIONS} are taken")
    for media in parsed.media:
        if media.kind not in ("audio", "video", "application"):
            raise UnsupportedMedia(
                f"the offer has a section of kind {media.kind!r}; expected audio, video, application"
            )
        if media.kind == "application" and media.sctp_port is None and not media.sctpmap:
            raise InvalidRequest("the offer's data section has no a=sctp-port; send the local description as it is")
    parsed.type = "offer"
    return parsed


def _bundle(parsed: SessionDescription) -> MediaDescription:
    """Return the section whose transport all share."""
    mids = [media.rtp.muxId for media in parsed.media]
    if not all(mids) or len(set(mids)) != len(mids):
        raise InvalidRequest("the SDP's sections need a=mid, each another one; send the local description as it is")
    group = next((group.items for group in parsed.group if group.semantic == "BUNDLE"), [])
    if not group and len(mids) == 1:
        return parsed.media[0]
    if set(mids) - set(group):
        raise InvalidRequest("the SDP does not bundle all its sections on one transport (a=group:BUNDLE); let it")
    return parsed.media[mids.index(group[0])] if group[0] in mids else parsed.media[0]


def _check_transport(primary: MediaDescription, parsed: SessionDescription) -> None:
    if primary.ice is None or not primary.ice.usernameFragment or not primary.ice.password:
        raise InvalidRequest("the SDP has no ICE credentials (a=ice-ufrag, a=ice-pwd); send the local description")
    if primary.dtls is None or not primary.dtls.fingerprints:
        raise InvalidRequest("the SDP has no DTLS fingerprint or no a=setup; WebRTC is always encrypted")
    if any(media.kind != "application" and not media.rtcp_mux for media in parsed.media):
        raise InvalidRequest("the SDP's media sections need a=rtcp-mux; browsers always send it")


def _choose_codec(video: MediaDescription, video_codecs: tuple[VideoCodec, ...]) -> VideoCodec:
    offered = {codec.name.upper() for codec in _common(video)}
    for codec in video_codecs:
        if codec in offered:
            return codec
    raise UnsupportedMedia(
        f"the offer's video section has none of {', '.join(video_codecs)} in a form that can be sent "
        "(H264 needs constrained baseline and packetization-mode=1)"
    )


def _common(media: MediaDescription) -> list[RTCRtpCodecParameters]:
    return [codec for codec in find_common_codecs(CODECS[media.kind], media.rtp.codecs) if not is_rtx(codec)]


def _normalised(parsed: SessionDescription, primary: MediaDescription) -> RTCSessionDescription:
    for media in parsed.media:
        media.ice, media.dtls = primary.ice, primary.dtls
        media.direction = media.direction or "sendrecv"
        media.host = "0.0.0.0"
        media.ice_candidates, media.ice_candidates_complete = [], False
        if media.kind != "application":
            media.rtcp_port, media.rtcp_host = 9, "0.0.0.0"
    with _hostile_text():
        return RTCSessionDescription(sdp=str(parsed), type="offer")


def _is_address(text: str | None) -> TypeGuard[str]:
    try:
        ipaddress.ip_address(text or "")
    except ValueError:
        return False
    return True
