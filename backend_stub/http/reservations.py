#!/usr/bin/env python3
"""A small reservation backend that speaks the HTTP API of Jitsi's handbook. Copy this file.

It needs only Python 3.11 or newer. The file has four parts:

1. The rules: plain functions on one SQL table. Put your own rules and your own database here.
2. The HTTP API: what a request says, and the answer to it.
3. The HTTP server. In PHP or Node.js, the web server does this.
4. The command line.

README.md lists the rules, and the function of each.
"""

import argparse
import hashlib
import hmac
import io
import ipaddress
import json
import logging
import re
import signal
import socket
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from urllib.parse import parse_qsl

logger = logging.getLogger("reservations")

Document = dict[str, Any]
"""A JSON object: the body of an answer."""

Answer = tuple[int, Document]
"""A status and a body."""


# 1. The rules -------------------------------------------------------------------------------------

SCHEMA = """
CREATE TABLE IF NOT EXISTS conference (
    id           INTEGER PRIMARY KEY AUTOINCREMENT, -- AUTOINCREMENT: no id is used again
    room         TEXT NOT NULL UNIQUE,              -- at most one conference has a room
    mail_owner   TEXT,                              -- NULL: the request had none
    start_time   TEXT NOT NULL,                     -- 2048-04-20T17:55:12.000Z
    duration     INTEGER NOT NULL,                  -- seconds; -1: no limit
    ends_at_ms   INTEGER,                           -- milliseconds since 1970; NULL: no end
    request_key  TEXT UNIQUE,                       -- the Idempotency-Key; NULL: there was none
    request_hash TEXT NOT NULL                      -- recognizes the same request
);
CREATE INDEX IF NOT EXISTS conference_ends_at ON conference (ends_at_ms);
"""

NO_LIMIT = -1
"""The duration of a conference without a limit, as Jicofo sends it."""

DENIED = "Rooms of this name are not available."
OVER = "The time of this meeting is over already."

# One connection serves all threads, so only one of them may use it at a time.
_DATABASE_LOCK = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What this backend decides.

    `deny` holds patterns of room names. `max_duration` is in seconds, `NO_LIMIT` for none. `extras`
    are the optional fields of each conference: `max_occupants`, `lobby`, `password`.
    """

    deny: tuple[str, ...] = ()
    max_duration: int = NO_LIMIT
    max_conferences: int = 10_000
    # Not in the repr, so that no log line shows a password by accident.
    extras: Document = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The fields of a POST. `start` is an aware datetime; `duration` is in seconds."""

    room: str
    mail_owner: str | None
    start: datetime
    duration: int = NO_LIMIT


