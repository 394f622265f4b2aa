"""What other people import to talk to a server: a headless peer, its report, the clients of lip-sync, of chunked sessions and of speech, and what can go wrong."""

from webrtc_avatar.client.chunked import ChunkedStreamingClient
from webrtc_avatar.client.failures import (
    ConnectionLost,
    NotMedia,
    NotWritable,
    OfferRefused,
    RequestRefused,
    ServerUnreachable,
    SessionBroke,
    SessionRefused,
)
from webrtc_avatar.client.lipsync import AsyncLipSyncClient
from webrtc_avatar.client.lipsync_failures import (
    AccessDenied,
    AnswerTooLarge,
    CallFailed,
    CallRefused,
    CallTimedOut,
    FrameFailed,
    ServerBusy,
    ServerGone,
)
from webrtc_avatar.client.lipsync_frames import LipSyncFrame, Metadata, Output
from webrtc_avatar.client.lipsync_live import LiveLipSync
from webrtc_avatar.client.lipsync_sync import LipSyncClient
from webrtc_avatar.client.measure import Lag, Percentiles
from webrtc_avatar.client.peer import Peer
from webrtc_avatar.client.report import Report
from webrtc_avatar.client.speech import SpeechClient
from webrtc_avatar.client.speech_track import Speech, load_speech
from webrtc_avatar.errors import PeerFailure

__all__ = [
    "AccessDenied",
    "AnswerTooLarge",
    "AsyncLipSyncClient",
    "CallFailed",
    "CallRefused",
    "CallTimedOut",
    "ChunkedStreamingClient",
    "ConnectionLost",
    "FrameFailed",
    "Lag",
    "LipSyncClient",
    "LipSyncFrame",
    "LiveLipSync",
    "Metadata",
    "NotMedia",
    "NotWritable",
    "OfferRefused",
    "Output",
    "Peer",
    "PeerFailure",
    "Percentiles",
    "Report",
    "RequestRefused",
    "ServerBusy",
    "ServerGone",
    "ServerUnreachable",
    "SessionBroke",
    "SessionRefused",
    "Speech",
    "SpeechClient",
    "load_speech",
]
