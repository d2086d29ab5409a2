"""The kit sends the same messages as the proxy."""

import time
from uuid import UUID

import pytest
from jicofo_reservation_proxy.conformance.case import Step
from jicofo_reservation_proxy.conformance.request import create_messages, delete_message, filled
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb

DENIED = "closed"


def message(**words: object) -> pb.CreateConferenceRequest:
    """Return the only request of a step with these keys, for the room "board"."""
    (request,) = create_messages(Step(call="create", **words), "board", DENIED)  # type: ignore[arg-type]
    return request


def test_a_request_is_complete() -> None:
    """A request has every field that the proxy always sets. By default, the client is Prosody."""
    request = message()
    assert str(UUID(request.request_id)) == request.request_id
    assert request.room == pb.Room(raw="board", name="board")
    assert request.owner == pb.Owner(raw="juliet@example.com", user="juliet", domain="example.com")
    assert abs(request.start_time.ToMilliseconds() / 1000 - time.time()) < 60
    assert request.start_time.nanos % 1_000_000 == 0
    assert request.client == pb.CLIENT_PROSODY
    assert not request.HasField("duration")


def test_a_room_has_its_tenant_and_name() -> None:
    """The tenant and the name are decoded; raw is unchanged."""
    wanted = pb.Room(raw="[acme]caf%c3%a9-board", tenant="acme", name="café-board")
    assert message(room="[acme]caf%c3%a9-{room}").room == wanted


def test_an_owner_may_be_a_guest_or_absent() -> None:
    """An owner in a domain that begins with "guest." is a guest. An empty owner is left out."""
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
def test_a_request_names_its_client(client: str, number: int) -> None:
    """The key `client` of the step sets the client of the request."""
    assert message(client=client).client == number


def test_times_come_from_the_step() -> None:
    """The start is relative to now. The duration is in whole seconds."""
    request = message(starts_in_seconds=-7200, duration_seconds=3600)
    assert request.duration.seconds == 3600
    assert abs(request.start_time.seconds + 7200 - time.time()) < 60


def test_extra_fields_are_sent() -> None:
    """The request contains the extra fields of the step, with their names and values."""
    assert dict(message(extra_fields={"größe": "über 50 %"}).extra_fields) == {"größe": "über 50 %"}


@pytest.mark.parametrize("name", ["room", "request_id", "start_time"])
def test_a_field_is_left_out(name: str) -> None:
    """A request with `leave_out` has all fields except that field."""
    whole = {field.name for field, _ in message().ListFields()}
    assert {field.name for field, _ in message(leave_out=name).ListFields()} == whole - {name}


def test_calls_at_the_same_time_are_different_requests() -> None:
    """Each call has a request_id of its own, and `{n}` is the number of the call."""
    step = Step(call="create", at_once=3, owner="user{n}@example.com")
    requests = create_messages(step, "board", DENIED)
    assert [request.owner.user for request in requests] == ["user0", "user1", "user2"]
    assert len({request.request_id for request in requests}) == 3


def test_one_request_may_be_sent_several_times_at_the_same_time() -> None:
    """With `is_one_request`, all requests are equal."""
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
def test_a_deletion_has_a_reason_and_a_time(reason: str, number: int) -> None:
    """A deletion has the reason of its step. By default, its delete_time is now."""
    request = delete_message("17", Step(call="delete", unknown_id="17", reason=reason))  # type: ignore[arg-type]
    assert (request.conference_id, request.reason) == ("17", number)
    assert abs(request.delete_time.ToMilliseconds() / 1000 - time.time()) < 60


def test_a_deletion_may_arrive_days_later() -> None:
    """The delete_time is `over_for_seconds` before the time of the call."""
    request = delete_message("17", Step(call="delete", of="first", over_for_seconds=86400))
    assert abs(request.delete_time.seconds + 86400 - time.time()) < 60


def test_an_owner_may_have_the_maximum_length() -> None:
    """The placeholder `{pad}` works in an owner too."""
    assert len(message(owner="{pad}@example.com").owner.raw.encode()) == 1023


@pytest.mark.parametrize("text", ["{room}-{pad}-a", "[acme]{room}é{pad}", "{pad}"])
def test_padding_fills_a_name_to_the_maximum_length(text: str) -> None:
    """`{pad}` makes a text 1023 bytes long, together with the rest of the text."""
    name = filled(text, "board", DENIED)
    assert len(name.encode()) == 1023
    assert name.startswith(text.partition("{pad}")[0].replace("{room}", "board"))
    assert name.endswith(text.partition("{pad}")[2])


def test_placeholders_of_rooms_are_replaced() -> None:
    """A text without a known placeholder is unchanged."""
    assert filled("{room} and {denied}", "board", DENIED) == "board and closed"
    assert filled("100%-{x}", "board", DENIED) == "100%-{x}"
