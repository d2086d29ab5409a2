"""The credentials, the TLS and the rotation of HTTP backends; each success with its negative."""

import base64
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from jicofo_reservation_proxy.app import Proxy
from jicofo_reservation_proxy.backends.credential_rotation import CredentialRotation
from jicofo_reservation_proxy.backends.http.connections import HttpConnections
from jicofo_reservation_proxy.errors import SettingsError

from tests.faults.processes import until

from .http_support import (
    Closing,
    HttpScript,
    Received,
    answered,
    backend,
    resolve,
    running_http,
    serving,
)
from .support import PROSODY, Client, running, settings
from .tls import SERVER_NAME, Authority

QUICK_SECONDS = 0.1
"""How often the tests read the credential files: this need not last seconds."""


def basic(user: str, password: str) -> str:
    """Return the header of HTTP basic authentication."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def only(header: str, *values: str, status: int = 401) -> HttpScript:
    """Return a backend that accepts requests with one of these values of a header."""
    script = HttpScript()

    def guarded(handler: Callable[[Received], object]) -> Callable[[Received], object]:
        def answer(request: Received) -> object:
            if request.headers.get(header) in values:
                return handler(request)
            return answered(status, {"message": "who are you?"})

        return answer

    script.create = guarded(script.create)
    script.get = guarded(script.get)
    script.delete = guarded(script.delete)
    return script


@contextmanager
def refreshing(proxy: Proxy) -> Iterator[None]:
    """Read the credential files of the proxy again and again."""
    rotation = CredentialRotation(lambda: [connections_of(proxy)], QUICK_SECONDS)
    try:
        yield
    finally:
        rotation.stop()


def connections_of(proxy: Proxy) -> HttpConnections:
    """Return the connections of the backend `default`."""
    found = proxy.backends.members["default"].connection
    assert isinstance(found, HttpConnections)
    return found


@contextmanager
def calling(client: Client) -> Iterator[list[int]]:
    """Open and close rooms again and again; yield the statuses of all answers."""
    statuses: list[int] = []
    stopped = threading.Event()

    def call(name: str) -> None:
        while not stopped.is_set():
            reply = client.create(name)
            statuses.append(reply.status)
            if reply.status == 200:
                statuses.append(client.delete(reply.json["id"]).status)

    threads = [threading.Thread(target=call, args=(f"room{number}",)) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        stopped.set()
        for thread in threads:
            thread.join()


def secrets(tmp_path: Path, kind: str) -> tuple[dict[str, str], Path, str, Callable[[str], str]]:
    """Return the table `auth`, its file, the header, and the header's value for a secret."""
    file = tmp_path / "secret"
    match kind:
        case "basic":
            auth = {"username": "proxy", "password_file": str(file)}
            return auth, file, "authorization", lambda secret: basic("proxy", secret)
        case "bearer":
            auth = {"bearer_token_file": str(file)}
            return auth, file, "authorization", lambda secret: f"Bearer {secret}"
        case _:
            auth = {"api_key_file": str(file), "header": "x-room-key"}
            return auth, file, "x-room-key", lambda secret: secret


KINDS = ["basic", "bearer", "key"]


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_secret_is_sent_in_every_request(tmp_path: Path, kind: str) -> None:
    """POST, GET and DELETE carry the secret of the file, without the newline at its end."""
    auth, file, header, value = secrets(tmp_path, kind)
    file.write_text("s3cr:et+/=\n")
    script = only(header, value("s3cr:et+/="))
    with running_http(tmp_path, script, auth=auth) as running:
        prosody = Client(running.client.port, PROSODY)
        prosody.create()
        public_id = prosody.create().json["id"]  # a conflict, which the proxy reads by GET
        assert prosody.delete(public_id).status == 200
        script.wait("DELETE")
    assert {request.method for request in script.requests} == {"POST", "GET", "DELETE"}
    assert {request.headers[header] for request in script.requests} == {value("s3cr:et+/=")}


