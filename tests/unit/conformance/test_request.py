"""The messages that the kit sends are those that the proxy would send."""

import time
from uuid import UUID

import pytest
from jicofo_reservation_proxy.conformance.case import Step
from jicofo_reservation_proxy.conformance.request import create_messages, delete_message, filled
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb

DENIED = "closed"


def message(**words: object) -> pb.CreateConferenceRequest:
    """Return the one request of a step with these words, in the room "board"."""
    (request,) = create_messages(Step(call="create", **words), "board", DENIED)  # type: ignore[arg-type]
    return request


def test_a_request_is_complete() -> None:
    """Every field that the proxy always sets is set, and Prosody asks."""
    request = message()
    assert str(UUID(request.request_id)) == request.request_id
    assert request.room == pb.Room(raw="board", name="board")
    assert request.owner == pb.Owner(raw="juliet@example.com", user="juliet", domain="example.com")
    assert abs(request.start_time.ToMilliseconds() / 1000 - time.time()) < 60
    assert request.start_time.nanos % 1_000_000 == 0
    assert request.client == pb.CLIENT_PROSODY
    assert not request.HasField("duration")


def test_a_room_is_taken_apart() -> None:
    """The tenant and the name are decoded; raw is not touched."""
    wanted = pb.Room(raw="[acme]caf%c3%a9-board", tenant="acme", name="café-board")
    assert message(room="[acme]caf%c3%a9-{room}").room == wanted


def test_an_owner_may_be_a_guest_or_nobody() -> None:
    """A domain that begins with "guest." is a guest's; no owner is an absent field."""
    assert message(owner="a@guest.example.com").owner.guest
    assert not message(owner="").HasField("owner")


@pytest.mark.parametrize(
    ("client", "number"),
    [
        ("jicofo", pb.CLIENT_JICOFO),
        ("prosody", pb.CLIENT_PROSODY),
        ("unknown", pb.CLIENT_UNSPECIFIED),
    ],
)
def test_a_client_is_named(client: str, number: int) -> None:
    """The word of the case is the value of the enum."""
    assert message(client=client).client == number


def test_times_are_as_the_step_says() -> None:
    """The start is relative to now, the duration whole seconds."""
    request = message(starts_in_seconds=-7200, duration_seconds=3600)
    assert request.duration.seconds == 3600
    assert abs(request.start_time.seconds + 7200 - time.time()) < 60


def test_extra_fields_are_passed_on() -> None:
    """They are sent by name."""
    assert dict(message(extra_fields={"größe": "über 50 %"}).extra_fields) == {"größe": "über 50 %"}


@pytest.mark.parametrize("name", ["room", "request_id", "start_time"])
def test_a_field_is_left_out(name: str) -> None:
    """Only that one is not set."""
    whole = {field.name for field, _ in message().ListFields()}
    assert {field.name for field, _ in message(leave_out=name).ListFields()} == whole - {name}


def test_calls_at_once_are_requests_of_different_people() -> None:
    """`{n}` is the number of the call."""
    step = Step(call="create", at_once=3, owner="user{n}@example.com")
    requests = create_messages(step, "board", DENIED)
    assert [request.owner.user for request in requests] == ["user0", "user1", "user2"]
    assert len({request.request_id for request in requests}) == 3


def test_one_request_may_be_made_several_times_at_once() -> None:
    """All of them are equal."""
    requests = create_messages(Step(call="create", at_once=3, is_one_request=True), "board", DENIED)
    assert [requests[0]] * 3 == requests


@pytest.mark.parametrize(
    ("reason", "number"),
    [
        ("ended", pb.DELETE_REASON_ENDED),
        ("expired", pb.DELETE_REASON_EXPIRED),
        ("unspecified", pb.DELETE_REASON_UNSPECIFIED),
    ],
)
def test_a_deletion_says_why_and_when(reason: str, number: int) -> None:
    """The meeting is over now."""
    request = delete_message("17", Step(call="delete", unknown_id="17", reason=reason))  # type: ignore[arg-type]
    assert (request.conference_id, request.reason) == ("17", number)
    assert abs(request.delete_time.ToMilliseconds() / 1000 - time.time()) < 60


def test_a_deletion_may_come_days_later() -> None:
    """The meeting was over when the step says, not when the call is made."""
    request = delete_message("17", Step(call="delete", of="first", over_for_seconds=86400))
    assert abs(request.delete_time.seconds + 86400 - time.time()) < 60


def test_an_owner_may_be_as_long_as_can_be() -> None:
    """Texts are filled in owners too."""
    assert len(message(owner="{pad}@example.com").owner.raw.encode()) == 1023


@pytest.mark.parametrize("text", ["{room}-{pad}-a", "[acme]{room}é{pad}", "{pad}"])
def test_padding_fills_a_name_up(text: str) -> None:
    """The name has the 1023 bytes that it may have, whatever else is in it."""
    name = filled(text, "board", DENIED)
    assert len(name.encode()) == 1023
    assert name.startswith(text.partition("{pad}")[0].replace("{room}", "board"))
    assert name.endswith(text.partition("{pad}")[2])


def test_rooms_are_put_into_texts() -> None:
    """Both rooms have a word; a text without one stays as it is."""
    assert filled("{room} and {denied}", "board", DENIED) == "board and closed"
    assert filled("100%-{x}", "board", DENIED) == "100%-{x}"
