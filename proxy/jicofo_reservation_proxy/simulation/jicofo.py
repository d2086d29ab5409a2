"""Jicofo: one kept-alive connection, one request at a time, and no time-out.

The table "What they send" of clients.md specifies its requests. For details that the table does not
give (the order of the headers, the escaping in a form), the module follows Apache HttpClient 4.5.
"""

import math
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Self, TypeVar
from urllib.parse import quote_plus

from jicofo_reservation_proxy.clock import now_ms

from . import wire
from .client import Closing, Opening, Reply
from .jicofo_answers import OWN_ERROR, read_delete, read_get, read_post
from .outcomes import Failed, Held, Opened, Remark, Sent, Stuck
from .wire import (
    Address,
    Answer,
    ClosedError,
    Connection,
    DroppedError,
    ExchangeError,
    GarbledError,
    TimedOutError,
)

USER_AGENT = "Apache-HttpClient/4.5.13 (Java/17)"

REPEATS = 3
"""How often Jicofo repeats a GET or DELETE when the connection drops. It never repeats a POST."""

HANGS = "a request was never answered: Jicofo hangs, and all rooms of this Jicofo hang"
BEHIND = "Jicofo hangs: it waits for an earlier answer, and no other room opens or closes"
CLOSED_SILENTLY = (
    "; the connection was kept alive after the previous answer: the server should announce its end "
    "with Connection: close or Keep-Alive: timeout=N"
)

Read = TypeVar("Read")


@dataclass(frozen=True, slots=True, kw_only=True)
class JicofoHabits:
    """Jicofo's times, in seconds. `give_up` is not a time of Jicofo, which waits for ever."""

    give_up: float = 60.0
    """How long the simulation waits for an answer before it reports that Jicofo hangs."""
    trust: float = 2.0
    """After an answer, Jicofo trusts for this time that the connection is open, without a check."""
    tick: float = 5.0
    """How often Jicofo looks for rooms whose reservation ends before the next look."""


class Jicofo:
    """One Jicofo, a context manager for one thread only: Jicofo sends one request at a time."""

    max_requests = 1

    def __init__(self, address: Address, habits: JicofoHabits | None = None) -> None:
        self._address = address
        self._path = address.path.rstrip("/")
        self._habits = habits or JicofoHabits()
        self._started = time.monotonic()
        self._connection: Connection | None = None
        self._idle_since = self._idle_until = 0.0
        self._kept: dict[str, Opened] = {}
        self._hangs = False
        self.ends_rooms = True

    def open(self, room: str, owner: str | None) -> Opening:
        """Send a POST. After a 409, send a GET for the conference that holds the room.

        If an earlier DELETE of this room was not answered with 200, Jicofo has kept the room and
        opens it for the same owner without a request.
        """
        if self._hangs:
            return Opening(Stuck((Remark(BEHIND),), is_for_good=False))
        if room in self._kept:
            return Opening(replace(self._kept[room], remarks=()))
        moment = datetime.now(UTC).astimezone()
        sent = Sent(room, owner, int(moment.timestamp() * 1000))
        posted = self._send(self._request("POST", self._target(), form(sent, moment)), repeats=0)
        reading = _read(posted, "POST", lambda answer: read_post(answer, sent, now_ms()))
        if not isinstance(reading, Held):
            return Opening(reading, posted.repeats)
        got = self._send(self._request("GET", self._target(reading.conflict_id)), REPEATS)
        found = _read(got, "GET", lambda answer: read_get(answer, sent, now_ms()))
        return Opening(replace(found, remarks=reading.remarks + found.remarks), got.repeats)

    def close(self, room: str, opened: Opened) -> Closing:
        """Send a DELETE. If the answer is not 200, Jicofo keeps the room."""
        if self._hangs:
            return Closing(Remark(BEHIND))
        request = self._request("DELETE", self._target(opened.reservation_id))
        reply = self._send(request, REPEATS)
        remark = self._judge_delete(reply.came)
        if remark is None:
            self._kept.pop(room, None)
        else:
            self._kept[room] = opened
        return Closing(remark, reply.repeats)

    def seconds_to_end(self, opened: Opened) -> float:
        """Return the seconds to Jicofo's last look for ending rooms, at most 5 s before the end."""
        ran = time.monotonic() - self._started
        left = opened.ends_at_ms / 1000 - time.time()
        next_look = math.floor(ran / self._habits.tick) + 1
        last_look = math.ceil((ran + left - self._habits.tick) / self._habits.tick)
        return max(next_look, last_look) * self._habits.tick - ran

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._hang_up()

    def _target(self, reservation_id: str | None = None) -> str:
        collection = f"{self._path}/conference"
        return collection if reservation_id is None else f"{collection}/{reservation_id}"

    def _request(self, method: str, target: str, body: str | None = None) -> bytes:
        headers = {}
        if body is not None:
            headers["Content-Length"] = str(len(body))
            headers["Content-Type"] = "application/x-www-form-urlencoded; charset=UTF-8"
        headers |= {
            "Host": self._address.authority,
            "Connection": "Keep-Alive",
            "User-Agent": USER_AGENT,
            "Accept-Encoding": "gzip,deflate",
        }
        return wire.request_bytes(method, target, headers, body)

    def _send(self, request: bytes, repeats: int) -> Reply:
        """Send the request. Repeat it at once, at most `repeats` times, if the connection drops."""
        came = self._exchange(request)
        repeated = 0
        while repeated < repeats and isinstance(came, DroppedError):
            came = self._exchange(request)
            repeated += 1
        return Reply(came, repeated)

    def _exchange(self, request: bytes) -> Answer | ExchangeError:
        deadline = time.monotonic() + self._habits.give_up
        self._forget_what_is_closed()
        was_kept = self._connection is not None
        try:
            if self._connection is None:
                self._connection = Connection(self._address, deadline)
            answer = self._connection.exchange(request, deadline, skips_interim=True)
            self._keep_alive(answer)
            return _inflated(answer)
        except ClosedError as error:
            self._hang_up()
            return ClosedError(f"{error}{CLOSED_SILENTLY}") if was_kept else error
        except ExchangeError as error:
            self._hang_up()
            self._hangs = isinstance(error, TimedOutError)
            return error

    def _forget_what_is_closed(self) -> None:
        """Drop the connection if its announced time has passed or the server has closed it."""
        now = time.monotonic()
        if self._connection is None:
            return
        is_trusted = now < self._idle_since + self._habits.trust
        if now >= self._idle_until or (not is_trusted and self._connection.is_stale()):
            self._hang_up()

    def _keep_alive(self, answer: Answer) -> None:
        if answer.is_last:
            self._hang_up()
            return
        self._idle_since = time.monotonic()
        self._idle_until = self._idle_since + _timeout(answer.headers.get("keep-alive", ""))

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _judge_delete(self, came: Answer | ExchangeError) -> Remark | None:
        match came:
            case Answer(status=status) as answer:
                self.ends_rooms = self.ends_rooms and status != 204
                return read_delete(answer)
            case TimedOutError():
                return Remark(HANGS)
            case error:
                return Remark(f"a DELETE failed: {error}; Jicofo keeps the room")


