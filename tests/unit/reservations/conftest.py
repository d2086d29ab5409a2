"""The fixtures of the tests of the deliveries."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from jicofo_reservation_proxy.ledger.sqlite_aliases import SqliteAliases
from jicofo_reservation_proxy.ledger.sqlite_database import Database
from jicofo_reservation_proxy.ledger.sqlite_ledger import SqliteLedger
from jicofo_reservation_proxy.observability.metrics import Metrics

from tests.unit.ledgers import new_store
from tests.unit.reservations.deliveries import Backend, Clock, World, new_delivery


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Return a world in which nothing has happened."""
    clock, metrics = Clock(), Metrics()
    backends = {name: Backend(clock) for name in ("default", "other")}
    with (
        closing(Database(tmp_path)) as database,
        closing(SqliteLedger(database, write_behind=False)) as ledger,
    ):
        aliases = SqliteAliases(database, write_behind=False)
        store = new_store(database, ledger, aliases)
        delivery = new_delivery(store, metrics, backends, clock)
        yield World(clock, ledger, store, metrics, backends, delivery)


@pytest.fixture
def no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every back-off as long as possible."""
    monkeypatch.setattr("random.uniform", lambda _, most: most)