def open_database(file: str) -> sqlite3.Connection:
    """Open the database, and create the table if there is none; ":memory:" is no file.

    Raises `sqlite3.Error`.
    """
    database = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    database.executescript(SCHEMA)
    # The ids of a new table begin with the time in units of 0.1 ms: they are greater than all ids
    # of a table that was lost, and have 14 digits, which Jicofo reads as a number.
    database.execute(
        "INSERT INTO sqlite_sequence (name, seq) SELECT 'conference', ?"
        " WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'conference')",
        (time.time_ns() // 100_000,),
    )
    return database


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """Run statements as one: all of them or none, and no other request in between."""
    with _DATABASE_LOCK:
        database.execute("BEGIN IMMEDIATE")
        try:
            yield
            database.execute("COMMIT")
        except BaseException:  # also Ctrl-C: the statements so far must not stay
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise


def create_conference(
    database: sqlite3.Connection, policy: Policy, wanted: Wanted, key: str, now_ms: int
) -> Answer:
    """Grant a room: 200 with the conference, or a refusal.

    `key` is the Idempotency-Key, or "". The same key with the same request gets the same conference
    again, while that conference exists.
    """
    with transaction(database):
        forget_ended(database, now_ms)
        if key and (repeated := _find(database, "request_key", key)):
            return _answer_to_repetition(repeated, policy, wanted)
        if refusal := refuse(policy, wanted, now_ms):
            return refusal
        if other := _find(database, "room", wanted.room):
            return 409, {"conflict_id": other["id"]}
        if _count(database) >= policy.max_conferences:
            # No `message`: this is no decision about the room, and no text for a user.
            return 429, {"reason": f"the store is full: {policy.max_conferences} conferences"}
        _insert(database, policy, wanted, key)
        return 200, document(_find(database, "room", wanted.room), policy)


def get_conference(
    database: sqlite3.Connection, policy: Policy, conference_id: int, now_ms: int
) -> Answer:
    """Read a conference: 200, or 404 if it is unknown, deleted or over."""
    with transaction(database):
        forget_ended(database, now_ms)
        found = _find(database, "id", conference_id)
    return (200, document(found, policy)) if found else unknown(conference_id)


def delete_conference(database: sqlite3.Connection, conference_id: int, now_ms: int) -> Answer:
    """Delete a conference: 200, or 404 if it is unknown, deleted already or over."""
    with transaction(database):
        forget_ended(database, now_ms)
        done = database.execute("DELETE FROM conference WHERE id = ?", (conference_id,))
    return (200, {}) if done.rowcount else unknown(conference_id)


def forget_ended(database: sqlite3.Connection, now_ms: int) -> None:
    """Free the rooms of the conferences whose end has passed."""
    database.execute("DELETE FROM conference WHERE ends_at_ms <= ?", (now_ms,))


def refuse(policy: Policy, wanted: Wanted, now_ms: int) -> Answer | None:
    """Return 403 with a sentence for the user if nobody may open this room now."""
    # "[" is the beginning of a tenant, and not of a set of characters as in a shell.
    if any(fnmatchcase(wanted.room, pattern.replace("[", "[[]")) for pattern in policy.deny):
        return 403, {"message": DENIED}
    ends_at_ms = end_ms(wanted.start, granted_duration(policy, wanted))
    if ends_at_ms is not None and ends_at_ms <= now_ms:
        return 403, {"message": OVER}
    return None


def granted_duration(policy: Policy, wanted: Wanted) -> int:
    """Return the shorter one of the wanted and the maximum duration."""
    limits = [each for each in (wanted.duration, policy.max_duration) if each != NO_LIMIT]
    return min(limits, default=NO_LIMIT)


def end_ms(start: datetime, duration: int) -> int | None:
    """Return the end of a conference in milliseconds since 1970; `None` if it has no end."""
    return None if duration == NO_LIMIT else int(start.timestamp() * 1000) + duration * 1000


def document(row: Document, policy: Policy) -> Document:
    """Return a conference as the handbook shows it."""
    names = ("id", "name", "mail_owner", "start_time", "duration")
    values = (row["id"], row["room"], row["mail_owner"], row["start_time"], row["duration"])
    shown = {key: value for key, value in zip(names, values, strict=True) if value is not None}
    return shown | policy.extras


def unknown(conference_id: int | str) -> Answer:
    """Return the answer for an id that no conference has.

    It is JSON. A page of a web server is not: the proxy takes such a 404 for a route that is
    missing, and sends the DELETE again later.
    """
    return 404, {"message": f"There is no conference {conference_id}."}


def request_hash(wanted: Wanted) -> str:
    """Return a text that is equal for two requests with the same fields."""
    fields = [wanted.room, wanted.mail_owner, format_time(wanted.start), wanted.duration]
    return hashlib.sha256(json.dumps(fields).encode()).hexdigest()


def _answer_to_repetition(row: Document, policy: Policy, wanted: Wanted) -> Answer:
    if row["request_hash"] != request_hash(wanted):
        reason = "Idempotency-Key: wanted a new key for another request, got the key of request "
        return 422, {"reason": f"{reason}{row['id']}"}
    return 200, document(row, policy)


def _find(database: sqlite3.Connection, column: str, value: int | str) -> Document:
    """Return the row with this value as a dict; it is empty if there is none."""
    # `column` is one of three constants of this file, so no request can change the SQL.
    cursor = database.execute(f"SELECT * FROM conference WHERE {column} = ?", (value,))  # noqa: S608
    row = cursor.fetchone()
    return dict(zip((each[0] for each in cursor.description), row, strict=True)) if row else {}


def _count(database: sqlite3.Connection) -> int:
    return int(database.execute("SELECT count(*) FROM conference").fetchone()[0])


def _insert(database: sqlite3.Connection, policy: Policy, wanted: Wanted, key: str) -> None:
    duration = granted_duration(policy, wanted)
    database.execute(
        "INSERT INTO conference (room, mail_owner, start_time, duration, ends_at_ms, request_key,"
        " request_hash) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            wanted.room,
            wanted.mail_owner,
            format_time(wanted.start),
            duration,
            end_ms(wanted.start, duration),
            key or None,
            request_hash(wanted),
        ),
    )


