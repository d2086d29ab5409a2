"""Backends with a bug in the rows of the holders: see cases/holders.toml."""

from collections.abc import Callable
from datetime import datetime

import grpc
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb
from jicofo_reservation_stub.store import (
    NO_HOLDER,
    Booking,
    Conference,
    Ending,
    Granted,
    Held,
    Hold,
    Outcome,
    Store,
)

from .backend import Backend, Context, fails
from .conflict import Crowd

_FREED = "step 4, create: id: wanted the id of the earlier conference, '…', got '…'"


@fails({"hold": "step 2, create: hold: wanted 5, got 3"})
class AnswersTheHoldOfTheRequest(Backend):
    """The backend answers the hold of the request, also if its row has a greater hold."""

    def send(
        self, request: pb.CreateConferenceRequest, response: pb.CreateConferenceResponse
    ) -> None:
        """Replace the hold of the row."""
        response.hold = request.hold


class _AddsNoRow(Store):
    """Adds no row for a named holder that gets an answer of the kind `kind`."""

    kind: type[Granted | Held]

    def create(self, booking: Booking, hold: Hold = NO_HOLDER) -> Outcome:
        """Take back a row that was added."""
        with self._lock:
            known = self._by_room.get(booking.room)
            before = dict(self._holds[known.id]) if known else None
        outcome = super().create(booking, hold)
        if isinstance(outcome, self.kind) and before is not None and hold.holder:
            self._take_back(outcome.conference, before, hold)
        return outcome

    def _take_back(self, conference: Conference, before: dict[str, int], hold: Hold) -> None:
        if hold.holder not in before and conference.id in self._holds:
            del self._holds[conference.id][hold.holder]


class _AddsNoRowInAConflict(_AddsNoRow):
    kind = Held


@fails({"holder-conflict": _FREED})
class AddsNoRowInAConflict(Backend):
    """The backend adds rows only when it grants a conference."""

    def __init__(self) -> None:
        super().__init__(_AddsNoRowInAConflict())


class _AddsNoRowInARepeat(_AddsNoRow):
    kind = Granted


@fails({"holder-repeat": _FREED})
class AddsNoRowInARepeat(Backend):
    """The backend takes a repeated request_id for a repetition by the same holder."""

    def __init__(self) -> None:
        super().__init__(_AddsNoRowInARepeat())


class _RaisesNoRow(_AddsNoRow):
    kind = Held

    def _take_back(self, conference: Conference, before: dict[str, int], hold: Hold) -> None:
        if hold.holder in before:
            self._holds[conference.id][hold.holder] = before[hold.holder]


@fails({"holder-raise": _FREED})
class RaisesNoRowInAConflict(Backend):
    """The backend adds a row in a conflict, but does not raise the hold of a row."""

    def __init__(self) -> None:
        super().__init__(_RaisesNoRow())


