"""A real aiortc peer speaks; the sink hears it."""

import asyncio
import time
from fractions import Fraction

import av
import numpy as np
from aiortc import MediaStreamTrack, RTCPeerConnection

from tests.media.peers import connect, lag_and_match, prefer, speech
from webrtc_avatar.media import sink as sink_module
from webrtc_avatar.media.sink import MicrophoneSink


class SpeechTrack(MediaStreamTrack):
    """Says int16 (n,) at 48 kHz in real time, then nothing for ever."""

    kind = "audio"

    def __init__(self, sound):
        super().__init__()
        self._sound = sound
        self._said = 0
        self._start_s = None
        self.done = asyncio.Event()

    async def recv(self):
        loop = asyncio.get_running_loop()
        self._start_s = self._start_s or loop.time()
        await asyncio.sleep(max(0.0, self._start_s + self._said / 48_000 - loop.time()))
        if self._said >= len(self._sound):
            self.done.set()
            await asyncio.Event().wait()
        frame = av.AudioFrame.from_ndarray(
            self._sound[self._said : self._said + 960].reshape(1, -1), format="s16", layout="mono"
        )
        frame.sample_rate = 48_000
        frame.pts = self._said
        frame.time_base = Fraction(1, 48_000)
        self._said += 960
        return frame


async def hear(said, codec="opus"):
    """Let one peer say it to another and return the sink and its chunks, with silence enough for the end to come through."""
    speaker, listener = RTCPeerConnection(), RTCPeerConnection()
    chunks = []
    sink = MicrophoneSink(chunks.append)
    try:
        track = SpeechTrack(said)
        speaker.addTrack(track)
        prefer(speaker, "audio", codec)

        @listener.on("track")
        def _(_remote):
            sink.attach(listener.getReceivers()[0])

        await connect(speaker, listener)
        sink.start()
        await track.done.wait()
        await asyncio.sleep(0.5)
    finally:
        await sink.aclose()
        await asyncio.gather(speaker.close(), listener.close())
    return sink, chunks


def test_speech_from_a_peer_arrives_whole(speech_wav):
    said = speech(speech_wav)[: 4 * 48_000]
    sink, chunks = asyncio.run(hear(said))
    heard = np.concatenate([chunk.sound for chunk in chunks])
    lag, match = lag_and_match(heard, said)
    assert match > 0.85  # the peer's encoder takes out what is too low for speech
    assert not heard[: max(0, lag - 960)].any()
    filled = [chunk.synthetic for chunk in chunks]
    speaking = filled.index(False)
    assert sum(filled[speaking : speaking + 98]) < 10
    assert all(filled[speaking + 103 :])
    for start in range(0, len(said) - 48_000, 48_000):
        assert lag_and_match(heard[start:], said[start : start + 48_000])[0] == lag
    assert sink.packets_received == 200
    assert sink.packets_lost == sink.packets_invalid == 0
    said_s = chunks[speaking].arrived_s - time.monotonic() + time.time()
    assert abs(sink.ntp_origin_s + chunks[speaking].media_time_s - said_s) < 1
    # What the model hears is what is played.
    samples = np.concatenate([chunk.samples for chunk in chunks])
    assert abs(lag_and_match(samples, said[::3] / 32768)[0] - lag / 3) <= 1


def test_without_the_jitter_buffer_to_replace_the_sound_is_read_from_the_track(speech_wav, monkeypatch):
    monkeypatch.setattr(sink_module, "_JITTER_BUFFER", "_named_otherwise")
    said = speech(speech_wav)[: 2 * 48_000]
    _, chunks = asyncio.run(hear(said))
    # aiortc keeps the last four packets in its buffer for ever.
    heard = np.concatenate([chunk.sound for chunk in chunks])
    assert lag_and_match(heard, said[: 90 * 960])[1] > 0.8


def test_another_codec_is_ignored_and_silence_flows(speech_wav):
    said = speech(speech_wav)[:48_000]
    sink, chunks = asyncio.run(hear(said, codec="PCMU"))
    assert sink.packets_invalid >= 48
    assert sink.packets_received == 0
    assert all(chunk.synthetic for chunk in chunks)
    assert len(chunks) >= 30
