"""The index behaves as a plain dict of records, in any sequence of changes."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from jicofo_reservation_proxy.ledger.memory_index import ROW_BYTES, Index
from jicofo_reservation_proxy.ledger.packed_records import key_of, pack, ref_of, size_of, unpack
from jicofo_reservation_proxy.ledger.records import Record, RecordState
from jicofo_reservation_proxy.model import Conference, ConferenceRef

OPEN, PENDING, ABANDONED = RecordState
MINUTE_MS = 60_000

REFS = st.builds(
    ConferenceRef, st.sampled_from(["a", "b_b"]), st.sampled_from(["1", "2", "3.-"]), st.booleans()
)
ROOMS = st.sampled_from(["", "board", "hall"])
STARTS_MS = st.sampled_from([0, 500, MINUTE_MS, 90_000])
DURATIONS = st.none() | st.sampled_from([1, 60, 61, 3600])
TIMES_MS = st.sampled_from([0, 1001, MINUTE_MS, 61_000, 61_001, 150_001, 10_000_000])


class IndexAndModel(RuleBasedStateMachine):
    """An index, and a dict with the same records in the order of their changes."""

    def __init__(self) -> None:
        super().__init__()
        self.index = Index()
        self.records: dict[ConferenceRef, Record] = {}
        self.gone: set[ConferenceRef] = set()

    def _in_state(self, state: RecordState) -> list[Record]:
        return [record for record in self.records.values() if record.state is state]

    def _put(self, record: Record) -> None:
        self.index.put(record)
        self.records.pop(record.ref, None)
        self.records[record.ref] = record

    @rule(
        ref=REFS,
        state=st.sampled_from(RecordState),
        room=ROOMS,
        start_ms=STARTS_MS,
        seconds=DURATIONS,
    )
    def put(
        self, ref: ConferenceRef, state: RecordState, room: str, start_ms: int, seconds: int | None
    ) -> None:
        """Add or replace a record with a conference."""
        held = Conference(ref.conference_id, room, "juliet@example.com", start_ms, seconds)
        self._put(Record(ref, state, room, held, over_at_ms=None if state is OPEN else 7))

    @rule(ref=REFS, room=ROOMS)
    def put_without_a_conference(self, ref: ConferenceRef, room: str) -> None:
        """Add or replace a record that is known only from a DELETE."""
        self._put(Record(ref, PENDING, room, over_at_ms=9))

    @rule(ref=REFS)
    def remove(self, ref: ConferenceRef) -> None:
        """Remove a record, also one that is not there."""
        assert self.index.remove(ref) == (self.records.pop(ref, None) is not None)

    @rule(ref=REFS)
    def note_gone(self, ref: ConferenceRef) -> None:
        """Settle a conference."""
        self.remove(ref)
        self.index.note_gone(ref)
        self.gone.add(ref)

    @rule(ref=REFS)
    def revive(self, ref: ConferenceRef) -> None:
        """Grant a gone conference again."""
        self.index.revive(ref)
        self.gone.discard(ref)

    @rule(state=st.sampled_from([OPEN, ABANDONED]))
    def evict(self, state: RecordState) -> None:
        """Remove the oldest conference in a state, as a full ledger does."""
        oldest = self.index.oldest(state)
        assert oldest == next((record.ref for record in self._in_state(state)), None)
        if oldest:
            self.remove(oldest)

    @rule(before_ms=TIMES_MS)
    def expire(self, before_ms: int) -> None:
        """Make the open conferences pending whose end was before a time."""
        found = []
        for record, ends_at_ms in self.index.pop_expired(before_ms):
            assert record == self.records[record.ref]
            assert record.ends_at_ms == ends_at_ms
            found.append(record)
            self._put(Record(record.ref, PENDING, record.room, record.conference))
        ends = [record.ends_at_ms or 0 for record in found]
        assert ends == sorted(ends)
        assert all(end < before_ms for end in ends)
        left = [record.ends_at_ms for record in self._in_state(OPEN)]
        assert all(end is None or end >= before_ms for end in left)

    @invariant()
    def every_record_is_found(self) -> None:
        """Check that each conference has its record, and no other conference has one."""
        assert len(self.index) == len(self.records)
        assert [
            unpack(ref_of(key), packed) for key, packed in zip(*self.index.all(), strict=True)
        ] == [record for state in RecordState for record in self._in_state(state)]
        for ref, record in self.records.items():
            assert ref in self.index
            assert self.index.find(ref) == record
            assert self.index.has(record)
            assert self.index.is_pending(ref) == (record.state is PENDING)

    @invariant()
    def the_gone_conferences_are_over(self) -> None:
        """Check that a conference is over if it is pending, abandoned or gone."""
        for ref in self.gone | self.records.keys():
            assert self.index.is_gone(ref) == (ref in self.gone)
            known = self.records.get(ref)
            assert self.index.is_over(ref) == (known is None or known.state is not OPEN)

    @invariant()
    def states_and_rooms_are_in_order(self) -> None:
        """Check that the last changed record is last in its state, backend and room."""
        for state in RecordState:
            found = self._in_state(state)
            assert self.index.count(state) == len(found)
            for backend in ("a", "b_b"):
                for room in ("board", "hall"):
                    assert self.index.in_room(backend, room, state) == [
                        record
                        for record in found
                        if (record.ref.backend, record.room) == (backend, room)
                    ]
                assert self.index.in_room(backend, "", state) == []
        for backend in ("a", "b_b"):
            assert self.index.pending(backend) == [
                record for record in self._in_state(PENDING) if record.ref.backend == backend
            ]
        assert self.index.all_pending() == [
            (key_of(record.ref), pack(record)) for record in self._in_state(PENDING)
        ]

    @invariant()
    def the_limits_are_counted(self) -> None:
        """Check the numbers of bytes and of conferences that are known only from a DELETE."""
        assert self.index.bytes == sum(
            ROW_BYTES + len(key_of(record.ref)) + size_of(pack(record))
            for record in self.records.values()
        )
        unknown = [record for record in self._in_state(PENDING) if not record.room]
        assert self.index.unknown == len(unknown)

    @rule(ref=REFS, room=ROOMS)
    def supersede(self, ref: ConferenceRef, room: str) -> None:
        """Look for the conferences of the room that a conference replaces: none is pending."""
        expected = [
            other.ref
            for other in self.records.values()
            if room and (other.ref.backend, other.room) == (ref.backend, room)
            if other.ref != ref and other.state is not PENDING
            if other.ref.is_fallback or not ref.is_fallback
        ]
        assert self.index.superseded_by(ref, room) == expected


TestIndex = IndexAndModel.TestCase
TestIndex.settings = settings(max_examples=100, stateful_step_count=40)
