"""One renderer for each dialect: the fields of an answer, as Jicofo or Prosody requires them.

answers.py has the statuses, and the answers that are the same for every client.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from jicofo_reservation_proxy.model import (
    NO_LIMIT_SECONDS,
    ClientKind,
    Conference,
    CreateReply,
    CreateRequest,
    Denied,
    Fault,
    GetReply,
    NotFound,
    Reservation,
    Taken,
)
from jicofo_reservation_proxy.text_rules import format_time, one_line

from .answers import TAKEN, Answer, Value, answer, render_denied, render_fault, render_not_found

MAX_NAME_CHARACTERS = 2047
"""The length of the longest bare JID (RFC 7622)."""

MAX_SIP_ID = 99_999_999_999_999
"""The largest number that the JSON readers of all clients keep unchanged (clients.md "id")."""


@dataclass(frozen=True, slots=True)
class Renderer:
    """Renders the answers to one kind of client."""

    name_in_get: bool
    """Prosody requires the name in the answer to a GET. Jicofo throws an exception for a name."""
    owner_always: bool
    """Prosody requires an owner, which may be empty. Jicofo refuses an answer with an owner that
    Jicofo did not send."""

    def create(self, request: CreateRequest, reply: CreateReply, incident_id: str) -> Answer:
        """Answer `POST /conference`."""
        match reply:
            case Reservation():
                return answer(reply, self._created(request, reply))
            case Taken(public_id):
                return answer(reply, {"conflict_id": public_id, "message": TAKEN})
            case Denied():
                return render_denied(reply)
            case Fault():
                return render_fault(reply, incident_id)

    def get(self, reply: GetReply, incident_id: str) -> Answer:
        """Answer `GET /conference/{id}`."""
        match reply:
            case Reservation():
                return answer(reply, self._found(reply))
            case NotFound():
                return render_not_found()
            case Fault():
                return render_fault(reply, incident_id)

    def _created(self, request: CreateRequest, reservation: Reservation) -> dict[str, Value]:
        """Return the fields. The name and the owner are from the request, not from the backend."""
        fields: dict[str, Value] = {"id": reservation.public_id, "name": request.room.raw}
        if request.mail_owner is not None or self.owner_always:
            fields["mail_owner"] = request.mail_owner or ""
        return fields | _details(reservation.conference)

    def _found(self, reservation: Reservation) -> dict[str, Value]:
        conference = reservation.conference
        fields: dict[str, Value] = {"id": reservation.public_id}
        if self.name_in_get:
            fields["name"] = one_line(conference.room, MAX_NAME_CHARACTERS)
        owner = one_line(conference.owner, MAX_NAME_CHARACTERS)
        if owner or self.owner_always:
            fields["mail_owner"] = owner
        return fields | _details(conference)


RENDERERS: Mapping[ClientKind, Renderer] = {
    ClientKind.JICOFO: Renderer(name_in_get=False, owner_always=False),
    ClientKind.PROSODY: Renderer(name_in_get=True, owner_always=True),
    ClientKind.UNKNOWN: Renderer(name_in_get=True, owner_always=False),
}
"""A kind of client → its renderer. The renderer for unknown clients follows Jitsi's handbook."""


def _details(conference: Conference) -> dict[str, Value]:
    """Return the other fields of a conference; omit each field that has no usable value.

    Prosody refuses the whole answer for a bad `max_occupants` or `password`, even if the feature is
    switched off (clients.md "optional").
    """
    seconds = conference.duration_seconds
    fields: dict[str, Value] = {
        "start_time": format_time(conference.start_time_ms),
        "duration": NO_LIMIT_SECONDS if seconds is None else min(seconds, NO_LIMIT_SECONDS),
    }
    if conference.max_occupants and conference.max_occupants > 0:
        fields["max_occupants"] = conference.max_occupants
    if conference.lobby:
        fields["lobby"] = True
    if conference.password:
        fields["password"] = conference.password
    if conference.pin:
        fields["pin"] = conference.pin
    if conference.url:
        fields["url"] = conference.url
    if conference.sip_id is not None and 0 <= conference.sip_id <= MAX_SIP_ID:
        fields["sip_id"] = conference.sip_id
    return fields
