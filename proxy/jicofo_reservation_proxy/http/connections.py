"""Connections: subclasses of waitress's classes, with two differences.

- When waitress itself refuses a request, it answers in plain text. These classes answer in JSON.
- In waitress, the threads and the main loop compete for each socket. Here, only one thread at a
  time uses a socket (benchmarks/README.md has the effect).
"""

import logging
import time

from waitress.channel import HTTPChannel
from waitress.task import ErrorTask, WSGITask

from jicofo_reservation_proxy.model import BadInput
from jicofo_reservation_proxy.observability import logs
from jicofo_reservation_proxy.text_rules import one_line

from .answers import render_bad_input

logger = logging.getLogger(__name__)


class _JsonErrorTask(ErrorTask):  # type: ignore[misc]
    """The JSON answer to a request that waitress itself refuses."""

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
    """Sends the head and the body together if the body is a single piece."""

    wrote_header: bool

    def build_response_header(self) -> bytes:
        """Return the head. During a graceful shutdown it says that the connection will close."""
        self.channel.answered_at = time.monotonic()
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
    """A connection. The thread that made an answer also sends the answer, at once.

    The thread writes the log line afterwards, so the log line delays no client. While a thread
    works on the connection, the main loop ignores the socket. Otherwise the main loop would poll a
    socket that it cannot lock again and again. That would divide the throughput by 3 with 16
    connections and by 6 with 64 (benchmarks/README.md).
    """

    answered_at = -float("inf")
    """The time of the last answer on this connection, in seconds of `time.monotonic`."""

    task_class = _Task
    error_task_class = _JsonErrorTask

    def writable(self) -> bool:
        """Return whether the main loop must send something, or close the connection."""
        is_left_over = self.total_outbufs_len and not self.requests
        return bool(self.will_close or self.close_when_flushed or is_left_over)

    def handle_expt(self) -> None:
        """Close the connection on urgent data (TCP's URG), which no HTTP client sends.

        Without this method, unread urgent data would keep the main loop in an endless loop.
        """
        self.handle_close()

    @property
    def is_busy(self) -> bool:
        """Whether a request is in progress, or an answer is not sent completely."""
        return bool(self.requests or self.total_outbufs_len)
