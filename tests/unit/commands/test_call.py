"""The request that `call` sends: the request of the real client (clients.md)."""

from urllib.parse import parse_qsl

import pytest
from jicofo_reservation_proxy.commands.call import Request
from jicofo_reservation_proxy.http.forms import parse_create
from jicofo_reservation_proxy.http.owners import guest_test
from jicofo_reservation_proxy.model import CreateRequest

START = "2048-04-20T17:55:12.000Z"


def form(request: Request) -> list[tuple[str, str]]:
    """Return the fields of a request's form, in their order."""
    assert request.body is not None
    return parse_qsl(request.body, keep_blank_values=True)


def test_the_form_of_jicofo() -> None:
    """Jicofo's form has a duration of -1, and an owner if one is given."""
    request = Request("create", "caf\u00e9", "jicofo", "juliet@example.com", START)
    assert form(request) == [
        ("name", "caf\u00e9"),
        ("mail_owner", "juliet@example.com"),
        ("start_time", START),
        ("duration", "-1"),
    ]
    assert (request.method, request.path) == ("POST", "/conference")
    assert request.headers["User-Agent"].startswith("Apache-HttpClient/")


def test_the_form_of_prosody() -> None:
    """Prosody's form has no duration."""
    request = Request("create", "board", "prosody", start_time=START)
    assert form(request) == [("name", "board"), ("start_time", START)]
    assert request.headers["User-Agent"].startswith("Prosody")


@pytest.mark.parametrize("client", ["jicofo", "prosody"])
def test_the_proxy_accepts_the_form(client: str) -> None:
    """The proxy's own parser accepts the form, also with the default start time."""
    request = Request("create", "board", client)
    assert request.body is not None
    parsed = parse_create(request.headers["Content-Type"], request.body.encode(), guest_test(()))
    assert isinstance(parsed, CreateRequest)


@pytest.mark.parametrize("operation", ["get", "delete"])
def test_an_id_is_escaped_in_the_path(operation: str) -> None:
    """Characters with a meaning in a URL are escaped; a get or delete has no body."""
    request = Request(operation, "default.a/b c?", "prosody")  # type: ignore[arg-type]
    assert request.path == "/conference/default.a/b%20c%3F"
    assert (request.method, request.body) == (operation.upper(), None)
    assert "Content-Type" not in request.headers
