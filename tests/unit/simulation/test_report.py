"""The report, for people and for programs."""

import json
from typing import Any

import pytest
from jicofo_reservation_proxy.simulation.meetings import Meeting, Plan, room_node
from jicofo_reservation_proxy.simulation.outcomes import Remark
from jicofo_reservation_proxy.simulation.report import MAX_LINES, Report


def meeting(number: int = 1, **values: Any) -> Meeting:  # noqa: ANN401 - as of Meeting
    """Return a meeting without a problem: its room `r-N` opened after N ms."""
    well: dict[str, Any] = {"is_opened": True, "is_closed": True}
    return Meeting(f"r-{number}", 1, number / 1000, **(well | values))


def unopened(number: int, seen: str, **values: Any) -> Meeting:  # noqa: ANN401 - as of Meeting
    """Return a meeting whose room did not open."""
    return meeting(number, is_opened=False, is_closed=False, seen=seen, **values)


def report(*meetings: Meeting, rooms: int | None = None, **values: Any) -> Report:  # noqa: ANN401
    """Return the report on these meetings."""
    names = [f"r-{number + 1}" for number in range(len(meetings) if rooms is None else rooms)]
    plan = Plan(names, 1, 1.0, "juliet@example.com")
    return Report("jicofo", "127.0.0.1:7777", plan, meetings, 2.04, **values)


def test_the_report_of_a_good_run() -> None:
    """The report has the counts, one sentence, and times."""
    good = report(*(meeting(number) for number in range(1, 101)))
    assert good.is_all_well
    assert good.text() == (
        "jicofo at 127.0.0.1:7777: 100 rooms, open for 1 s\n\n"
        "openings  opened  refused  failed  closed  repeats\n"
        "     100     100        0       0     100        0\n\n"
        "Every user saw an open room.\n\n"
        "Opening took 50.5 ms (median), 95 ms (95 %), 100 ms (slowest).\n"
        "The run took 2.0 s."
    )


def test_the_report_of_a_bad_run() -> None:
    """The report has each message with its count, the most frequent first, and one room."""
    bad = report(
        unopened(1, '403, "No."', is_refused=True),
        unopened(2, '503, "Later. (incident a1)"', repeats=3),
        unopened(3, '503, "Later. (incident b2)"'),
        meeting(4, is_closed=False, remarks=(Remark("a DELETE went wrong", "'x'"),)),
    )
    assert not bad.is_all_well
    assert bad.text() == (
        "jicofo at 127.0.0.1:7777: 4 rooms, open for 1 s\n\n"
        "openings  opened  refused  failed  closed  repeats\n"
        "       4       1        1       2       0        3\n\n"
        "What users saw instead of an open room:\n"
        '    2 x 503, "Later. (incident …)" (for example room r-2, incident a1)\n'
        '    1 x 403, "No." (for example room r-1)\n\n'
        "Problems that users did not see:\n"
        "    1 x a DELETE went wrong (for example room r-4, got 'x')\n\n"
        "Opening took 4 ms (median), 4 ms (95 %), 4 ms (slowest).\n"
        "The run took 2.0 s."
    )


def test_json_has_the_same_and_every_meeting() -> None:
    """The JSON has the counts, the messages, the times and every meeting."""
    fields = json.loads(report(meeting(1), unopened(2, "x", is_refused=True)).json())
    assert fields["client"] == "jicofo"
    assert (fields["openings"], fields["opened"], fields["refused"]) == (2, 1, 1)
    assert fields["seen"] == [{"text": "x", "count": 1, "room": "r-2", "detail": ""}]
    assert fields["wrong"] == []
    assert fields["opening_ms"] == {"median": 1.0, "percent_95": 1.0, "slowest": 1.0}
    assert [meeting["room"] for meeting in fields["meetings"]] == ["r-1", "r-2"]
    assert fields["is_all_well"] is False


def test_an_interrupted_run_is_not_all_well() -> None:
    """A run is not all well if some planned rooms were never opened."""
    interrupted = report(meeting(1), rooms=5, is_interrupted=True)
    assert not interrupted.is_all_well
    assert "The run was interrupted" in interrupted.text()
    empty = report(rooms=5, is_interrupted=True)
    assert empty.opening_ms is None
    assert "Opening took" not in empty.text()
    assert "Every user" not in empty.text()


@pytest.mark.parametrize(("extra", "words"), [(0, False), (1, True), (30, True)])
def test_the_list_of_messages_is_bounded(extra: int, words: bool) -> None:
    """The text report lists the first messages; JSON lists all of them."""
    bad = report(*(unopened(number, f"text {number}") for number in range(MAX_LINES + extra)))
    assert bad.text().count(" x text ") == MAX_LINES
    assert (f"and {extra} others" in bad.text()) is words
    assert len(json.loads(bad.json())["seen"]) == MAX_LINES + extra


def test_a_server_cannot_send_escape_sequences_to_the_terminal() -> None:
    """The report replaces control characters and shortens a long message."""
    text = report(unopened(1, "\x1b[2Jhello\u202e" + "x" * 1000)).text()
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "hello" in text
    assert "x" * 400 not in text


@pytest.mark.parametrize(
    ("name", "tenant", "node"),
    [
        ("Board-1", None, "board-1"),
        ("Café x", None, "caf%c3%a9%20x"),
        ("a", "Acme Ö", "[acme%20%c3%b6]a"),
    ],
)
def test_a_room_is_named_as_jitsi_names_it(name: str, tenant: str | None, node: str) -> None:
    """A room's node is lower case and percent-encoded, with the tenant in brackets."""
    assert room_node(name, tenant) == node