class _ComparesOnlyRaisedRows(Store):
    def __init__(self) -> None:
        super().__init__()
        self._first: dict[str, int] = {}

    def create(self, booking: Booking, hold: Hold = NO_HOLDER) -> Outcome:
        """Remember the hold with which a conference was created."""
        outcome = super().create(booking, hold)
        if isinstance(outcome, Granted):
            self._first.setdefault(outcome.conference.id, hold.number)
        return outcome

    def delete(
        self,
        conference_id: str,
        hold: Hold = NO_HOLDER,
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> Ending:
        """Take the first hold of a row for 0."""
        first, rows = self._first.get(conference_id), self._holds.get(conference_id, {})
        if first is not None and rows.get(hold.holder) == first:
            hold = Hold(hold.holder, max(hold.number, first))
        return super().delete(conference_id, hold, is_wanted)


@fails({"holder-smaller": _FREED.replace("4", "3")})
class ComparesOnlyRaisedRows(Backend):
    """The backend stores the hold only when it updates a row, not when it inserts one."""

    def __init__(self) -> None:
        super().__init__(_ComparesOnlyRaisedRows())


class _KeepsReleasedRows(Store):
    """Counts the row of a holder that joined by a conflict for ever."""

    def __init__(self) -> None:
        super().__init__()
        self._joined: set[tuple[str, str]] = set()

    def create(self, booking: Booking, hold: Hold = NO_HOLDER) -> Outcome:
        """Remember who joined."""
        known = self._by_room.get(booking.room)
        is_new = known is None or hold.holder not in self._holds[known.id]
        outcome = super().create(booking, hold)
        if isinstance(outcome, Held) and hold.holder and is_new:
            self._joined.add((outcome.conference.id, hold.holder))
        return outcome

    def delete(
        self,
        conference_id: str,
        hold: Hold = NO_HOLDER,
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> Ending:
        """Keep the row of a holder that joined, if another holder has a row."""
        is_joined = (conference_id, hold.holder) in self._joined
        if is_joined and len(self._holds.get(conference_id, {})) > 1:
            return Ending.RELEASED
        return super().delete(conference_id, hold, is_wanted)


@fails({"holder-last": "step 5, create: wanted conference, got conflict"})
class KeepsReleasedRows(Backend):
    """The backend marks the row of a holder as released, and counts it nevertheless."""

    def __init__(self) -> None:
        super().__init__(_KeepsReleasedRows())


class _EndsForAnyHolder(Store):
    def _release(self, known: Conference | None, hold: Hold) -> Ending:
        rows = self._holds.get(known.id) if known else None
        if known and rows is not None and hold.holder not in rows:
            self._drop(known)
            return Ending.DELETED
        return super()._release(known, hold)


@fails({"holder-unknown": _FREED.replace("4", "3")})
class EndsForAnyHolder(Backend):
    """A deletion ends the conference if its holder has no row."""

    def __init__(self) -> None:
        super().__init__(_EndsForAnyHolder())


class _EndsWithoutHolder(Store):
    def _release(self, known: Conference | None, hold: Hold) -> Ending:
        if known and known.id in self._holds and not hold.holder:
            self._drop(known)
            return Ending.DELETED
        return super()._release(known, hold)


@fails({"holder-empty": _FREED})
class EndsWithoutHolder(Backend):
    """A deletion without a holder ends the conference, whoever has it."""

    def __init__(self) -> None:
        super().__init__(_EndsWithoutHolder())


class _LooksThenRemoves(Store):
    """Reads the rows in one step, and removes a row in another step."""

    def __init__(self) -> None:
        super().__init__()
        self._releasing: dict[str, Crowd] = {}

    def delete(
        self,
        conference_id: str,
        hold: Hold = NO_HOLDER,
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> Ending:
        """Look for other rows without a lock on the conference."""
        with self._lock:
            rows = self._holds.get(conference_id, {})
            others = rows.keys() - {hold.holder}
            is_mine = rows.get(hold.holder, hold.number + 1) <= hold.number
            crowd = self._releasing.setdefault(conference_id, Crowd(2))
        if not others or not is_mine:
            return super().delete(conference_id, hold, is_wanted)
        with crowd, self._lock:
            self._holds[conference_id].pop(hold.holder, None)
        return Ending.RELEASED


@fails({"holder-at-once": "step 4, create: wanted conference, got conflict"})
class LooksThenRemoves(Backend):
    """Two holders that release at once each see the row of the other: the conference stays."""

    def __init__(self) -> None:
        super().__init__(_LooksThenRemoves())


class _IgnoresWithdrawals(Store):
    def withdraw(
        self, room: str, hold: Hold, is_wanted: Callable[[], bool] = lambda: True
    ) -> Ending:
        """Do nothing."""
        del room, hold, is_wanted
        return Ending.UNKNOWN


@fails({"withdrawal": "step 5, create: wanted conference, got conflict"})
class IgnoresWithdrawals(Backend):
    """The backend takes an empty conference_id for an id that it does not know."""

    def __init__(self) -> None:
        super().__init__(_IgnoresWithdrawals())


@fails({"withdrawal-free-room": "step 2, delete: wanted OK or NOT_FOUND, got INTERNAL ('no row')"})
class FailsForAFreeRoom(Backend):
    """The backend expects that every room of a withdrawal is held."""

    def DeleteConference(  # noqa: N802 - gRPC's name
        self, request: pb.DeleteConferenceRequest, context: Context
    ) -> pb.DeleteConferenceResponse:
        """Fail if no conference holds the room."""
        if request.room and request.room not in self._store._by_room:
            context.abort(grpc.StatusCode.INTERNAL, "no row")
        return super().DeleteConference(request, context)


class _KeepsHeldConferences(Store):
    """Ends a conference at its end only if no named holder has a row."""

    def _existing(self, conference: Conference | None, now: datetime) -> Conference | None:
        if conference is not None and any(self._holds.get(conference.id, {})):
            return conference
        return super()._existing(conference, now)


@fails(
    {
        "holder-over": "step 2, create: wanted conference, got conflict; check the clock of the "
        "backend: it may differ from the kit's clock by at most 2 s"
    }
)
class KeepsHeldConferences(Backend):
    """The backend keeps a conference after its end while a holder has a row."""

    def __init__(self) -> None:
        super().__init__(_KeepsHeldConferences())


class KeepsNoRows(Backend):
    """The backend ignores holders, as every backend did before the contract had them."""

    def receive(self, request: pb.CreateConferenceRequest, _context: Context) -> None:
        """Forget the holder."""
        request.ClearField("holder")
        request.ClearField("hold")

    def DeleteConference(  # noqa: N802 - gRPC's name
        self, request: pb.DeleteConferenceRequest, context: Context
    ) -> pb.DeleteConferenceResponse:
        """Forget the holder."""
        request.ClearField("holder")
        request.ClearField("hold")
        return super().DeleteConference(request, context)
