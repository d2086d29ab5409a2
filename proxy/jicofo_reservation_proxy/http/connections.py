"""Connections: waitress's own classes, with answers in JSON and one thread at a socket at a time.

waitress answers in plain text what it refuses, and lets its threads and its main loop contend for
the sockets. benchmarks/README.md has what the subclasses here are worth.
"""

import logging

from waitress.channel import HTTPChannel
from waitress.task import ErrorTask, WSGITask

from jicofo_reservation_proxy.model import BadInput
from jicofo_reservation_proxy.observability import logs
from jicofo_reservation_proxy.text_rules import one_line

from .answers import render_bad_input

logger = logging.getLogger(__name__)


class _JsonErrorTask(ErrorTask):  # type: ignore[misc]
    """Answers what waitress itself refuses, in the words of everything else here."""

    def execute(self) -> None:
        error = self.request.error
        message = f"{error.reason}: {error.body}"
        answer = render_bad_input(BadInput(error.code, message))
        fields = {"status": error.code, "detail": one_line(message)}
        logs.event(logger, logging.WARNING, "refused", fields)
        self.status = f"{error.code} {error.reason}"
        self.response_headers.append(("Content-Type", "application/json"))
        self.set_close_on_finish()
        self.content_length = len(answer.body)
        self.write(answer.body)


class _Task(WSGITask):  # type: ignore[misc]
    """Sends head and body in one piece, where the body is one piece."""

    wrote_header: bool

    def build_response_header(self) -> bytes:
        """Return the head, which announces the end of the connection where the server drains."""
        if self.channel.server.is_draining:
            self.set_close_on_finish()
        head: bytes = super().build_response_header()
        return head

    def write(self, data: bytes) -> None:
        if self.wrote_header or not data or self.content_length != len(data):
            super().write(data)
            return
        self.channel.write_soon(self.build_response_header() + data)
        self.wrote_header = True
        self.content_bytes_written = len(data)


class Connection(HTTPChannel):  # type: ignore[misc]
    """A connection whose answer is sent by the thread that made it, at once.

    So the log line after it delays nobody. While a thread is at it, the main loop keeps out of the
    way: else it spins on a socket that it cannot lock, and 64 connections get a fifth of the
    throughput of 16.
    """

    task_class = _Task
    error_task_class = _JsonErrorTask

    def writable(self) -> bool:
        """Whether the main loop has anything to do here."""
        is_left_over = self.total_outbufs_len and not self.requests
        return bool(self.will_close or self.close_when_flushed or is_left_over)

    def handle_expt(self) -> None:
        """Close the connection on urgent data (TCP's URG), which no HTTP client sends.

        Left unread it would make the main loop spin.
        """
        self.handle_close()

    @property
    def is_busy(self) -> bool:
        """Whether a request is being worked on, or an answer is still to be sent."""
        return bool(self.requests or self.total_outbufs_len)
