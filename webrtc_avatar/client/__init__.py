"""What other people import to talk to a server: a headless peer, its report, and what can go wrong."""

from webrtc_avatar.client.failures import ConnectionLost, NotMedia, NotWritable, OfferRefused, ServerUnreachable
from webrtc_avatar.client.measure import Lag, Percentiles
from webrtc_avatar.client.peer import Peer
from webrtc_avatar.client.report import Report
from webrtc_avatar.client.speech_track import Speech, load_speech
from webrtc_avatar.errors import PeerFailure

__all__ = [
    "ConnectionLost",
    "Lag",
    "NotMedia",
    "NotWritable",
    "OfferRefused",
    "Peer",
    "PeerFailure",
    "Percentiles",
    "Report",
    "ServerUnreachable",
    "Speech",
    "load_speech",
]
