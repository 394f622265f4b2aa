"""A process that speaks: batches come in on its standard input, pieces go out on what was its standard output.

Run as `python -m webrtc_avatar.speech.batching.worker` by `WorkerProcess`. It ends when its input does, whatever it is doing, so
none outlives its server.
"""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, BinaryIO

from webrtc_avatar.errors import AvatarServerError, SpeechFailure
from webrtc_avatar.settings import Settings
from webrtc_avatar.speech.batching import wire
from webrtc_avatar.speech.batching.wire import Message
from webrtc_avatar.speech.voice import Failure, Piece, Preparing, Utterance, Voice

log = logging.getLogger(__name__)


class Worker:
    """Speaks one batch after the other on its own thread; another one takes what comes in meanwhile."""

    def __init__(self, incoming: BinaryIO, outgoing: BinaryIO) -> None:
        self._incoming, self._outgoing = incoming, outgoing
        self._batches: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._given_up = -1
        first = wire.read(incoming).fields
        self._factories: dict[str, str] = first["factories"]
        self._settings = Settings.model_validate(first["settings"])
        self._engines: dict[str, Voice] = {}
        self._warm: list[str] = first["warm"]

    def run(self) -> None:
        """Speak until the input ends."""
        threading.Thread(target=self._listen, name="incoming", daemon=True).start()
        for name in self._warm:
            self._prepare(name)
        self._send(Message({"op": "ready"}))
        while True:
            message = self._batches.get()
            started_s = time.monotonic()
            self._speak(message.fields["batch"], [wire.utterance_of(fields) for fields in message.fields["utterances"]])
            self._send(Message({"op": "done", "run_s": time.monotonic() - started_s}))

    def _listen(self) -> None:
        while True:
            try:
                message = wire.read(self._incoming)
            except (EOFError, OSError):
                os._exit(0)  # the server is gone; what is being said is for nobody
            if message.fields["op"] == "give_up":
                self._given_up = message.fields["batch"]
            else:
                self._batches.put(message)

    def _prepare(self, voice: str) -> None:
        """Have a voice load its weights, if it has any; what is wrong with it is told to those who ask for it."""
        try:
            engine = self._engine(voice)
            if isinstance(engine, Preparing):
                engine.prepare(voice)
        except Exception:
            log.exception("voice %s could not be prepared", voice)

    def _engine(self, voice: str) -> Voice:
        name = voice.partition("/")[0]
        if name not in self._engines:
            module, _, attribute = self._factories[name].partition(":")
            factory: Callable[[Settings], Voice] = getattr(import_module(module), attribute)
            self._engines[name] = factory(self._settings)
        return self._engines[name]

    def _speak(self, batch: int, utterances: list[Utterance]) -> None:
        try:
            spoken = self._engine(utterances[0].voice).synthesize(utterances)
            self._tell(batch, spoken)
        except AvatarServerError as error:
            self._send(Message({"op": "broken", **wire.error_fields(error)}))
        except Exception as error:  # whatever a voice raises, the server hears of it
            log.exception("a voice failed at a batch of %d", len(utterances))
            failure = SpeechFailure(f"voice {utterances[0].voice!r} failed: {type(error).__name__}: {error!s:.200}")
            self._send(Message({"op": "broken", **wire.error_fields(failure)}))

    def _tell(self, batch: int, spoken: Iterator[Piece | Failure]) -> None:
        for part in spoken:
            if self._given_up >= batch:
                close: Any = getattr(spoken, "close", None)
                if close is not None:
                    close()
                return
            if isinstance(part, Failure):
                self._send(Message({"op": "failure", "index": part.index, **wire.error_fields(part.error)}))
            else:
                self._send(wire.piece_message(part))

    def _send(self, message: Message) -> None:
        self._outgoing.write(wire.encode(message))
        self._outgoing.flush()


def main() -> None:
    """Speak for the process that started this one."""
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s speech worker: %(message)s")
    outgoing = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no message
    Worker(sys.stdin.buffer, outgoing).run()


if __name__ == "__main__":
    main()
