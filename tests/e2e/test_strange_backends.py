"""Deletions and answers hold when the backend, or what stands before it, behaves strangely."""

import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from jicofo_reservation_proxy.app import Proxy
from jicofo_reservation_proxy.backends import missing_delete
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb
from jicofo_reservation_proxy.ledger.records import RecordState

from .http2 import answering
from .support import (
    PATIENT,
    PROSODY,
    TIMEOUT_SECONDS,
    Client,
    Context,
    Script,
    granting,
    serving_grpc,
    serving_http,
    settings,
)

DELETE_PATH = "/jicofo.reservation.v1.ReservationService/DeleteConference"


@contextmanager
def serving(
    state_dir: Path, target: str, own: Mapping[str, object] | None = None, **values: object
) -> Iterator[tuple[Proxy, Client]]:
    """Run a proxy with one backend, which has its `own` settings; yield it and a client."""
    backend = {**PATIENT, "target": target, **(own or {})}
    with Proxy(settings(state_dir, backends={"default": backend}, **values)) as proxy:
        with serving_http(proxy) as port:
            yield proxy, Client(port, PROSODY)
        proxy.close(0)


@contextmanager
def served(
    state_dir: Path, script: Script, own: Mapping[str, object] | None = None, **values: object
) -> Iterator[tuple[Proxy, Client]]:
    """Run a proxy before this backend."""
    with serving_grpc(script) as target, serving(state_dir, target, own, **values) as both:
        yield both


def eventually(happened: Callable[[], object]) -> None:
    """Wait until `happened` returns a true value."""
    until = time.monotonic() + TIMEOUT_SECONDS
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.01)


def count(proxy: Proxy, state: RecordState) -> int:
    """Return the number of conferences in a state."""
    return proxy.ledger.counts[state]


def abort(code: grpc.StatusCode, detail: str = "") -> Callable[[object, Context], None]:
    """Return a method that answers an error status."""

    def method(_: object, context: Context) -> None:
        context.abort(code, detail)

    return method


def missing(_: object, context: Context) -> pb.GetConferenceResponse:
    """Answer NOT_FOUND."""
    context.abort(grpc.StatusCode.NOT_FOUND, "")
    raise AssertionError


def free_address() -> str:
    """Return an address on which nothing listens."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{reserved.getsockname()[1]}"


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 500, 502, 503])
def test_deletions_survive_a_route_that_answers_an_http_status(tmp_path: Path, status: int) -> None:
    """No deletion is lost while an ingress answers in place of the backend."""
    address = free_address()
    with serving(tmp_path, address) as (proxy, client):
        with answering(status, address):
            answers = [client.delete(f"default.{number}").status for number in range(5)]
            assert answers == [200] * 5
            attempts = proxy.metrics.deletion_attempts.labels("default", "ended", "failed")
            eventually(attempts._value.get)
            assert count(proxy, RecordState.PENDING) == 5
        backend = granting()
        with serving_grpc(backend, address=address):
            eventually(lambda: count(proxy, RecordState.PENDING) == 0)
    assert {deletion.conference_id for deletion in backend.deletes} == set("01234")


@pytest.fixture
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a single report of a missing method be enough, if it is of the service itself."""
    monkeypatch.setattr(missing_delete, "CONFIRM_SECONDS", 0.0)


HTTP_404 = "Received http2 header with status: 404"


@pytest.mark.usefixtures("_at_once")
@pytest.mark.parametrize(
    ("probed", "deleted", "path", "is_kept"),
    [
        (grpc.StatusCode.NOT_FOUND, "Method not found!", DELETE_PATH, False),
        (grpc.StatusCode.INTERNAL, "Method not found!", DELETE_PATH, False),
        (grpc.StatusCode.UNIMPLEMENTED, "Method not found!", DELETE_PATH, True),
        (grpc.StatusCode.NOT_FOUND, HTTP_404, DELETE_PATH, True),
        (grpc.StatusCode.NOT_FOUND, "Method not found!", "/acme.Rooms/Close", True),
    ],
)
def test_unimplemented_is_a_proof_only_from_the_service_itself(
    tmp_path: Path, probed: grpc.StatusCode, deleted: str, path: str, *, is_kept: bool
) -> None:
    """The service must answer the probe, not over HTTP, and for the path of the contract."""
    backend = granting()
    backend.get = abort(probed)  # type: ignore[assignment]
    backend.delete = abort(grpc.StatusCode.UNIMPLEMENTED, deleted)  # type: ignore[assignment]
    with served(tmp_path, backend, own={"methods": {"delete": path}}) as (proxy, client):
        assert client.delete("default.1").status == 200
        result = "failed" if is_kept else "delivered"
        attempts = proxy.metrics.deletion_attempts.labels("default", "ended", result)
        eventually(attempts._value.get)
        eventually(lambda: count(proxy, RecordState.PENDING) == is_kept)


