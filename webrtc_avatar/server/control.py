"""The data channel "control": small JSON messages from the page, events to it.

Client: `{"type": "interrupt"}`, `{"type": "speak", "text", "voice"?, "interrupt"?, …}`, `{"type": "avatar", "name"}`, `{"type": "ping", "t"}`,
`{"type": "style", "pose_style"?, "gaze_style"?}`, `{"type": "listening", "on"}`, `{"type": "blendshapes", "on"}`. Server: `state`,
`stats`, `error`, `pong`, `avatar`, `style`, and what `server.blendshapes` says. A message that cannot be understood is answered with an error event; it never ends anything.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiortc import RTCDataChannel

from webrtc_avatar.avatar.style import read_style
from webrtc_avatar.errors import AvatarServerError, InvalidRequest
from webrtc_avatar.metrics import Metrics
from webrtc_avatar.server.blendshapes import BlendshapeFeed
from webrtc_avatar.server.speaking import Speaking
from webrtc_avatar.server.speech_messages import read_interrupt, read_request
from webrtc_avatar.session import Session

log = logging.getLogger(__name__)

LABEL = "control"
MAX_MESSAGE_CHARS = 4096
_COMMANDS = ("interrupt", "speak", "avatar", "style", "listening")
MESSAGES_PER_S = 20.0
BURST = 40.0
MAX_BUFFERED_BYTES = 64 * 1024
"""A peer that reads no events loses them rather than filling memory."""


class ControlChannel:
    """One peer's data channel, tied to its session."""

    def __init__(
        self, channel: RTCDataChannel, session: Session, speaking: Speaking, metrics: Metrics, *, may_command: bool
    ) -> None:
        """Start listening on both sides; `may_command` is false for viewers, who get events and blendshapes only."""
        self._channel = channel
        self._session = session
        self._speaking = speaking
        self._may_command = may_command
        self._allowance = BURST
        self._counted_s = time.monotonic()
        self._warned = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._blendshapes = BlendshapeFeed(channel, session, metrics)
        self._forget: Callable[[], None] | None = session.listen(self.send)
        channel.on("message", self._on_message)
        if channel.readyState == "open":
            self._greet()
        else:
            channel.on("open", self._greet)

    def send(self, event: dict[str, Any]) -> None:
        """Send an event if the channel is open and its reader keeps up."""
        if self._channel.readyState != "open" or self._channel.bufferedAmount > MAX_BUFFERED_BYTES:
            return
        self._channel.send(json.dumps(event, default=str))

    async def aclose(self) -> None:
        """Stop listening and wait for commands that are under way."""
        if self._forget is not None:
            self._forget()
            self._forget = None
        await self._blendshapes.aclose()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _greet(self) -> None:
        self.send({"type": "state", "state": self._session.state.value, "session_id": self._session.id})
        self.send({"type": "avatar", "name": self._session.avatar_name})
        self.send({"type": "style", **self._session.style.to_json()})

    def _on_message(self, message: str | bytes) -> None:
        if not self._within_rate():
            return
        try:
            self._handle(_read(message))
        except AvatarServerError as error:
            self._send_error(error)
        except Exception:
            log.exception("control message failed")
            self.send({"type": "error", "code": "internal", "message": "the server failed on this message"})

    def _handle(self, message: dict[str, Any]) -> None:
        kind = message.get("type")
        if kind == "ping":
            self.send({"type": "pong", "t": message.get("t")})
        elif kind == "blendshapes":
            self._tell_blendshapes(message.get("on"))
        elif kind not in _COMMANDS:
            raise InvalidRequest(
                f"unknown message type {kind!r:.80}; expected {', '.join(_COMMANDS)}, blendshapes or ping"
            )
        elif not self._may_command:
            raise InvalidRequest(f"a viewer cannot send {kind!r}; only the peer with the microphone can")
        elif kind == "interrupt":
            self._session.interrupt()
        elif kind == "speak":
            fields = {name: value for name, value in message.items() if name != "type"}
            request, interrupts = read_request(fields, most_chars=MAX_MESSAGE_CHARS), read_interrupt(fields)
            self._start(self._speaking.say_soon(request, interrupt=interrupts), "the text could not be said")
        elif kind == "style":
            if message.get("pose_style") is None and message.get("gaze_style") is None:
                raise InvalidRequest('a "style" message needs "pose_style", "gaze_style" or both')
            self._session.set_style(read_style(message, self._session.style))
        elif kind == "listening":
            if not isinstance(message.get("on"), bool):
                raise InvalidRequest('a "listening" message needs "on", true or false')
            self._session.set_listening(message["on"])
        else:
            name = message.get("name")
            if not isinstance(name, str):
                raise InvalidRequest('an "avatar" message needs "name", a text; GET /api/config lists the names')
            self._start(self._session.set_avatar(name), "the avatar could not be switched")

    def _tell_blendshapes(self, on: object) -> None:
        if not isinstance(on, bool):
            raise InvalidRequest(f'a "blendshapes" message needs "on", true or false; got {on!r:.80}')
        if on:
            self._blendshapes.start()
        else:
            self._blendshapes.stop()

    def _start(self, command: Awaitable[object], failure: str) -> None:
        task = asyncio.get_running_loop().create_task(self._do(command, failure), name="command")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _do(self, command: Awaitable[object], failure: str) -> None:
        try:
            await command
        except AvatarServerError as error:
            self._send_error(error)
        except Exception:
            log.exception("%s", failure)
            self.send({"type": "error", "code": "internal", "message": failure})

    def _send_error(self, error: AvatarServerError) -> None:
        self.send({"type": "error", "code": error.code, "message": error.message})

    def _within_rate(self) -> bool:
        """Take one from the allowance; say once that it is used up."""
        now_s = time.monotonic()
        self._allowance = min(BURST, self._allowance + (now_s - self._counted_s) * MESSAGES_PER_S)
        self._counted_s = now_s
        if self._allowance >= 1:
            self._allowance -= 1
            self._warned = False
            return True
        if not self._warned:
            self._warned = True
            text = f"more than {MESSAGES_PER_S:.0f} messages a second; the rest is ignored until there are fewer"
            self.send({"type": "error", "code": "too_many_messages", "message": text})
        return False


def _read(message: str | bytes) -> dict[str, Any]:
    if len(message) > MAX_MESSAGE_CHARS:
        raise InvalidRequest(f"a control message has at most {MAX_MESSAGE_CHARS} characters; got {len(message)}")
    try:
        value = json.loads(message)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"a control message is a JSON object; this is not JSON ({error!s:.120})") from error
    if not isinstance(value, dict):
        raise InvalidRequest(f'a control message is a JSON object with "type"; got {type(value).__name__}')
    return value
