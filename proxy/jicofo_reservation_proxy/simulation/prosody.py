"""Prosody's mod_reservations: a connection for each request, parallel rooms, time-outs, retries.

The table "What they send" of clients.md specifies its requests. For details that the table does not
give (the order of the headers, the escaping in a form), the module follows Prosody's net.http and
util.http.
"""

import math
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TypeVar
from urllib.parse import quote

from jicofo_reservation_proxy.clock import now_ms

from . import wire
from .client import Closing, Opening, Reply
from .outcomes import Failed, Held, NotOpened, Opened, Remark, Sent, Stuck
from .prosody_answers import FIXED_TEXT, read_delete, read_get, read_post
from .wire import Address, Answer, Connection, ExchangeError, TimedOutError

USER_AGENT = "Prosody (0.12.3; posix)"

REPEATS = 3
"""How often Prosody repeats a request after a 5xx or a dropped connection.

Prosody never repeats a request after a time-out.
"""

FIELDS = ("name", "mail_owner", "start_time")
STUCK = "the room is stuck until Prosody restarts"

Read = TypeVar("Read")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProsodyHabits:
    """Prosody's times, in seconds."""

    time_out: float = 20.0
    pause: float = 3.0
    """How long Prosody waits before it repeats a request."""
    memory: float = 30.0
    """How long Prosody remembers a refusal and repeats it. Prosody forgets it at the next sweep."""
    sweep: float = 60.0
    """How often Prosody looks for reservations that have ended and for refusals to forget."""


class Prosody:
    """One Prosody, from its start. Many threads may use it, but only one thread for each room.

    `pause` waits for a number of seconds. `order` is the order of the fields in every form; the
    default is a random order. `headers` are those of the option `reservations_api_headers`.
    """

    ends_rooms = True

    def __init__(
        self,
        address: Address,
        max_requests: int,
        *,
        habits: ProsodyHabits | None = None,
        pause: Callable[[float], object] = time.sleep,
        order: Sequence[str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.max_requests = max_requests
        self._address = address
        self._headers = headers or {}
        self._habits = habits or ProsodyHabits()
        self._pause = pause
        self._order = order or random.SystemRandom().sample(FIELDS, len(FIELDS))
        self._started = time.monotonic()
        self._stuck: set[str] = set()
        self._remembered: dict[str, tuple[float, NotOpened]] = {}

    def open(self, room: str, owner: str | None) -> Opening:
        """Send a POST. After a 409, send a GET for the holder of the room. Remember a refusal."""
        if room in self._stuck:
            return Opening(Stuck((Remark(STUCK),), is_for_good=True))
        until, remembered = self._remembered.get(room, (0.0, None))
        if remembered is not None and time.monotonic() < until:
            return Opening(replace(remembered, remarks=()))
        opening = self._ask(room, owner or "")
        if isinstance(opening.verdict, Stuck):
            self._stuck |= {room} if opening.verdict.is_for_good else set()
        elif not isinstance(opening.verdict, Opened):
            until = time.monotonic() + self._seconds_to_sweep(self._habits.memory)
            self._remembered[room] = (until, opening.verdict)
        return opening

    def close(self, room: str, opened: Opened) -> Closing:  # noqa: ARG002 - as a Client
        """Send a DELETE. Prosody forgets the room even if the DELETE fails."""
        reply = self._send(self._request("DELETE", self._target(opened.reservation_id)))
        match reply.came:
            case Answer() as answer:
                return Closing(read_delete(answer), reply.repeats)
            case error:
                return Closing(Remark(f"a DELETE failed: {error}"), reply.repeats)

    def seconds_to_end(self, opened: Opened) -> float:
        """Return the seconds to the first sweep after the end of the reservation."""
        return self._seconds_to_sweep(opened.ends_at_ms / 1000 - time.time())

    def _ask(self, room: str, owner: str) -> Opening:
        sent = Sent(room, owner, int(time.time()) * 1000)
        posted = self._send(self._request("POST", self._target(), form(sent, self._order)))
        reading = _read(posted, "POST", lambda answer: read_post(answer, sent, now_ms()))
        if not isinstance(reading, Held):
            return Opening(reading, posted.repeats)
        got = self._send(self._request("GET", self._target(reading.conflict_id)))
        found = _read(got, "GET", lambda answer: read_get(answer, now_ms()))
        verdict = replace(found, remarks=reading.remarks + found.remarks)
        return Opening(verdict, posted.repeats + got.repeats)

    def _seconds_to_sweep(self, seconds: float) -> float:
        """Return the seconds to the first sweep that is at least `seconds` away."""
        ran = time.monotonic() - self._started
        sweep = self._habits.sweep
        return max(math.ceil((ran + seconds) / sweep), math.floor(ran / sweep) + 1) * sweep - ran

    def _target(self, reservation_id: str | None = None) -> str:
        """Return a path. A base URL that ends in `/` gives `//conference` (clients.md)."""
        collection = f"{self._address.path}/conference"
        return collection if reservation_id is None else f"{collection}/{reservation_id}"

    def _request(self, method: str, target: str, body: str | None = None) -> bytes:
        headers = {"Host": self._address.authority, "Accept": "*/*", "Connection": "close"}
        if body is not None:
            headers = {"Content-Type": "application/x-www-form-urlencoded", **headers}
            headers["Content-Length"] = str(len(body))
        headers |= {"User-Agent": USER_AGENT, **self._headers}
        return wire.request_bytes(method, target, headers, body)

    def _send(self, request: bytes) -> Reply:
        """Send the request. After a 5xx or a dropped connection, pause and repeat."""
        came = self._exchange(request)
        repeats = 0
        while repeats < REPEATS and _is_repeated(came):
            self._pause(self._habits.pause)
            came = self._exchange(request)
            repeats += 1
        return Reply(came, repeats)

    def _exchange(self, request: bytes) -> Answer | ExchangeError:
        deadline = time.monotonic() + self._habits.time_out
        try:
            with Connection(self._address, deadline) as connection:
                return connection.exchange(request, deadline, skips_interim=False)
        except ExchangeError as error:
            return error


def form(sent: Sent, order: Sequence[str]) -> str:
    """Return the form with its fields in this order and the time in whole seconds."""
    moment = datetime.fromtimestamp(sent.start_time_ms // 1000, UTC)
    fields = {
        "name": sent.name,
        "mail_owner": sent.owner or "",
        "start_time": f"{moment:%Y-%m-%dT%H:%M:%S}.000Z",
    }
    return "&".join(f"{key}={_escaped(fields[key])}" for key in order)


def _escaped(value: str) -> str:
    escaped = re.sub("%[0-9A-F]{2}", lambda match: match[0].lower(), quote(value, safe=""))
    return escaped.replace("%20", "+")


def _is_repeated(came: Answer | ExchangeError) -> bool:
    if isinstance(came, Answer):
        return came.status >= 500
    return not isinstance(came, TimedOutError)


def _read(reply: Reply, method: str, read: Callable[[Answer], Read]) -> Read | Failed:
    if isinstance(reply.came, Answer):
        return read(reply.came)
    return Failed(FIXED_TEXT, (Remark(f"a {method} failed: {reply.came}"),))
