"""When a backend fails, the proxy answers in time and hides the backend's error text."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from jicofo_reservation_proxy.backends.grpc.grpc_statuses import STATUS_FAULTS
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb

from .support import (
    JICOFO,
    PROSODY,
    TIMEOUT_SECONDS,
    Client,
    Context,
    Script,
    backends,
    free_port,
    granting,
    running,
    serving_grpc,
)

SECRET_TEXT = "ORA-00942: table or view does not exist"
CODES = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]
HTTP_STATUSES = {
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}


def test_every_grpc_status_is_in_the_table() -> None:
    """`STATUS_FAULTS` has an entry for each `grpc.StatusCode`."""
    assert set(STATUS_FAULTS) == set(grpc.StatusCode)


@pytest.mark.parametrize("code", CODES)
def test_the_user_does_not_see_the_text_of_a_grpc_status(
    tmp_path: Path, code: grpc.StatusCode, caplog: pytest.LogCaptureFixture
) -> None:
    """The user gets a fixed sentence and an incident id; the log has the backend's error text."""

    def fail(_: object, context: Context) -> pb.CreateConferenceResponse:
        context.abort(code, SECRET_TEXT)
        raise AssertionError

    with running(tmp_path, Script(fail)) as client:
        reply = client.create()
    assert reply.status == HTTP_STATUSES.get(code, 502)
    message = reply.json["message"]
    assert "ORA" not in message
    incident = message.partition("(incident ")[2].rstrip(")")
    (record,) = [record for record in caplog.records if record.getMessage() == "create"]
    fields = vars(record)["fields"]
    assert fields["incident"] == incident
    assert (fields["code"], fields["detail"]) == (code.name, SECRET_TEXT)


@pytest.mark.parametrize("code", CODES)
def test_a_delete_is_200_for_every_grpc_status(tmp_path: Path, code: grpc.StatusCode) -> None:
    """The proxy answers 200 for each gRPC status: Jicofo keeps a room whose DELETE is not 200."""

    def fail(_: object, context: Context) -> pb.DeleteConferenceResponse:
        context.abort(code, SECRET_TEXT)
        raise AssertionError

    backend = granting()
    backend.delete = fail
    with running(tmp_path, backend) as client:
        reply = client.delete(1)
    assert (reply.status, reply.body) == (200, b"{}")
    assert {request.conference_id for request in backend.deletes} == {"1"}


def test_a_get_of_an_unknown_conference_is_404(tmp_path: Path) -> None:
    """The proxy answers a GET with 404 if GetConference answers NOT_FOUND."""

    def missing(_: object, context: Context) -> pb.GetConferenceResponse:
        context.abort(grpc.StatusCode.NOT_FOUND, SECRET_TEXT)
        raise AssertionError

    backend = granting()
    backend.get = missing
    with running(tmp_path, backend) as client:
        reply = client.get(1)
    assert (reply.status, reply.json) == (404, {"message": "There is no such conference."})


def test_a_status_with_a_localized_message_is_a_denial(tmp_path: Path) -> None:
    """The proxy shows the text of google.rpc.LocalizedMessage to the user (see the contract)."""

    def deny(_: object, context: Context) -> pb.CreateConferenceResponse:
        detail = any_pb2.Any()
        detail.Pack(error_details_pb2.LocalizedMessage(locale="de", message="Nur mit Termin."))
        status = status_pb2.Status(code=7, message=SECRET_TEXT, details=[detail])
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(grpc.StatusCode.PERMISSION_DENIED, SECRET_TEXT)
        raise AssertionError

    with running(tmp_path, Script(deny)) as client:
        reply = client.create()
    assert (reply.status, reply.json) == (403, {"message": "Nur mit Termin."})


@pytest.mark.parametrize("details", [b"\xff\xff", b"", status_pb2.Status().SerializeToString()])
def test_invalid_status_details_are_a_fault(tmp_path: Path, details: bytes) -> None:
    """The proxy answers 502 if the status details are invalid or empty."""

    def fail(_: object, context: Context) -> pb.CreateConferenceResponse:
        context.set_trailing_metadata((("grpc-status-details-bin", details),))
        context.abort(grpc.StatusCode.INTERNAL, SECRET_TEXT)
        raise AssertionError

    with running(tmp_path, Script(fail)) as client:
        assert client.create().status == 502


@pytest.mark.parametrize(
    "response",
    [
        pb.CreateConferenceResponse(),
        pb.CreateConferenceResponse(conference=pb.Conference()),
        pb.CreateConferenceResponse(conflict=pb.Conflict()),
        pb.CreateConferenceResponse(conference=pb.Conference(id="1", password="\n")),
    ],
)
def test_a_breach_of_the_contract_is_a_fault(
    tmp_path: Path, response: pb.CreateConferenceResponse, caplog: pytest.LogCaptureFixture
) -> None:
    """The proxy answers 502, and the log says what the contract requires."""
    with running(tmp_path, Script(lambda _, __: response)) as client:
        assert client.create().status == 502
    assert any(
        "breach of the contract: wanted" in vars(record).get("fields", {}).get("detail", "")
        for record in caplog.records
    )


def test_a_get_that_breaches_the_contract_is_a_fault(tmp_path: Path) -> None:
    """The proxy answers 502 if the backend returns a conference without a start time.

    The end of such a conference is unknown.
    """
    backend = granting()
    backend.get = lambda _, __: pb.GetConferenceResponse(conference=pb.Conference(id="1"))
    with running(tmp_path, backend) as client:
        assert client.get(1).status == 502


