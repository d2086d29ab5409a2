"""TLS of the listener, for clients on another machine."""

import shutil
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from jicofo_reservation_proxy.app import Proxy
from jicofo_reservation_proxy.backends import credential_rotation
from jicofo_reservation_proxy.commands.main import main
from jicofo_reservation_proxy.errors import CredentialsError
from jicofo_reservation_proxy.http import connections, server, tls_connection

from tests.unit.ledgers import eventually

from .support import (
    START,
    TIMEOUT_SECONDS,
    Client,
    Reply,
    exchange,
    granting_all,
    read_reply,
    running,
    serving_http,
    settings,
)
from .tls import Authority

NAME = "localhost"
FORM = f"name=board&start_time={START}".encode()
POST = (
    b"POST /conference HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s"
    % (len(FORM), FORM)
)
DELETE = b"DELETE /conference/default.x HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Return an authority that signs the certificate of the listener."""
    return Authority(tmp_path / "ca")


@pytest.fixture
def listen_tls(authority: Authority) -> dict[str, str]:
    """Return the settings of the listener's TLS."""
    cert_file, key_file = authority.server_files(NAME)
    return {"cert_file": str(cert_file), "key_file": str(key_file)}


@contextmanager
def _connected(client: Client, context: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
    with (
        socket.create_connection(("127.0.0.1", client.port), TIMEOUT_SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=NAME) as secure,
    ):
        yield secure


def _wait_for_the_end(connection: socket.socket) -> None:
    with suppress(ConnectionResetError):
        while connection.recv(65536):
            pass


def _ask(client: Client, context: ssl.SSLContext) -> Reply:
    with _connected(client, context) as connection:
        connection.sendall(POST)
        return read_reply(connection)


def _trusting(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=authority.ca_file)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_requests_over_tls_are_answered(
    tmp_path: Path, authority: Authority, listen_tls: dict[str, str], version: ssl.TLSVersion
) -> None:
    """A connection is kept, and requests that come together are all answered."""
    context = _trusting(authority)
    context.minimum_version = context.maximum_version = version
    with (
        running(tmp_path, granting_all(), listen_tls=listen_tls) as client,
        _connected(client, context) as connection,
    ):
        for _ in range(3):
            connection.sendall(POST)
            assert read_reply(connection).status == 200
        connection.sendall(DELETE * connections.MAX_PIPELINED)
        received = b""
        while received.count(b"HTTP/1.1 200 OK") < connections.MAX_PIPELINED:
            chunk = connection.recv(65536)
            assert chunk
            received += chunk
        connection.sendall(b"nonsense\r\n\r\n")
        assert read_reply(connection).status == 400
        assert connection.recv(1) == b"", "with a close_notify: nothing was cut off"


def test_a_body_that_comes_in_many_records_is_read(
    tmp_path: Path, authority: Authority, listen_tls: dict[str, str]
) -> None:
    """A request may be divided at every byte."""
    with (
        running(tmp_path, granting_all(), listen_tls=listen_tls) as client,
        _connected(client, _trusting(authority)) as connection,
    ):
        for number in range(len(POST)):
            connection.sendall(POST[number : number + 1])
        assert read_reply(connection).status == 200
        head = b"POST /conference HTTP/1.1\r\nContent-Length: 60000\r\n\r\n"
        connection.sendall(head + b"x" * 60_000)
        assert read_reply(connection).status == 415


@pytest.mark.parametrize("kind", ["jicofo", "prosody"])
@pytest.mark.parametrize("has_token", [False, True])
def test_jicofo_and_prosody_use_the_proxy_over_tls(
    tmp_path: Path,
    authority: Authority,
    listen_tls: dict[str, str],
    kind: str,
    *,
    has_token: bool,
) -> None:
    """Both clients open and close rooms with a base URL that begins with https://."""
    token_file = tmp_path / "tokens"
    token_file.write_text("0123456789abcdef" * 2)
    token_file.chmod(0o600)
    values: dict[str, object] = {"client_token_file": str(token_file)} if has_token else {}
    arguments = ["--token-file", str(token_file)] if has_token else []
    with running(tmp_path, granting_all(), listen_tls=listen_tls, **values) as client:
        address = ["--listen", f"localhost:{client.port}", "--ca-file", str(authority.ca_file)]
        rooms = ["--rooms", "3", "--times", "2", "--lifetime", "10ms"]
        assert main(["simulate", "--as", kind, *address, *rooms, *arguments]) == 0


def test_a_client_that_trusts_another_authority_is_not_answered(
    tmp_path: Path, listen_tls: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """The client refuses the certificate, and the log says that the handshake failed."""
    other = Authority(tmp_path / "other")
    with running(tmp_path, granting_all(), listen_tls=listen_tls) as client:
        with pytest.raises(ssl.SSLError), _connected(client, _trusting(other)):
            pass
        eventually(lambda: "the TLS handshake failed" in caplog.text)


def test_mtls_refuses_a_client_without_a_certificate(
    tmp_path: Path, authority: Authority, listen_tls: dict[str, str]
) -> None:
    """With `ca_file`, only a client with a certificate of this authority is answered."""
    clients = Authority(tmp_path / "clients")
    values = listen_tls | {"ca_file": str(clients.ca_file)}
    with running(tmp_path, granting_all(), listen_tls=values) as client:
        for signer in (None, authority, clients):
            context = _trusting(authority)
            if signer:
                files = signer.client_files(tmp_path / "client")
                context.load_cert_chain(files["cert_file"], files["key_file"])
            if signer is clients:
                assert _ask(client, context).status == 200
            else:
                with pytest.raises((ssl.SSLError, ConnectionError)):
                    _ask(client, context)


def test_plain_http_on_the_tls_port_is_refused_with_a_reason(
    tmp_path: Path, listen_tls: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """A client with `http://` as base URL gets an answer, and the log says what is wrong."""
    with running(tmp_path, granting_all(), listen_tls=listen_tls) as client:
        reply = exchange(client.port, POST)
    assert reply.status == 400
    assert "https://" in reply.json["message"]
    assert any("must begin with https://" in line for line in caplog.messages)


@pytest.mark.parametrize("sent", [b"", b"\x16", b"\x16\x03\x01\x00\x10" + bytes(8)])
def test_a_handshake_that_does_not_end_is_closed(
    tmp_path: Path, listen_tls: dict[str, str], monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    """The time limit of the first head includes the handshake."""
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.2)
    monkeypatch.setattr(server, "CHECK_SECONDS", 0.02)
    with (
        running(tmp_path, listen_tls=listen_tls) as client,
        socket.create_connection(("127.0.0.1", client.port), TIMEOUT_SECONDS) as connection,
    ):
        connection.sendall(sent)
        _wait_for_the_end(connection)


def test_a_handshake_with_garbage_is_closed(tmp_path: Path, listen_tls: dict[str, str]) -> None:
    """Bytes that only begin like TLS close the connection; others are served meanwhile."""
    with running(tmp_path, granting_all(), listen_tls=listen_tls) as client:
        with socket.create_connection(("127.0.0.1", client.port), TIMEOUT_SECONDS) as connection:
            connection.sendall(b"\x16" * 4096)
            _wait_for_the_end(connection)
        assert exchange(client.port, DELETE).status == 400


def test_a_new_certificate_is_used_without_a_restart(
    tmp_path: Path,
    authority: Authority,
    listen_tls: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A wrong file keeps the old certificate; a right one is used for new connections."""
    monkeypatch.setattr(credential_rotation, "REFRESH_SECONDS", 0.02)
    caplog.set_level("INFO")
    cert, key = (Path(listen_tls[name]) for name in ("cert_file", "key_file"))
    renewed = Authority(tmp_path / "renewed")
    proxy = Proxy(settings(tmp_path, listen_tls=listen_tls))
    proxy_refresh = proxy.front_door.door.tls
    assert proxy_refresh is not None
    with proxy, serving_http(proxy) as port:
        client = Client(port)
        with _connected(client, _trusting(authority)) as kept:
            cert.write_bytes(b"nonsense")
            proxy_refresh.refresh()
            proxy_refresh.refresh()
            assert caplog.text.count("stays in use") == 1
            with _connected(client, _trusting(authority)):
                pass
            for source, target in zip(renewed.server_files(NAME), (cert, key), strict=True):
                shutil.copyfile(source, target)
            proxy_refresh.refresh()
            assert "listen_tls: the files have changed and are in use" in caplog.text
            with _connected(client, _trusting(renewed)) as connection:
                connection.sendall(DELETE)
                assert read_reply(connection).status == 200
            kept.sendall(DELETE)
            assert read_reply(kept).status == 200


def test_files_that_cannot_be_used_stop_the_start(
    tmp_path: Path, listen_tls: dict[str, str]
) -> None:
    """The message names the key and the file, and not the content."""
    Path(listen_tls["key_file"]).write_text("hunter2")
    with pytest.raises(CredentialsError, match=r"listen_tls.cert_file, listen_tls.key_file") as got:
        Proxy(settings(tmp_path, listen_tls=listen_tls))
    assert "hunter2" not in str(got.value)


def test_the_command_call_uses_tls_and_the_token(
    tmp_path: Path, listen_tls: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """`call` reads the settings of the running proxy, so it connects as a client must."""
    token_file = tmp_path / "tokens"
    token_file.write_text("0123456789abcdef" * 2)
    token_file.chmod(0o600)
    own = {"client_token_file": str(token_file), "path_prefix": "/api"}
    with running(tmp_path, granting_all(), listen_tls=listen_tls, **own) as client:
        file = tmp_path / "settings.toml"
        file.write_text(
            f'listen = "127.0.0.1:{client.port}"\nstate_dir = "{tmp_path}"\npath_prefix = "/api"\n'
            f'client_token_file = "{token_file}"\n'
            f'[listen_tls]\ncert_file = "{listen_tls["cert_file"]}"\n'
            f'key_file = "{listen_tls["key_file"]}"\n'
        )
        assert main(["call", "create", "board", "--config", str(file)]) == 0
        file.write_text(file.read_text().partition("[listen_tls]")[0])
        assert main(["call", "create", "board", "--config", str(file)]) == 8
    assert tls_connection.PLAIN in capsys.readouterr().out
