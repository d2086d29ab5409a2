"""The ledger, as the use cases see it: every conference that was granted and is not gone yet.

A conference in the ledger has one of three states:

    open        A client has the conference, as far as the proxy knows.
    pending     The conference is over: a client sent a DELETE, or its end passed. The proxy has yet
                to deliver the deletion to the backend.
    abandoned   The proxy could not deliver the deletion within `give_up_after`, and tries no more.

A conference is *gone* when the backend has acknowledged its deletion. The ledger remembers gone
conferences for a while. So the proxy recognizes an outdated answer of the backend that still names
such a conference.

sqlite_ledger.py and sqlite_aliases.py implement these Protocols for one proxy. A store that several
proxies share could replace these modules. So the following rules are valid for every store:

- Every method may block, and any thread may call it.
- Every method may raise `StateError`, if the store cannot be used.
- Records are values: compare them with `records.is_unchanged`.
- A caller that works on a room or on a conference holds its lock (room_locks.py). The locks belong
  to the same store.

The store does not record which deletions are uncertain (retry_schedule.py). After a restart, every
pending deletion is uncertain. Proxies that share a ledger would need this information in the store.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from jicofo_reservation_proxy.model import Conference, ConferenceRef, Hold

from .records import Record, RecordState
from .room_locks import Locks
from .withdrawals import Withdrawals


class Ledger(Protocol):
    """The conferences and their states."""

    def grant(
        self,
        ref: ConferenceRef,
        room: str,
        conference: Conference,
        within_seconds: float,
        *,
        hold: int = 0,
        has_row: bool = False,
    ) -> None:
        """Record that a client has this conference.

        `hold` is the number of the hold of this grant. `has_row` is as in `model.Granted`; for a
        conference that the proxy already knows and gives again without its backend, it is as in the
        record. The record keeps the latest end that a client was told. The record gets a new
        revision. If the conference was over, it is open again and its deletion is cancelled,
        durably. The grant is durable too if the stored record may have an earlier end: the next
        process would end the conference then. A record of the same conference in another room is
        replaced. Other open or abandoned conferences of the room are removed, because a backend
        grants a room to one conference at a time. Raises `StateError` if a durable change cannot be
        stored within this time; the conference is then unchanged.
        """

    def update(self, ref: ConferenceRef, conference: Conference) -> None:
        """Record the new data of an open conference; do nothing if the conference is not open."""

    def end(
        self,
        ref: ConferenceRef,
        over_at_ms: int,
        within_seconds: float,
        *,
        hold: int | None = None,
    ) -> bool:
        """Record, durably, that a client ended a conference, also if the ledger does not know it.

        `hold` is the number of the newest grant that the DELETE may end, or `None` for any grant.
        If a client has the conference by a newer grant, the DELETE is void: nothing changes, and
        the method returns false.

        The conference stays open until its end is durable, and `grant` waits until then. Nothing
        changes if the conference is already pending or gone. A fallback grant is gone after this
        call, because no backend knows it. Raises `StateError` if the end cannot be stored within
        this time; the conference is then unchanged.
        """

    def withdraw(
        self, ref: ConferenceRef, room: str, over_at_ms: int, within_seconds: float
    ) -> bool:
        """Record that the backend granted a conference and no client got it: it is pending.

        Return whether the record changed. It does not change if a client has the conference, if it
        is pending already, or if the ledger knows it from another room. The method waits until the
        pending deletion is durable, but not longer than this time. If it cannot be stored, it stays
        in memory, and the store tries again: nothing was promised to a client.
        """

    def name_over(self, ref: ConferenceRef, hold: int) -> None:
        """Record that the backend has a row with this hold for a conference that is over.

        Do nothing if the conference is open or unknown.
        """

    def end_early(self, ref: ConferenceRef, room: str, conference: Conference, now_ms: int) -> bool:
        """Record that a conference is over if its end has passed, before `expire` would do so.

        Return whether the conference is over. It is not over if a client was told a later end.
        """

    def expire(self, before_ms: int) -> Sequence[Record]:
        """Record that the open conferences whose end was before this time are over; return them."""

    def settle(self, ref: ConferenceRef) -> None:
        """Record that a conference is gone at its backend, also if the ledger does not know it."""

    def abandon(self, record: Record) -> bool:
        """Abandon this deletion; return whether it was abandoned.

        Do nothing if the stored record differs from `record`, or is not pending.
        """

    def find(self, ref: ConferenceRef) -> Record | None:
        """Return the record of a conference; `None` if there is none."""

    def is_over(self, ref: ConferenceRef) -> bool:
        """Return whether a conference is known to be over: pending, abandoned or gone."""

    def in_room(self, backend: str, room: str, state: RecordState) -> Sequence[Record]:
        """Return the conferences of a room in this state; the last changed conference is last."""

    def pending(self, backend: str) -> Sequence[Record]:
        """Return the conferences whose deletion is pending; older deletions come first."""

    def pending_since(self, before_ms: int) -> Sequence[Record]:
        """Return the pending conferences of all backends that were over before this time."""

    @property
    def counts(self) -> Mapping[RecordState, int]:
        """The number of conferences in each state."""

    def counts_of(self, backend: str) -> Mapping[RecordState, int]:
        """Return the number of conferences of a backend in each state."""


class Aliases(Protocol):
    """The aliases: numbers for Jicofo, for conferences whose own id is not a usable number."""

    def alias(self, ref: ConferenceRef, within_seconds: float) -> int:
        """Return the alias of a conference; store a new alias durably before that.

        Raises `StateError` if the alias cannot be stored within this time.
        """

    def resolve(self, number: int) -> ConferenceRef | None:
        """Return the conference that an alias stands for; `None` if the alias is unknown."""

    def forget(self, ref: ConferenceRef) -> None:
        """Remove the alias of a conference that is gone, if it has one."""

    @property
    def number_owner(self) -> str | None:
        """The last backend that was the only backend, so that Jicofo got its own numbers."""

    def set_number_owner(self, backend: str) -> None:
        """Record that Jicofo gets this backend's own numbers from now on."""


class Holds(Protocol):
    """The holder of this ledger, and the numbers of its holds."""

    def next(self) -> Hold:
        """Return the hold for a create; its number is greater than all numbers before it."""

    @property
    def holder(self) -> str:
        """The holder of this ledger; "" if the ledger is in memory only."""

    @property
    def newest(self) -> int:
        """The greatest number of all holds so far."""


@dataclass(frozen=True, slots=True)
class Store:
    """Everything that is stored for the use cases, and the locks."""

    ledger: Ledger
    aliases: Aliases
    holds: Holds
    withdrawals: Withdrawals
    locks: Locks
