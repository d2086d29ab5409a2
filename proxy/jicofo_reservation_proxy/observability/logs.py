"""The log: one line per request, as `key=value` pairs or as JSON, on standard error.

A line never contains a password, a PIN, a key or a token: the proxy logs only the fields that its
code names, and these fields contain no secrets.
"""

import json
import logging
import re
import sys
import time
from collections import deque
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from functools import lru_cache
from typing import Literal, NamedTuple, TextIO

ROOT = "jicofo_reservation_proxy"

_PLAIN = re.compile(r"[!#-<>-\[\]-~]+")
"""Visible ASCII characters without `"`, `=` and the backslash."""

_AMBIGUOUS = re.compile(r"[\s\"=\\]")

MAX_WARNINGS = 50

Fields = Mapping[str, str | int] | Mapping[str, str | int | float]


def configure(
    log_format: Literal["text", "json"], level: str, stream: TextIO | None = None
) -> None:
    """Send the log of the proxy, and the warnings of its libraries, to a stream.

    The default stream is standard error. The warnings before stay in memory for the status page.
    """
    formatter = JsonFormatter() if log_format == "json" else TextFormatter()
    handler = _LineHandler(formatter, stream or sys.stderr)
    handler.warned.extend(reversed(recent_warnings()))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger(ROOT).setLevel(level.upper())
    # It warns with a stack trace of headers that it cannot parse. The proxy has a line of its own.
    logging.getLogger("urllib3").setLevel(logging.ERROR)


class Warned(NamedTuple):
    """A line of the log of level WARNING or above, for the status page.

    `at` is its time in seconds since the epoch. `template` is the message without its arguments.
    """

    at: float
    level: str
    message: str
    fields: Fields
    template: str


def recent_warnings() -> list[Warned]:
    """Return the last lines of level WARNING and above of this process; the newest one is first."""
    found = [handler for handler in logging.root.handlers if isinstance(handler, _LineHandler)]
    return [warned for handler in found for warned in reversed(handler.warned.copy())]


def event(logger: logging.Logger, level: int, message: str, fields: Fields) -> None:
    """Log a message with fields; each log format writes the fields in its own way."""
    if not logger.isEnabledFor(level):
        return
    handlers = logging.root.handlers
    if len(handlers) == 1 and isinstance(handlers[0], _LineHandler):
        handlers[0].write(level, message, fields)
    else:
        logger.log(level, message, extra={"fields": fields})


class _Formatter(logging.Formatter):
    """Makes lines of events, and of the records of the standard library."""

    def line(
        self, timestamp: str, level: str, message: str, fields: Fields, exception: str = ""
    ) -> str:
        """Return a line. `exception` is a traceback, or ""."""
        raise NotImplementedError

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        timestamp = _timestamp(int(record.created), int(record.msecs))
        exception = self.formatException(record.exc_info) if record.exc_info else ""
        fields: Fields = getattr(record, "fields", {})
        return self.line(timestamp, record.levelname, record.getMessage(), fields, exception)


class TextFormatter(_Formatter):
    """`2026-01-31T12:00:00.000Z INFO message key=value key="a value"`, always one line."""

    def line(
        self, timestamp: str, level: str, message: str, fields: Fields, exception: str = ""
    ) -> str:
        """Return the line."""
        parts = [timestamp, level, _one_line(message)]
        parts += [f"{key}={_value(value)}" for key, value in fields.items()]
        if exception:
            parts.append(f"exception={json.dumps(exception)}")
        return " ".join(parts)


class JsonFormatter(_Formatter):
    """One JSON object per line."""

    def line(
        self, timestamp: str, level: str, message: str, fields: Fields, exception: str = ""
    ) -> str:
        """Return the line."""
        line: dict[str, object] = {
            "time": timestamp,
            "level": level.lower(),
            "message": message,
            **fields,
        }
        if exception:
            line["exception"] = exception
        return json.dumps(line)


class _LineHandler(logging.StreamHandler[TextIO]):
    """Writes lines. An event needs no record of the standard library, which takes half the time."""

    def __init__(self, formatter: _Formatter, stream: TextIO) -> None:
        super().__init__(stream)
        self.setFormatter(formatter)
        self._line = formatter.line
        self.warned: deque[Warned] = deque(maxlen=MAX_WARNINGS)

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line of a record, and remember a warning."""
        if record.levelno >= logging.WARNING:
            fields: Fields = getattr(record, "fields", {})
            message, template = record.getMessage(), str(record.msg)
            self.warned.append(Warned(record.created, record.levelname, message, fields, template))
        super().emit(record)

    def write(self, level: int, message: str, fields: Fields) -> None:
        """Write the line of an event. A stream that fails gets no line, as with a record."""
        if level >= logging.WARNING:
            name = logging.getLevelName(level)
            self.warned.append(Warned(time.time(), name, message, fields, message))
        seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
        timestamp = _timestamp(seconds, nanoseconds // 1_000_000)
        line = self._line(timestamp, logging.getLevelName(level), message, fields)
        with suppress(Exception), self.lock or nullcontext():
            self.stream.write(f"{line}\n")
            self.stream.flush()


def _timestamp(seconds: int, milliseconds: int) -> str:
    return f"{_second(seconds)}.{milliseconds:03d}Z"


@lru_cache(maxsize=2)
def _second(seconds: int) -> str:
    """Return a time in whole seconds since the epoch, without a zone."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def _one_line(text: str) -> str:
    return text if "\n" not in text and text.isprintable() else json.dumps(text)


def _value(value: str | float) -> str:
    if not isinstance(value, str):
        return str(value)
    if _PLAIN.fullmatch(value):
        return value
    is_clear = value and value.isprintable() and not _AMBIGUOUS.search(value)
    return value if is_clear else json.dumps(value)
