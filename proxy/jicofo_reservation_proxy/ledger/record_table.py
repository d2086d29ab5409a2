"""The records of the ledger as `WriteBehind` writes them, with the changes that need the disk.

A DELETE and the cancellation of a deletion take effect only if the write succeeds. This module
keeps them until the write has succeeded or failed.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from jicofo_reservation_proxy.model import ConferenceRef

from . import record_rows, row_batches
from .memory_index import Index
from .packed_records import Packed
from .row_batches import Statement


@dataclass(frozen=True)
class Cancellation:
    """A cancellation that is not on the disk yet, and the state to restore if the write fails.

    It is a grant that cancels a deletion, or the earlier end that the disk may have.
    `packed` is the record after it and `previous` the record before it, both packed. `was_gone`
    says whether the conference was gone.
    """

    ref: ConferenceRef
    packed: Packed
    previous: Packed | None
    was_gone: bool


class RecordTable:
    """The packed records, as `WriteBehind` writes them (write_behind.Table describes the methods).

    `ending` has the ends that are not on the disk yet. The index gets an end only after the write.
    `cancelling` has the cancellations that are not on the disk yet: the index has them already, so
    that no deletion is sent in the meantime.
    """

    def __init__(self, index: Index, lock: threading.Lock) -> None:
        self.ending: dict[ConferenceRef, Packed] = {}
        self.cancelling: dict[ConferenceRef, Cancellation] = {}
        self._index = index
        self._has_no_end = threading.Condition(lock)

    def latest(self, key: ConferenceRef) -> Packed | None:
        """Return the record to write: an end that is not on the disk yet, or the record."""
        return self.ending.get(key) or self._index.packed(key)

    def written(self, key: ConferenceRef, value: Packed | None) -> None:
        """After a write: put the end into the index, and make the cancellation final."""
        undo = self.cancelling.get(key)
        if undo and undo.packed is value:
            del self.cancelling[key]
        end = self.ending.get(key)
        if end is None or end is not value:
            return
        self.drop_end(key, end)
        # The conference may have expired or been deleted at its backend in the meantime.
        if not self._index.is_pending(key) and not self._index.is_gone(key):
            self._index.put_packed(key, end)

    def failed(self, key: ConferenceRef, value: Packed | None) -> None:
        """After a failed write: drop the end, and undo the cancellation."""
        end = self.ending.get(key)
        if end is not None and end is value:
            self.drop_end(key, end)
        undo = self.cancelling.get(key)
        if undo and undo.packed is value:
            self.undo(undo)

    def statements(self, changes: Sequence[tuple[ConferenceRef, Packed | None]]) -> list[Statement]:
        """Return the statements that delete and write the rows of these records."""
        gone = [record_rows.key(ref) for ref, packed in changes if packed is None]
        changed = [record_rows.to_row(ref, packed) for ref, packed in changes if packed]
        return [
            *row_batches.delete(record_rows.TABLE, record_rows.KEY_COLUMNS, gone),
            *row_batches.insert(record_rows.TABLE, changed),
        ]

    def wait_for_end(self, ref: ConferenceRef, within_seconds: float) -> bool:
        """Wait until no end of a conference is being written; return whether this is so.

        Return false if the time is over first. The caller holds the lock.
        """
        if ref not in self.ending:
            return True
        return self._has_no_end.wait_for(lambda: ref not in self.ending, within_seconds)

    def drop_end(self, ref: ConferenceRef, end: Packed | None) -> None:
        """Forget an end that is not visible; do nothing if a newer end has replaced it."""
        if end is not None and self.ending.get(ref) is end:
            del self.ending[ref]
            self._has_no_end.notify_all()

    def undo(self, undo: Cancellation) -> None:
        """Restore the record before a cancellation, unless the record has changed since."""
        ref = undo.ref
        del self.cancelling[ref]
        if self._index.packed(ref) is not undo.packed:
            return
        if undo.previous is None:
            self._index.remove(ref)
        else:
            self._index.put_packed(ref, undo.previous)
        if undo.was_gone:
            self._index.note_gone(ref)
