"""Which backend a room belongs to."""

import pytest
from jicofo_reservation_proxy.http.forms import parse_room
from jicofo_reservation_proxy.reservations.routing import Router
from jicofo_reservation_proxy.settings.schema import Regex, Route


def backend_of(room: str, *routes: Route, backends: tuple[str, ...] = ("a", "b")) -> str | None:
    """Return the backend of a room, as sent, under these routes."""
    return Router(routes, backends).backend_of(parse_room(room))


@pytest.mark.parametrize(
    ("route", "matching", "others"),
    [
        (Route(backend="a"), ["board", "[acme]board"], []),
        (Route(room="board", backend="a"), ["board", "BOARD", "[acme]board"], ["boards", "aboard"]),
        (Route(room="Board", backend="a"), ["board"], []),
        (Route(room="board-*", backend="a"), ["board-", "board-7"], ["board", "x-board-7"]),
        (Route(room="board-?", backend="a"), ["board-7"], ["board-", "board-77"]),
        (Route(room="board-[ab]", backend="a"), ["board-a", "board-B"], ["board-c"]),
        (Route(room="a.b", backend="a"), ["a.b"], ["axb"]),
        (Route(room="caf\u00e9", backend="a"), ["caf%c3%a9", "caf%C3%89"], ["caf%e9"]),
        (Route(tenant="acme", backend="a"), ["[acme]x", "[ACME]x"], ["x", "acme", "[acmes]x"]),
        (Route(tenant="a*", backend="a"), ["[acme]x"], ["x", "[bacme]x"]),
        (Route(tenant="*", backend="a"), ["x", "[acme]x"], []),
        (Route(tenant="?*", backend="a"), ["[acme]x"], ["x"]),
        (Route(tenant="", backend="a"), ["x"], ["[acme]x"]),
        (Route(room="", backend="a"), [], ["x", "[acme]x"]),
        (Route(tenant="acme", room="x", backend="a"), ["[acme]x"], ["x", "[acme]y", "[b]x"]),
        (
            Route(room_regex=Regex("board-[0-9]+"), backend="a"),
            ["board-42", "BOARD-7"],
            ["board-x", "board-7x", "xboard-7"],
        ),
        (Route(room_regex=Regex("a|bc"), backend="a"), ["a", "bc"], ["abc", "ac"]),
        (Route(tenant_regex=Regex("a.*e"), backend="a"), ["[acme]x", "[ACME]x"], ["[acmes]x", "x"]),
        (Route(tenant_regex=Regex(""), backend="a"), ["x"], ["[acme]x"]),
        (Route(tenant_regex=Regex("|acme"), room="x", backend="a"), ["x", "[acme]x"], ["[b]x"]),
    ],
)
def test_patterns(route: Route, matching: list[str], others: list[str]) -> None:
    """Globs and regular expressions match the whole decoded text, and ignore case."""
    assert {room: backend_of(room, route) for room in matching} == dict.fromkeys(matching, "a")
    assert {room: backend_of(room, route) for room in others} == dict.fromkeys(others)


def test_a_bad_expression_takes_no_time() -> None:
    """An expression for which a backtracking engine needs exponential time is matched at once.

    Python's own `re` needs 4 s for 26 letters; here the test would not end.
    """
    route = Route(room_regex=Regex(r"(\w+-?)+\.board"), backend="a")
    assert backend_of("a" * 1000, route) is None
    assert backend_of("a" * 1000 + ".board", route) == "a"


def test_a_bad_glob_takes_no_time() -> None:
    """A glob with many stars is matched at once too."""
    assert backend_of("a" * 1000, Route(room="a*" * 30 + "b", backend="a")) is None


def test_the_first_match_wins() -> None:
    """Routes are tried in their order."""
    routes = [Route(room="board", backend="a"), Route(backend="b"), Route(room="x", backend="a")]
    assert backend_of("board", *routes) == "a"
    assert backend_of("x", *routes) == "b"


@pytest.mark.parametrize(
    ("routes", "backends", "backend"),
    [
        ([], ("a",), "a"),
        ([], ("default",), "default"),
        ([], ("a", "default"), "default"),
        ([], ("a", "b"), None),
        ([Route(room="x", backend="a")], ("a",), None),
        ([Route(room="x", backend="a")], ("a", "default"), "default"),
        ([Route(room="x", backend="default")], ("default",), "default"),
        ([Route(room="x", backend="a")], ("a", "b"), None),
    ],
)
def test_rooms_without_a_route(
    routes: list[Route], backends: tuple[str, ...], backend: str | None
) -> None:
    """A room that matches no route gets the backend "default", if there is one.

    If there are no routes and only one backend, the room gets that backend.
    """
    assert backend_of("board", *routes, backends=backends) == backend
