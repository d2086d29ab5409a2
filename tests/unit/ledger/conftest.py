"""The fixtures of the tests of the ledger."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from jicofo_reservation_proxy.ledger.sqlite_ledger import SqliteLedger

from tests.unit.ledgers import opened


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqliteLedger]:
    """Return the ledger of a new state directory; grants are written when `flush` is called."""
    with opened(tmp_path) as ledger:
        yield ledger


@pytest.fixture
def small(tmp_path: Path) -> Iterator[SqliteLedger]:
    """Return a ledger with space for four conferences."""
    with opened(tmp_path, max_conferences=4) as ledger:
        yield ledger
