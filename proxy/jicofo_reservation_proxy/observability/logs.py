"""The log: one line per request, as `key=value` pairs or as JSON, on standard error.

A line never contains a password, a PIN, a key or a token: the proxy logs only the fields that its
code names, and these fields contain no secrets.
"""

import json
import logging
import re
import sys
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Literal, TextIO

ROOT = "jicofo_reservation_proxy"

_PLAIN = re.compile(r"[!#-<>-\[\]-~]+")
"""Visible ASCII characters without `"`, `=` and the backslash."""

_AMBIGUOUS = re.compile(r"[\s\"=\\]")

Fields = Mapping[str, str | int] | Mapping[str, str | int | float]


def configure(
    log_format: Literal["text", "json"], level: str, stream: TextIO | None = None
) -> None:
    """Send the log of the proxy, and the warnings of its libraries, to a stream.

    The default stream is standard error.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    # The lines contain none of this, and it takes a fifth of the time of a line to find it out.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.getLogger(ROOT).setLevel(level.upper())


def event(logger: logging.Logger, level: int, message: str, fields: Fields) -> None:
    """Log a message with fields; each log format writes the fields in its own way.

    The record does not name the line of code that logs, because it takes long to find.
    """
    if logger.isEnabledFor(level):
        record = logger.makeRecord(logger.name, level, "", 0, message, (), None)
        record.fields = fields
        logger.handle(record)


class TextFormatter(logging.Formatter):
    """`2026-01-31T12:00:00.000Z INFO message key=value key="a value"`, always one line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        parts = [_timestamp(record), record.levelname, _one_line(record.getMessage())]
        parts += [f"{key}={_value(value)}" for key, value in _fields(record).items()]
        if record.exc_info:
            parts.append(f"exception={json.dumps(self.formatException(record.exc_info))}")
        return " ".join(parts)


class JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, object] = {
            "time": _timestamp(record),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def _fields(record: logging.LogRecord) -> Fields:
    fields: Fields = getattr(record, "fields", {})
    return fields


def _timestamp(record: logging.LogRecord) -> str:
    return f"{_second(int(record.created))}.{int(record.msecs):03d}Z"


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
