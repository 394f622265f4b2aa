"""Chunked sessions from a program: upload a face, feed sound in pieces, and give the HLS address to a player.

    with ChunkedStreamingClient("http://127.0.0.1:8080") as client:
        client.init_session("me.jpg", chunk_duration=0.5)
        print(client.hls_url)
        for piece in pieces:                                  # a microphone's, a file's, a WebRTC track's
            client.feed_audio_chunk(piece)
        client.feed_audio_chunk(None, is_final=True)
        client.wait()

The names are those of the seed document on chunked audio sessions. Standard library and numpy alone.
"""

from __future__ import annotations

import io
import json
import secrets
import time
import urllib.error
import urllib.request
import wave
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from webrtc_avatar.client.failures import ServerUnreachable, SessionBroke, SessionRefused
from webrtc_avatar.errors import InvalidAudio, InvalidRequest

_BASE = "api/audio-driven/chunked"
_BLOCK_S = 1.0

AudioData = npt.NDArray[np.generic] | bytes | str | Path | None


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
        if self.session_id is not None:
            self.cleanup()

    def init_session(
        self,
        image_path: str | Path | bytes,
        *,
        session_id: str | None = None,
        crop: bool = True,
        seed: int = 42,
        nfe: int = 10,
        cfg_scale: float = 2.0,
        chunk_duration: float = 1.0,
        audio_sample_rate: int = 24_000,
        pose_style: Iterable[float] | None = None,
        gaze_style: Iterable[float] | None = None,
    ) -> str:
        """Begin a session and return its id.

        Args:
            image_path: a JPEG, PNG or WebP with one face: a path, or the file's content.
            session_id: the name that it shall have.
            crop: there must be a face, which is cut out.
            seed: decides blinks, glances and sway.
            nfe: evaluations of the motion's refinement for each frame, 5 to 50.
            cfg_scale: strength of articulation and motion, 1 to 5.
            chunk_duration: seconds of sound that the server takes at a time, 0.1 to 10.
            audio_sample_rate: rate of arrays that are fed, in Hz.
            pose_style: pitch, yaw and roll in degrees.
            gaze_style: x and y, -1 to 1.

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
            audio_data: int16 or float (n,) or (n, channels); or a file of any kind as bytes, or its path; or None to end.
            is_final: nothing follows.
            sample_rate: of an array, in Hz; by default that of `init_session`.

        Raises:
            ServerUnreachable: nothing answers.
            SessionRefused: the server decodes no sound in it, has too much waiting, or the session is over.
            InvalidAudio: the array is no sound.
            InvalidRequest: there is no session.
        """
        fields: dict[str, str | bytes] = {"session_id": self._open(), "is_final_chunk": str(is_final).lower()}
        if isinstance(audio_data, np.ndarray):
            fields["audio_chunk"] = _wav(audio_data, sample_rate or self._rate_hz)
        elif audio_data is not None:
            fields["audio_chunk"] = audio_data if isinstance(audio_data, bytes) else Path(audio_data).read_bytes()
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

    def cleanup(self) -> dict[str, Any]:
        """Delete the session and its film, and return the server's answer.

        Raises:
            ServerUnreachable: nothing answers.
            SessionRefused: it is gone already.
            InvalidRequest: there is no session.
        """
        session_id = self._open()
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


def _wav(samples: npt.NDArray[np.generic], rate_hz: int) -> bytes:
    if samples.ndim not in (1, 2):
        raise InvalidAudio(f"sound is (n,) or (n, channels); got the shape {samples.shape}")
    if np.issubdtype(samples.dtype, np.floating):
        finite = np.clip(np.nan_to_num(samples.astype(np.float64), nan=0.0, posinf=1.0, neginf=-1.0), -1.0, 1.0)
        pcm = np.rint(finite * 32767).astype("<i2")
    elif samples.dtype == np.int16:
        pcm = samples.astype("<i2")
    else:
        raise InvalidAudio(f"sound is int16 or floats; got {samples.dtype}")
    target = io.BytesIO()
    with wave.open(target, "wb") as file:
        file.setnchannels(1 if pcm.ndim == 1 else pcm.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(pcm.tobytes())
    return target.getvalue()
