"""A step of a case → the messages that the kit sends.

The proxy's own code builds the create requests.
"""

from dataclasses import replace
from uuid import uuid4

from jicofo_reservation_proxy.backends import contract
from jicofo_reservation_proxy.clock import now_ms
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb
from jicofo_reservation_proxy.http.forms import MAX_JID_PART_BYTES, parse_room
from jicofo_reservation_proxy.http.owners import guest_test, parse_owner
from jicofo_reservation_proxy.model import ClientKind, CreateRequest

from .case import Step

_IS_GUEST = guest_test(("guest.*",))

_REASONS = {
    "ended": pb.DELETE_REASON_ENDED,
    "expired": pb.DELETE_REASON_EXPIRED,
    "unspecified": pb.DELETE_REASON_UNSPECIFIED,
}


def create_messages(step: Step, room: str, denied_room: str) -> list[pb.CreateConferenceRequest]:
    """Return the requests that a step sends at the same time in one room."""
    if step.is_one_request:
        return [_create_message(step, room, denied_room)] * step.at_once
    return [
        _create_message(replace(step, owner=step.owner.replace("{n}", str(n))), room, denied_room)
        for n in range(step.at_once)
    ]


def delete_message(conference_id: str, step: Step) -> pb.DeleteConferenceRequest:
    """Return the message that deletes this conference."""
    message = pb.DeleteConferenceRequest(conference_id=conference_id, reason=_REASONS[step.reason])
    message.delete_time.FromMilliseconds(now_ms() - step.over_for_seconds * 1000)
    return message


def filled(text: str, room: str, denied_room: str) -> str:
    """Replace `{room}`, `{denied}` and `{pad}` in a text (`Step`)."""
    text = text.replace("{room}", room).replace("{denied}", denied_room)
    missing = MAX_JID_PART_BYTES - len(text.replace("{pad}", "").encode())
    return text.replace("{pad}", "x" * missing)


def _create_message(step: Step, room: str, denied_room: str) -> pb.CreateConferenceRequest:
    owner = filled(step.owner, room, denied_room)
    request = CreateRequest(
        request_id=str(uuid4()),
        room=parse_room(filled(step.room, room, denied_room)),
        mail_owner=owner or None,
        owner=parse_owner(owner, _IS_GUEST) if owner else None,
        start_time_ms=now_ms() + round(step.starts_in_seconds * 1000),
        duration_seconds=step.duration_seconds,
        extra_fields=step.extra_fields,
    )
    message = contract.create_message(request, ClientKind(step.client))
    if step.leave_out:
        message.ClearField(step.leave_out)
    return message
