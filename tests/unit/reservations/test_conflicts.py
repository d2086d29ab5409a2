"""Conflicts: a room that a conference already holds."""

import pytest
from jicofo_reservation_proxy.http.dialects import HANDBOOK, JICOFO, PROSODY
from jicofo_reservation_proxy.http.forms import parse_room
from jicofo_reservation_proxy.http.owners import guest_test, parse_owner
from jicofo_reservation_proxy.model import Conference, CreateRequest, Dialect
from jicofo_reservation_proxy.reservations.conflicts import may_share

START_MS = 2_471_018_112_345


@pytest.mark.parametrize(
    ("dialect", "sent", "on_record", "may"),
    [
        (JICOFO, "juliet@example.com", "juliet@example.com", True),
        (JICOFO, "juliet@example.com", "Juliet@Example.COM", True),
        (JICOFO, "\u00c9ve@example.com", "\u00e9ve@example.com", True),
        (JICOFO, "juliet@example.com", "romeo@example.com", False),
        (JICOFO, "juliet@example.com", "juliet@example.org", False),
        (JICOFO, "juliet@example.com", "", False),
        (JICOFO, None, "juliet@example.com", True),
        (JICOFO, None, "", True),
        (JICOFO, "", "juliet@example.com", True),
        (HANDBOOK, "juliet@example.com", "JULIET@example.com", True),
        (HANDBOOK, "juliet@example.com", "romeo@example.com", False),
        (HANDBOOK, None, "romeo@example.com", True),
        (PROSODY, "juliet@example.com", "juliet@example.com", True),
        (PROSODY, "x7@guest.example.com", "y8@guest.example.com", True),
        (PROSODY, None, "y8@guest.example.com", True),
        (PROSODY, "", "", True),
    ],
)
def test_who_may_have_the_conference_that_holds_a_room(
    dialect: Dialect, sent: str | None, on_record: str, may: bool
) -> None:
    """If the owner of a request is a person, the request shares only that person's conferences."""
    existing = Conference("7", "board", on_record, START_MS, duration_seconds=3600)
    request = CreateRequest(
        request_id="32b70e57-b26c-8a6c-8f6b-535dfdbc43bc",
        room=parse_room("board"),
        mail_owner=sent,
        owner=parse_owner(sent, guest_test(())) if sent else None,
        start_time_ms=START_MS,
        duration_seconds=None,
    )
    assert may_share(dialect, request, existing) is may
