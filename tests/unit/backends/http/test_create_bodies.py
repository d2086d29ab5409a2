"""The body of a create, as a form and as JSON."""

import json
from dataclasses import replace
from urllib.parse import parse_qsl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jicofo_reservation_proxy.backends.http.create_bodies import FORM, JSON, create_body
from jicofo_reservation_proxy.model import CreateRequest
from jicofo_reservation_proxy.settings.schema import Http

from .requests import START, asking, backend

JSON_HTTP = Http(body="json")


def fields(http: Http, request: CreateRequest) -> dict[str, object]:
    """Return the fields of a body, read by an independent reader; no field comes twice."""
    content_type, body = create_body(http, request)
    if http.body == "json":
        assert content_type == "application/json"
        pairs = json.loads(body, object_pairs_hook=list)
    else:
        assert content_type == "application/x-www-form-urlencoded; charset=UTF-8"
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, strict_parsing=True)
    assert len(dict(pairs)) == len(pairs), pairs
    return dict(pairs)


def test_the_form_of_the_handbook() -> None:
    """Byte for byte what Jitsi's handbook says."""
    content_type, body = create_body(Http(), asking())
    assert content_type == FORM
    assert body == (
        b"name=%5Bacme%5Dcaf%25c3%25a9&mail_owner=juliet%40example.com"
        b"&start_time=2048-04-20T17%3A55%3A12.345Z&duration=3600"
    )


def test_the_json_of_the_handbook() -> None:
    """The same fields; the duration is a number, and the body is ASCII."""
    content_type, body = create_body(JSON_HTTP, asking("caf\u00e9"))
    assert content_type == JSON
    assert body == (
        b'{"name": "caf\\u00e9", "mail_owner": "juliet@example.com", '
        b'"start_time": "2048-04-20T17:55:12.345Z", "duration": 3600}'
    )


@pytest.mark.parametrize("http", [Http(), JSON_HTTP])
def test_an_owner_that_is_missing_or_empty(http: Http) -> None:
    """A missing owner is left out, and an empty one is sent, as the client did."""
    assert "mail_owner" not in fields(http, asking(owner=None))
    assert fields(http, asking(owner=""))["mail_owner"] == ""


def test_no_limit() -> None:
    """A request without a limit has the duration -1, as Jicofo sends it."""
    request = asking()._replace(duration_seconds=None)
    assert fields(Http(), request)["duration"] == "-1"
    assert fields(JSON_HTTP, request)["duration"] == -1


@pytest.mark.parametrize("body", ["form", "json"])
def test_other_names_and_constant_fields(body: str) -> None:
    """Fields may have other names, `""` leaves one out, and constant fields come along."""
    http = backend(
        body=body,
        request_fields={"name": "room_name", "mail_owner": "", "duration": ""},
        extra_fields={"site": "blue & green", "duration": "1"},
    ).http
    assert http
    assert fields(http, asking("board")) == {
        "room_name": "board",
        "start_time": START,
        "site": "blue & green",
        "duration": "1",
    }


def test_fields_of_the_client() -> None:
    """Other fields of the client go along, and replace none of the proxy and of the settings."""
    http = replace(Http(), extra_fields=backend(extra_fields={"site": "blue"}).http.extra_fields)  # type: ignore[union-attr]
    request = asking("board")._replace(
        extra_fields={"site": "red", "name": "other", "duration": "9", "x": "1", "": "2"}
    )
    assert fields(http, request) == {
        "name": "board",
        "mail_owner": "juliet@example.com",
        "start_time": START,
        "duration": "3600",
        "site": "blue",
        "x": "1",
    }


@pytest.mark.parametrize(
    "name",
    [
        "mail.owner",
        "mail owner",
        "mail_owner[]",
        " name",
        "name\0x",
        "NAME",
        "Mail_Owner",
        "",
        "\u017fite",
    ],
)
def test_no_field_of_the_client_replaces_another_one_at_the_server(name: str) -> None:
    """PHP reads some names as others, and Go and .NET ignore the case in JSON."""
    for http in (Http(), JSON_HTTP):
        asked = fields(http, asking("board")._replace(extra_fields={name: "x", "a-b_1": "y"}))
        assert asked == fields(http, asking("board")) | {"a-b_1": "y"}


def test_no_other_field_is_taken_for_the_owner() -> None:
    """A field of the client with the name that the settings give the owner is not the owner."""
    http = backend(request_fields={"mail_owner": "owner"}).http
    assert http
    request = asking(owner=None)._replace(extra_fields={"owner": "romeo@example.com", "x": "1"})
    assert fields(http, request).keys() == {"name", "start_time", "duration", "x"}


unicode_texts = st.text(st.characters(codec="utf-8"), max_size=30)


@given(
    room=unicode_texts,
    owner=st.none() | unicode_texts,
    extra=st.dictionaries(
        st.from_regex(r"x[a-z0-9_-]{0,9}", fullmatch=True), unicode_texts, max_size=3
    ),
    http=st.sampled_from([Http(), JSON_HTTP]),
)
@settings(max_examples=150)
def test_any_text_comes_through(
    room: str, owner: str | None, extra: dict[str, str], http: Http
) -> None:
    """An independent reader finds exactly the room, the owner and the other fields."""
    request = asking(room, owner)._replace(extra_fields=extra)
    found = fields(http, request)
    own = {"name": room, "mail_owner": owner, "start_time": START, "duration": found["duration"]}
    assert found == extra | {key: value for key, value in own.items() if value is not None}
    assert create_body(http, request)[1].isascii()