def form(sent: Sent, moment: datetime) -> str:
    """Return the form: fields in a fixed order, and no owner if there is no authentication."""
    owner = {} if sent.owner is None else {"mail_owner": sent.owner}
    fields = {"name": sent.name, **owner, "start_time": start_time(moment), "duration": "-1"}
    return "&".join(f"{key}={_escaped(value)}" for key, value in fields.items())


def start_time(moment: datetime) -> str:
    """Return a time in Jicofo's format: with milliseconds, and the time zone as hours only."""
    offset = moment.utcoffset()
    minutes = int(offset.total_seconds()) // 60 if offset else 0
    sign = "-" if minutes < 0 else "+"
    zone = f"{sign}{abs(minutes) // 60:02}" if minutes else "Z"
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}{zone}"


def _escaped(value: str) -> str:
    return quote_plus(value, safe="*").replace("~", "%7E")


def _timeout(keep_alive: str) -> float:
    """Return the seconds of `Keep-Alive: timeout=N`, or infinity if there is no timeout."""
    for part in keep_alive.split(","):
        key, _, value = part.strip().partition("=")
        if key.lower() == "timeout" and value.isdecimal():
            return float(value)
    return math.inf


def _inflated(answer: Answer) -> Answer:
    """Decompress the body if it has an encoding that Jicofo accepts. Raises `GarbledError`."""
    if answer.headers.get("content-encoding", "identity").lower() not in {"gzip", "deflate"}:
        return answer
    try:
        body = zlib.decompressobj(32 + zlib.MAX_WBITS).decompress(answer.body, wire.MAX_BODY_BYTES)
    except zlib.error:
        raise GarbledError("the body is not compressed as its Content-Encoding says") from None
    return replace(answer, body=body)


def _read(reply: Reply, method: str, read: Callable[[Answer], Read]) -> Read | Failed | Stuck:
    match reply.came:
        case Answer() as answer:
            return read(answer)
        case TimedOutError():
            return Stuck((Remark(HANGS),), is_for_good=False)
        case error:
            return Failed(OWN_ERROR, (Remark(f"a {method} failed: {error}"),))
