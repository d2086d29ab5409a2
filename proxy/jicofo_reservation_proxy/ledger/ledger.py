"""The ledger, as the use cases see it: every conference that was granted and is not gone yet.

    open        a client has it, as far as the proxy knows
    pending     it is over: a client said DELETE, or its end passed. Its deletion is yet to be
                delivered to the backend
    abandoned   its deletion could not be delivered for days, and is tried no more

Conferences that are gone at their backend are remembered for a while, so that an answer of the
backend that still names one is recognized as old.

Nothing here says where the records are. sqlite_ledger.py and sqlite_aliases.py keep them for one
proxy; a store that several proxies share can take their place. So every method may wait, may be
called from any thread, and may raise `StateError` where the store cannot be used. Records are
values; `records.is_unchanged` compares them. Who works on a room or a conference holds its lock
(room_locks.py), which belongs to the same store.

Whether a deletion is uncertain is not in the store so far (retry_schedule.py): after a restart
every pending one is. Proxies that share a ledger at the same time will need it here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from jicofo_reservation_proxy.model import Conference, ConferenceRef

from .records import Record, RecordState
from .room_locks import Locks


class Ledger(Protocol):
    """The conferences, and what is known of each."""

    def grant(self, ref: ConferenceRef, room: str, conference: Conference) -> None:
        """Note that a client has this conference; its end is the latest that was told to anyone.

        Its record gets a revision that it never had. If it was over, it goes on and its deletion is
        cancelled, durably. Other open conferences
        of the room are forgotten: a backend grants one at a time. Raises `StateError` where the
        cancellation cannot be kept; the conference is then as it was.
        """

    def update(self, ref: ConferenceRef, conference: Conference) -> None:
        """Note what a client was told of a conference that is open; others are left alone."""

    def end(self, ref: ConferenceRef, over_at_ms: int) -> None:
        """Note, durably, that a client said that a conference is over; unknown ones too.

        Nothing changes where that is known, or where it is gone already. A fallback grant, which
        no backend knows, is gone by this. Raises `StateError` where that cannot be kept; the
        conference is then as it was.
        """

    def expire(self, before_ms: int) -> Sequence[Record]:
        """Note that the open conferences whose end was before this are over; return them."""

    def settle(self, ref: ConferenceRef) -> None:
        """Note that a conference is gone at its backend. Unknown is fine."""

    def abandon(self, record: Record) -> bool:
        """Give up this deletion, and return whether that was done.

        Nothing is done if the record has changed since, or is not pending.
        """

    def find(self, ref: ConferenceRef) -> Record | None:
        """Return the record of a conference, `None` where there is none."""

    def is_over(self, ref: ConferenceRef) -> bool:
        """Whether a conference is known to be over: pending, abandoned or gone."""

    def in_room(self, backend: str, room: str, state: RecordState) -> Sequence[Record]:
        """Return the conferences of a room in this state, in the order in which they began."""

    def pending(self, backend: str) -> Sequence[Record]:
        """Return the conferences whose deletion is yet to be delivered, in the order of their ends.

        Those whose end is not durable yet are left out: they may go on.
        """

    def pending_since(self, before_ms: int) -> Sequence[Record]:
        """Return the conferences of all backends that were over before this, and are pending."""

    @property
    def counts(self) -> Mapping[RecordState, int]:
        """How many conferences there are in each state."""


class Aliases(Protocol):
    """The numbers under which Jicofo knows conferences whose own id is no number for it."""

    def alias(self, ref: ConferenceRef) -> int:
        """Return the number that stands for a conference; it is durable by then."""

    def resolve(self, number: int) -> ConferenceRef | None:
        """Return the conference that an alias stands for, or `None` where it stands for none."""

    def forget(self, ref: ConferenceRef) -> None:
        """Drop the alias of a conference that is gone. Unknown is fine."""

    @property
    def number_owner(self) -> str | None:
        """The backend whose own numbers Jicofo was last given, when it was the only one."""

    def set_number_owner(self, backend: str) -> None:
        """Note that from now on Jicofo is given this backend's own numbers."""


@dataclass(frozen=True, slots=True)
class Store:
    """All that is kept for the use cases: the conferences, Jicofo's numbers, and the locks."""

    ledger: Ledger
    aliases: Aliases
    locks: Locks
