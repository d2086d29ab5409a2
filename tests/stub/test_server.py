"""Tests of the server: TLS, the API key, health checks, reflection, graceful shutdown."""

import os
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import (
    reflection_pb2,
    reflection_pb2_grpc,
)
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2_grpc as pb_grpc
from jicofo_reservation_stub.server import (
    SERVICE_NAME,
    CredentialsError,
    ListenError,
    Options,
    Server,
    Tls,
)
from jicofo_reservation_stub.service import ReservationService
from jicofo_reservation_stub.store import Conference, Store

from .conftest import Authority, Connect, Serve

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def get(channel: grpc.Channel, *metadata: tuple[str, str]) -> grpc.StatusCode:
    """Return the gRPC status of a call; NOT_FOUND shows that the server accepted the call."""
    stub = pb_grpc.ReservationServiceStub(channel)
    with pytest.raises(grpc.RpcError) as caught:
        stub.GetConference(
            pb.GetConferenceRequest(conference_id="unknown"), timeout=10, metadata=metadata
        )
    return caught.value.code()


def health(channel: grpc.Channel, service: str = "") -> object:
    """Return the status that a health check gets."""
    stub = health_pb2_grpc.HealthStub(channel)
    return stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10).status


def port_of(address: str) -> str:
    """Return the part after the last colon."""
    return address.rpartition(":")[2]


def test_port_zero_is_a_real_port(serve: Serve, connect: Connect) -> None:
    """With port 0, the server returns an address with its real port."""
    address = serve()
    assert re.fullmatch(r"127\.0\.0\.1:[1-9][0-9]*", address)
    assert get(connect(address)) is grpc.StatusCode.NOT_FOUND


def test_tls_accepts_a_client_that_trusts_the_authority(
    serve: Serve, connect: Connect, tls: Tls, authority: Authority
) -> None:
    """A client can call the server if it trusts the authority and uses the right name."""
    port = port_of(serve(tls=tls))
    assert get(connect(f"localhost:{port}", authority.file)) is grpc.StatusCode.NOT_FOUND


def test_tls_with_an_unknown_authority(
    serve: Serve, connect: Connect, tls: Tls, other_authority: Authority
) -> None:
    """A client that trusts only another authority does not connect to the server."""
    port = port_of(serve(tls=tls))
    assert get(connect(f"localhost:{port}", other_authority.file)) is grpc.StatusCode.UNAVAILABLE


def test_tls_under_another_name(
    serve: Serve, connect: Connect, tls: Tls, authority: Authority
) -> None:
    """A client does not connect if the certificate does not contain the name that it uses."""
    address = serve(tls=tls)
    assert get(connect(address, authority.file)) is grpc.StatusCode.UNAVAILABLE


def test_plaintext_call_to_a_tls_server(serve: Serve, connect: Connect, tls: Tls) -> None:
    """A plaintext call to a TLS server fails."""
    assert get(connect(serve(tls=tls))) is grpc.StatusCode.UNAVAILABLE


@pytest.fixture
def mtls(authority: Authority) -> Tls:
    """Return the files of a server that requires client certificates."""
    return Tls.from_files(*authority.issue("localhost"), authority.file)


def test_mtls_accepts_clients_of_the_authority(
    serve: Serve, connect: Connect, mtls: Tls, authority: Authority
) -> None:
    """The server accepts a client that has a certificate of the authority."""
    port = port_of(serve(tls=mtls))
    channel = connect(f"localhost:{port}", authority.file, authority.issue("client"))
    assert get(channel) is grpc.StatusCode.NOT_FOUND


def test_mtls_without_a_certificate(
    serve: Serve, connect: Connect, mtls: Tls, authority: Authority
) -> None:
    """The server rejects a client without a certificate."""
    port = port_of(serve(tls=mtls))
    assert get(connect(f"localhost:{port}", authority.file)) is grpc.StatusCode.UNAVAILABLE


def test_mtls_with_a_foreign_certificate(
    serve: Serve,
    connect: Connect,
    mtls: Tls,
    authority: Authority,
    other_authority: Authority,
) -> None:
    """The server rejects a client that has a certificate of another authority."""
    port = port_of(serve(tls=mtls))
    channel = connect(f"localhost:{port}", authority.file, other_authority.issue("client"))
    assert get(channel) is grpc.StatusCode.UNAVAILABLE


def test_missing_file_is_named(authority: Authority, tmp_path: Path) -> None:
    """The error names the file that is missing, and the reason."""
    missing = tmp_path / "missing.pem"
    cert, key = authority.issue("localhost")
    for files in ((missing, key), (cert, missing), (cert, key, missing)):
        with pytest.raises(CredentialsError) as caught:
            Tls.from_files(*files)
        assert str(caught.value) == (
            f"wanted a readable file, got {missing}: No such file or directory"
        )


