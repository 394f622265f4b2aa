"""HTTP of speech: the voices, sound of a text, and texts and sound that live sessions say."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
from aiohttp import web

from webrtc_avatar.audio.decode import SoundFile
from webrtc_avatar.errors import InvalidRequest
from webrtc_avatar.server.signalling import LIVE, SETTINGS, read_json
from webrtc_avatar.server.speech_messages import read_interrupt, read_request
from webrtc_avatar.server.uploads import read_form
from webrtc_avatar.speech.files import CONTENT_TYPES, Format, pcm16, speech_file, wav_header
from webrtc_avatar.speech.service import Speech, SpeechService
from webrtc_avatar.speech.voice import VoiceInfo

SPEECH = web.AppKey("speech", SpeechService)

_FORMATS: dict[str, Format] = {
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/ogg": "opus",
    "audio/opus": "opus",
    "audio/pcm": "pcm",
    "audio/l16": "pcm",
}


async def voices(request: web.Request) -> web.Response:
    """Answer the voices and what each can do."""
    service = request.app[SPEECH]
    await service.ready()
    service.warm()  # who asks is about to speak
    return web.json_response(
        {
            "voices": [_describe(info) for info in service.voices()],
            "default": service.find(None).id,
            "unavailable": [{"engine": name, "reason": reason} for name, reason in service.unavailable().items()],
        }
    )


async def synthesize(request: web.Request) -> web.StreamResponse:
    """Answer the sound of a text: a whole file, or with an `Accept` of sound as it is made."""
    wanted = read_request(await read_json(request), most_chars=request.app[SETTINGS].speech_max_text_chars)
    kind = _accepted(request)
    await request.app[SPEECH].ready()
    speech = request.app[SPEECH].speak(wanted)
    if kind is None:
        return await _whole(speech)
    return await _streamed(request, speech, kind)


async def status(request: web.Request) -> web.Response:
    """Answer what the processes that speak do."""
    return web.json_response(request.app[SPEECH].status().to_json())


async def speak(request: web.Request) -> web.Response:
    """Have a session say a text."""
    live = request.app[LIVE].get(request.match_info["session_id"])
    body = await read_json(request)
    wanted = read_request(body, most_chars=request.app[SETTINGS].speech_max_text_chars)
    await request.app[SPEECH].ready()
    turn = live.speaking.say(wanted, interrupt=read_interrupt(body))
    return web.json_response({"id": turn, "session_id": live.session.id}, status=202)


async def interrupt(request: web.Request) -> web.Response:
    """Silence a session, whatever it says and was about to say."""
    request.app[LIVE].get(request.match_info["session_id"]).session.interrupt()
    return web.Response(status=204)


async def play(request: web.Request) -> web.Response:
    """Have a session play a file as if it said it."""
    live = request.app[LIVE].get(request.match_info["session_id"])
    form = await read_form(request, {"audio": request.app[SETTINGS].speech_max_audio_bytes})
    file = form.files.get("audio")
    if file is None or not file.data:
        raise InvalidRequest(
            'the form has no file named "audio"; upload WAV, MP3, Ogg or anything else that FFmpeg reads'
        )
    sound = await asyncio.to_thread(SoundFile, io.BytesIO(file.data))
    turn = live.speaking.play(
        _pieces(sound), sound.rate_hz, interrupt=form.fields.get("interrupt", "") in ("true", "1")
    )
    return web.json_response({"id": turn, "session_id": live.session.id, "duration_s": sound.duration_s}, status=202)


def add_routes(app: web.Application) -> None:
    """Add the endpoints of speech."""
    app.router.add_get("/api/voices", voices)
    app.router.add_post("/api/speech", synthesize)
    app.router.add_get("/api/speech/status", status)
    app.router.add_post("/api/sessions/{session_id}/speak", speak)
    app.router.add_post("/api/sessions/{session_id}/interrupt", interrupt)
    app.router.add_post("/api/sessions/{session_id}/audio", play)


def _describe(info: VoiceInfo) -> dict[str, Any]:
    return {**asdict(info), "abilities": sorted(info.abilities)}


def _accepted(request: web.Request) -> Format | None:
    """Return the kind of file that is wanted piece by piece; None: a whole WAV file, wherever nobody asks for sound."""
    for part in request.headers.get("Accept", "*/*").split(","):
        kind = _FORMATS.get(part.split(";")[0].strip().lower())
        if kind is not None:
            return kind
    return None


async def _whole(speech: Speech) -> web.Response:
    parts, rate_hz = [], speech.info.rate_hz
    async with aclosing(speech.pieces) as pieces:
        async for piece in pieces:
            rate_hz = piece.rate_hz
            parts.append(pcm16(piece.samples))
    data = b"".join(parts)
    return web.Response(body=wav_header(rate_hz, len(data)) + data, content_type="audio/wav")


async def _streamed(request: web.Request, speech: Speech, kind: Format) -> web.StreamResponse:
    """Answer with what is there; what fails before the first of it is still an error answer."""
    async with aclosing(speech.pieces) as pieces:
        first = await anext(pieces)
        file = speech_file(kind, first.rate_hz)
        response = web.StreamResponse(headers={"Content-Type": CONTENT_TYPES[kind], "Cache-Control": "no-store"})
        if kind == "pcm":
            response.headers["Content-Type"] = f"audio/pcm; rate={first.rate_hz}; channels=1"
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(file.add(first.samples))
        async for piece in pieces:
            await response.write(file.add(piece.samples))
        await response.write(file.finish())
    await response.write_eof()
    return response


async def _pieces(sound: SoundFile) -> AsyncGenerator[npt.NDArray[np.float32]]:
    """Yield a file's sound, mono; it is decoded while it plays."""
    # One thread of its own, so that the file is closed behind what is still being decoded, whenever nobody wants more of it.
    thread = ThreadPoolExecutor(1, thread_name_prefix="play")
    pieces, loop = sound.pieces(), asyncio.get_running_loop()
    try:
        while (piece := await loop.run_in_executor(thread, next, pieces, None)) is not None:
            yield piece.mean(axis=1, dtype=np.float32)
    finally:
        thread.submit(sound.close)
        thread.shutdown(wait=False)