# 2. The HTTP API ----------------------------------------------------------------------------------

MAX_BODY_BYTES = 64 * 1024
MAX_FIELDS = 100
MAX_CHARACTERS = 4096
"""The maximum length of a name and of an owner. A JID has at most 3071 bytes."""
MAX_KEY_CHARACTERS = 255

# Of a text in JSON: control characters, and halves of characters, which UTF-8 cannot encode.
_NO_TEXT = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_DIGITS = re.compile("[0-9]{1,18}")
_DURATION = re.compile("-?[0-9]{1,10}")


class BadRequestError(Exception):
    """A request is not valid; it carries the status, and the reason for programmers."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.answer: Answer = (status, {"reason": reason})


@dataclass(frozen=True, slots=True)
class Credentials:
    """What each request must carry: a header with a secret. An empty secret: nothing.

    The value of the header `Authorization` is the secret after the word `Bearer`.
    """

    header: str = "Authorization"
    secret: str = field(default="", repr=False)

    def accept(self, value: str) -> bool:
        """Return whether the value of the header has the secret."""
        if self.header.lower() == "authorization":
            scheme, _, value = value.partition(" ")
            if scheme.lower() != "bearer":
                return False
        # The comparison takes the same time for each wrong secret, so nobody can guess it part by
        # part. The header was decoded from bytes as Latin-1.
        return hmac.compare_digest(value.strip().encode("latin-1"), self.secret.encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request: the method, the path without the query, the three headers, and the body."""

    method: str
    path: str
    content_type: str = ""
    key: str = ""
    body: bytes = b""


def answer(
    database: sqlite3.Connection, policy: Policy, request: Request, now_ms: int
) -> tuple[Answer, str]:
    """Return the answer to a request, and the name of the room, or "", for the log."""
    room = ""
    try:
        if request.path == "/conference" and request.method == "POST":
            wanted = read_wanted(read_fields(request.content_type, request.body))
            room = wanted.room
            key = read_key(request.key)
            return create_conference(database, policy, wanted, key, now_ms), room
        collection, _, conference_id = request.path.rpartition("/")
        if collection == "/conference" and conference_id and request.method in {"GET", "DELETE"}:
            if not _DIGITS.fullmatch(conference_id):
                return unknown(conference_id), room
            if request.method == "GET":
                return get_conference(database, policy, int(conference_id), now_ms), room
            return delete_conference(database, int(conference_id), now_ms), room
    except BadRequestError as error:
        return error.answer, room
    # Not 404: that says that a conference is gone. A wrong path must not look like this.
    reason = "wanted POST /conference, GET /conference/ID or DELETE /conference/ID, got "
    return (400, {"reason": f"{reason}{request.method} {request.path}"}), room


