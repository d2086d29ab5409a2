"""Compare the answers to the clients in the crash loop with the calls that the backend executed."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

from .jitsi import Attempt, Holding, Room
from .store import Call, Change, Store

KILLED_SECONDS = 1.0
"""A proxy that is killed within this time after a create may lose the grant or its withdrawal: the
deadline of a call, and the time until the ledger is on the disk."""


@dataclass(frozen=True, slots=True)
class Outage:
    """A period in which a process was dead or paused, in `time.monotonic()` seconds."""

    began: float
    ended: float


class Left(NamedTuple):
    """A row that is left at the backend: the conference, the proxy, and when it got it last."""

    serial: int
    proxy: int
    at: float


@dataclass
class Accounts:
    """The records of the clients and of the backend.

    `lost`, `deleted_alive`, `given_dead`, `unanswered` and `held_by_nobody` list failures and must
    be empty. `outages` are those of the proxies, and `kills` those of them that were kills.
    """

    holdings: Sequence[Holding]
    attempts: Sequence[Attempt]
    deletes: Sequence[Change]
    calls: Sequence[Call]
    left_serials: Collection[int]
    left: Collection[Left]
    outages: Sequence[Outage]
    kills: Sequence[Outage]

    @classmethod
    def of(
        cls,
        rooms: Sequence[Room],
        store: Store,
        outages: Sequence[Outage],
        holders: Sequence[str],
        kills: Sequence[Outage],
    ) -> "Accounts":
        """Collect the records of the rooms and of the backend's store.

        `holders` are the holders of the proxies; "" if the backend keeps no rows. `kills` are those
        `outages` that began with SIGKILL.
        """
        return cls(
            [*chain.from_iterable(room.holdings for room in rooms)],
            [*chain.from_iterable(room.attempts for room in rooms)],
            store.changes("delete"),
            store.calls(),
            store.serials,
            [Left(row.serial, holders.index(row.holder), row.at) for row in store.rows],
            outages,
            kills,
        )

    @property
    def lost(self) -> list[Holding]:
        """Holdings whose DELETE was answered 200, but whose conference still exists at the backend.

        The list does not contain a conference that the proxy got from the backend again later, or
        that it gave to a client again without the backend.
        """
        left = {(row.serial, row.proxy): row.at for row in self.left}
        return [
            holding
            for holding in self.holdings
            if holding.is_deleted
            and left.get((holding.serial, holding.proxy), holding.until) < holding.until
            and not self._is_held_after(holding)
        ]

    @property
    def held_by_nobody(self) -> list[Left]:
        """Rows that are left although their proxy was not killed soon after it got them.

        The list does not contain a conference whose DELETE was never answered 200.
        """
        return [row for row in self.left if not self._is_explained(row)]

    def _is_explained(self, row: Left) -> bool:
        is_killed = any(
            outage.began - KILLED_SECONDS < row.at < outage.ended + KILLED_SECONDS
            for outage in self.kills
        )
        return is_killed or any(
            not held.is_deleted
            for held in self.holdings
            if (held.serial, held.proxy) == (row.serial, row.proxy)
        )

    @property
    def deleted_alive(self) -> list[tuple[Holding, Change]]:
        """Conferences that the backend deleted while a client held them."""
        return [
            (held, change) for held, change in self._effects if held.since <= change.at < held.until
        ]

    @property
    def given_dead(self) -> list[tuple[Holding, Change]]:
        """Conferences that a client was given after the backend had deleted them."""
        return [(held, change) for held, change in self._effects if change.at < held.since]

    @property
    def unanswered(self) -> list[Attempt]:
        """Requests that got no answer although the proxy ran all the time."""
        return [
            attempt
            for attempt in self.attempts
            if attempt.status is None
            and not any(
                outage.began <= attempt.ended and attempt.began <= outage.ended
                for outage in self.outages
            )
        ]

    def around(self, at: float) -> str:
        """Return what happened from 3 s before a moment to 1 s after it, one event on each line."""
        events: list[tuple[float, object]] = [
            *((attempt.began, attempt) for attempt in self.attempts),
            *((held.since, held) for held in self.holdings),
            *((outage.began, outage) for outage in self.outages),
            *((call.at, call) for call in self.calls),
            *((change.at, change) for change in self.deletes),
        ]
        near = [event for event in events if at - 3 < event[0] < at + 1]
        near.sort(key=lambda event: event[0])
        return "\n".join(f"{when - at:+.3f} {event}" for when, event in near)

    @property
    def slowest_seconds(self) -> float:
        """The longest time that a client waited for an answer."""
        times = [attempt.ended - attempt.began for attempt in self.attempts if attempt.status]
        return max(times, default=0.0)

    def lines(self, kills: int, backend_outages: int) -> Iterator[str]:
        """Yield the lines for pytest's summary."""
        promised = {held.serial for held in self.holdings if held.is_deleted}
        delivered = Counter(change.serial for change in self.deletes)
        done = {change.serial for change in self.deletes if change.has_changed}
        again = {held.serial for held in self.holdings if self._is_held_after(held)}
        statuses = Counter(
            f"{attempt.method} {attempt.status or 'dropped'}" for attempt in self.attempts
        )
        yield (
            f"meetings {len(self.holdings)}, ends of the proxy {kills}, "
            f"kills and pauses of the backend {backend_outages}"
        )
        yield "answers: " + ", ".join(f"{key}: {n}" for key, n in sorted(statuses.items()))
        yield f"slowest answer {self.slowest_seconds:.2f} s"
        yield (
            f"DELETEs answered 200: {len(promised)}, of these delivered {len(promised & done)}, "
            f"cancelled {len(again)}; delivered more than once "
            f"{sum(count > 1 for count in delivered.values())}; "
            f"conferences left at the backend {len(self.left_serials)}"
        )

    @property
    def _effects(self) -> Iterator[tuple[Holding, Change]]:
        """Yield each holding with the call that deleted its conference at the backend."""
        ended = {change.serial: change for change in self.deletes if change.has_changed}
        for holding in self.holdings:
            if holding.serial in ended:
                yield holding, ended[holding.serial]

    def _is_held_after(self, holding: Holding) -> bool:
        return any(
            (later.serial, later.proxy) == (holding.serial, holding.proxy)
            and later.since > holding.until
            for later in self.holdings
        )
