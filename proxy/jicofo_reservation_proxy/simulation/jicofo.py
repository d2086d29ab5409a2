"""Jicofo: one kept-alive connection, one request at a time, and no time-out.

What it sends is the table "What they send" of clients.md; where that is silent (the order of the
headers, what is escaped in a form), it is what Apache HttpClient 4.5 does.
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
"""So often a GET or DELETE is repeated when the connection drops; a POST never."""

HANGS = "a request was never answered: Jicofo hangs, and with it every room it has"
BEHIND = "Jicofo hangs: it waits for an answer, and no other room opens or closes"
CLOSED_SILENTLY = (
    "; it was kept alive after the answer before: announce its end by Connection: close "
    "or Keep-Alive: timeout=N"
)

Read = TypeVar("Read")


@dataclass(frozen=True, slots=True, kw_only=True)
class JicofoHabits:
    """Jicofo's times, in seconds. Only `give_up` is not its own: it would wait for ever."""

    give_up: float = 60.0
    """How long the simulation waits before it says that Jicofo hangs."""
    trust: float = 2.0
    """So long after its last answer, a connection is used without a look whether it is closed."""
    tick: float = 5.0
    """How often Jicofo looks for rooms whose reservation ends before the next look."""


class Jicofo:
    """One Jicofo. For one thread, which stands for its lock; a context manager."""

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
        """POST; after a 409, GET the conference that holds the room.

        A room whose DELETE was not answered 200 is open already for the same owner.
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
        """DELETE; the room is kept unless the answer is 200."""
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
        """Return when it looks for the last time before the end: up to 5 s early."""
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
        """Send it, and again, at once, while the connection drops."""
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
        """Drop a connection whose announced time is over, or that a look shows to be closed."""
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
    """Return the form: a fixed order, and no owner where there is no authentication."""
    owner = {} if sent.owner is None else {"mail_owner": sent.owner}
    fields = {"name": sent.name, **owner, "start_time": start_time(moment), "duration": "-1"}
    return "&".join(f"{key}={_escaped(value)}" for key, value in fields.items())


def start_time(moment: datetime) -> str:
    """Return a time of some zone as Jicofo does: milliseconds, and the zone as hours only."""
    offset = moment.utcoffset()
    minutes = int(offset.total_seconds()) // 60 if offset else 0
    sign = "-" if minutes < 0 else "+"
    zone = f"{sign}{abs(minutes) // 60:02}" if minutes else "Z"
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}{zone}"


def _escaped(value: str) -> str:
    return quote_plus(value, safe="*").replace("~", "%7E")


def _timeout(keep_alive: str) -> float:
    """Return the seconds of `Keep-Alive: timeout=N`, for ever where there is none."""
    for part in keep_alive.split(","):
        key, _, value = part.strip().partition("=")
        if key.lower() == "timeout" and value.isdecimal():
            return float(value)
    return math.inf


def _inflated(answer: Answer) -> Answer:
    """Undo the compression that Jicofo offers to take. Raises `GarbledError`."""
    if answer.headers.get("content-encoding", "identity").lower() not in {"gzip", "deflate"}:
        return answer
    try:
        body = zlib.decompressobj(32 + zlib.MAX_WBITS).decompress(answer.body, wire.MAX_BODY_BYTES)
    except zlib.error:
        raise GarbledError("what came is not compressed as it says") from None
    return replace(answer, body=body)


def _read(reply: Reply, method: str, read: Callable[[Answer], Read]) -> Read | Failed | Stuck:
    match reply.came:
        case Answer() as answer:
            return read(answer)
        case TimedOutError():
            return Stuck((Remark(HANGS),), is_for_good=False)
        case error:
            return Failed(OWN_ERROR, (Remark(f"a {method} failed: {error}"),))
