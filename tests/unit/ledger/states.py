"""Helpers that the tests of the ledger share."""

import shutil
from pathlib import Path

from jicofo_reservation_proxy.ledger.records import Record, RecordState
from jicofo_reservation_proxy.ledger.sqlite_database import FILE_NAME
from jicofo_reservation_proxy.ledger.sqlite_ledger import SqliteLedger
from jicofo_reservation_proxy.model import ConferenceRef

from tests.unit.ledgers import LONG_SECONDS, START_MS, conference, opened, ref, stored

OPEN, PENDING, ABANDONED = RecordState
FALLBACK = ConferenceRef("default", "6f1d", is_fallback=True)
END_MS = START_MS + 3_600_000
"""When `conference()` ends."""


def grant(ledger: SqliteLedger, conference_id: str = "7", room: str = "board") -> ConferenceRef:
    """Grant a conference of one hour; return its reference."""
    ledger.grant(ref(conference_id), room, conference(conference_id), LONG_SECONDS)
    return ref(conference_id)


def state(ledger: SqliteLedger, conference_id: str = "7") -> RecordState | None:
    """Return the state of a conference in the ledger."""
    record = ledger.find(ref(conference_id))
    return record.state if record else None


def on_disk(state_dir: Path) -> dict[str, RecordState]:
    """Return the states of the conferences that the ledger would know after a power cut."""
    return {record.ref.conference_id: record.state for record in stored(state_dir)}


def after_a_kill(state_dir: Path) -> list[Record]:
    """Return the records that the next process would read if this process were killed now."""
    copy = state_dir / "after"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    for file in state_dir.glob(FILE_NAME + "*"):
        shutil.copy(file, copy)
    with opened(copy) as ledger:
        return list(ledger.dump())


def check_indexes(ledger: SqliteLedger) -> None:
    """Check that the indexes by room, by state and by backend agree with the records."""
    index, found = ledger._index, ledger.dump()
    rooms = {(record.ref.backend, record.room) for record in found if record.room}
    assert rooms == {
        (backend, room) for backend, keys in index._rooms._keys.items() for room in keys
    }
    in_rooms = {
        record.ref
        for backend, room in rooms
        for each in RecordState
        for record in ledger.in_room(backend, room, each)
    }
    assert in_rooms == {record.ref for record in found if record.room}
    pending = {record.ref for backend in index._pending_at for record in index.pending(backend)}
    assert pending == {record.ref for record in found if record.state is PENDING}
    for backend, room in rooms:
        assert len(ledger.in_room(backend, room, OPEN)) <= 1
