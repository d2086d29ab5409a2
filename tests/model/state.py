"""The state of the model: the backend, the proxies, their clients, and the calls on their way.

There is one room. All values are immutable and can be compared, so that the search recognizes a
state that it has seen before.
"""

import enum
from typing import NamedTuple

NOBODY = 0
"""The empty holder: a proxy from before this version of the contract."""
ROOM = 0
"""In place of the id of a conference: the conference that has the room."""


class Kind(enum.IntEnum):
    """The kind of a client."""

    PROSODY = 0
    """Any user may join; its ids name the grant."""
    JICOFO = 1
    """Only the owner may join; its ids are numbers, and name only the conference."""


class Conference(NamedTuple):
    """The conference that has the room; `rows` has pairs of a holder and a hold."""

    id: int
    request: int
    owner: int
    rows: frozenset[tuple[int, int]]


class Call(NamedTuple):
    """A call of a proxy to the backend; `proxy` and `number` identify it.

    `request` is 0 for a deletion, and `conference` is `ROOM` for a withdrawal.
    """

    proxy: int
    number: int
    holder: int
    hold: int
    request: int = 0
    owner: int = 0
    conference: int = ROOM


class Answer(NamedTuple):
    """The answer to a call: a conference that is granted, or in conflict; ROOM for a deletion."""

    call: Call
    conference: int = ROOM
    owner: int = 0
    is_granted: bool = True


class Grant(NamedTuple):
    """A conference that a client has, and the hold of its newest grant.

    `is_old` is true if a grant of the conference had no holder.
    """

    conference: int
    hold: int
    is_old: bool = False


class Proxy(NamedTuple):
    """A proxy, its ledger, and the call that it is making under the lock of the room.

    `sent` has the pending deletions that were sent, `unsent` those that were certainly never sent.
    `withdrawals` is how many more times the proxy withdraws its creates for the room, up to the
    hold `unanswered`. `is_durable` is true if a crash cannot lose `open`.
    """

    holder: int
    starts: int = 1
    calls: int = 0
    open: Grant | None = None
    is_durable: bool = False
    unsent: frozenset[Grant] = frozenset()
    sent: frozenset[Grant] = frozenset()
    withdrawals: int = 0
    unanswered: int = 0
    call: Call | None = None


class Client(NamedTuple):
    """The client of a proxy: it is in a meeting, waits for an answer, or does neither.

    `deletes` has its DELETEs on their way to the proxy: the conference, and the newest grant that
    the DELETE may end.
    """

    kind: Kind
    meeting: Grant | None = None
    is_waiting: bool = False
    deletes: frozenset[Grant] = frozenset()


class Left(NamedTuple):
    """How often each event may still happen."""

    posts: int
    timeouts: int = 0
    repeats: int = 0
    untold: int = 0
    crashes: int = 0
    renewals: int = 0


class State(NamedTuple):
    """The whole state."""

    conference: Conference | None
    proxies: tuple[Proxy, ...]
    clients: tuple[Client, ...]
    left: Left
    last_id: int = 0
    last_holder: int = 0
    calls: frozenset[Call] = frozenset()
    answers: frozenset[Answer] = frozenset()
    is_crashed: bool = False
