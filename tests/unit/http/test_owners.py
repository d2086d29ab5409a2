"""Guests: owners who have not signed in."""

import pytest
from jicofo_reservation_proxy.http.forms import parse_create
from jicofo_reservation_proxy.http.owners import guest_test, parse_owner
from jicofo_reservation_proxy.model import CreateRequest


@pytest.mark.parametrize(
    ("domains", "owner", "guest"),
    [
        (["guest.*"], "x@guest.example.com", True),
        (["guest.*"], "x@GUEST.example.com", True),
        (["GUEST.*"], "x@guest.example.com", True),
        (["guest.*"], "x@example.com", False),
        (["guest.*"], "x@myguest.example.com", False),
        (["guest.*"], "guest.x@example.com", False),
        (["guest.*"], "guest.example.com", False),
        (["guest"], "x@guest.example.com", False),
        (["a.example", "b.example"], "x@b.example", True),
        (["a.example", "b.example"], "x@a.example.b.example", False),
        (["a?.example"], "x@ab.example", True),
        (["a[bc].example"], "x@ad.example", False),
        (["a.example"], "x@aXexample", False),
        (["*"], "x", True),
        ([""], "x", True),
        ([""], "x@a.example", False),
        ([], "x@guest.example.com", False),
        ([], "x", False),
    ],
)
def test_guests(domains: list[str], owner: str, guest: bool) -> None:
    """An owner is a guest if the whole domain matches one of the globs, in any letter case."""
    assert parse_owner(owner, guest_test(domains)).is_guest is guest


@pytest.mark.parametrize(("domain", "guest"), [("guest.example.com", True), ("example.com", False)])
def test_a_request_says_whether_its_owner_is_a_guest(domain: str, *, guest: bool) -> None:
    """The request marks its owner as a guest according to the given domains."""
    body = f"name=board&mail_owner=x%40{domain}&start_time=2048-04-20T17:55:12.000Z".encode()
    request = parse_create("application/x-www-form-urlencoded", body, guest_test(["guest.*"]))
    assert isinstance(request, CreateRequest)
    assert request.owner
    assert request.owner.is_guest is guest
