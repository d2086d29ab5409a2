"""The oracle: what may come back for a stream. It shares no code with the proxy."""

import json
import re

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2}) [A-Za-z -]+")
_TLS_HANDSHAKE = b"\x16"


class WrongAnswerError(AssertionError):
    """The answer to a stream is not allowed."""


def is_answer_due(sent: bytes) -> bool:
    """Return whether the server must answer: for everything but empty lines and a TLS handshake."""
    begin = sent.lstrip(b"\r\n")
    return bool(begin) and not begin.startswith(_TLS_HANDSHAKE)


def judge(sent: bytes, received: bytes) -> list[int]:
    """Return the statuses of the answers to a stream, after which the client closed its side.

    Raises `WrongAnswerError`.
    """
    statuses: list[int] = []
    while received:
        status, received = _answer(sent, received)
        statuses.append(status)
    if not statuses and is_answer_due(sent):
        raise WrongAnswerError("no answer")
    return statuses


def _answer(sent: bytes, received: bytes) -> tuple[int, bytes]:
    """Return the status of the first answer, and what comes after the answer."""
    head, end, rest = received.partition(b"\r\n\r\n")
    line, *fields = head.split(b"\r\n")
    match = _STATUS_LINE.fullmatch(line)
    if not end or not match:
        raise WrongAnswerError(f"a head that is incomplete or strange: {received[:200]!r}")
    status = int(match[1])
    if not 200 <= status < 500:
        raise WrongAnswerError(f"the status {status}")
    headers = dict(field.lower().split(b": ", 1) for field in fields)
    length = int(headers[b"content-length"])
    if b"HEAD" in sent and not rest.startswith(b"{"):
        return status, rest
    _check_body(rest[:length], length, status)
    return status, rest[length:]


def _check_body(body: bytes, length: int, status: int) -> None:
    if len(body) < length:
        raise WrongAnswerError(f"{len(body)} of {length} bytes of a body")
    fields = json.loads(body.decode("ascii"))
    if not isinstance(fields, dict):
        raise WrongAnswerError(f"no JSON object: {body[:200]!r}")
    if any(not isinstance(value, str | int) for value in fields.values()):
        raise WrongAnswerError(f"no flat JSON: {body[:200]!r}")
    if status >= 400 and not fields.get("message"):
        raise WrongAnswerError(f"a refusal without a message: {body[:200]!r}")
