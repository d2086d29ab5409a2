"""The conferences, held in memory: this is the place to put a database.

The module knows nothing of gRPC or of messages, and `ReservationService` asks
no more of `Store` than `create`, `get` and `delete`: keep these and replace what is inside.
In SQL, the dictionaries become one table with a unique index on `room` and one on
`request_id`; the lock becomes a transaction that locks the row it reads (`SELECT ... FOR UPDATE`),
in `create` before it names a conference and in `delete`; the iterator of ids becomes a sequence.
"""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

DEFAULT_MAX_CONFERENCES = 10_000


class StoreFullError(Exception):
    """The store holds as many conferences as it may."""


class GivenUpError(Exception):
    """Whoever wanted a conference to be deleted waits no longer; nothing was done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Booking:
    """What a conference is to be: who gets which room, when and for how long.

    `start` is an aware datetime; `duration` is positive, and None is without limit. The
    optional values are None where nothing is said.
    """

    request_id: str
    room: str
    start: datetime
    owner: str = ""
    duration: timedelta | None = None
    max_occupants: int | None = None
    lobby: bool | None = None
    # Kept out of the repr, so that no log line can show it by accident.
    password: str | None = field(default=None, repr=False)

    def is_over(self, now: datetime) -> bool:
        """Tell whether the end has passed; a booking without limit has none."""
        # Not start + duration: far in the future that has no datetime.
        return self.duration is not None and now - self.start >= self.duration


@dataclass(frozen=True, slots=True)
class Conference:
    """A booking that was granted, under the id that it got."""

    id: str
    booking: Booking


@dataclass(frozen=True, slots=True)
class Granted:
    """The room is held by this conference, which the same request created."""

    conference: Conference


@dataclass(frozen=True, slots=True)
class Held:
    """The room is held already, by this conference of another request."""

    conference: Conference


@dataclass(frozen=True, slots=True)
class TooLate:
    """The booking was over before it was made; nothing is held."""


Outcome = Granted | Held | TooLate


def clock_ids(now_ns: Callable[[], int] = time.time_ns) -> Iterator[str]:
    """Yield ids that are never used again, as plain integers of 14 digits.

    An id is the time in units of 0.1 ms since 1970, or the last id plus one when that is
    more. So a restarted process goes on above the ids of its predecessor, without a file, as
    long as the clock is not set back and fewer than 10,000 conferences a second are created
    for long. Jicofo takes nothing but numbers for ids; 14 digits pass through the proxy as
    they are, and these stay below 90000000000000 until the year 2255.

    Several processes behind one address need ids from what they share: a database.
    """
    last = 0
    while True:
        last = max(last + 1, now_ns() // 100_000)
        yield str(last)


def utc_now() -> datetime:
    """Return the time, as an aware datetime."""
    return datetime.now(UTC)


class Store:
    """All conferences that exist, at most one for each room. Safe for threads.

    A conference exists from its creation until it is deleted or over. `ids` must never
    yield the same id twice; `clock` returns the time as an aware datetime.
    """

    def __init__(
        self,
        *,
        max_conferences: int = DEFAULT_MAX_CONFERENCES,
        clock: Callable[[], datetime] = utc_now,
        ids: Iterator[str] | None = None,
    ) -> None:
        self._max_conferences = max_conferences
        self._clock = clock
        self._ids = clock_ids() if ids is None else ids
        self._lock = threading.Lock()
        self._by_id: dict[str, Conference] = {}
        self._by_room: dict[str, Conference] = {}
        self._by_request: dict[str, Conference] = {}

    def create(self, booking: Booking) -> Outcome:
        """Grant the room, unless another request's conference holds it.

        A request whose conference exists gets that conference again.

        Raises StoreFullError where the room is free, but the store holds `max_conferences`.
        """
        with self._lock:
            now = self._clock()
            if mine := self._existing(self._by_request.get(booking.request_id), now):
                return Granted(mine)
            if holder := self._existing(self._by_room.get(booking.room), now):
                return Held(holder)
            if booking.is_over(now):
                return TooLate()
            self._make_space(now)
            return Granted(self._add(booking))

    def get(self, conference_id: str) -> Conference | None:
        """Return the conference, or None where it is unknown, deleted or over."""
        with self._lock:
            return self._existing(self._by_id.get(conference_id), self._clock())

    def delete(self, conference_id: str, is_wanted: Callable[[], bool] = lambda: True) -> bool:
        """Delete this conference and no other; return whether it was there.

        `is_wanted` tells whether the caller still waits. It is asked under the lock that `create`
        takes: the conference of a deletion that was given up may have been handed out again. A
        database does the same: lock the row, as `create` does before it names a conference, then
        ask, then delete and commit. To ask before the row is locked is too early.

        Raises GivenUpError where the caller waits no longer.
        """
        with self._lock:
            if not is_wanted():
                raise GivenUpError
            conference = self._existing(self._by_id.get(conference_id), self._clock())
            if conference is None:
                return False
            self._drop(conference)
            return True

    def __len__(self) -> int:
        """Return how many conferences take up memory, some of which may be over."""
        with self._lock:
            return len(self._by_id)

    def _existing(self, conference: Conference | None, now: datetime) -> Conference | None:
        """Pass a conference on, but drop it if it is over."""
        if conference is not None and conference.booking.is_over(now):
            self._drop(conference)
            return None
        return conference

    def _make_space(self, now: datetime) -> None:
        # Looking through all of them only when full keeps every other call short, and the
        # memory bounded all the same.
        if len(self._by_id) >= self._max_conferences:
            for conference in list(self._by_id.values()):
                self._existing(conference, now)
        if len(self._by_id) >= self._max_conferences:
            raise StoreFullError(
                f"the store holds {len(self._by_id)} conferences, which is its maximum"
            )

    def _add(self, booking: Booking) -> Conference:
        conference = Conference(next(self._ids), booking)
        self._by_id[conference.id] = conference
        self._by_room[booking.room] = conference
        self._by_request[booking.request_id] = conference
        return conference

    def _drop(self, conference: Conference) -> None:
        del self._by_id[conference.id]
        del self._by_room[conference.booking.room]
        del self._by_request[conference.booking.request_id]
