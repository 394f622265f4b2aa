"""Chunked sessions from a program: upload a face, feed sound in pieces, and give the HLS address to a player.

    with ChunkedStreamingClient("http://127.0.0.1:8080") as client:
        client.init_session("me.jpg", chunk_duration=0.5)
        print(client.hls_url)
        for piece in pieces:                                  # a microphone's, a file's, a WebRTC track's
            client.feed_audio_chunk(piece)
        client.feed_audio_chunk(None, is_final=True)
        client.wait()

The names, and the order of arguments, are those of the seed document on chunked audio sessions and of its client.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
from av import AudioFrame

from webrtc_avatar.client.chunked_sound import Sound, joined, wav_of, wav_of_bytes
from webrtc_avatar.client.failures import ServerUnreachable, SessionBroke, SessionRefused
from webrtc_avatar.errors import InvalidRequest

if TYPE_CHECKING:
    from aiortc import MediaStreamTrack

_BASE = "api/audio-driven/chunked"
_BLOCK_S = 1.0
_LIVE_BLOCK_S = 0.5

AudioData = Sound | bytes | str | Path | None


class ChunkedStreamingClient:
    """One session at a time; for one thread at a time. A context manager, which deletes the session at its end.

    Args:
        server_url: where the server listens.
        timeout_s: the longest wait for an answer.

    Attributes:
        session_id: of the session; none before `init_session` and after `cleanup`.
        hls_url: its film, the whole address.
        warnings: what the server said of the face.
    """

    def __init__(self, server_url: str = "http://127.0.0.1:8080", *, timeout_s: float = 60.0) -> None:
        self._url = (server_url if "://" in server_url else f"http://{server_url}").rstrip("/") + "/"
        self._timeout_s = timeout_s
        self._rate_hz = 24_000
        self.session_id: str | None = None
        self.hls_url: str | None = None
        self.warnings: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # What went wrong before says more than that the session cannot be ended; one that nobody ends goes by itself.
        with suppress(SessionRefused, ServerUnreachable):
            self.cleanup()

    def init_session(
        self,
        image_path: str | Path | bytes,
        crop: bool = True,
        seed: int = 42,
        nfe: int = 10,
        cfg_scale: float = 2.0,
        chunk_duration: float = 1.0,
        audio_sample_rate: int = 24_000,
        *,
        pose_style: Iterable[float] | None = None,
        gaze_style: Iterable[float] | None = None,
        session_id: str | None = None,
    ) -> str:
        """Begin a session and return its id.

        Args:
            image_path: a JPEG, PNG or WebP with one face: a path, or the file's content.
            crop: there must be a face, which is cut out.
            seed: decides blinks, glances and sway.
            nfe: evaluations of the motion's refinement for each frame, 5 to 50.
            cfg_scale: strength of articulation and motion, 1 to 5.
            chunk_duration: seconds of sound that the server takes at a time, 0.1 to 10.
            audio_sample_rate: rate of arrays that are fed, in Hz.
            pose_style: pitch, yaw and roll in degrees.
            gaze_style: x and y, -1 to 1.
            session_id: the name that it shall have.

        Raises:
            ServerUnreachable: nothing answers.
            SessionRefused: the server is full, sees no face, or does not take one of the arguments.
        """
        fields: dict[str, str | bytes] = {
            "image": image_path if isinstance(image_path, bytes) else Path(image_path).read_bytes(),
            "crop": str(crop).lower(),
            "seed": str(seed),
            "nfe": str(nfe),
            "cfg_scale": str(cfg_scale),
            "chunk_duration": str(chunk_duration),
            "audio_sample_rate": str(audio_sample_rate),
        }
        if session_id is not None:
            fields["session_id"] = session_id
        for name, style in (("pose_style", pose_style), ("gaze_style", gaze_style)):
            if style is not None:
                fields[name] = json.dumps(list(style))
        answer = self._ask("POST", "init", fields)
        self._rate_hz = audio_sample_rate
        self.session_id = str(answer["session_id"])
        self.hls_url = self._url + str(answer["hls_url"]).lstrip("/")
        self.warnings = list(answer.get("warnings", []))
        return self.session_id

    def feed_audio_chunk(
        self, audio_data: AudioData, is_final: bool = False, *, sample_rate: int | None = None
    ) -> dict[str, Any]:
        """Feed sound and return the server's answer.

        Args:
            audio_data: int16, int32 or floats in -1..1, (n,) or (n, channels); or an `av.AudioFrame`; or a file of any kind
                as bytes, or its path; or None to end.
            is_final: nothing follows.
            sample_rate: of an array, in Hz; by default that of `init_session`. With it, bytes are bare int16 samples, mono.

        Raises:
            ServerUnreachable: nothing answers.
            SessionRefused: the server decodes no sound in it, has too much waiting, or the session is over.
            InvalidAudio: the array is no sound.
            InvalidRequest: there is no session.
        """
        fields: dict[str, str | bytes] = {"session_id": self._open(), "is_final_chunk": str(is_final).lower()}
        sound = _file_of(audio_data, sample_rate, self._rate_hz)
        if sound is not None:
            fields["audio_chunk"] = sound
        return self._ask("POST", "feed", fields)

    def feed_file(self, path: str | Path, *, piece_s: float = _BLOCK_S) -> Iterator[dict[str, Any]]:
        """Feed a file of any kind piece by piece to its end, and yield the server's answers.

        Where the server has too much waiting, it is waited for.

        Raises:
            UnreadableSound: FFmpeg decodes no sound in it.
            ServerUnreachable, SessionRefused: see `feed_audio_chunk`.
        """
        from webrtc_avatar.audio.decode import SoundFile

        with SoundFile(Path(path)) as sound:
            size, held = max(round(piece_s * sound.rate_hz), 1), np.zeros((0, sound.channels), np.float32)
            for piece in sound.pieces():
                held = np.concatenate((held, piece))
                while len(held) > size:
                    yield self._feed_patiently(held[:size], sound.rate_hz, final=False)
                    held = held[size:]
            yield self._feed_patiently(held, sound.rate_hz, final=True)

    async def feed_track(self, track: MediaStreamTrack, *, piece_s: float = _LIVE_BLOCK_S) -> dict[str, Any]:
        """Feed a WebRTC track's sound as it comes, to its end, and return the server's last answer.

        Args:
            track: of aiortc, with sound.
            piece_s: seconds that are sent at a time.

        Raises:
            ServerUnreachable, SessionRefused, InvalidRequest: as `feed_audio_chunk`.
        """
        from aiortc.mediastreams import MediaStreamError

        held: list[AudioFrame] = []

        async def feed(*, final: bool) -> dict[str, Any]:
            samples, rate_hz = joined(held) if held else (None, None)
            held.clear()
            return await asyncio.to_thread(self.feed_audio_chunk, samples, final, sample_rate=rate_hz)

        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return await feed(final=True)
            assert isinstance(frame, AudioFrame)
            held.append(frame)
            if sum(each.samples for each in held) >= piece_s * frame.sample_rate:
                await feed(final=False)

    def get_status(self) -> dict[str, Any]:
        """Return how far the session is.

        Raises:
            ServerUnreachable, SessionRefused, InvalidRequest: as `feed_audio_chunk`.
        """
        return self._ask("GET", f"status/{quote(self._open(), safe='')}")

    def wait(self, *, timeout_s: float = 600.0, every_s: float = 0.2) -> dict[str, Any]:
        """Wait until the film is whole and return the last status.

        Raises:
            SessionBroke: the server could not finish it.
            TimeoutError: it took too long.
            ServerUnreachable, SessionRefused, InvalidRequest: as `get_status`.
        """
        until_s = time.monotonic() + timeout_s
        while True:
            status = self.get_status()
            if status["status"] == "complete":
                return status
            if status["status"] == "error":
                raise SessionBroke(f"session {self.session_id} broke off: {status['error']}")
            if time.monotonic() > until_s:
                raise TimeoutError(f"session {self.session_id} was not complete after {timeout_s:g} s: {status}")
            time.sleep(every_s)

    def cleanup(self) -> dict[str, Any] | None:
        """Delete the session and its film, and return the server's answer; none where there is no session.

        Raises:
            ServerUnreachable: nothing answers.
            SessionRefused: it is gone already.
        """
        if self.session_id is None:
            return None
        session_id = self.session_id
        self.session_id = self.hls_url = None
        return self._ask("DELETE", f"session/{quote(session_id, safe='')}")

    def _open(self) -> str:
        if self.session_id is None:
            raise InvalidRequest("there is no session; call init_session first")
        return self.session_id

    def _feed_patiently(self, piece: npt.NDArray[np.float32], rate_hz: int, *, final: bool) -> dict[str, Any]:
        while True:
            try:
                return self.feed_audio_chunk(piece if len(piece) else None, final, sample_rate=rate_hz)
            except SessionRefused as error:
                if error.refusal != "buffer_full":
                    raise
            time.sleep(_BLOCK_S)

    def _ask(self, method: str, what: str, fields: Mapping[str, str | bytes] | None = None) -> dict[str, Any]:
        body, headers = (None, {}) if fields is None else _form(fields)
        request = urllib.request.Request(f"{self._url}{_BASE}/{what}", data=body, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=self._timeout_s) as reply:
                answer = json.loads(reply.read())
        except urllib.error.HTTPError as error:
            raise _refused(error.code, error.read(), self._url) from None
        except (OSError, ValueError) as error:
            raise ServerUnreachable(
                f"no avatar server answers at {self._url} ({error}); start one with `webrtc-avatar serve`, or check the URL"
            ) from error
        if not isinstance(answer, dict):
            raise ServerUnreachable(f"{self._url} answers, but not as an avatar server; check the URL")
        return answer


def _file_of(sound: AudioData, sample_rate: int | None, rate_hz: int) -> bytes | None:
    """Return what is uploaded; none where there is nothing in it."""
    if sound is None:
        return None
    if isinstance(sound, str | Path):
        return Path(sound).read_bytes()
    if isinstance(sound, bytes | bytearray | memoryview):
        return bytes(sound) if sample_rate is None else wav_of_bytes(bytes(sound), sample_rate)
    return wav_of(sound, sample_rate or rate_hz)


def _refused(status: int, body: bytes, url: str) -> SessionRefused:
    code = ""
    try:
        answer = json.loads(body)
        message = str(answer["detail"])
        code = str(answer.get("error", {}).get("code", ""))
    except (ValueError, KeyError, TypeError, AttributeError):
        message = body[:200].decode("utf-8", "replace")
    return SessionRefused(f"the server at {url} refused with {status}: {message}", http_status=status, refusal=code)


def _form(fields: Mapping[str, str | bytes]) -> tuple[bytes, dict[str, str]]:
    boundary = secrets.token_hex(16)
    body = bytearray()
    for name, value in fields.items():
        file = f'; filename="{name}"\r\nContent-Type: application/octet-stream' if isinstance(value, bytes) else ""
        body += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode()
        body += (value if isinstance(value, bytes) else value.encode()) + b"\r\n"
    body += f"--{boundary}--\r\n".encode()
    return bytes(body), {"Content-Type": f"multipart/form-data; boundary={boundary}"}
