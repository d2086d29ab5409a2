"""Deletions at HTTP backends: lost answers, answers that mean "done", ids that are used again."""

import gzip
import threading
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from jicofo_reservation_proxy.ledger.records import RecordState

from tests.faults.processes import Proxy, until
from tests.unit.ledgers import stored

from .http_support import (
    RESET,
    Answer,
    Closing,
    HttpScript,
    Received,
    answered,
    backend,
    conference_of,
    granting_by_http,
    running_http,
    serving,
)
from .support import PROSODY, START, Client, free_port

HTML = b"<!DOCTYPE html><html><body>Not Found</body></html>"


def pending(tmp_path: Path) -> list[str]:
    """Return the rooms with a pending deletion, from the ledger on the disk."""
    return [each.room for each in stored(tmp_path / "state") if each.state is RecordState.PENDING]


def rows(tmp_path: Path) -> list[str]:
    """Return the rooms in the ledger on the disk."""
    return [each.room for each in stored(tmp_path / "state")]


# Lost answers


def test_a_room_waits_for_a_deletion_that_hangs(tmp_path: Path) -> None:
    """After a DELETE without an answer the room is refused until one is answered; others go on."""
    script = HttpScript()
    with running_http(tmp_path, script, answer_within="500ms") as running:
        prosody = Client(running.client.port, PROSODY)
        first = prosody.create("room").json["id"]
        script.delete = script.hang
        assert prosody.delete(first).status == 200
        script.wait("DELETE")
        for number in range(2):
            assert prosody.create("room").status in {503, 504}
            assert prosody.create(f"other{number}").status == 200
        asked = [request.fields["name"] for request in script.of("POST")]
        assert asked == ["room", "other0", "other1"]
        script.delete = script.delete_in_book
        until(lambda: prosody.create("room").status == 200, "the room opens")
        (conference,) = [each for each in script.book.values() if each["name"] == "room"]
        assert str(conference["id"]) != first.split(".")[1]
        until(lambda: not pending(tmp_path), "the deletion is settled")


def test_the_client_is_refused_with_503_while_the_deletion_is_unknown(tmp_path: Path) -> None:
    """The room is refused without asking for it, although the backend would grant it."""
    script = HttpScript()
    with running_http(tmp_path, script) as running:
        public_id = running.client.create("room").json["id"]
        script.delete = lambda _: RESET
        assert running.client.delete(public_id).status == 200
        script.wait("DELETE")
        for _ in range(3):
            assert running.client.create("room").status == 503
        assert len(script.of("POST")) == 1
        assert pending(tmp_path) == ["room"]
        assert running.client.create("other").status == 200


@pytest.mark.parametrize(
    "answer",
    [
        *(answered(status, {"message": "not now"}) for status in (401, 408, 429, 502, 503, 504)),
        answered(302, b"", {"Location": "https://login.example.com/"}),
        answered(200, HTML),
        b"no HTTP at all\r\n\r\n",
    ],
    ids=["401", "408", "429", "502", "503", "504", "302", "a page", "no HTTP"],
)
def test_an_answer_of_a_gateway_does_not_show_that_a_deletion_is_over(
    tmp_path: Path, answer: bytes
) -> None:
    """After a lost answer, one that is not about the deletion leaves the room refused."""
    script, lost = HttpScript(), threading.Event()

    def delete(_: Received) -> Answer:
        if lost.is_set():
            return Closing(answer)
        lost.set()
        return RESET

    with running_http(tmp_path, script) as running:
        public_id = running.client.create("room").json["id"]
        script.delete = delete
        assert running.client.delete(public_id).status == 200
        script.wait("DELETE", 2)
        assert running.client.create("room").status in {502, 503}
        assert len(script.of("POST")) == 1
        script.delete = script.delete_in_book
        until(lambda: running.client.create("room").status == 200, "the room opens")