def test_a_long_denial_is_cut(tmp_path: Path) -> None:
    """The proxy cuts a denial's sentence to 500 characters before a client sees it."""
    response = pb.CreateConferenceResponse(denial=pb.Denial(message="Nein! " * 10_000))
    with running(tmp_path, Script(lambda _, __: response)) as client:
        message = client.create().json["message"]
    assert len(message) <= 500
    assert message.startswith("Nein! Nein!")


def test_a_servicer_that_raises_is_a_fault(tmp_path: Path) -> None:
    """The proxy answers 502 if the servicer raises; the user does not see the exception."""

    def fail(_: object, __: Context) -> pb.CreateConferenceResponse:
        raise RuntimeError(SECRET_TEXT)

    with running(tmp_path, Script(fail)) as client:
        reply = client.create()
    assert reply.status == 502
    assert "ORA" not in reply.json["message"]


def test_an_unreachable_backend_is_503_at_once(tmp_path: Path) -> None:
    """A POST and a GET are 503, and a DELETE is 200, when the backend refuses connections."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        target = f"127.0.0.1:{reserved.getsockname()[1]}"
        with running(tmp_path, backends=backends(default=target)) as client:
            assert client.create().status == 503
            assert client.get(1).status == 503
            assert client.delete(1).status == 200


def test_a_backend_that_accepts_and_never_replies_is_504_in_time(tmp_path: Path) -> None:
    """Every call has a deadline, and the proxy answers soon after the deadline."""
    with _silent_server() as target:
        settings = {"default": {"target": target, "answer_within": "300ms"}}
        with running(tmp_path, backends=settings) as client:
            started = time.monotonic()
            statuses = [client.create().status, client.get(1).status, client.delete(1).status]
            elapsed = time.monotonic() - started
    assert statuses == [504, 504, 200]
    assert elapsed < 10


def test_a_servicer_that_hangs_is_504_in_time(tmp_path: Path) -> None:
    """The proxy answers 504 when the connection works but the backend never answers the call."""
    release = threading.Event()

    def hang(_: object, context: Context) -> pb.CreateConferenceResponse:
        context.add_callback(release.set)
        assert release.wait(TIMEOUT_SECONDS)
        return pb.CreateConferenceResponse()

    with serving_grpc(Script(hang)) as target:
        settings = {"default": {"target": target, "answer_within": "200ms"}}
        with running(tmp_path, backends=settings) as client:
            assert client.create().status == 504


def test_a_hanging_backend_does_not_delay_another_backend(tmp_path: Path) -> None:
    """A healthy backend grants a room while requests wait for a backend that hangs."""
    with ExitStack() as hanging, serving_grpc(granting()) as healthy:
        silent = hanging.enter_context(_silent_server())
        settings = backends(failing=silent, healthy=healthy)
        routes = [{"room": "failing*", "backend": "failing"}, {"backend": "healthy"}]
        with running(tmp_path, backends=settings, routes=routes, threads=16) as client:
            waiting = [
                threading.Thread(target=client.create, args=(f"failing{number}",))
                for number in range(8)
            ]
            for thread in waiting:
                thread.start()
            assert client.create("room").status == 200
            assert any(thread.is_alive() for thread in waiting)
            hanging.close()
            for thread in waiting:
                thread.join()


def test_a_backend_that_is_reachable_again_is_used_again(tmp_path: Path) -> None:
    """The channel reconnects by itself, within seconds after the backend is reachable again."""
    address = f"127.0.0.1:{free_port()}"
    with running(tmp_path, backends=backends(default=address)) as client:
        for _ in range(2):
            with serving_grpc(granting(), address=address):
                _until_answered_with(200, client)
            assert client.create().status == 503


def test_the_backend_gets_the_incident_id(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The proxy sends the incident id to the backend, so that both can log the same id."""
    caplog.set_level("INFO", "jicofo_reservation_proxy")
    backend = granting()
    with running(tmp_path, backend) as client:
        client.create()
    (record,) = [record for record in caplog.records if record.getMessage() == "create"]
    assert backend.metadata[0]["x-incident-id"] == vars(record)["fields"]["incident"]


def test_no_password_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The proxy sends a password to the client, and logs neither passwords nor PINs."""
    caplog.set_level("DEBUG")
    with running(tmp_path, granting(password="hunter22", pin="4711471")) as client:
        assert client.create().json["password"] == "hunter22"
    logged = json.dumps([str(vars(record)) for record in caplog.records])
    assert "hunter22" not in logged
    assert "4711471" not in logged


@pytest.mark.parametrize("user_agent", [JICOFO, PROSODY])
@pytest.mark.parametrize(
    "conference_id",
    ["a/b%20c d#?", "c0ffee00-0000-4000-8000-000000000000", "9" * 30, "\N{SNOWMAN}"],
)
def test_a_delete_reaches_conferences_with_unusual_ids(
    tmp_path: Path, user_agent: str, conference_id: str
) -> None:
    """A DELETE reaches the right conference, from both clients, when the id is unusual.

    Examples are ids with slashes, percent signs or spaces, UUIDs and very large numbers.
    """
    backend = granting(conference_id)
    with running(tmp_path, backend) as jicofo:
        client = Client(jicofo.port, user_agent)
        public_id = client.create().json["id"]
        assert client.delete(public_id).status == 200
    assert backend.deletes[-1].conference_id == conference_id


def _until_answered_with(status: int, client: Client) -> None:
    """Send POSTs until a POST gets this status; the channel's back-off is at most 1 s."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while client.create().status != status:
        assert time.monotonic() < deadline


@contextmanager
def _silent_server() -> Iterator[str]:
    """Accept connections, and never send anything; yield the address."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