def encrypted(key: Path) -> bytes:
    """Return the same key, encrypted with a password."""
    loaded = load_pem_private_key(key.read_bytes(), None)
    encryption = BestAvailableEncryption(b"open sesame")
    return loaded.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def test_unusable_pair_is_refused_at_once(authority: Authority, tmp_path: Path) -> None:
    """`Tls.from_files` refuses a file without PEM, a key that does not match, an encrypted key."""
    cert, key = authority.issue("localhost")
    broken = tmp_path / "broken.pem"
    broken.write_text("no PEM")
    locked = tmp_path / "locked.pem"
    locked.write_bytes(encrypted(key))
    other_key = authority.issue("client")[1]
    for pair in ((broken, key), (cert, broken), (cert, other_key), (cert, locked)):
        with pytest.raises(CredentialsError, match="its unencrypted private key, got ") as caught:
            Tls.from_files(*pair)
        assert f"got {pair[0]} and {pair[1]}: " in str(caught.value)
        assert isinstance(caught.value.__cause__, ssl.SSLError)


def test_unusable_client_ca_is_refused_at_once(authority: Authority, tmp_path: Path) -> None:
    """`Tls.from_files` refuses a client CA file without certificates."""
    broken = tmp_path / "broken.pem"
    broken.write_text("no PEM")
    with pytest.raises(CredentialsError, match="wanted PEM certificates of an authority, got "):
        Tls.from_files(*authority.issue("localhost"), broken)


def test_private_key_is_not_in_the_repr(tls: Tls) -> None:
    """The repr of Options contains no private key and no API key."""
    options = Options(listen="127.0.0.1:0", tls=tls, api_key="hunter2")
    assert "PRIVATE KEY" not in repr(options)
    assert "hunter2" not in repr(options)


@pytest.mark.parametrize(
    ("metadata", "code"),
    [
        ([("x-api-key", "hunter2")], grpc.StatusCode.NOT_FOUND),
        ([("x-api-key", "other"), ("x-api-key", "hunter2")], grpc.StatusCode.NOT_FOUND),
        ([], grpc.StatusCode.UNAUTHENTICATED),
        ([("x-api-key", "hunter")], grpc.StatusCode.UNAUTHENTICATED),
        ([("x-api-key", "")], grpc.StatusCode.UNAUTHENTICATED),
        ([("authorization", "hunter2")], grpc.StatusCode.UNAUTHENTICATED),
    ],
)
def test_api_key(
    serve: Serve, connect: Connect, metadata: list[tuple[str, str]], code: grpc.StatusCode
) -> None:
    """The server accepts a call only if the header holds the right API key."""
    assert get(connect(serve(api_key="hunter2")), *metadata) is code


