"""The bytes that the two clients send, and the bytes of the answers (clients.md)."""

import re
from pathlib import Path

import pytest
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb
from jicofo_reservation_proxy.http.answers import TAKEN

from .support import (
    CURL,
    JICOFO,
    PROSODY,
    START,
    Client,
    Context,
    Script,
    conference,
    exchange,
    granting,
    running,
)

JICOFO_POST = (
    b"POST /conference HTTP/1.1\r\n"
    b"Content-Length: %d\r\n"
    b"Content-Type: application/x-www-form-urlencoded; charset=UTF-8\r\n"
    b"Host: localhost:7777\r\n"
    b"Connection: Keep-Alive\r\n"
    b"User-Agent: Apache-HttpClient/4.5.13 (Java/17)\r\n"
    b"Accept-Encoding: gzip,deflate\r\n\r\n%s"
)
JICOFO_FORM = (
    b"name=testroom1&mail_owner=client1%40example.com"
    b"&start_time=2048-04-20T11%3A55%3A12.000-06&duration=-1"
)
PROSODY_POST = (
    b"POST /conference HTTP/1.1\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\n"
    b"Host: localhost:7777\r\n"
    b"Accept: */*\r\n"
    b"Connection: close\r\n"
    b"Content-Length: %d\r\n"
    b"User-Agent: Prosody (0.12.3; posix)\r\n\r\n%s"
)
PROSODY_FORM = (
    b"start_time=2048-04-20T17%3A55%3A12.000Z&mail_owner=4a8c%40guest.example.com"
    b"&name=%5bacme%5dcaf%25c3%25a9"
)


def test_jicofo_creates_and_deletes_with_its_own_bytes(tmp_path: Path) -> None:
    """Jicofo gets a number as the id, and the name and the owner that it sent.

    The start time has three digits of milliseconds. "No limit" is a number of seconds.
    """
    with running(tmp_path, granting()) as client:
        reply = exchange(client.port, JICOFO_POST % (len(JICOFO_FORM), JICOFO_FORM))
        assert reply.status == 200
        assert reply.body == (
            b'{"id": 364758328, "name": "testroom1", "mail_owner": "client1@example.com",'
            b' "start_time": "2048-04-20T17:55:12.000Z", "duration": 3155760000}'
        )
        assert reply.headers["content-type"] == "application/json"
        assert not {"transfer-encoding", "content-encoding", "location"} & set(reply.headers)
        deleted = client.delete(364758328)
        assert (deleted.status, deleted.body) == (200, b"{}")


def test_prosody_creates_with_its_own_bytes(tmp_path: Path) -> None:
    """Prosody gets a string as the id, and the room name that it sent, including the tenant."""
    backend = granting(max_occupants=5, lobby=True, password="secret")
    with running(tmp_path, backend) as client:
        reply = exchange(client.port, PROSODY_POST % (len(PROSODY_FORM), PROSODY_FORM))
    assert reply.status == 200
    body, count = re.subn(rb"(default\.364758328)\.[0-9]+", rb"\1", reply.body)
    assert count == 1  # the id also names the grant
    assert body == (
        b'{"id": "default.364758328", "name": "[acme]caf%c3%a9",'
        b' "mail_owner": "4a8c@guest.example.com", "start_time": "2048-04-20T17:55:12.000Z",'
        b' "duration": 3155760000, "max_occupants": 5, "lobby": true, "password": "secret"}'
    )
    (request,) = backend.creates
    assert (request.room.tenant, request.room.name) == ("acme", "café")
    assert (request.owner.user, request.owner.domain, request.owner.guest) == (
        "4a8c",
        "guest.example.com",
        True,
    )


def test_a_post_without_an_owner_is_accepted(tmp_path: Path) -> None:
    """A form without mail_owner opens a room without an owner; Jicofo's answer has no owner."""
    backend = granting()
    with running(tmp_path, backend) as client:
        reply = client.create(mail_owner=None)
    assert reply.status == 200
    assert "mail_owner" not in reply.json
    assert not backend.creates[0].HasField("owner")


