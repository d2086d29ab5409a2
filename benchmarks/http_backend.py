"""The backend with the HTTP API of Jitsi's handbook: it grants each request and stores nothing.

Run it as a script. Its argument is the delay of each answer, in seconds. The first line of its
output is the port that it listens on.
"""

import itertools
import json
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import parse_qsl


class GrantEverything(BaseHTTPRequestHandler):
    """Grants each request a new conference, after a delay; the ids are numbers from 1."""

    protocol_version = "HTTP/1.1"  # keeps connections
    wbufsize = -1  # one segment for the head and the body
    disable_nagle_algorithm = True
    delay_seconds: ClassVar[float] = 0.0
    numbers: ClassVar[Iterator[int]] = itertools.count(1)

    def do_POST(self) -> None:
        """Grant the room, without a duration."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        form = dict(parse_qsl(body.decode("ascii")))
        self._answer({**form, "id": next(self.numbers), "duration": -1})

    def do_DELETE(self) -> None:
        """Answer 200; this backend stores no conferences."""
        self._answer({})

    def _answer(self, fields: dict[str, object]) -> None:
        time.sleep(self.delay_seconds)
        body = json.dumps(fields).encode("ascii")
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing: the proxy has a log, and the backend should need little time."""


class Server(ThreadingHTTPServer):
    """A server that may get all connections of the load at once."""

    request_queue_size = 128


def main() -> None:
    """Serve on a free port of the loopback interface until the process is killed."""
    GrantEverything.delay_seconds = float(sys.argv[1])
    server = Server(("127.0.0.1", 0), GrantEverything)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