@pytest.mark.parametrize("status", [401, 403, 407])
@pytest.mark.parametrize("kind", KINDS)
def test_a_refused_secret_is_a_fault_and_is_shown_nowhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str, status: int
) -> None:
    """The client gets 502 with a fixed sentence; the log names the status, and no secret."""
    caplog.set_level(logging.DEBUG)
    auth, file, header, value = secrets(tmp_path, kind)
    file.write_text("wr0ng-secret")
    script = only(header, value("right"), status=status)
    if status == 403:  # with a sentence it is a denial
        script.create = lambda _: answered(403)
    with running_http(tmp_path, script, auth=auth) as running:
        reply = running.client.create()
        assert reply.status == 502
        assert "who are you" not in reply.json["message"]
    assert str(status) in caplog.text
    assert "wr0ng-secret" not in caplog.text
    assert value("wr0ng-secret") not in caplog.text


def test_without_a_secret_403_is_a_denial(tmp_path: Path) -> None:
    """A 403 can only be about the credentials if the proxy sends some."""
    with running_http(tmp_path, HttpScript(lambda _: answered(403))) as running:
        assert running.client.create().status == 403


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_secret_is_used_while_requests_run(tmp_path: Path, kind: str) -> None:
    """A new secret is used within seconds, and a wrong one only for a trial; no request fails."""
    auth, file, header, value = secrets(tmp_path, kind)
    file.write_text("old")
    script = only(header, value("old"), value("new"))
    with (
        running_http(tmp_path, script, auth=auth) as running,
        refreshing(running.proxy),
        calling(running.client) as statuses,
    ):
        script.wait("POST")
        _replace(file, "wrong")
        until(lambda: _was_sent(script, header, value("wrong")), "a trial with the wrong secret")
        script.wait("POST", len(script.of("POST")) + 10)
        _replace(file, "new")
        until(lambda: script.of("POST")[-1].headers[header] == value("new"), "the new secret")
    assert set(statuses) == {200}
    tried = [request for request in script.requests if request.headers[header] == value("wrong")]
    assert {request.method for request in tried} == {"GET"}


def _replace(file: Path, text: str) -> None:
    """Replace a file at once, as an operator should."""
    new = file.with_suffix(".new")
    new.write_text(text)
    new.rename(file)


def _was_sent(script: HttpScript, header: str, value: str) -> bool:
    return any(request.headers.get(header) == value for request in list(script.requests))


def test_a_changed_secret_is_noticed_without_help(tmp_path: Path) -> None:
    """A running proxy reads the files itself."""
    auth, file, header, value = secrets(tmp_path, "key")
    file.write_text("old")
    script = only(header, value("old"), value("new"))
    with running_http(tmp_path, script, auth=auth) as running:
        _replace(file, "new")
        until(lambda: _was_sent(script, header, value("new")), "a trial with the new key")
        jicofo = running.client

        def is_used() -> bool:
            assert jicofo.create().status == 200
            return script.of("POST")[-1].headers[header] == "new"

        until(is_used, "its use")


def test_a_new_secret_waits_for_the_backend(tmp_path: Path) -> None:
    """While the backend does not answer, the old secret stays in use."""
    auth, file, _, _ = secrets(tmp_path, "key")
    file.write_text("old")
    script = HttpScript()
    with running_http(tmp_path, script, auth=auth) as running:
        connections = connections_of(running.proxy)
        script.get = lambda _: b"garbage\r\n\r\n"
        _replace(file, "new")
        connections.refresh()
        assert running.client.create("one").status == 200
        script.get = script.get_in_book
        connections.refresh()
        assert running.client.create("two").status == 200
    assert [request.headers["x-room-key"] for request in script.of("POST")] == ["old", "new"]


# TLS


def trusting(authority: Authority, **values: object) -> dict[str, object]:
    """Return the table `tls` of a backend whose certificate has the name `SERVER_NAME`."""
    return {"ca_file": str(authority.ca_file), "server_name": SERVER_NAME, **values}


def test_a_server_name_is_for_sni_verification_and_host(tmp_path: Path) -> None:
    """With `server_name`, SNI, the certificate and the header Host have this name."""
    authority, script = Authority(tmp_path / "ca"), HttpScript()
    context = authority.server_context(SERVER_NAME)
    with running_http(tmp_path, script, context, tls=trusting(authority)) as running:
        assert running.client.create().status == 200
        (port,) = {request.headers["host"].partition(":")[2] for request in script.requests}
    assert set(script.server_names) == {SERVER_NAME}
    assert {request.headers["host"] for request in script.requests} == {f"{SERVER_NAME}:{port}"}
    assert all(request.names.count("host") == 1 for request in script.requests)


