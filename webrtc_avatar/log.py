"""Log records as one line each: for a person, or as JSON for a machine, with the session they belong to."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from webrtc_avatar.settings import Settings

_session: ContextVar[str | None] = ContextVar("webrtc_avatar_session", default=None)

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "session"}
_LOUD = ("aioice", "aiortc", "asyncio", "aiohttp.access")
"""Libraries whose own info records say nothing to an operator."""


@contextmanager
def session_context(session_id: str) -> Iterator[None]:
    """Mark every record written inside, and by tasks started inside, with the session's id."""
    token = _session.set(session_id)
    try:
        yield
    finally:
        _session.reset(token)


def configure(settings: Settings) -> None:
    """Send the process's records to standard error in the format and from the level that the settings name."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else TextFormatter())
    handler.addFilter(_add_session)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    if settings.log_level != "debug":
        for name in _LOUD:
            logging.getLogger(name).setLevel(logging.WARNING)


def _add_session(record: logging.LogRecord) -> bool:
    session_id = getattr(record, "session", None) or _session.get()
    record.session = session_id
    return True


def _fields(record: logging.LogRecord) -> dict[str, object]:
    """Return what was given as `extra`, the session first."""
    fields: dict[str, object] = {}
    session_id = getattr(record, "session", None)
    if session_id and "session=" not in record.getMessage():
        fields["session"] = session_id
    fields.update({key: value for key, value in vars(record).items() if key not in _STANDARD and key[0] != "_"})
    return fields


class TextFormatter(logging.Formatter):
    """`12:00:00.123 INFO server.connection: peer connected session=Ab3dEf9h`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line (a traceback follows on lines of its own)."""
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        name = record.name.removeprefix("webrtc_avatar.")
        line = f"{clock}.{int(record.msecs):03d} {record.levelname} {name}: {_one_line(record.getMessage())}"
        for key, value in _fields(record).items():
            line += f" {key}={_quoted(value)}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and the fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON; a traceback is one of its fields."""
        utc = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, object] = {
            "time": f"{utc}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def _one_line(text: str) -> str:
    return text.replace("\r", "\\r").replace("\n", "\\n")


def _quoted(value: object) -> str:
    text = _one_line(str(value))
    return json.dumps(text, ensure_ascii=False) if not text or " " in text or "=" in text or '"' in text else text
