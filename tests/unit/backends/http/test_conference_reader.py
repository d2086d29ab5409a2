"""The conference in an answer: missing fields, other names, and what is refused."""

import json
import logging
from typing import Any

import pytest
from jicofo_reservation_proxy.backends.conference_rules import ContractBreach
from jicofo_reservation_proxy.model import Conference

from .requests import START, START_MS, asking, reader

WHOLE = {
    "id": 7,
    "name": "board",
    "mail_owner": "juliet@example.com",
    "start_time": START,
    "duration": 3600,
}
READ = Conference("7", "board", "juliet@example.com", START_MS, 3600)


def granted(fields: dict[str, Any], **http: object) -> Conference:
    """Return the conference in the answer to a create."""
    return reader(**http).granted(fields, asking())


def refused(fields: dict[str, Any], **http: object) -> ContractBreach:
    """Return the error of an answer to a create that is refused."""
    with pytest.raises(ContractBreach) as caught:
        granted(fields, **http)
    return caught.value


def test_the_conference_of_the_handbook() -> None:
    """The fields of the handbook."""
    assert granted(WHOLE) == READ
    assert reader().existing(WHOLE, "7") == READ


@pytest.mark.parametrize(
    ("value", "conference_id"),
    [
        (7, "7"),
        ("7", "7"),
        (7.0, "7"),
        ("32b70e57-b26c-8a6c-8f6b-535dfdbc43bc", "32b70e57-b26c-8a6c-8f6b-535dfdbc43bc"),
        ("order/7", "order/7"),
        ("caf\u00e9", "caf\u00e9"),
        ("a b?c#d&e=f%2fg", "a b?c#d&e=f%2fg"),
        ("x" * 255, "x" * 255),
    ],
)
def test_ids(value: object, conference_id: str) -> None:
    """Numbers, texts, UUIDs, and whatever can be escaped in a path."""
    assert granted(WHOLE | {"id": value}).id == conference_id


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        True,
        [7],
        {"id": 7},
        "x" * 256,
        "\u00e9" * 128,
        ".",
        "..",
        "a/../b",
        "..\\x",
        "/",
        "a//b",
        "a/",
        "%2e%2e",
        "a%2f%2e%2e%2fb",
        "\ud800",
        float("inf"),
    ],
)
def test_ids_that_are_refused(value: object) -> None:
    """An answer without an id, or with an id that would lead to another path."""
    assert refused(WHOLE | {"id": value}).granted_id == ""
    fields = {key: WHOLE[key] for key in WHOLE if key != "id"}
    assert refused(fields).granted_id == ""


def test_an_unusable_grant_names_its_conference() -> None:
    """The proxy ends a conference that no client gets, so the error has its id."""
    assert refused(WHOLE | {"start_time": "soon"}).granted_id == "7"
    assert refused(WHOLE | {"pin": [1]}).granted_id == "7"


def test_everything_but_the_id_may_be_missing_from_a_grant() -> None:
    """The start time and the owner are then those of the request, and the name is unknown."""
    read = Conference("7", "", "juliet@example.com", START_MS, None)
    assert granted({"id": 7}) == read
    nulls = dict.fromkeys(("name", "mail_owner", "start_time", "duration", "password", "url"))
    assert granted({"id": 7, **nulls}) == read
    assert granted({"id": 7, "start_time": "", "duration": ""}) == read


def test_an_existing_conference_has_a_start_time() -> None:
    """Nobody knows when a conference began whose answer does not say it."""
    with pytest.raises(ContractBreach, match="wanted a start_time, got none"):
        reader().existing({"id": 7}, "7")
    with pytest.raises(ContractBreach, match="wanted a start_time, got none"):
        reader().existing({"id": 7, "start_time": ""}, "7")


def test_an_existing_conference_has_the_id_that_was_asked_for() -> None:
    """An answer may leave the id out. Another id is another conference."""
    fields = {"start_time": START, "duration": "60"}
    assert reader().existing(fields, "7") == Conference("7", "", "", START_MS, 60)
    with pytest.raises(ContractBreach, match="wanted the conference '7', got '8'"):
        reader().existing(fields | {"id": 8}, "7")