def test_a_backend_that_reports_a_missing_method_for_less_than_ten_minutes(
    tmp_path: Path,
) -> None:
    """A report of the service itself is no proof before ten minutes have passed."""
    backend = granting()
    backend.get = missing
    backend.delete = abort(grpc.StatusCode.UNIMPLEMENTED)  # type: ignore[assignment]
    with served(tmp_path, backend) as (proxy, client):
        client.delete("default.1")
        attempts = proxy.metrics.deletion_attempts.labels("default", "ended", "failed")
        eventually(attempts._value.get)
        assert count(proxy, RecordState.PENDING) == 1
        backend.delete = None
        eventually(lambda: count(proxy, RecordState.PENDING) == 0)


def test_without_a_path_the_proxy_sends_no_deletion(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With `methods.delete = ""` no deletion is sent, and the rooms open again."""
    backend = granting("7")
    with served(tmp_path, backend, own={"methods": {"delete": ""}}) as (proxy, client):
        for _ in range(3):
            public_id = client.create().json["id"]
            assert client.delete(public_id).status == 200
        eventually(lambda: not count(proxy, RecordState.PENDING))
    assert not backend.deletes
    assert not backend.gets
    warnings = [record for record in caplog.records if "DeleteConference" in record.getMessage()]
    assert len(warnings) == 1


def fields(caplog: pytest.LogCaptureFixture, message: str) -> list[dict[str, object]]:
    """Return the fields of the log lines with this message."""
    found = [record for record in caplog.records if record.getMessage() == message]
    return [vars(record)["fields"] for record in found]


@pytest.mark.parametrize("field", ["room", "owner"])
def test_every_field_of_an_answer_is_bounded(
    tmp_path: Path, field: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A room or an owner that is longer than any JID is a breach of the contract."""
    with served(tmp_path, granting("7", **{field: "x" * 3072})) as (_, client):
        assert client.create().status == 502
    (create,) = fields(caplog, "create")
    wanted = f"wanted a {field} of at most 3071 bytes, got 3072 bytes"
    assert create["detail"] == f"breach of the contract: {wanted}"
    with served(tmp_path / "next", granting("7", **{field: "x" * 3071})) as (_, client):
        assert client.create().status == 200


def test_an_answer_that_is_too_large_is_not_read_as_overloaded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """GRPC reports an answer of 2 MB as RESOURCE_EXHAUSTED; the proxy says that it is broken."""
    with served(tmp_path, granting("7", room="x" * 2_000_000)) as (_, client):
        assert client.create().status == 502
    (create,) = fields(caplog, "create")
    assert (create["fault"], create["code"]) == ("broken", "RESOURCE_EXHAUSTED")


@pytest.mark.parametrize("kind", ["text", "trailer", "compressed"])
def test_no_way_to_send_too_much_is_read_as_overloaded(tmp_path: Path, kind: str) -> None:
    """A status text, a trailer and a compressed answer that are too large are broken too."""

    def create(_: object, context: Context) -> pb.CreateConferenceResponse:
        if kind == "compressed":
            context.set_compression(grpc.Compression.Gzip)
            return pb.CreateConferenceResponse(denial=pb.Denial(message="x" * 200_000))
        if kind == "trailer":
            context.set_trailing_metadata((("k", "x" * 100_000),))
        context.abort(grpc.StatusCode.INTERNAL, "x" * (100_000 if kind == "text" else 1))
        raise AssertionError

    with served(tmp_path, Script(create)) as (_, client):
        assert client.create().status == 502