def test_prosody_always_gets_an_owner(tmp_path: Path) -> None:
    """Prosody requires mail_owner in an answer; it is empty if the request had none."""
    with running(tmp_path, granting()) as client:
        assert Client(client.port, PROSODY).create(mail_owner=None).json["mail_owner"] == ""


def test_a_delete_of_an_unknown_id_is_200(tmp_path: Path) -> None:
    """A DELETE is 200 for an id that the backend does not know, and for an invalid id."""
    with running(tmp_path, granting()) as client:
        for public_id in (
            "1",
            "364758328.0",
            "null",
            "default.x",
            "other.x",
            "a/b",
            "",
            "%00",
            "~",
        ):
            reply = client.delete(public_id)
            assert (reply.status, reply.body) == (200, b"{}"), public_id


def test_a_number_with_a_fraction_of_zero_is_that_number(tmp_path: Path) -> None:
    """The id 364758328.0 means 364758328; Prosody sends it with the lua-cjson of Debian 12."""
    backend = granting()
    with running(tmp_path, backend) as client:
        assert client.delete("364758328.0").status == 200
    assert backend.deletes[0].conference_id == "364758328"


@pytest.mark.parametrize(
    ("user_agent", "has_name"), [(JICOFO, False), (PROSODY, True), (CURL, True)]
)
def test_get_has_a_name_for_all_clients_except_jicofo(
    tmp_path: Path,
    user_agent: str,
    has_name: bool,
) -> None:
    """A GET's answer has a name for Prosody and other clients, but not for Jicofo.

    Jicofo throws an exception if the answer has a name. Prosody and the handbook require a name.
    """
    with running(tmp_path, _remembering()) as running_client:
        client = Client(running_client.port, user_agent)
        created = client.create("testroom").json
        reply = client.get(created["id"])
    assert reply.status == 200
    assert ("name" in reply.json) is has_name
    assert reply.json["id"] == created["id"]
    assert reply.json["start_time"] == START


def test_an_unknown_client_is_answered_as_in_the_handbook(tmp_path: Path) -> None:
    """Any other User-Agent gets a number as the id, and no owner if it sent none."""
    with running(tmp_path, granting("b0b5")) as client:
        fields = Client(client.port, CURL).create(mail_owner=None).json
    assert isinstance(fields["id"], int)
    assert set(fields) == {"id", "name", "start_time", "duration"}


def test_a_setting_forces_the_dialect(tmp_path: Path) -> None:
    """With `client = "prosody"` the proxy answers every User-Agent as it answers Prosody.

    The setting is for an operator who has changed the User-Agent of Prosody.
    """
    with running(tmp_path, granting(), client="prosody") as client:
        public_id = Client(client.port, CURL).create().json["id"]
    assert re.fullmatch(r"default\.364758328\.[0-9]+", public_id)


def test_the_same_owner_gets_the_existing_reservation(tmp_path: Path) -> None:
    """The owner of a held room gets the existing reservation.

    The answer has the owner as the request spells it; the comparison ignores upper and lower case.
    """
    with running(tmp_path, _held_by("juliet@example.com")) as client:
        reply = client.create(mail_owner="Juliet@example.com")
    assert reply.status == 200
    assert reply.json["mail_owner"] == "Juliet@example.com"
    assert reply.json["duration"] == 1800


def test_another_owner_from_jicofo_is_refused(tmp_path: Path) -> None:
    """A POST from Jicofo for a room that another owner holds is 403 with a sentence."""
    with running(tmp_path, _held_by("romeo@example.com")) as client:
        reply = client.create()
    assert reply.status == 403
    assert reply.json == {"message": "This room is in use by someone else."}


def test_any_owner_from_prosody_gets_the_existing_reservation(tmp_path: Path) -> None:
    """Prosody gets the existing reservation for any owner.

    Prosody's anonymous users are new owners at every login, so owners cannot be compared.
    """
    with running(tmp_path, _held_by("romeo@example.com")) as client:
        reply = Client(client.port, PROSODY).create()
    assert reply.status == 200
    assert reply.json["mail_owner"] == "juliet@example.com"