def test_other_places_and_minutes() -> None:
    """Each value may be at another place, and `""` means that there is none."""
    places = {
        "id": "data.booking.id",
        "name": "data.room",
        "mail_owner": "",
        "start_time": "data.times.0",
        "duration": "data.minutes",
        "max_occupants": "limits.people",
        "lobby": "limits.lobby",
        "password": "secrets.word",
        "pin": "secrets.pin",
        "url": "data.link",
        "sip_id": "data.sip",
    }
    fields = {
        "id": 1,
        "mail_owner": "nobody",
        "data": {
            "booking": {"id": 7},
            "room": "board",
            "times": [START],
            "minutes": "90",
            "link": "https://example.com/7",
            "sip": "12",
        },
        "limits": {"people": "5", "lobby": "true"},
        "secrets": {"word": "caf\u00e9", "pin": 1234},
    }
    assert granted(fields, answer_fields=places, duration_unit="minutes") == Conference(
        "7",
        "board",
        "juliet@example.com",
        START_MS,
        5400,
        max_occupants=5,
        lobby=True,
        password="caf\u00e9",
        pin="1234",
        url="https://example.com/7",
        sip_id=12,
    )
    assert refused(WHOLE, answer_fields=places).granted_id == ""


def test_the_name_of_the_room_as_the_id() -> None:
    """With `id = ""` the answers have no id, and the room is asked for by its name."""
    found = reader(answer_fields={"id": ""})
    assert found.granted({"id": 7}, asking()).id == "[acme]caf%c3%a9"
    assert found.conflict_id({}, asking()) == "[acme]caf%c3%a9"
    assert found.existing({"id": 8, "start_time": START}, "7").id == "7"
    with pytest.raises(ContractBreach, match="an id that can be part of a path"):
        found.granted({}, asking(".."))


@pytest.mark.parametrize(
    ("fields", "conference_id"),
    [
        ({"conflict_id": 7}, "7"),
        ({"conflict_id": "7", "id": 8}, "7"),
        (WHOLE, "7"),
        ({"conflict_id": None, "id": 8}, "8"),
        ({"conflict_id": "", "id": 8}, "8"),
        ({"message": "taken"}, ""),
        ({}, ""),
        ({"conflict_id": [7]}, ""),
        ({"conflict_id": ".."}, ""),
        ({"conflict_id": "x" * 256}, ""),
        ({"id": True}, ""),
    ],
)
def test_the_id_in_a_conflict(fields: dict[str, Any], conference_id: str) -> None:
    """A 409 names the conference by `conflict_id` or `id`, or does not name it."""
    assert reader().conflict_id(fields, asking()) == conference_id


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"name": ["board"]}, "wanted a name that is a text, got an array"),
        ({"name": "x" * 3072}, "wanted a name of at most 3071 bytes, got 3072 bytes"),
        ({"mail_owner": True}, "wanted a mail_owner that is a text, got true or false"),
        (
            {"start_time": "soon"},
            "wanted a start_time such as 2048-04-20T17:55:12.000Z, got 'soon'",
        ),
        ({"duration": "1h"}, "wanted a duration that is a number, got '1h'"),
        ({"password": {"a": "hunter2"}}, "wanted a password that is a text, got an object"),
        (
            {"password": "hunter2\n"},
            (
                "wanted a password of at most 255 bytes without control characters, "
                "got a control character"
            ),
        ),
        (
            {"pin": "1" * 256},
            "wanted a pin of at most 255 bytes without control characters, got 256 bytes",
        ),
    ],
)
def test_values_that_are_refused(change: dict[str, Any], why: str) -> None:
    """A corrected value could open a room that should stay closed. No secret is shown."""
    assert str(refused(WHOLE | change)) == why


@pytest.mark.parametrize(
    "change",
    [
        {"max_occupants": 0},
        {"max_occupants": "many"},
        {"lobby": "maybe"},
        {"sip_id": -1},
        {"sip_id": [1]},
        {"url": ""},
        {"url": 7},
        {"url": "https://example.com/\n"},
        {"url": "https://example.com/\ud800"},
        {"url": "https://example.com/" + "x" * 2048},
        {"password": ""},
        {"pin": None},
        {"extra": {"deep": [1, 2]}},
    ],
)
def test_values_that_are_left_out(change: dict[str, Any]) -> None:
    """What a client cannot use, and what opens no room by its absence."""
    assert granted(WHOLE | change) == READ


def test_a_time_without_a_zone_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """The first such time of each backend is a warning, which shows it."""
    found = reader()
    with caplog.at_level(logging.WARNING):
        found.granted(WHOLE, asking())
        assert not caplog.records
        for _ in range(3):
            found.granted(WHOLE | {"start_time": "2048-04-20T17:55:12"}, asking())
    (record,) = caplog.records
    assert record.getMessage() == (
        "backends.default answers times without a zone, such as '2048-04-20T17:55:12'; the proxy "
        "takes them as UTC"
    )


def test_values_that_are_nested_too_deeply() -> None:
    """An array in the place of any value is a breach at every depth that the parser can read."""
    for depth in range(850, 1100):
        try:
            deep = json.loads("[" * depth + "]" * depth)
        except RecursionError:
            break
        for key in WHOLE:
            refused(WHOLE | {key: deep})
    else:
        raise AssertionError("the parser has a limit")
