"""Reading a conference: GET."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from jicofo_reservation_proxy.backends.backend import Backend
from jicofo_reservation_proxy.clock import Budget
from jicofo_reservation_proxy.ledger.ledger import Ledger
from jicofo_reservation_proxy.model import (
    Conference,
    ConferenceRef,
    Dialect,
    Fault,
    Found,
    GetOutcome,
    GetReply,
    NotFound,
    Result,
)

from .context import FROM_LEDGER, IN_FLIGHT_LIMIT_REACHED, Handled
from .grants import Grants
from .in_flight_limits import InFlightLimits
from .numeric_ids import NumericIds


class Reading:
    """Reads conferences from their backend, or from the ledger if the backend gives no answer."""

    def __init__(
        self,
        backends: Mapping[str, Backend],
        ledger: Ledger,
        numeric_ids: NumericIds,
        grants: Grants,
        in_flight: InFlightLimits,
        respond_within_seconds: float,
        now_ms: Callable[[], int],
    ) -> None:
        self._backends = backends
        self._ledger = ledger
        self._numeric_ids = numeric_ids
        self._grants = grants
        self._in_flight = in_flight
        self._respond_within_seconds = respond_within_seconds
        self._now_ms = now_ms

    def get(self, public_id: str, dialect: Dialect, incident_id: str) -> Handled[GetReply]:
        """Read the conference that a client knows by this id. Raises `StateError`."""
        named = self._numeric_ids.named(public_id)
        if named is None or self._ledger.is_over(named.ref):
            return Handled(NotFound())
        ref, hold = named.ref, named.hold
        budget = Budget(self._respond_within_seconds)
        result = self._ask(ref, incident_id, budget)
        reply: GetReply
        match result.outcome:
            case Found(conference) if self._has_ended(conference):
                reply = NotFound()
            case Found(conference):
                conference = self._completed(ref, conference)
                self._ledger.update(ref, conference)
                reply = self._grants.reservation(dialect, ref, conference, hold, budget)
            case Fault() if remembered := self._remembered(ref):
                reply = self._grants.reservation(dialect, ref, remembered, hold, budget)
                return Handled(reply, ref.backend, result.code, FROM_LEDGER)
            case NotFound() | Fault() as reply:
                pass
        return Handled(reply, ref.backend, result.code)

    def _ask(self, ref: ConferenceRef, incident_id: str, budget: Budget) -> Result[GetOutcome]:
        if ref.is_fallback:
            conference = self._remembered(ref)
            return Result(Found(conference) if conference else NotFound(), "")
        with self._in_flight.admit(ref.backend, budget.left_seconds) as is_admitted:
            if not is_admitted:
                return Result(IN_FLIGHT_LIMIT_REACHED, "")
            backend = self._backends[ref.backend]
            return backend.get(ref.conference_id, incident_id, budget.left_seconds)

    def _completed(self, ref: ConferenceRef, conference: Conference) -> Conference:
        """Return a conference with the room and the owner of the ledger, if the answer has none."""
        record = self._ledger.find(ref)
        if record is None or (conference.room and conference.owner):
            return conference
        owner = record.conference.owner if record.conference else ""
        return replace(
            conference, room=conference.room or record.room, owner=conference.owner or owner
        )

    def _remembered(self, ref: ConferenceRef) -> Conference | None:
        """Return a conference from the ledger, if its record is complete and it has not ended."""
        record = self._ledger.find(ref)
        if record is None or not record.is_whole:
            return None
        held = record.conference
        return None if held is None or self._has_ended(held) else held

    def _has_ended(self, conference: Conference) -> bool:
        """Return whether a client would close the room of this conference at once."""
        return conference.ends_at_ms is not None and conference.ends_at_ms <= self._now_ms()