def read_fields(content_type: str, body: bytes) -> Document:
    """Return the fields of a form or of a JSON object. Raises `BadRequestError`."""
    media_type = content_type.partition(";")[0].strip().lower()
    try:
        if media_type == "application/x-www-form-urlencoded":
            pairs = parse_qsl(
                body.decode("ascii"),
                keep_blank_values=True,
                strict_parsing=True,
                errors="strict",
                max_num_fields=MAX_FIELDS,
            )
            if len(dict(pairs)) < len(pairs):
                raise BadRequestError(400, "wanted each field once, got one twice")
            return dict(pairs)
        if media_type == "application/json":
            fields = json.loads(body)
            if not isinstance(fields, dict):
                raise BadRequestError(400, "wanted a JSON object, got other JSON")
            return fields
    except (ValueError, RecursionError) as error:
        raise BadRequestError(400, f"wanted a body of the type {media_type}, got other") from error
    raise BadRequestError(
        415,
        f"Content-Type: wanted application/x-www-form-urlencoded or application/json, got "
        f"{media_type or 'none'}",
    )


def read_wanted(fields: Document) -> Wanted:
    """Return the fields of a POST; further fields are ignored. Raises `BadRequestError`."""
    room = _read_text(fields, "name")
    if not room:
        raise BadRequestError(400, "name: wanted the name of a room, got none")
    return Wanted(
        room=room,
        mail_owner=_read_text(fields, "mail_owner"),
        start=_read_start(fields),
        duration=_read_duration(fields),
    )


def read_key(key: str) -> str:
    """Return the Idempotency-Key, or "" if there is none. Raises `BadRequestError`."""
    if len(key) > MAX_KEY_CHARACTERS:
        wanted = f"Idempotency-Key: wanted at most {MAX_KEY_CHARACTERS} characters"
        raise BadRequestError(400, f"{wanted}, got {len(key)}")
    return key


def format_time(moment: datetime) -> str:
    """Return a time as Jitsi reads it: UTC, exactly three digits of milliseconds, and `Z`."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _read_text(fields: Document, name: str) -> str | None:
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > MAX_CHARACTERS or _NO_TEXT.search(value):
        wanted = f"{name}: wanted at most {MAX_CHARACTERS} characters, and no control characters"
        raise BadRequestError(400, f"{wanted}, got {_shown(value)}")
    return value


def _read_start(fields: Document) -> datetime:
    value = fields.get("start_time")
    try:
        moment = datetime.fromisoformat(value)  # type: ignore[arg-type]
        # A time without a zone means another moment on each machine.
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        pass
    wanted = "start_time: wanted a time with a zone, such as 2048-04-20T17:55:12.000Z"
    raise BadRequestError(400, f"{wanted}, got {_shown(value)}")


def _read_duration(fields: Document) -> int:
    """Return whole seconds. No field, 0 and a negative number mean no limit."""
    value = fields.get("duration")
    if value is None or value == "":
        return NO_LIMIT
    if not _DURATION.fullmatch(str(value)):
        wanted = "duration: wanted whole seconds, or -1 for no limit"
        raise BadRequestError(400, f"{wanted}, got {_shown(value)}")
    return int(value) if int(value) > 0 else NO_LIMIT


def _shown(value: object) -> str:
    return "none" if value is None else repr(value)[:100]


# 3. The HTTP server -------------------------------------------------------------------------------

REQUEST_SECONDS = 20.0
"""How long a connection may take for its next request: idle time, head and body together. The proxy
does not use a connection again that was idle for a second, so this time is long enough."""
SEND_SECONDS = 10.0
GRACE_SECONDS = 5.0
"""How long running requests may still take after a signal."""
MAX_CONNECTIONS = 200


class Server(ThreadingMixIn, TCPServer):
    """An HTTP server with a thread for each connection. `with` serves, and stops gracefully."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        address: tuple[str, int],
        answer_to: Callable[[Request], tuple[Answer, str]],
        credentials: Credentials,
    ) -> None:
        """Listen. Raises `OSError`."""
        # IPv4 or IPv6, as the host says.
        self.address_family = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0][0]
        self.answer_to = answer_to
        self.credentials = credentials
        self.is_stopping = False
        self._open: set[socket.socket] = set()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.1,), name="accept")
        super().__init__(address, _Handler)

    def __enter__(self) -> "Server":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Accept no more connections, and wait until the running requests are answered."""
        self.is_stopping = True
        self.shutdown()
        self._thread.join()
        self.server_close()
        with self._changed:
            for connection in self._open:
                # A thread that waits for the next request reads the end of the connection. A
                # thread that answers can still write.
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RD)
            self._changed.wait_for(lambda: not self._open, GRACE_SECONDS)

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as the base class
        """Start a thread for a connection, as soon as there are not too many of them."""
        with self._changed:
            while len(self._open) >= MAX_CONNECTIONS and not self.is_stopping:
                self._changed.wait(0.1)
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 - as the base class
        """Close a connection."""
        super().shutdown_request(request)
        with self._changed:
            self._open.discard(request)
            self._changed.notify_all()

    def handle_error(self, _request: object, client_address: object) -> None:
        """Log the end of a broken connection."""
        logger.warning("the connection of %s broke: %r", client_address, sys.exception())


class _DeadlineReader(io.RawIOBase):
    """Reads from a connection until a deadline, however slowly the bytes come."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.until = 0.0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - as the base class
        self._connection.settimeout(max(0.001, self.until - time.monotonic()))
        return self._connection.recv_into(buffer)


