"""Sound that a peer sends: a file, encoded once to Opus, and a track that lets it go in real time like a microphone."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from aiortc import MediaStreamTrack

from webrtc_avatar.audio.chunk import SOUND_RATE_HZ, Sound
from webrtc_avatar.client.failures import NotMedia

PACKET_SAMPLES = 960
"""Samples of one 20 ms packet at 48 kHz."""

PACKET_S = PACKET_SAMPLES / SOUND_RATE_HZ
_TIME_BASE = Fraction(1, SOUND_RATE_HZ)
_LONGEST_S = 3600.0


@dataclass(frozen=True)
class Speech:
    """Sound and the same sound as Opus packets.

    Attributes:
        sound: int16 (n,), mono, 48 kHz, n a multiple of 960.
        packets: n / 960 Opus packets of 20 ms.
        silence: the Opus packet of 20 ms without a sound.
    """

    sound: Sound
    packets: list[bytes]
    silence: bytes


def load_speech(path: Path, *, lead_in_s: float = 0.0, gap_s: float = 0.0) -> Speech:
    """Decode the first sound stream of a file, mix it down to mono at 48 kHz, and encode it for sending.

    Args:
        path: anything that FFmpeg reads.
        lead_in_s: silence before the sound.
        gap_s: silence after it, which separates repetitions.

    Raises:
        NotMedia: if the file is missing, holds no sound, or more than an hour of it.
    """
    sound = decode_sound(path)
    return encode_speech(np.concatenate([np.zeros(round(lead_in_s * SOUND_RATE_HZ), np.int16), sound, _silence(gap_s)]))


def _silence(duration_s: float) -> Sound:
    return np.zeros(round(duration_s * SOUND_RATE_HZ), np.int16)


def decode_sound(path: Path) -> Sound:
    """Return a file's first sound stream as int16 (n,), mono, 48 kHz.

    Raises:
        NotMedia: if there is none.
    """
    what_to_do = "give a WAV, MP3, FLAC, Ogg or MP4 file with speech"
    if not path.is_file():
        raise NotMedia(f"{path} is not a file; {what_to_do}")
    parts: list[Sound] = []
    resampler = av.AudioResampler(format="s16", layout="mono", rate=SOUND_RATE_HZ)
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise NotMedia(f"{path} holds no sound; {what_to_do}")
            length = 0
            for frame in container.decode(container.streams.audio[0]):
                for out in resampler.resample(frame):
                    parts.append(out.to_ndarray().reshape(-1).astype(np.int16))
                    length += parts[-1].size
                if length > _LONGEST_S * SOUND_RATE_HZ:
                    raise NotMedia(f"{path} is longer than {_LONGEST_S:.0f} s; cut it")
            parts.extend(out.to_ndarray().reshape(-1).astype(np.int16) for out in resampler.resample(None))
    except av.FFmpegError as error:
        raise NotMedia(f"{path} cannot be read as sound ({error.strerror or error}); {what_to_do}") from error
    sound = np.concatenate(parts) if parts else np.zeros(0, np.int16)
    if sound.size == 0:
        raise NotMedia(f"{path} holds no sound; {what_to_do}")
    return sound


def encode_speech(sound: Sound) -> Speech:
    """Return int16 (n,) mono 48 kHz sound, padded with silence to whole packets, with its Opus packets."""
    sound = np.concatenate([sound, np.zeros(-sound.size % PACKET_SAMPLES, np.int16)])
    return Speech(sound=sound, packets=_opus(sound), silence=_opus(np.zeros(PACKET_SAMPLES * 8, np.int16))[-1])


def _opus(sound: Sound) -> list[bytes]:
    encoder = av.CodecContext.create("libopus", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.bit_rate = 32_000
    encoder.format = av.AudioFormat("s16")
    encoder.layout = av.AudioLayout("mono")
    encoder.sample_rate = SOUND_RATE_HZ
    encoder.time_base = _TIME_BASE
    encoder.options = {"application": "voip", "frame_duration": "20"}
    packets: list[bytes] = []
    for start in range(0, sound.size, PACKET_SAMPLES):
        frame = av.AudioFrame.from_ndarray(sound[None, start : start + PACKET_SAMPLES], format="s16", layout="mono")
        frame.sample_rate = SOUND_RATE_HZ
        frame.pts = start
        frame.time_base = _TIME_BASE
        packets.extend(bytes(packet) for packet in encoder.encode(frame))
    packets.extend(bytes(packet) for packet in encoder.encode(None))
    return packets[: sound.size // PACKET_SAMPLES]


class SpeechTrack(MediaStreamTrack):
    """A microphone that hears a file.

    Sample k is spoken at `started_s + k / 48000`; a packet leaves when its last sample has been spoken, as with a real
    microphone. Attribute `muted` sends silence instead, and the file goes on.

    Attributes:
        started_s: `time.monotonic()` at which the first sample was spoken; None before.
        latest_s: by how much the most belated packet left after its time.
    """

    kind = "audio"

    def __init__(self, speech: Speech, *, loop: bool = True) -> None:
        super().__init__()
        self._speech = speech
        self._repeat = loop
        self._sent = 0
        self._muted_spans: list[list[int]] = []
        self.started_s: float | None = None
        self.latest_s = 0.0
        self.muted = False

    async def recv(self) -> av.Packet[Any]:
        """Return the next 20 ms packet once its last sample has been spoken."""
        now_s = time.monotonic()
        if self.started_s is None:
            self.started_s = now_s
        due_s = self.started_s + (self._sent + 1) * PACKET_S
        if due_s > now_s:
            await asyncio.sleep(due_s - now_s)
        self.latest_s = max(self.latest_s, time.monotonic() - due_s)
        packet = av.Packet(self._payload())
        packet.pts = self._sent * PACKET_SAMPLES
        packet.time_base = _TIME_BASE
        self._sent += 1
        return packet

    def _payload(self) -> bytes:
        packets = self._speech.packets
        if self.muted:
            if not self._muted_spans or self._muted_spans[-1][1] != self._sent:
                self._muted_spans.append([self._sent, self._sent])
            self._muted_spans[-1][1] = self._sent + 1
            return self._speech.silence
        if self._sent >= len(packets) and not self._repeat:
            return self._speech.silence
        return packets[self._sent % len(packets)]

    def spoken(self) -> Sound:
        """Return everything sent so far, int16 (n,), mono, 48 kHz; sample k was spoken at `started_s + k / 48000`."""
        samples = self._sent * PACKET_SAMPLES
        source = self._speech.sound
        if self._repeat:
            sound = np.resize(source, samples) if samples else np.zeros(0, np.int16)
        else:
            sound = np.concatenate([source[:samples], np.zeros(max(0, samples - source.size), np.int16)])
        for first, last in self._muted_spans:
            sound[first * PACKET_SAMPLES : last * PACKET_SAMPLES] = 0
        return sound
