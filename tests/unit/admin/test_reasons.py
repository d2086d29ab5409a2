"""The reasons of outcomes."""

import pytest
from jicofo_reservation_proxy.admin import reasons
from jicofo_reservation_proxy.admin.reasons import reason_of, reason_of_fault
from jicofo_reservation_proxy.http.recent_requests import SeenRequest
from jicofo_reservation_proxy.model import (
    NO_ROUTE,
    OTHER_OWNER,
    OVER,
    SWITCHED_OFF,
    UNSAFE_NAME,
    BadInput,
    Conference,
    Deleted,
    Denied,
    Fault,
    FaultKind,
    NotFound,
    Reservation,
    Taken,
)
from jicofo_reservation_proxy.reservations import context
from jicofo_reservation_proxy.reservations.context import Handled

CONFERENCE = Conference("7", "board", "", 0, None)


def _reason(reply: object, operation: str = "create", **values: object) -> str:
    shows_texts = bool(values.pop("shows_texts", True))
    handled = Handled(reply, "default", "OK", str(values.get("source", "")))
    seen = SeenRequest(operation, "prosody", {}, 1.0, 0.5, handled, 200, "c0ffee")
    return reason_of(seen, shows_texts=shows_texts)


def test_every_kind_of_fault_has_a_reason() -> None:
    """The table is complete, and each reason is a sentence of its own."""
    assert set(reasons.FAULT_REASONS) == set(FaultKind)
    assert len(set(reasons.FAULT_REASONS.values())) == len(FaultKind)
    assert all(text.endswith(".") for text in reasons.FAULT_REASONS.values())


def test_every_source_and_every_denial_of_the_proxy_has_a_reason() -> None:
    """The tables know each source of an answer, and each denial by the proxy itself."""
    assert set(reasons.SOURCE_REASONS) == {context.FROM_LEDGER, context.FROM_FALLBACK}
    own = {NO_ROUTE, OTHER_OWNER, OVER, SWITCHED_OFF, UNSAFE_NAME}
    assert set(reasons.DENIAL_REASONS) == own


@pytest.mark.parametrize(
    ("operation", "reply"),
    [
        ("create", Reservation(7, CONFERENCE)),
        ("create", Taken(7)),
        ("create", Denied("Not today", "calendar")),
        ("create", Denied("", OVER)),
        ("create", BadInput(400, "no name")),
        ("create", Fault(FaultKind.SLOW, "DEADLINE_EXCEEDED", "")),
        ("get", Reservation(7, CONFERENCE)),
        ("get", NotFound()),
        ("get", Fault(FaultKind.STATE, "", "no space")),
        ("delete", Deleted()),
        ("delete", Fault(FaultKind.STATE, "", "no space")),
    ],
)
def test_every_reply_has_a_reason(operation: str, reply: object) -> None:
    """Each reply of each operation has a reason that is one sentence."""
    assert _reason(reply, operation).endswith((".", ")"))


def test_an_answer_of_an_http_server_is_named() -> None:
    """If an HTTP server answered in place of the backend, the reason says so."""
    detail = "Received http2 header with status: 404"
    found = reason_of_fault(Fault(FaultKind.BROKEN, "UNIMPLEMENTED", detail))
    assert found.startswith("An HTTP server answered 404 in place of the gRPC backend")


def test_texts_of_others_are_left_out_on_request() -> None:
    """With hidden texts, no word of the backend or of the client is shown."""
    for reply in (
        Denied("board is closed", "x"),
        BadInput(400, "board"),
        Fault(FaultKind.BROKEN, "INTERNAL", "board"),
    ):
        assert "board" in _reason(reply)
        assert "board" not in _reason(reply, shows_texts=False)


def test_a_request_without_a_reply_is_in_flight_or_ended_in_a_bug() -> None:
    """Without a reply, the status says which of both it is."""
    seen = SeenRequest("get", "prosody", {}, 1.0, None, None, 0, "c0ffee")
    assert reason_of(seen) == reasons.NO_ANSWER_YET
    assert "bug" in reason_of(seen._replace(status=500))


@pytest.mark.parametrize(
    ("kind", "code", "sentence"),
    [
        (FaultKind.BROKEN, "301", "put the URL that it leads to into the target"),
        (FaultKind.BROKEN, "404", "no such endpoint: check the path in the target"),
        (FaultKind.BROKEN, "405", "no such endpoint"),
        (FaultKind.BROKEN, "500", "see its log under the same incident"),
        (FaultKind.UNAUTHORIZED, "403", "does not accept the credentials"),
    ],
)
def test_the_reason_of_a_fault_of_an_http_backend(
    kind: FaultKind, code: str, sentence: str
) -> None:
    """The status of the answer gives a more exact reason than the kind, if there is one."""
    reason = reason_of_fault(Fault(kind, code, "the answer has nothing"))
    assert sentence in reason
    assert reason.endswith(f"({code}: the answer has nothing)")
    assert "gRPC" not in reason