def test_without_a_server_name_the_host_of_the_target_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SNI, the certificate and Host have the name in the target."""
    resolve(monkeypatch, SERVER_NAME, "127.0.0.1")
    authority, script = Authority(tmp_path / "ca"), HttpScript()
    with serving(script, authority.server_context(SERVER_NAME)) as target:
        named = target.replace("127.0.0.1", SERVER_NAME)
        default = backend(named, tls={"ca_file": str(authority.ca_file)})
        with running(tmp_path, backends={"default": default}) as client:
            assert client.create().status == 200
    assert set(script.server_names) == {SERVER_NAME}
    assert script.requests[0].headers["host"] == named.partition("://")[2]


def test_an_address_is_verified_too(tmp_path: Path) -> None:
    """A certificate for the IP address of the target is accepted."""
    authority, script = Authority(tmp_path / "ca"), HttpScript()
    tls = {"ca_file": str(authority.ca_file)}
    with running_http(tmp_path, script, authority.server_context("127.0.0.1"), tls=tls) as running:
        assert running.client.create().status == 200


REFUSED_SERVERS: dict[str, Callable[[Authority, Authority], dict[str, object]]] = {
    "another name": lambda own, _: {"context": own.server_context("other.example.com")},
    "an expired certificate": lambda own, _: {
        "context": own.server_context(SERVER_NAME, expired=True)
    },
    "an unknown authority": lambda _, other: {"context": other.server_context(SERVER_NAME)},
    "an authority that the system does not know": lambda own, _: {
        "context": own.server_context("127.0.0.1"),
        "tls": None,
    },
}


@pytest.mark.parametrize("make", REFUSED_SERVERS.values(), ids=REFUSED_SERVERS)
def test_a_server_with_a_wrong_certificate_gets_no_request(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    make: Callable[[Authority, Authority], dict[str, object]],
) -> None:
    """The proxy sends no byte to such a server, does not try again at once, and says why."""
    caplog.set_level(logging.INFO)
    (tmp_path / "key").write_text("s3cret")
    authority, script = Authority(tmp_path / "ca"), HttpScript()
    made = {"tls": trusting(authority)} | make(authority, Authority(tmp_path / "other"))
    values = {key: value for key, value in made.items() if value}
    auth = {"api_key_file": str(tmp_path / "key")}
    with running_http(tmp_path, script, auth=auth, **values) as running:  # type: ignore[arg-type]
        reply = running.client.create()
        assert reply.status == 503
    assert not script.requests
    assert script.connections == 1
    assert "CERTIFICATE_VERIFY_FAILED" in caplog.text


def test_mutual_tls(tmp_path: Path) -> None:
    """The proxy shows its client certificate."""
    authority, script = Authority(tmp_path / "ca"), HttpScript()
    context = authority.server_context(SERVER_NAME, client_authority=authority)
    tls = trusting(authority, **authority.client_files())
    with running_http(tmp_path, script, context, tls=tls) as running:
        assert running.client.create().status == 200
    assert script.certificates


@pytest.mark.parametrize("which", ["none", "of a stranger"])
def test_a_server_that_refuses_the_client_certificate(tmp_path: Path, which: str) -> None:
    """Without an acceptable certificate the client gets 503, within the deadline."""
    authority, script = Authority(tmp_path / "ca"), HttpScript()
    context = authority.server_context(SERVER_NAME, client_authority=authority)
    stranger = Authority(tmp_path / "stranger").client_files()
    tls = trusting(authority, **(stranger if which == "of a stranger" else {}))
    with running_http(tmp_path, script, context, tls=tls) as running:
        assert running.client.create().status == 503
    assert not script.requests


def test_new_client_certificates_fail_no_request(tmp_path: Path) -> None:
    """Requests go on while the certificate changes; each new one is used within seconds."""
    authority, script = Authority(tmp_path / "ca"), HttpScript()
    context = authority.server_context(SERVER_NAME, client_authority=authority)
    directory = tmp_path / "client"
    tls = trusting(authority, **authority.client_files(directory))
    with (
        running_http(tmp_path, script, context, tls=tls) as running,
        refreshing(running.proxy),
        calling(running.client) as statuses,
    ):
        until(lambda: script.certificates, "a certificate")
        for count in (2, 3):
            _swap(authority, directory)
            until(lambda count=count: len(set(script.certificates)) == count, "another one")  # type: ignore[misc]
            script.wait("POST", len(script.of("POST")) + 10)
    assert set(statuses) == {200}


def _swap(authority: Authority, directory: Path) -> None:
    """Replace the certificate and its key one after the other."""
    new = directory.with_suffix(".new")
    for name in authority.client_files(new).values():
        Path(name).replace(directory / Path(name).name)


def test_a_refused_new_certificate_keeps_the_old_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A certificate of a stranger is tried and not used; no request fails."""
    authority, script = Authority(tmp_path / "ca"), HttpScript()
    context = authority.server_context(SERVER_NAME, client_authority=authority)
    directory = tmp_path / "client"
    tls = trusting(authority, **authority.client_files(directory))
    with running_http(tmp_path, script, context, tls=tls) as running:
        connections = connections_of(running.proxy)
        with calling(running.client) as statuses:
            script.wait("POST")
            Authority(tmp_path / "stranger").client_files(directory)
            connections.refresh()
            script.wait("POST", len(script.of("POST")) + 5)
        assert len(set(script.certificates)) == 1
        assert "the trial call with the new credentials failed" in caplog.text
        authority.client_files(directory)
        connections.refresh()
        assert running.client.create("after").status == 200
    assert set(statuses) == {200}
    assert len(set(script.certificates)) == 2