class _Handler(BaseHTTPRequestHandler):
    """Reads the requests of one connection, and writes the answers: always JSON."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body leave in one packet
    server: Server

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self._reader = _DeadlineReader(self.connection)
        self.rfile = io.BufferedReader(self._reader)

    def handle_one_request(self) -> None:
        self._reader.until = time.monotonic() + REQUEST_SECONDS
        super().handle_one_request()

    def handle_expect_100(self) -> bool:
        super().handle_expect_100()
        self.wfile.flush()
        return True

    def version_string(self) -> str:
        return "reservations"

    def do_POST(self) -> None:
        room = ""
        try:
            reply, room = self._reply(self._body())
        except BadRequestError as error:
            # The rest of the request was not read, so the connection cannot be used again.
            self.close_connection = True
            reply = error.answer
        except (ConnectionError, TimeoutError):
            raise
        except Exception:
            logger.exception("%s %s failed", self.command, self.path)
            reply = (500, {"reason": "an error in the backend; its log says more"})
        self._log(reply, room)
        self._send(*reply)

    do_GET = do_POST  # noqa: N815 - http.server calls this name
    do_DELETE = do_POST  # noqa: N815 - http.server calls this name

    def send_error(
        self, code: int, message: str | None = None, _explain: str | None = None
    ) -> None:
        """Answer a request that is not HTTP, or that has another method. The base sends HTML."""
        self.close_connection = True
        self.request_version = self.protocol_version  # an answer without a head is no HTTP
        logger.warning("refused %r: %s", self.requestline[:200], message)
        self._send(code, {"reason": message or self.responses[code][0]})

    def log_message(self, text: str, *values: object) -> None:
        """Log what the base class logs, for example a time-out."""
        logger.info(text, *values)

    def log_request(self, _code: object = "-", _size: object = "-") -> None:
        """Log nothing: `_log` has more to say."""

    def _body(self) -> bytes:
        """Return the body. Raises `BadRequestError`, and `ConnectionError` if it ends too early."""
        if "Transfer-Encoding" in self.headers:
            raise BadRequestError(411, "wanted a body with Content-Length, got Transfer-Encoding")
        lengths = self.headers.get_all("Content-Length", [])
        if len(lengths) > 1 or not all(_DIGITS.fullmatch(each) for each in lengths):
            raise BadRequestError(400, "Content-Length: wanted one number, got another value")
        length = int(lengths[0]) if lengths else 0
        if length > MAX_BODY_BYTES:
            wanted = f"wanted a body of at most {MAX_BODY_BYTES} bytes"
            raise BadRequestError(413, f"{wanted}, got {length}")
        body = self.rfile.read(length)
        if len(body) < length:
            raise ConnectionError("the connection ended within a body")
        return body

    def _reply(self, body: bytes) -> tuple[Answer, str]:
        credentials = self.server.credentials
        if credentials.secret and not credentials.accept(self.headers.get(credentials.header, "")):
            return (401, {"reason": f"{credentials.header}: wanted the secret, got another"}), ""
        request = Request(
            method=self.command,
            path=self.path.partition("?")[0],
            content_type=self.headers.get("Content-Type", ""),
            key=self.headers.get("Idempotency-Key", ""),
            body=body,
        )
        return self.server.answer_to(request)

    def _log(self, reply: Answer, room: str) -> None:
        status, document = reply
        shown = ("id", "conflict_id", "message", "reason")
        logger.info(
            "incident=%r %s %r%s: %d%s",
            self.headers.get("X-Incident-Id", "")[:100],
            self.command,
            self.path[:200],
            f" name={room!r}" if room else "",
            status,
            "".join(f" {name}={document[name]!r}" for name in shown if name in document),
        )

    def _send(self, status: int, document: Document) -> None:
        body = json.dumps(document).encode("ascii")
        self.connection.settimeout(SEND_SECONDS)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if status == 401:
            self.send_header("WWW-Authenticate", "Bearer")
        if self.close_connection or self.server.is_stopping:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()


# 4. The command line ------------------------------------------------------------------------------

EXIT_OK = 0
EXIT_USAGE = 2
EXIT_LISTEN = 3

_EPILOG = f"""\
exit codes:
  {EXIT_OK}  stopped by SIGTERM or SIGINT; running requests got {GRACE_SECONDS:g} s
  {EXIT_USAGE}  the value of a flag, or the file that a flag names, is not valid
  {EXIT_LISTEN}  the backend could not listen on the address