def test_jicofo_without_an_owner_gets_the_existing_reservation(tmp_path: Path) -> None:
    """Jicofo gets the existing reservation if it sends no owner.

    A Jicofo without authentication sends no owner, and lets every user in.
    """
    with running(tmp_path, _held_by("romeo@example.com")) as client:
        assert client.create(mail_owner=None).status == 200


def test_conflicts_can_be_reported_as_in_the_handbook(tmp_path: Path) -> None:
    """With `conflicts = "report"` a conflict is 409 with an id that a GET accepts."""
    with running(tmp_path, _held_by("romeo@example.com"), conflicts="report") as jicofo:
        for client, pattern in (
            (jicofo, "7"),
            (Client(jicofo.port, PROSODY), r"default\.7\.[0-9]+"),
        ):
            reply = client.create()
            public_id = reply.json["conflict_id"]
            assert (reply.status, reply.json["message"]) == (409, TAKEN)
            assert re.fullmatch(pattern, str(public_id))
            found = client.get(public_id).json
            assert (found["id"], found["mail_owner"]) == (public_id, "romeo@example.com")


def test_unknown_fields_reach_the_backend(tmp_path: Path) -> None:
    """The proxy sends unknown form fields of a patched client to the backend, unchanged."""
    backend = granting()
    with running(tmp_path, backend) as client:
        assert client.create(meeting_type="board").status == 200
    assert dict(backend.creates[0].extra_fields) == {"meeting_type": "board"}


def test_a_repeated_post_has_the_same_request_id(tmp_path: Path) -> None:
    """A repeated POST has the same request id, so that the backend recognizes it.

    Prosody repeats a POST with the same body after a 5xx.
    """
    backend = granting()
    with running(tmp_path, backend) as jicofo:
        client = Client(jicofo.port, PROSODY)
        client.create()
        client.create()
        client.create("otherroom")
    first, second, other = (request.request_id for request in backend.creates)
    assert first == second != other


def test_a_denial_is_403_with_the_backends_sentence(tmp_path: Path) -> None:
    """The client gets the backend's sentence as one line of ASCII.

    If the backend's sentence is empty, the client gets a fixed sentence.
    """
    sentences = iter(["Der Raum ist\n\tnicht gebucht \N{CROSS MARK}\x00", " \x07 "])

    def deny(_: pb.CreateConferenceRequest, __: Context) -> pb.CreateConferenceResponse:
        return pb.CreateConferenceResponse(denial=pb.Denial(message=next(sentences)))

    with running(tmp_path, Script(deny)) as client:
        reply = client.create()
        assert reply.status == 403
        assert reply.body == b'{"message": "Der Raum ist nicht gebucht \\u274c"}'
        assert client.create().json == {"message": "This room is not available."}


def _remembering() -> Script:
    """Return a backend that grants rooms, and answers a get with the last granted conference."""
    held: list[pb.Conference] = []

    def create(request: pb.CreateConferenceRequest, _: Context) -> pb.CreateConferenceResponse:
        held[:] = [conference(request)]
        return pb.CreateConferenceResponse(conference=held[0])

    def get(_: pb.GetConferenceRequest, __: Context) -> pb.GetConferenceResponse:
        return pb.GetConferenceResponse(conference=held[0])

    return Script(create, get)


def _held_by(owner: str) -> Script:
    """Return a backend where one owner holds every room for half an hour."""

    def existing(request: pb.CreateConferenceRequest) -> pb.Conference:
        found = conference(request, "7", owner=owner)
        found.duration.FromSeconds(1800)
        return found

    def create(request: pb.CreateConferenceRequest, _: Context) -> pb.CreateConferenceResponse:
        return pb.CreateConferenceResponse(conflict=pb.Conflict(conference=existing(request)))

    def get(_: pb.GetConferenceRequest, __: Context) -> pb.GetConferenceResponse:
        found = pb.Conference(id="7", room="testroom", owner=owner)
        found.start_time.FromJsonString(START)
        return pb.GetConferenceResponse(conference=found)

    return Script(create, get)