def test_a_new_authority_is_used(tmp_path: Path) -> None:
    """A server whose authority is replaced is trusted after the file has changed, not before."""
    old, new = Authority(tmp_path / "old"), Authority(tmp_path / "new")
    ca_file, script = tmp_path / "ca.pem", HttpScript(lambda request: Closing(grant(request)))
    grant = script.create_in_book
    ca_file.write_bytes(old.ca_file.read_bytes())
    contexts = [old.server_context(SERVER_NAME)]
    tls = {"ca_file": str(ca_file), "server_name": SERVER_NAME}
    with running_http(tmp_path, script, lambda: contexts[-1], tls=tls) as running:
        connections = connections_of(running.proxy)
        assert running.client.create("one").status == 200
        contexts.append(new.server_context(SERVER_NAME))
        assert running.client.create("two").status == 503
        ca_file.write_bytes(old.ca_file.read_bytes() + new.ca_file.read_bytes())
        connections.refresh()
        assert running.client.create("three").status == 200


# Secrets over plain HTTP


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "host", ["reservations.example.com", "192.0.2.1", "[2001:db8::1]", "localhost.example.com"]
)
def test_no_secret_over_plain_http_to_another_host(tmp_path: Path, kind: str, host: str) -> None:
    """The settings are refused, and the error names the key."""
    auth, file, _, _ = secrets(tmp_path, kind)
    file.write_text("s3cret")
    with pytest.raises(SettingsError, match=r"backends\.default\.auth: wanted TLS or a target on"):
        settings(tmp_path, backends={"default": backend(f"http://{host}:8080", auth=auth)})
    settings(tmp_path, backends={"default": backend(f"https://{host}:8080", auth=auth)})
    settings(tmp_path, backends={"default": backend(f"http://{host}:8080")})


def test_a_localhost_that_is_elsewhere_gets_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """`http://localhost` is refused at the connection if its address is not a loopback address."""
    (tmp_path / "key").write_text("s3cret")
    script, auth = HttpScript(), {"api_key_file": str(tmp_path / "key")}
    with serving(script, host="0.0.0.0") as target:  # noqa: S104 - the address is not loopback
        local = target.replace("0.0.0.0", "localhost")  # noqa: S104
        with running(tmp_path, backends={"default": backend(local, auth=auth)}) as client:
            assert client.create("here").status == 200
        count = script.connections
        resolve(monkeypatch, "localhost", own_address())
        with running(tmp_path, backends={"default": backend(local, auth=auth)}) as client:
            assert client.create("there").status == 503
        assert script.connections > count
        assert len(script.requests) == 1
        assert "wanted an address on this machine" in caplog.text
        with running(tmp_path, backends={"default": backend(local)}) as client:
            assert client.create("anywhere").status == 200  # without a secret


def own_address() -> str:
    """Return an address of this machine that is not a loopback address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as found:
        try:
            found.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            pytest.skip("this machine has only loopback addresses")
        return str(found.getsockname()[0])
