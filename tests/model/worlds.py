"""The starts of the search: which clients there are, and how often each event may happen."""

from dataclasses import dataclass

from .state import NOBODY, Client, Conference, Grant, Kind, Left, Proxy, State

PROSODY, JICOFO = Kind.PROSODY, Kind.JICOFO


@dataclass(frozen=True)
class World:
    """A start of the search, and the owners of its requests."""

    name: str
    start: State
    owners: tuple[int, ...] = (1,)

    def __str__(self) -> str:
        return self.name


def begin(*kinds: Kind, **left: int) -> State:
    """Return a start with a free room; each client has a proxy of its own."""
    proxies = tuple(Proxy(holder) for holder in range(1, len(kinds) + 1))
    clients = tuple(Client(kind) for kind in kinds)
    return State(None, proxies, clients, Left(**left), last_holder=len(kinds))


def after_an_upgrade(*kinds: Kind, **left: int) -> State:
    """Return a start in which the first client has a conference that was granted without holder."""
    start, given = begin(*kinds, **left), Grant(1, 0, is_old=True)
    known = Conference(1, 1, 1, frozenset({(NOBODY, 0)}))
    first = start.proxies[0]._replace(open=given, is_durable=True)
    client = start.clients[0]._replace(meeting=given)
    return start._replace(
        conference=known,
        last_id=1,
        proxies=(first, *start.proxies[1:]),
        clients=(client, *start.clients[1:]),
    )


SHORT = (
    World("one Prosody", begin(PROSODY, posts=3, timeouts=1, repeats=1, untold=1)),
    World("two Prosodys", begin(PROSODY, PROSODY, posts=2, timeouts=1, repeats=1, untold=1)),
    World("two Jicofos", begin(JICOFO, JICOFO, posts=2, timeouts=1, untold=1), (1, 2)),
    World(
        "Prosody and Jicofo",
        begin(PROSODY, JICOFO, posts=2, timeouts=1, untold=1, repeats=1),
        (1, 2),
    ),
    World("after an upgrade", after_an_upgrade(PROSODY, PROSODY, posts=1, timeouts=1, repeats=1)),
    World("crashes of two proxies", begin(PROSODY, PROSODY, posts=2, timeouts=1, crashes=1)),
    World(
        "a ledger that is lost",
        begin(PROSODY, posts=2, timeouts=1, crashes=1, renewals=1, repeats=1),
    ),
)
"""The worlds of `make test`."""

LONG = (
    World("one Prosody, longer", begin(PROSODY, posts=3, timeouts=2, repeats=1, untold=1)),
    World("one Jicofo, longer", begin(JICOFO, posts=3, timeouts=1, untold=1, crashes=1), (1, 2)),
    World(
        "two Prosodys, longer", begin(PROSODY, PROSODY, posts=3, timeouts=1, repeats=1, untold=1)
    ),
    World("two Jicofos, longer", begin(JICOFO, JICOFO, posts=3, timeouts=1), (1, 2)),
    World(
        "Prosody and Jicofo, longer",
        begin(PROSODY, JICOFO, posts=3, timeouts=1, repeats=1),
        (1, 2),
    ),
    World(
        "after an upgrade, longer",
        after_an_upgrade(PROSODY, PROSODY, posts=2, timeouts=1, repeats=1),
    ),
    World(
        "crashes, longer",
        begin(PROSODY, PROSODY, posts=2, timeouts=1, crashes=1, renewals=1, repeats=1),
    ),
)
"""The additional worlds of `make faults`."""