"""

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code."""
    # A blocked signal waits for `sigwait` below. So none is lost that arrives before it. All
    # threads are started later, and block the signals too.
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    flags = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    credentials = _credentials(flags)
    policy = Policy(
        deny=tuple(flags.deny),
        max_duration=flags.duration,
        max_conferences=flags.max_conferences,
        extras=_extras(flags),
    )
    try:
        database = open_database(flags.database)
    except sqlite3.Error as error:
        _parser().error(f"--database: wanted an SQLite file, got {flags.database}: {error}")
    with closing(database):
        return _serve(database, policy, credentials, flags.listen)


def _serve(
    database: sqlite3.Connection, policy: Policy, credentials: Credentials, listen: tuple[str, int]
) -> int:
    def answer_to(request: Request) -> tuple[Answer, str]:
        return answer(database, policy, request, time.time_ns() // 1_000_000)

    try:
        server = Server(listen, answer_to, credentials)
    except OSError as error:
        remedy = "stop the server that uses the address, or choose another one (port 0: any)"
        _complain(f"--listen: wanted a free address of this machine, got {error}; {remedy}")
        return EXIT_LISTEN
    with server:
        host, port = server.server_address[:2]
        shown = f"[{host!s}]" if ":" in str(host) else str(host)
        print(f"listening on http://{shown}:{port}", flush=True)
        signal.sigwait(_SIGNALS)
    return EXIT_OK


def _complain(text: str) -> None:
    print(f"reservations.py: error: {text}", file=sys.stderr)


def _credentials(flags: argparse.Namespace) -> Credentials:
    """Return the credentials of the flags; end the process if the flags are contradictory."""
    if flags.api_key_header and not flags.api_key_file:
        _parser().error("--api-key-header: wanted --api-key-file as well, got none")
    secret = flags.token_file or flags.api_key_file or ""
    if not (secret or flags.insecure or _is_loopback(flags.listen[0])):
        _parser().error(
            "--listen: wanted a loopback address, since there is no token, "
            f"got {flags.listen[0]}; add --token-file, or add --insecure if you trust the network"
        )
    if flags.api_key_file:
        return Credentials(flags.api_key_header or "X-Api-Key", secret)
    return Credentials(secret=secret)


def _extras(flags: argparse.Namespace) -> Document:
    extras = {
        "max_occupants": flags.max_occupants,
        "lobby": flags.lobby or None,
        "password": flags.password_file,
    }
    return {key: value for key, value in extras.items() if value is not None}


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="reservations.py",
        description="A reservation backend that speaks the HTTP API of Jitsi's handbook.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "--listen",
        type=_address,
        default=("127.0.0.1", 8080),
        metavar="HOST:PORT",
        help="the address to listen on (port 0: any free port; default: 127.0.0.1:8080)",
    )
    add(
        "--database",
        default=":memory:",
        metavar="FILE",
        help="keep the conferences in this SQLite file (default: in memory)",
    )
    secrets = parser.add_mutually_exclusive_group()
    secrets.add_argument(
        "--token-file",
        type=_secret,
        metavar="FILE",
        help="accept only requests with the bearer token in this file",
    )
    secrets.add_argument(
        "--api-key-file",
        type=_secret,
        metavar="FILE",
        help="accept only requests with the API key in this file",
    )
    add(
        "--api-key-header",
        type=_header,
        metavar="NAME",
        help="the header that carries the API key (default: X-Api-Key)",
    )
    add(
        "--insecure",
        action="store_true",
        help="allow an address that is not loopback without a token or a key",
    )
    add(
        "--deny",
        action="append",
        default=[],
        metavar="PATTERN",
        help="deny rooms whose name matches this pattern (* and ? as in a shell); may be repeated",
    )
    add(
        "--duration",
        type=_duration,
        default="1d",
        metavar="TIME",
        help="the maximum duration of a conference, such as 90s, 45m or 8h (default: %(default)s)",
    )
    add(
        "--max-occupants",
        type=_positive,
        metavar="N",
        help="the maximum number of people in a room (default: not set)",
    )
    add("--lobby", action="store_true", help="turn on the lobby in every room (default: not set)")
    add(
        "--password-file",
        type=_line,
        metavar="FILE",
        help="protect every room with the password in this file",
    )
    add(
        "--max-conferences",
        type=_positive,
        default=10_000,
        metavar="N",
        help="the maximum number of conferences (default: %(default)s)",
    )
    return parser


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not (host and re.fullmatch("[0-9]{1,5}", port) and int(port) <= 65_535):
        raise argparse.ArgumentTypeError(
            f"wanted host:port, got {text!r}; for example 127.0.0.1:8080"
        )
    return host.strip("[]"), int(port)