def test_a_backend_that_died_after_a_deletion_keeps_the_room_refused(tmp_path: Path) -> None:
    """The DELETE is lost, and its repetitions reach nobody: it is still unknown what happened."""
    script, port = HttpScript(), free_port()
    with ExitStack() as stack:
        server = stack.enter_context(ExitStack())
        server.enter_context(serving(script, port=port))
        running = stack.enter_context(
            running_http(tmp_path, HttpScript(), target=f"http://127.0.0.1:{port}")
        )
        public_id = running.client.create("room").json["id"]
        script.delete = script.hang
        assert running.client.delete(public_id).status == 200
        script.wait("DELETE")
        server.close()  # resets the connection
        assert running.client.create("room").status == 503
        again = HttpScript()
        again.delete = lambda _: answered(503, {"message": "not yet"})
        stack.enter_context(serving(again, port=port))
        again_status = running.client.create("room").status
        assert (again_status, again.of("POST")) == (503, [])
        again.delete = again.delete_in_book
        until(lambda: running.client.create("room").status == 200, "the room opens")


@pytest.mark.parametrize("status", [400, 404, 500])
def test_an_answer_about_the_deletion_ends_the_wait(tmp_path: Path, status: int) -> None:
    """If the backend answers the repeated DELETE with an error, the room is asked for again."""
    script, lost = HttpScript(), threading.Event()

    def delete(_: Received) -> Answer:
        if lost.is_set():
            return answered(status, HTML)
        lost.set()
        return RESET

    with running_http(tmp_path, script) as running:
        public_id = running.client.create("room").json["id"]
        script.delete = delete
        assert running.client.delete(public_id).status == 200
        script.wait("DELETE", 2)
        until(lambda: running.client.create("room").status == 200, "the room opens")


def test_a_deletion_that_happened_meanwhile_is_found_by_get(tmp_path: Path) -> None:
    """A backend that answers 500 to a second DELETE says by GET that the conference is gone."""
    script = HttpScript()
    with running_http(tmp_path, script) as running:
        prosody = Client(running.client.port, PROSODY)
        prosody.create("room")
        public_id = prosody.create("room").json["id"]  # the proxy reads the conflict by GET

        def delete(request: Received) -> object:
            if request.id not in script.book:
                return answered(500, HTML)
            script.delete_in_book(request)
            return RESET

        script.delete = delete
        assert prosody.delete(public_id).status == 200
        script.wait("DELETE")
        until(lambda: not pending(tmp_path), "the deletion is settled")
        assert prosody.create("room").status == 200
        assert len(script.book) == 1


def test_a_get_that_hangs_keeps_no_deletion_back(tmp_path: Path) -> None:
    """The look before a repeated DELETE has only a part of the time."""
    script = HttpScript()
    with running_http(tmp_path, script, answer_within="2s") as running:
        prosody = Client(running.client.port, PROSODY)
        prosody.create("room")
        public_id = prosody.create("room").json["id"]
        script.delete = lambda _: answered(500, HTML)
        script.get = script.hang
        assert prosody.delete(public_id).status == 200
        script.wait("DELETE")
        script.delete = script.delete_in_book
        until(lambda: not pending(tmp_path), "the deletion is delivered")
    assert not script.book


def test_a_lost_deletion_survives_kill_9(tmp_path: Path) -> None:
    """A new process repeats the DELETE before it asks for the room."""
    script = HttpScript()
    with serving(script) as target, ExitStack() as stack:
        values = {
            "state_dir": tmp_path / "state",
            "drain_within": "5s",
            "backends": {"default": backend(target)},
        }
        proxy = Proxy(tmp_path, "proxy", values)
        stack.callback(proxy.close)
        proxy.start()
        client = proxy.client()
        first = client.create("room").json["id"]
        script.delete = script.hang
        assert client.delete(first).status == 200
        script.wait("DELETE")
        proxy.kill()
        script.delete = lambda _: RESET
        proxy.start()
        assert client.create("room").status == 503
        assert client.create("other").status == 200
        assert len(script.of("POST")) == 2
        script.delete = script.delete_in_book
        until(lambda: client.create("room").status == 200, "the room opens")
        proxy.wait_until_delivered()
        assert len(script.book) == 2


# What an answer means

Delete = Callable[[Received], Answer]


def status_of(status: int, content: object = b"") -> Delete:
    """Return a handler that answers with a status and a body."""
    return lambda _: answered(status, content)


