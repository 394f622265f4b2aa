"""What tests of chunked sessions share: sound of many kinds, and a client."""

import asyncio
import io
import re
import wave

import aiohttp
import av
import numpy as np

SECONDS = 0.4
"""Length of the fixture `voice`."""
BASE = "/api/audio-driven/chunked"


def wav(samples, rate_hz=16_000):
    """Return a WAV file; float samples (n,) or (n, channels)."""
    target = io.BytesIO()
    with wave.open(target, "wb") as file:
        file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return target.getvalue()


def encoded(samples, container, codec, rate_hz, layout="mono", **options):
    """Return a file of another kind with float samples (n,) of 16 kHz."""
    target = io.BytesIO()
    with av.open(target, "w", format=container, options=options) as file:
        stream = file.add_stream(codec, rate=rate_hz, layout=layout)
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate = 16_000
        resampler = av.AudioResampler(format=stream.codec_context.format, layout=layout, rate=rate_hz)
        fifo = av.AudioFifo()
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            part.pts = None
            fifo.write(part)
        size = stream.codec_context.frame_size or 1024
        while (part := fifo.read(size, partial=True)) is not None:
            file.mux(stream.encode(part))
        file.mux(stream.encode(None))
    return target.getvalue()


def form(**fields):
    """Return a form: bytes become files, or (bytes, content type); the rest texts."""
    data = aiohttp.FormData()
    for name, value in fields.items():
        if isinstance(value, bytes):
            data.add_field(name, value, filename=name)
        elif isinstance(value, tuple):
            data.add_field(name, value[0], filename=name, content_type=value[1])
        else:
            data.add_field(name, str(value))
    data.add_field("from", "a test", content_type="text/plain")
    return data


class Caller:
    """One client of a server."""

    def __init__(self, server, photo):
        self.client, self.photo = server.client, photo

    async def post(self, what, **fields):
        answer = await self.client.post(f"{BASE}/{what}", data=form(**fields))
        return answer.status, await answer.json()

    async def init(self, **fields):
        status, body = await self.post("init", image=self.photo, **fields)
        assert status == 200, body
        return body["session_id"]

    async def feed(self, session_id, sound, final=False):
        return await self.post("feed", session_id=session_id, audio_chunk=sound, is_final_chunk=str(final).lower())

    async def status(self, session_id):
        answer = await self.client.get(f"{BASE}/status/{session_id}")
        return await answer.json()

    async def until(self, session_id, wanted="complete"):
        async with asyncio.timeout(60):
            while (body := await self.status(session_id))["status"] != wanted:
                assert body["status"] != "error", body
                await asyncio.sleep(0.05)
        return body

    async def film(self, session_id, folder):
        """Fetch a whole stream as a player does, and return the playlist's path."""
        folder.mkdir(exist_ok=True)
        answer = await self.client.get(f"/hls/{session_id}/playlist.m3u8")
        text = await answer.text()
        (folder / "playlist.m3u8").write_text(text)
        for name in ["init.mp4", *re.findall(r"^seg_\S+$", text, re.MULTILINE)]:
            answer = await self.client.get(f"/hls/{session_id}/{name}")
            assert answer.status == 200
            (folder / name).write_bytes(await answer.read())
        return folder / "playlist.m3u8"


def sound_of(path):
    with av.open(str(path)) as container:
        return np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])


def pictures_of(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]


def recorded(samples):
    """Return WebM as `MediaRecorder` writes it: for a live stream, without lengths."""
    target = io.BytesIO()
    with av.open(target, "w", format="webm", options={"live": "1", "cluster_time_limit": "200"}) as file:
        stream = file.add_stream("libopus", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate = 16_000
        fifo = av.AudioFifo()
        for part in av.AudioResampler(format="flt", layout="mono", rate=48_000).resample(frame):
            part.pts = None
            fifo.write(part)
        while (part := fifo.read(960, partial=True)) is not None:
            file.mux(stream.encode(part))
        file.mux(stream.encode(None))
    return target.getvalue()
