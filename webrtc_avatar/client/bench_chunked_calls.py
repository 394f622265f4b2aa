"""What a client and a player of chunked sessions do, for `webrtc-avatar bench chunked`: faces, speech, calls, decoding."""

from __future__ import annotations

import asyncio
import io
import json
import re
import wave
from pathlib import Path
from typing import Any

import aiohttp
import av
import cv2
import numpy as np
import soxr

from webrtc_avatar.audio.chunk import SOUND_RATE_HZ
from webrtc_avatar.avatar.library import default_folders
from webrtc_avatar.client.bench_chunked_server import Server
from webrtc_avatar.client.failures import NotMedia, ServerUnreachable, SessionBroke, SessionRefused
from webrtc_avatar.client.speech_track import decode_sound

LONGEST_S = 120.0
LOOK_S = 0.02

_BASE = "/api/audio-driven/chunked"
_RATE_HZ = 24_000
_FACE_PX = 512
_QUALITY = 95
_PART = re.compile(r'#EXT-X-PART:DURATION=([\d.]+),URI="([^"]+)"')


class Speech:
    """Sound that never ends, in pieces as WAV files.

    Args:
        audio: a file with sound; it repeats.

    Raises:
        NotMedia: it holds none.
    """

    def __init__(self, audio: Path) -> None:
        sound = decode_sound(audio).astype(np.float32)
        self._samples = np.rint(soxr.resample(sound, SOUND_RATE_HZ, _RATE_HZ)).clip(-32768, 32767).astype("<i2")
        if not len(self._samples):
            raise NotMedia(f"{audio} holds no sound; name another file with --audio")

    def wav(self, start_s: float, seconds: float) -> bytes:
        """Return a part of it, a WAV file, 24 kHz, mono, int16."""
        places = np.arange(round(start_s * _RATE_HZ), round((start_s + seconds) * _RATE_HZ)) % len(self._samples)
        target = io.BytesIO()
        with wave.open(target, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(_RATE_HZ)
            file.writeframes(self._samples[places].tobytes())
        return target.getvalue()


class Calls:
    """The calls of a chunked session's client, and of a player. A context manager.

    Args:
        server: who is called.

    Raises:
        ServerUnreachable: by every call; nothing answers.
        SessionRefused: by every call; the server answers with an error.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Calls:
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=LONGEST_S))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._http is not None:
            await self._http.close()

    async def init(self, face: bytes, **fields: object) -> str:
        """Begin a session and return its id."""
        return str((await self._post("init", {"image": face}, fields))["session_id"])

    async def feed(self, session_id: str, sound: bytes, *, final: bool) -> dict[str, Any]:
        """Feed a file and return the answer."""
        fields = {"session_id": session_id, "is_final_chunk": str(final).lower()}
        return await self._post("feed", {"audio_chunk": sound}, fields)

    async def frames(self, session_id: str) -> int:
        """Return how many frames are written.

        Raises:
            SessionBroke: the server could not go on.
        """
        status = await self._json("GET", f"{_BASE}/status/{session_id}")
        if status["status"] == "error":
            raise SessionBroke(f"the server could not finish a film: {status['error']}")
        return int(status["total_frames_generated"])

    async def delete(self, session_id: str) -> None:
        """End a session."""
        await self._json("DELETE", f"{_BASE}/session/{session_id}")

    async def film(self, session_id: str, name: str) -> bytes | None:
        """Return a file of the film; None while it is not there."""
        status, body = await self._ask("GET", f"/hls/{session_id}/{name}")
        return body if status == 200 else None

    async def drawn(self, session_id: str, frames: int) -> None:
        """Wait until so many frames are written."""
        while await self.frames(session_id) < frames:  # noqa: ASYNC110 - a client has nothing else to wait for
            await asyncio.sleep(LOOK_S)

    async def ended(self, session_id: str) -> None:
        """Wait for the playlist's end."""
        while b"#EXT-X-ENDLIST" not in (await self.film(session_id, "playlist.m3u8") or b""):
            await self.frames(session_id)
            await asyncio.sleep(LOOK_S)

    async def _post(self, what: str, files: dict[str, bytes], fields: dict[str, Any]) -> dict[str, Any]:
        form = aiohttp.FormData()
        for name, data in files.items():
            form.add_field(name, data, filename=name)
        for name, value in fields.items():
            form.add_field(name, str(value))
        return await self._json("POST", f"{_BASE}/{what}", form)

    async def _json(self, method: str, path: str, form: aiohttp.FormData | None = None) -> dict[str, Any]:
        status, body = await self._ask(method, path, form)
        try:
            answer: dict[str, Any] = json.loads(body)
        except ValueError:
            raise ServerUnreachable(f"{self.server.url} answers, but not as an avatar server; check the URL") from None
        if status != 200:
            raise SessionRefused(
                f"the server refused with {status}: {answer.get('detail', answer)}", http_status=status
            )
        return answer

    async def _ask(self, method: str, path: str, form: aiohttp.FormData | None = None) -> tuple[int, bytes]:
        assert self._http is not None
        try:
            async with self._http.request(method, self.server.url + path, data=form) as answer:
                return answer.status, await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ServerUnreachable(
                f"no avatar server answers at {self.server.url} ({error}); is it running, and is the URL right?"
            ) from error


def face_file(photo: Path | None, number: int) -> bytes:
    """Return a face as JPEG; each number is another file, so that no two sessions share what is made of it.

    Raises:
        NotMedia: the photo cannot be read.
    """
    path = photo or next(
        folder / "iris" / "plate_1024.webp" for folder in default_folders() if (folder / "iris").is_dir()
    )
    picture = cv2.imread(str(path))
    if picture is None:
        raise NotMedia(f"{path} is no picture that can be read; name a JPEG, PNG or WebP with --photo")
    if photo is None:
        picture = cv2.resize(picture, (_FACE_PX, _FACE_PX), interpolation=cv2.INTER_AREA)
    brighter = cv2.convertScaleAbs(picture, alpha=1.0, beta=float(number))
    return bytes(cv2.imencode(".jpg", brighter, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes())


def listed(playlist: str) -> list[tuple[str, float]]:
    """Return the segments and parts that a playlist names, and where in the film each ends, in seconds."""
    media, at_s, part_s, segment_s = [], 0.0, 0.0, 0.0
    for line in playlist.splitlines():
        if part := _PART.match(line):
            part_s += float(part[1])
            media.append((part[2], at_s + part_s))
        elif line.startswith("#EXTINF:"):
            segment_s = float(line[8:].split(",")[0])
        elif line and not line.startswith("#"):
            at_s, part_s = at_s + segment_s, 0.0
            media.append((line, at_s))
    return media


def is_segment(name: str) -> bool:
    """Tell whether a file is a whole segment."""
    return name.count(".") == 1


def decodes(film: bytes) -> bool:
    """Tell whether there are pictures and sound in a film."""
    seen: set[str] = set()
    try:
        with av.open(io.BytesIO(film), "r") as container:
            for packet in container.demux():
                seen |= {packet.stream.type for _ in packet.decode()}
    except av.FFmpegError:
        return False
    return seen == {"video", "audio"}