def _positive(text: str) -> int:
    if not re.fullmatch("[1-9][0-9]{0,8}", text):
        raise argparse.ArgumentTypeError(f"wanted a whole number from 1 to 999999999, got {text!r}")
    return int(text)


def _duration(text: str) -> int:
    found = re.fullmatch("([1-9][0-9]{0,5})([smhd])", text)
    if not found:
        raise argparse.ArgumentTypeError(
            f"wanted a whole number and s, m, h or d, such as 8h, got {text!r}"
        )
    return int(found[1]) * _UNITS[found[2]]


def _header(text: str) -> str:
    if not re.fullmatch("[0-9A-Za-z_-]+", text) or text.lower() == "authorization":
        raise argparse.ArgumentTypeError(
            "wanted letters, digits, '-' and '_', and not 'Authorization' (that is --token-file), "
            f"got {text!r}"
        )
    return text


def _line(path: str) -> str:
    """Return the single line of a file, without the line ending."""
    try:
        text = Path(path).read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
    except (OSError, UnicodeDecodeError) as error:
        raise argparse.ArgumentTypeError(
            f"wanted a readable file of UTF-8 text, got {path}: {error}"
        ) from error
    if not text or not text.isprintable():
        raise argparse.ArgumentTypeError(
            f"wanted a single line of printable text in {path}, got nothing, several lines or "
            "control characters"
        )
    return text


def _secret(path: str) -> str:
    text = _line(path)
    if not text.isascii() or text != text.strip():
        raise argparse.ArgumentTypeError(
            f"wanted ASCII characters without spaces at the ends in {path}, got other characters"
        )
    return text


if __name__ == "__main__":
    sys.exit(main())
