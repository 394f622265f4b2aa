"""Opus as a stream of packets: decoding to mono at 48 kHz, hiding what was lost, and encoding 20 ms at a time.

Packets follow RFC 6716, their time stamps RFC 7587: 48 kHz whatever the sound inside.
"""

from __future__ import annotations

import logging
from fractions import Fraction

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext

from webrtc_avatar.audio.chunk import SOUND_RATE_HZ, Sound

PACKET_SAMPLES = 960
"""Samples of one 20 ms packet at 48 kHz."""

CONCEALED_SAMPLES = 3 * PACKET_SAMPLES
"""A gap is hidden for so long; what is longer goes on as silence."""

_MAX_PACKET_SAMPLES = 5_760
_LOW_DELAY_BPS = 32_000
_TIME_BASE = Fraction(1, SOUND_RATE_HZ)

logger = logging.getLogger(__name__)


def packet_samples(payload: bytes) -> int:
    """Return how many samples at 48 kHz an Opus packet stands for (RFC 6716, section 3.1); 0 if it is malformed."""
    if not payload:
        return 0
    config, code = payload[0] >> 3, payload[0] & 3
    if config < 12:
        frame = (480, 960, 1920, 2880)[config & 3]
    elif config < 16:
        frame = (480, 960)[config & 1]
    else:
        frame = (120, 240, 480, 960)[config & 3]
    coded_count = payload[1] & 63 if len(payload) > 1 else 0
    samples = frame * (1, 2, 2, coded_count)[code]
    return samples if samples <= _MAX_PACKET_SAMPLES else 0


class OpusDecoder:
    """Decodes Opus packets to mono; stereo is mixed down inside the decoder.

    Attributes:
        errors: packets that could not be decoded.
    """

    def __init__(self) -> None:
        self._codec = self._open()
        self.errors = 0

    def decode(self, payload: bytes) -> Sound | None:
        """Return int16 (n,) at 48 kHz, or None for a payload that is not Opus. Never raises for what a packet holds."""
        if not packet_samples(payload):
            self.errors += 1
            return None
        try:
            frames = self._codec.decode(av.Packet(payload))
        except (av.FFmpegError, ValueError):
            self.errors += 1
            self._codec = self._open()
            return None
        if not frames:
            self.errors += 1
            return None
        return np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames])

    @staticmethod
    def _open() -> AudioCodecContext:
        codec = av.CodecContext.create("libopus", "r")
        assert isinstance(codec, AudioCodecContext)
        codec.sample_rate = SOUND_RATE_HZ
        codec.layout = "mono"
        codec.format = "s16"
        return codec


class OpusEncoder:
    """Encodes mono 48 kHz in packets of 20 ms.

    From 32 kbit/s on in the low-delay mode, which looks ahead 2.5 ms instead of 6.5 and costs less than half
    (0.09 ms a packet instead of 0.20); below that speech needs the mode that is made for it.
    """

    def __init__(self, bitrate_bps: int) -> None:
        codec = av.CodecContext.create("libopus", "w")
        assert isinstance(codec, AudioCodecContext)
        codec.sample_rate = SOUND_RATE_HZ
        codec.layout = "mono"
        codec.format = "s16"
        codec.bit_rate = bitrate_bps
        codec.time_base = _TIME_BASE
        codec.options = {
            "application": "lowdelay" if bitrate_bps >= _LOW_DELAY_BPS else "voip",
            "frame_duration": "20",
        }
        self._codec = codec
        self._sent = 0

    def encode(self, sound: Sound) -> bytes:
        """Return the packet of int16 (960,). Packets come out one for one."""
        frame = av.AudioFrame.from_ndarray(sound.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = SOUND_RATE_HZ
        frame.time_base = _TIME_BASE
        frame.pts = self._sent
        self._sent += len(sound)
        return b"".join(bytes(packet) for packet in self._codec.encode(frame))


class Concealer:
    """Fills gaps: the last 20 ms to and fro, fading out within 60 ms, then silence."""

    def __init__(self) -> None:
        self._last = np.zeros(PACKET_SAMPLES, np.int16)
        self._filled = CONCEALED_SAMPLES

    def heard(self, sound: Sound) -> None:
        """Remember the end of sound that really arrived."""
        if len(sound) >= PACKET_SAMPLES:
            self._last = sound[-PACKET_SAMPLES:]
        else:
            self._last = np.concatenate((self._last[len(sound) :], sound))
        self._filled = 0

    def fill(self, samples: int) -> Sound:
        """Return int16 (samples,) that go on from what came before."""
        hidden = min(samples, max(0, CONCEALED_SAMPLES - self._filled))
        out = np.zeros(samples, np.int16)
        if hidden:
            to_and_fro = np.concatenate((self._last[::-1], self._last))
            at = np.arange(self._filled, self._filled + hidden)
            fade = 1.0 - at / CONCEALED_SAMPLES
            out[:hidden] = np.rint(to_and_fro[at % len(to_and_fro)] * fade)
        self._filled += samples
        return out
