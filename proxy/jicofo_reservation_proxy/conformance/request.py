"""A step of a case → the messages that the kit sends.

The proxy's own code builds the create requests.
"""

from dataclasses import replace
from uuid import NAMESPACE_URL, uuid4, uuid5

from jicofo_reservation_proxy.backends.grpc import contract
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
    return [_create_message(each, room, denied_room) for each in _numbered(step)]


def for_holder(
    message: pb.CreateConferenceRequest, step: Step, room: str
) -> pb.CreateConferenceRequest:
    """Return a create request again, for the holder of a step if the step has one."""
    again = pb.CreateConferenceRequest()
    again.CopyFrom(message)
    _set_hold(again, step, room)
    return again


def delete_messages(
    conference_id: str, step: Step, room: str, denied_room: str
) -> list[pb.DeleteConferenceRequest]:
    """Return the messages that a step sends at the same time to end a conference.

    The messages are withdrawals if the step has a room of its own (`Step.of_room`).
    """
    withdrawn = filled(step.of_room or "", room, denied_room)
    return [delete_message(conference_id, each, room, withdrawn) for each in _numbered(step)]


def delete_message(
    conference_id: str, step: Step, room: str = "", withdrawn: str = ""
) -> pb.DeleteConferenceRequest:
    """Return the message that ends this conference, or the conference of the room `withdrawn`."""
    message = pb.DeleteConferenceRequest(
        conference_id=conference_id, reason=_REASONS[step.reason], room=withdrawn
    )
    message.delete_time.FromMilliseconds(now_ms() - step.over_for_seconds * 1000)
    _set_hold(message, step, room)
    return message


def _numbered(step: Step) -> list[Step]:
    return [
        replace(
            step,
            owner=step.owner.replace("{n}", str(number)),
            holder=step.holder.replace("{n}", str(number)),
        )
        for number in range(step.at_once)
    ]


def _set_hold(
    message: pb.CreateConferenceRequest | pb.DeleteConferenceRequest, step: Step, room: str
) -> None:
    if step.holder:
        # The same name in another room, or in another run of the kit, is another holder.
        message.holder = str(uuid5(NAMESPACE_URL, f"{room}/{step.holder}"))
        message.hold = step.hold


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
    _set_hold(message, step, room)
    return message