def test_the_refusal_of_a_wrong_key_names_the_header(
    serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """The error names the header. Neither the error nor the log contains a key."""
    stub = pb_grpc.ReservationServiceStub(connect(serve(api_key="hunter2")))
    with pytest.raises(grpc.RpcError) as caught:
        stub.DeleteConference(
            pb.DeleteConferenceRequest(), timeout=10, metadata=(("x-api-key", "guess"),)
        )
    assert caught.value.details() == (
        "x-api-key: wanted the API key of this server, got no key or another key"
    )
    assert (
        f"/{SERVICE_NAME}/DeleteConference: refused, the call has no valid API key" in caplog.text
    )
    assert "hunter2" not in caplog.text
    assert "guess" not in caplog.text


def test_unknown_services_need_the_key_too(serve: Serve, connect: Connect) -> None:
    """Every service except health and reflection needs the key, also a similarly named service."""
    channel = connect(serve(api_key="hunter2"))
    for method in ("/acme.Other/Call", "/grpc.health.v1.HealthX/Check"):
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
        with pytest.raises(grpc.RpcError, match="UNAUTHENTICATED"):
            call(b"", timeout=10)


@pytest.mark.parametrize("service", ["", SERVICE_NAME])
def test_healthy_without_a_key(serve: Serve, connect: Connect, service: str) -> None:
    """A health check without a key gets SERVING, for the server and for the service."""
    assert health(connect(serve(api_key="hunter2")), service) == SERVING


def test_service_is_named_as_in_the_contract() -> None:
    """The service has the name that the contract gives it."""
    assert SERVICE_NAME == "jicofo.reservation.v1.ReservationService"


def test_reflection_lists_the_services_without_a_key(serve: Serve, connect: Connect) -> None:
    """Reflection lists the services without a key, so command line tools need no .proto."""
    stub = reflection_pb2_grpc.ServerReflectionStub(connect(serve(api_key="hunter2")))
    asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    (answer,) = stub.ServerReflectionInfo(asked, timeout=10)
    assert {service.name for service in answer.list_services_response.service} == {
        SERVICE_NAME,
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }


def test_two_servers_cannot_share_a_port(serve: Serve) -> None:
    """A second server on a port fails with an error; it does not share the port."""
    address = serve()
    with pytest.raises(ListenError, match=f"^{address}: wanted a free address of this machine"):
        serve(listen=address)


def test_two_servers_cannot_share_a_path(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    """A second server on a socket path fails with an error; the first one keeps the path."""
    listen = f"unix:{tmp_path}/s"
    assert serve(listen=listen) == listen
    for again in (listen, listen.replace(":", "://")):
        with pytest.raises(ListenError, match="another server listens there"):
            serve(listen=again)
    assert get(connect(listen)) is grpc.StatusCode.NOT_FOUND


def stale_socket(path: Path) -> Path:
    """Create the socket file of a server that no longer runs."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
    return path


def test_stale_socket_file_is_replaced(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    """A server replaces a socket file that no process listens on."""
    listen = f"unix:{stale_socket(tmp_path / 's')}"
    assert serve(listen=listen) == listen
    assert get(connect(listen)) is grpc.StatusCode.NOT_FOUND


def test_datagram_socket_is_not_replaced(serve: Serve, tmp_path: Path) -> None:
    """A server does not replace a socket that a process uses for another protocol."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as used:
        used.bind(f"{tmp_path}/s")
        with pytest.raises(ListenError, match="another server listens there"):
            serve(listen=f"unix:{tmp_path}/s")
    assert (tmp_path / "s").is_socket()


@pytest.mark.parametrize(
    ("file_type", "create"),
    [
        ("a regular file", Path.touch),
        ("a directory", Path.mkdir),
        ("a FIFO", os.mkfifo),
        ("a symbolic link", lambda path: path.symlink_to(stale_socket(path.with_name("stale")))),
    ],
    ids=["file", "folder", "fifo", "link"],
)
def test_other_files_are_not_replaced(
    serve: Serve, tmp_path: Path, file_type: str, create: Callable[[Path], None]
) -> None:
    """A server deletes no file that is not a socket, and the error names the type of the file."""
    path = tmp_path / "s"
    create(path)
    before = path.lstat()
    with pytest.raises(ListenError) as caught:
        serve(listen=f"unix:{path}")
    assert str(caught.value) == (
        f"unix:{path}: wanted a free path, but {file_type} is there; remove it or choose another "
        "path"
    )
    assert path.lstat() == before


def test_a_path_that_is_too_long(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path that is too long for a socket is an error without a traceback, also if it exists."""
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    monkeypatch.chdir(folder)
    stale_socket(Path("s"))
    with pytest.raises(ListenError, match="wanted a"):
        serve(listen=f"unix:{folder}/s")


class SlowStore(Store):
    """A store whose `get` waits until the test sets `released`."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()
        self.released = threading.Event()

    def get(self, conference_id: str) -> Conference | None:
        """Set `entered`, and wait for `released`."""
        self.entered.set()
        assert self.released.wait(timeout=10)
        return super().get(conference_id)


@pytest.fixture
def stopping() -> Iterator[Callable[[Server], threading.Thread]]:
    """Stop a server on another thread; the fixture joins the thread after the test."""
    threads: list[threading.Thread] = []

    def stop(server: Server) -> threading.Thread:
        thread = threading.Thread(target=server.stop)
        threads.append(thread)
        thread.start()
        return thread

    yield stop
    for thread in threads:
        thread.join(timeout=20)
        assert not thread.is_alive()


def test_stop_finishes_running_calls(
    connect: Connect, stopping: Callable[[Server], threading.Thread]
) -> None:
    """When the server stops, health checks get NOT_SERVING, and running calls get answers."""
    store = SlowStore()
    options = Options(listen="127.0.0.1:0", grace_seconds=10)
    server = Server(ReservationService(store), options)
    channel = connect(server.start())
    watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=20)
    assert next(watch).status == SERVING
    stub = pb_grpc.ReservationServiceStub(channel)
    running = stub.GetConference.future(pb.GetConferenceRequest(conference_id="x"), timeout=20)
    assert store.entered.wait(timeout=10)
    thread = stopping(server)
    assert next(watch).status == NOT_SERVING
    watch.cancel()
    assert thread.is_alive()
    store.released.set()
    assert running.code() is grpc.StatusCode.NOT_FOUND
    thread.join(timeout=10)
    assert get(channel) is grpc.StatusCode.UNAVAILABLE
    assert not [left for left in threading.enumerate() if left.name.startswith("reservation")]


def test_stop_does_not_wait_beyond_its_grace(
    connect: Connect, stopping: Callable[[Server], threading.Thread]
) -> None:
    """The server cancels a call that takes longer than the grace period."""
    store = SlowStore()
    server = Server(ReservationService(store), Options(listen="127.0.0.1:0", grace_seconds=0))
    stub = pb_grpc.ReservationServiceStub(connect(server.start()))
    running = stub.GetConference.future(pb.GetConferenceRequest(conference_id="x"), timeout=20)
    assert store.entered.wait(timeout=10)
    stopping(server)
    assert running.code() in {grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE}
    store.released.set()
