"""The use cases on a ledger in memory, for tests that bring a backend of their own."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import cast

from jicofo_reservation_proxy.backends.backend import Backend
from jicofo_reservation_proxy.ledger.ledger import Ledger, Store
from jicofo_reservation_proxy.ledger.sqlite_aliases import SqliteAliases
from jicofo_reservation_proxy.ledger.sqlite_database import Database
from jicofo_reservation_proxy.ledger.sqlite_ledger import SqliteLedger
from jicofo_reservation_proxy.observability.metrics import Metrics
from jicofo_reservation_proxy.reservations.deletion_delivery import Delivery
from jicofo_reservation_proxy.reservations.in_flight_limits import InFlightLimits
from jicofo_reservation_proxy.reservations.numeric_ids import NumericIds
from jicofo_reservation_proxy.reservations.room_queue import RoomQueue, max_waiting_in_all
from jicofo_reservation_proxy.reservations.routing import Router
from jicofo_reservation_proxy.reservations.shared import Shared
from jicofo_reservation_proxy.reservations.use_cases import Policy, UseCases

from tests.unit.ledgers import START_MS, Elsewhere, new_store

NAME = "default"
INCIDENT = "0123456789ab"


def make_use_cases(
    backends: Mapping[str, Backend],
    store: Store,
    delivery: Delivery,
    policy: Policy,
    *,
    places: int,
    now_ms: Callable[[], int],
) -> UseCases:
    """Return the use cases for backends without routes; `places` is each in-flight limit."""
    shared = Shared(
        store,
        delivery,
        NumericIds(store.aliases, backends),
        InFlightLimits(dict.fromkeys(backends, places), places),
        RoomQueue(store.locks, max_waiting_in_all(places)),
        now_ms,
    )
    return UseCases(Router((), backends), backends, shared, policy)


@dataclass
class Stage:
    """The use cases, and the objects that they use. The time stands still at START_MS."""

    ledger: SqliteLedger
    elsewhere: Elsewhere
    store: Store
    delivery: Delivery
    use_cases: UseCases


@contextmanager
def staged(backend: Backend) -> Iterator[Stage]:
    """Yield the use cases for a backend; the store acts as if in another process.

    The delivery has no thread: a test calls `delivery.step`.
    """
    with (
        closing(Database(None)) as database,
        closing(SqliteLedger(database, write_behind=False)) as ledger,
    ):
        elsewhere, aliases = Elsewhere(ledger), SqliteAliases(database, write_behind=False)
        store = new_store(database, cast("Ledger", elsewhere), aliases)
        delivery = Delivery(
            {NAME: backend},
            store,
            Metrics(),
            expire_after=timedelta(minutes=5),
            give_up_after=timedelta(days=7),
            now_ms=lambda: START_MS,
        )
        policy = Policy("answer", 1.0, {})
        use_cases = make_use_cases(
            {NAME: backend}, store, delivery, policy, places=4, now_ms=lambda: START_MS
        )
        yield Stage(ledger, elsewhere, store, delivery, use_cases)
