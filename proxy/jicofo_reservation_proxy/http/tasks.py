"""The tasks of the threads that answer requests: subclasses of waitress's tasks.

When waitress itself refuses a request, it answers in plain text. These classes answer in JSON. An
answer to HEAD has no body, also if it is an error (RFC 9110, section 9.3.2).
"""

import time
from typing import Any

from waitress.task import ErrorTask, Task, WSGITask

from jicofo_reservation_proxy.model import BadInput
from jicofo_reservation_proxy.text_rules import one_line

from .answers import render_bad_input
from .fast_path import HEAD_KEY
from .refusals import Refusal
from .request_parser import HIDDEN


class _OnePiece(Task):  # type: ignore[misc]
    """Sends the head and the body together if the body is a single piece."""

    wrote_header: bool

    def build_response_header(self) -> bytes:
        """Return the head. During a graceful shutdown it says that the connection will close."""
        self.channel.answered_at = time.monotonic()
        if self.status.startswith("200"):
            self.channel.was_served = True
        if self.channel.server.is_draining:
            self.set_close_on_finish()
        head: bytes = super().build_response_header()
        return head

    def write(self, data: bytes) -> None:
        """Send the data; before the first data, send the head."""
        has_body = not self.request.is_head
        if self.wrote_header or not data or self.content_length != len(data):
            super().write(data if has_body else b"")
            return
        head = self.build_response_header()
        self.channel.write_soon(head + data if has_body else head)
        self.wrote_header = True
        self.content_bytes_written = len(data)


class RequestTask(_OnePiece, WSGITask):  # type: ignore[misc]
    """Answers a request with the WSGI application."""

    def get_environment(self) -> dict[str, Any]:
        """Return the WSGI environment."""
        environ: dict[str, Any] = super().get_environment()
        if self.request.is_plain:
            environ[HEAD_KEY] = self.request.head
        # waitress logs this path if something fails, and the path may hold a client token.
        self.request.path = HIDDEN
        return environ


class RefusalTask(_OnePiece, ErrorTask):  # type: ignore[misc]
    """Answers, in JSON, a request that the server itself refuses. Then the connection closes."""

    def execute(self) -> None:
        """Send the answer."""
        self.request.path = HIDDEN
        error = self.request.error
        message = f"{error.reason}: {error.body}"
        answer = render_bad_input(BadInput(error.code, message))
        self.status = f"{error.code} {error.reason}"
        self.response_headers.append(("Content-Type", "application/json"))
        self.set_close_on_finish()
        self.content_length = len(answer.body)
        self.write(answer.body)
        kind = getattr(error, "refusal", Refusal.MALFORMED)
        detail = one_line(message) if kind is Refusal.MALFORMED else ""
        self.channel.server.refusals.note(kind, self.channel.peer, detail=detail)