DONE = {
    "200 {}": status_of(200, {}),
    "200 null": status_of(200, None),
    "200 empty": status_of(200),
    "200 text": status_of(200, b"deleted"),
    "202": status_of(202, {}),
    "204": lambda _: b"HTTP/1.1 204 No Content\r\n\r\n",
    "404 JSON": status_of(404, {"message": "no such conference"}),
    "410 JSON": status_of(410, {}),
    "405 JSON": status_of(405, {"message": "no DELETE"}),
    "501 JSON": status_of(501, {"detail": "no DELETE"}),
}


@pytest.mark.parametrize("delete", DONE.values(), ids=DONE)
def test_an_answer_that_settles_a_deletion(tmp_path: Path, delete: Delete) -> None:
    """The deletion is not repeated, and leaves the ledger."""
    script = HttpScript()
    script.delete = delete
    with running_http(tmp_path, script) as running:
        public_id = running.client.create("room").json["id"]
        assert running.client.delete(public_id).status == 200
        until(lambda: not rows(tmp_path), "an empty ledger")
        assert running.client.delete(public_id).status == 200
    assert len(script.of("DELETE")) == 1


OPEN = {
    "200 HTML": status_of(200, HTML),
    "200 HTML in Latin-1": status_of(200, "<html>Anmeldung für Gäste</html>".encode("latin-1")),
    "200 HTML in UTF-16": status_of(200, HTML.decode().encode("utf-16")),
    "200 with a coding": lambda _: answered(200, zlib.compress(HTML), {"Content-Encoding": "br"}),
    "200 cut gzip": lambda _: answered(200, gzip.compress(HTML)[:12], {"Content-Encoding": "gzip"}),
    "301": lambda _: answered(301, b"", {"Location": "/elsewhere"}),
    "400": status_of(400, {}),
    "401": status_of(401, {}),
    "404 HTML": status_of(404, HTML),
    "404 empty": status_of(404),
    "404 list": status_of(404, []),
    "405 HTML": status_of(405, HTML),
    "410 empty": status_of(410),
    "429": status_of(429, {}),
    "500": status_of(500, {}),
    "501 HTML": status_of(501, HTML),
    "503": status_of(503, {}),
    "a reset": lambda _: RESET,
    "garbage": lambda _: b"garbage\r\n\r\n",
    "a huge body": lambda _: answered(200, b" " * 65537),
}


@pytest.mark.parametrize("delete", OPEN.values(), ids=OPEN)
def test_an_answer_after_which_a_deletion_stays_pending(tmp_path: Path, delete: Delete) -> None:
    """The deletion is repeated, also by the next process, until an answer settles it."""
    script = HttpScript()
    script.delete = delete
    with running_http(tmp_path, script) as running:
        public_id = running.client.create("room").json["id"]
        assert running.client.delete(public_id).status == 200
        script.wait("DELETE", 2)
        assert pending(tmp_path) == ["room"]
    script.delete = script.delete_in_book
    with running_http(tmp_path, script):
        until(lambda: not rows(tmp_path), "an empty ledger")
    assert not script.book


@pytest.mark.parametrize("status", [404, 410, 500])
def test_gone_statuses_settle_a_deletion_whatever_the_body(tmp_path: Path, status: int) -> None:
    """With `gone_statuses` an HTML page counts too; other statuses do not."""
    script = HttpScript()
    script.delete = status_of(418, HTML)
    with running_http(tmp_path, script, http={"gone_statuses": [status]}) as running:
        public_id = running.client.create("room").json["id"]
        assert running.client.delete(public_id).status == 200
        script.wait("DELETE", 2)
        script.delete = status_of(status, HTML)
        until(lambda: not rows(tmp_path), "an empty ledger")


# Ids that are used again


class Bookings(HttpScript):
    """A backend that knows only the bookings of its rooms: each opening has the booking's id."""

    def __init__(self) -> None:
        super().__init__()
        self.open: set[str] = set()
        self.create, self.get, self.delete = self._create, self._get, self._delete

    def _create(self, request: Received) -> bytes:
        name = request.fields["name"]
        self.book["7"] = conference_of(request, 7)
        self.open.add(name)
        return answered(200, self.book["7"])

    def _get(self, request: Received) -> bytes:
        is_open = request.id == "7" and self.open
        return answered(200, self.book["7"]) if is_open else answered(404, {"message": "gone"})

    def _delete(self, _: Received) -> bytes:
        self.open.clear()
        return answered(200, {})


