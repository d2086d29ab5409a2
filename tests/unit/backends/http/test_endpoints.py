"""Endpoints: whatever a room or an id is, it changes one place of the target and nothing else."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from jicofo_reservation_proxy.backends.http.endpoints import Endpoint, UnsafeValueError, endpoint
from jicofo_reservation_proxy.backends.http.targets import Targets

from .requests import asking, backend

# An independent reader of targets: RFC 3986, sections 3.3, 3.4 and 5.2.4. It shares nothing with
# the code that fills templates.

_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_TARGET = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@/%-]*(\?[A-Za-z0-9._~!$&'()*+,;=:@/?%-]*)?")


class Target(NamedTuple):
    """What a server sees: the segments of the path, and the parameters of the query."""

    segments: Sequence[bytes]
    parameters: Sequence[tuple[bytes, bytes]]


def read(target: str, *, decodings: int) -> Target:
    """Read a target as a server that decodes a path so often before it splits it."""
    assert _TARGET.fullmatch(target), target
    path, _, query = target.encode("ascii").partition(b"?")
    assert not path.startswith(b"//"), "the first segment is a host to some clients"
    for _ in range(decodings):
        path = decoded(path)
    path = path.replace(b"\\", b"/")
    names = [each.partition(b"=") for each in query.split(b"&")] if query else []
    return Target(
        without_dots(path.split(b"/")[1:]),
        [(decoded(name), decoded(value)) for name, _, value in names],
    )


def decoded(data: bytes) -> bytes:
    """Undo the percent-encoding once."""
    return _ESCAPE.sub(lambda escape: bytes([int(escape[1], 16)]), data)


def without_dots(segments: Sequence[bytes]) -> list[bytes]:
    """Remove the segments that servers remove, also empty ones."""
    kept: list[bytes] = []
    for segment in segments:
        if segment == b"..":
            del kept[-1:]
        elif segment not in {b"", b"."}:
            kept.append(segment)
    return kept


def test_the_independent_reader() -> None:
    """The reader finds what it is to find."""
    assert read("/a/%2e%2e/b?c=d%26e&f", decodings=1) == ([b"b"], [(b"c", b"d&e"), (b"f", b"")])
    assert read("/a/%252e%252e/b", decodings=1).segments == [b"a", b"%2e%2e", b"b"]
    assert read("/a/%252e%252e/b", decodings=2).segments == [b"b"]
    assert read("/a%2Fb%5Cc", decodings=1).segments == [b"a", b"b", b"c"]
    for unreadable in ("/a b", "/\u00e9", "/a\r\nX: y", "//evil/a", "/a#b", "http://x/"):
        with pytest.raises(AssertionError):
            read(unreadable, decodings=0)


# -- any room, any id ----------------------------------------------------------------------------

_pieces = st.sampled_from(
    [
        *("/", "\\", ".", "..", "%2f", "%2F", "%5c", "%2e", "%2E%2e", "%252f", "%", "%0d%0a", ";"),
        *(
            "?",
            "#",
            "&",
            "=",
            "+",
            "@",
            ":",
            "//",
            "[a]",
            "[",
            "]",
            "{id}",
            "{room}",
            "\r\n",
            "\x00",
        ),
        *(
            " ",
            "\u00e9",
            "\uff0f",
            "\u2024",
            "\u202e",
            "\U0001f600",
            "board",
            "http://evil.example",
        ),
    ]
)
texts = st.one_of(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=20),
    st.lists(_pieces, min_size=1, max_size=6).map("".join),
)

ROOM_TEMPLATES = [
    "/conference",
    "/rooms/{room}",
    "/rooms/{room}/open",
    "/{room}",
    "/{tenant}/{name}",
    "/rooms/{tenant}.{name}/open",
    "/rooms/r-{name}",
    "/rooms/{name}{name}/x",
    "/open?room={room}&tenant={tenant}&name={name}",
    "/rooms/{room}/open?tenant={tenant}&fix=1",
]
ID_TEMPLATES = [
    "/conference/{id}",
    "/conference/{id}/end",
    "/{id}",
    "/a/{id}.json",
    "/a/x{id}y/b",
    "/a?id={id}&b=1",
    "/a/{id}?again={id}",
]


@given(room=texts, template=st.sampled_from(ROOM_TEMPLATES), base=st.sampled_from(["", "/api/v1"]))
@example("..", "/rooms/{room}", "/api")
@example("%2e%2e", "/rooms/{room}/open", "/api")
@example("a%2f..%2fb", "/rooms/{room}/open", "")
@example("[.].", "/{tenant}/{name}", "")
@example("[%2e]%2e", "/{tenant}/{name}", "")
@example("[.]x", "/rooms/{tenant}.{name}/open", "")
@example(".", "/rooms/{tenant}.{name}/open", "")
@example("/evil.example", "/{room}", "")
@example("%2e", "/rooms/{name}{name}/x", "")
@settings(max_examples=400)
def test_no_room_changes_the_path_or_the_query(room: str, template: str, base: str) -> None:
    """A room fills its places, or it is refused."""
    request = asking(room)
    values = {
        "room": request.room.raw,
        "tenant": request.room.tenant,
        "name": request.room.name,
    }
    try:
        target = Endpoint("POST", base + template).for_room(request)
    except UnsafeValueError:
        in_path = template.partition("?")[0]
        used = "".join(values[key] for key in values if f"{{{key}}}" in in_path)
        assert re.search(r"[/\\.]|%2|%5", used, re.IGNORECASE) or not all(
            values[key] for key in values if f"{{{key}}}" in in_path
        ), "a harmless room is refused"
        return
    check(target, base + template, values)
    for decodings in (0, 1, 2):
        wanted = len([part for part in (base + template).partition("?")[0].split("/") if part])
        assert len(read(target, decodings=decodings).segments) == wanted


@given(conference_id=texts, template=st.sampled_from(ID_TEMPLATES))
@example("..", "/conference/{id}")
@example("a/../../b", "/conference/{id}")
@example("a%2f..%2f..%2fb", "/conference/{id}")
@example("/", "/conference/{id}")
@example("order/7", "/conference/{id}/end")
@example("..\\..\\x", "/conference/{id}")
@settings(max_examples=400)
def test_no_id_leaves_its_place(conference_id: str, template: str) -> None:
    """An id may have slashes, but what a server sees begins and ends as the template does."""
    try:
        target = Endpoint("GET", template).for_conference(conference_id)
    except UnsafeValueError:
        assume("{id}" in template.partition("?")[0])
        assert re.search(r"[/\\.]|%2|%5", conference_id, re.IGNORECASE), "a harmless id is refused"
        return
    check(target, template, {"id": conference_id})
    for decodings in (0, 1, 2):
        found = b"/" + b"/".join(read(target, decodings=decodings).segments)
        before, _, after = template.partition("?")[0].encode().partition(b"{id}")
        assert found.startswith(before)
        assert found.endswith(after)
        assert len(found) > len(before) + len(after) - 1


def check(target: str, template: str, values: dict[str, str]) -> None:
    """Check what a server sees that splits a path first, as RFC 3986 wants it."""
    path, _, query = template.partition("?")
    found = read(target, decodings=0)
    wanted = [part for part in path.split("/") if part]
    assert [decoded(segment) for segment in found.segments] == [
        filled(part, values).encode() for part in wanted
    ]
    pairs = [each.partition("=") for each in query.split("&")] if query else []
    assert found.parameters == [
        (name.encode(), filled(value, values).encode()) for name, _, value in pairs
    ]


def filled(template: str, values: dict[str, str]) -> str:
    """Fill a template from the left to the right, so that no value is filled again."""
    done = ""
    while template:
        for key, value in values.items():
            if template.startswith(f"{{{key}}}"):
                done, template = done + value, template.removeprefix(f"{{{key}}}")
                break
        else:
            done, template = done + template[0], template[1:]
    return done


# -- byte for byte -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "room", "target"),
    [
        ("/conference", "a/b", "/conference"),
        ("/rooms/{room}/open", "board", "/rooms/board/open"),
        ("/rooms/{room}", "[acme]caf%c3%a9", "/rooms/%5Bacme%5Dcaf%25c3%25a9"),
        ("/rooms/{tenant}/{name}", "[acme]caf%c3%a9", "/rooms/acme/caf%C3%A9"),
        ("/rooms?name={name}", "caf%c3%a9/x", "/rooms?name=caf%C3%A9%2Fx"),
        ("/rooms?tenant={tenant}", "board", "/rooms?tenant="),
        (
            "/rooms/{name}",
            "a b+c&d=e?f#g;h:i@j,k",
            "/rooms/a%20b%2Bc%26d%3De%3Ff%23g%3Bh%3Ai%40j%2Ck",
        ),
        ("/rooms/{name}", "{id}", "/rooms/%7Bid%7D"),
        ("/rooms/{name}", "...", "/rooms/..."),
        ("/rooms/{name}", "a..b", "/rooms/a..b"),
    ],
)
def test_the_target_for_a_room(template: str, room: str, target: str) -> None:
    """Every character that is not unreserved is escaped; a query may have any value."""
    assert Endpoint("POST", template).for_room(asking(room)) == target


@pytest.mark.parametrize(
    ("template", "room", "why"),
    [
        ("/rooms/{room}", "a/b", "a slash or a backslash in the name of a room"),
        ("/rooms/{room}", "a\\b", "a slash or a backslash in the name of a room"),
        ("/rooms/{room}", "a%2Fb", "a slash or a backslash in the name of a room"),
        ("/rooms/{name}", "a%2Fb", "a slash or a backslash in the name of a room"),
        ("/rooms/{name}", "a%252Fb", "a slash or a backslash in the name of a room"),
        ("/rooms/{tenant}/x", "[a/b]c", "a slash or a backslash in the name of a room"),
        ("/rooms/{room}", "..", "a segment '..' for {room}"),
        ("/rooms/{room}", "%2e", "a segment '.' for {room}"),
        ("/rooms/{tenant}/x", "board", "a segment '' for {tenant}"),
        ("/rooms/{tenant}.{name}", ".", "a segment '..' for {tenant}.{name}"),
    ],
)
def test_rooms_that_are_refused(template: str, room: str, why: str) -> None:
    """A room that a server could take for another path; the error says why."""
    with pytest.raises(UnsafeValueError) as caught:
        Endpoint("POST", template).for_room(asking(room))
    assert str(caught.value) == why


@pytest.mark.parametrize(
    ("template", "conference_id", "target"),
    [
        ("/conference/{id}", "7", "/conference/7"),
        ("/conference/{id}", "order/7", "/conference/order%2F7"),
        ("/conference/{id}", "a\r\nX-Evil: 1", "/conference/a%0D%0AX-Evil%3A%201"),
        ("/conference/{id}?x={id}", "a b&c", "/conference/a%20b%26c?x=a%20b%26c"),
        ("/conference?id={id}", "..", "/conference?id=.."),
    ],
)
def test_the_target_for_a_conference(template: str, conference_id: str, target: str) -> None:
    """An id may have slashes and everything else that can be escaped."""
    assert Endpoint("GET", template).for_conference(conference_id) == target


def test_endpoints_of_a_backend() -> None:
    """The paths are below that of the target; an endpoint may be switched off."""
    targets = Targets(backend("https://reservations.example.com/api/v1/"))
    assert targets.create == Endpoint("POST", "/api/v1/conference")
    assert targets.get == Endpoint("GET", "/api/v1/conference/{id}")
    assert targets.delete == Endpoint("DELETE", "/api/v1/conference/{id}")
    targets = Targets(backend("http://127.0.0.1", create="PUT /r/{room}", get="", delete=""))
    assert targets.create == Endpoint("PUT", "/r/{room}")
    assert (targets.get, targets.delete) == (None, None)
    assert endpoint("", "/api") is None


def test_an_id_must_fit_each_endpoint() -> None:
    """A conference that could not be deleted is not granted."""
    targets = Targets(backend(get="", delete="POST /end/{id}"))
    targets.check_id("order/7")
    with pytest.raises(UnsafeValueError):
        targets.check_id("..")
    Targets(backend(get="", delete="")).check_id("..")
    Targets(backend(get="GET /c?id={id}", delete="POST /end?id={id}")).check_id("..")