@pytest.mark.parametrize("http", [{}, {"get": ""}], ids=["with GET", "without GET"])
@pytest.mark.parametrize("number_of_openings", [4])
def test_a_booking_is_opened_again_and_again(
    tmp_path: Path, http: dict[str, object], number_of_openings: int
) -> None:
    """Each opening is granted, and each DELETE ends it; a repeated DELETE of an earlier is void."""
    script = Bookings()
    with running_http(tmp_path, script, http=http) as running:
        prosody = Client(running.client.port, PROSODY)
        earlier: list[str] = []
        for number in range(number_of_openings):
            reply = prosody.create("room")
            assert reply.status == 200
            assert script.open
            deletes = len(script.of("DELETE"))
            for public_id in earlier:
                assert prosody.delete(public_id).status == 200
            assert script.open
            assert len(script.of("DELETE")) == deletes
            earlier.append(reply.json["id"])
            assert prosody.delete(earlier[-1]).status == 200
            script.wait("DELETE", number + 1)
            until(lambda: not rows(tmp_path), "an empty ledger")
        assert len(set(earlier)) == number_of_openings


@pytest.mark.parametrize("user_agent", [PROSODY, "Apache-HttpClient/4.5.13 (Java/17)"])
def test_an_old_deletion_never_ends_the_new_meeting(tmp_path: Path, user_agent: str) -> None:
    """A deletion that the backend rejected is dropped when the room is open again under its id."""
    script = Bookings()
    works = script.delete
    script.delete = status_of(500, HTML)
    with running_http(tmp_path, script) as running:
        client = Client(running.client.port, user_agent)
        first = client.create("room").json["id"]
        assert client.delete(first).status == 200
        script.wait("DELETE", 2)
        again = client.create("room")
        assert again.status == 200
        deletes = len(script.of("DELETE"))
        script.delete = works
        until(lambda: not pending(tmp_path), "the deletion is dropped")
        assert script.open
        assert len(script.of("DELETE")) == deletes
        assert client.delete(again.json["id"]).status == 200
        until(lambda: not rows(tmp_path), "an empty ledger")
    assert not script.open


# Deletions that the room does not tell about


def test_a_lost_deletion_of_another_room_keeps_its_conference_back(tmp_path: Path) -> None:
    """The backend moves a conference to a room while a DELETE of it is lost: nobody gets it yet."""
    script = HttpScript(granting_by_http(17))
    with running_http(tmp_path, script) as running:
        public_id = running.client.create("old").json["id"]
        script.delete = lambda _: RESET
        assert running.client.delete(public_id).status == 200
        script.wait("DELETE")
        script.get = lambda _: answered(200, {"id": 17, "name": "new", "start_time": START})
        assert running.client.create("new").status == 503
        script.delete = lambda _: answered(200, {})
        until(lambda: running.client.create("new").status == 200, "the room opens")


def test_a_lost_deletion_of_an_unknown_room_keeps_its_conference_back(tmp_path: Path) -> None:
    """After the loss of the ledger, only the answer to a create shows what a DELETE was for."""
    script = HttpScript(granting_by_http(17))
    with running_http(tmp_path, script) as running:
        script.delete = lambda _: RESET
        assert running.client.delete("default.17").status == 200
        script.wait("DELETE")
        assert running.client.create("room").status == 503
        script.delete = lambda _: answered(200, {})
        until(lambda: running.client.create("room").status == 200, "the room opens")


def test_a_lost_deletion_of_an_old_row_keeps_the_room_refused(tmp_path: Path) -> None:
    """The backend names a conference that is over, and then, by the same id, a new one."""
    script, times = HttpScript(), iter([{"start_time": "2020-01-01T00:00:00Z", "duration": 60}])
    script.create = lambda request: answered(200, conference_of(request, 17) | next(times, {}))
    script.delete = lambda _: RESET
    with running_http(tmp_path, script) as running:
        assert running.client.create("room").status == 503
        assert len(script.of("POST")) == 1
        assert pending(tmp_path) == ["room"]
        script.get = lambda _: answered(200, {"id": 17, "name": "room", "start_time": START})
        script.delete = lambda _: answered(200, {})
        until(lambda: running.client.create("room").status == 200, "the room opens")
