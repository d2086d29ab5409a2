"""The front door: which requests may ask, and an answer to everything that is sent."""

import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from jicofo_reservation_proxy.observability.metrics import Metrics

from tests.unit.ledgers import eventually

from .support import (
    JICOFO,
    PROSODY,
    START,
    TIMEOUT_SECONDS,
    Client,
    Reply,
    exchange,
    granting,
    read_reply,
    running,
)

TOKEN = "0123456789abcdef0123456789abcdef"
OTHER_TOKEN = "f" * 32
FORM = f"name=board&start_time={START}".encode()
FORM_TYPE = {"Content-Type": "application/x-www-form-urlencoded"}


def _head(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    lines = [
        f"{method} {target} HTTP/1.1",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode()


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    """Write a file with two valid tokens."""
    file = tmp_path / "tokens"
    file.write_text(f"{OTHER_TOKEN}\n\n{TOKEN}\n")
    file.chmod(0o600)
    return file


@pytest.fixture
def guarded(tmp_path: Path, token_file: Path) -> Iterator[Client]:
    """Run a proxy that wants a token."""
    with running(
        tmp_path, granting(), client_token_file=str(token_file), client_token_header="X-Api-Key"
    ) as client:
        yield client


def _create(client: Client, prefix: str = "", **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.send("POST", f"{prefix}/conference", FORM, FORM_TYPE | named)


# Client tokens.


@pytest.mark.parametrize(
    ("prefix", "headers"),
    [
        ("", {"Authorization": f"Bearer {TOKEN}"}),
        ("", {"authorization": f"bearer {OTHER_TOKEN}"}),
        ("", {"X_Api_Key": TOKEN}),
        (f"/{TOKEN}", {}),
        (f"/{TOKEN}/", {}),
        (f"//{OTHER_TOKEN}/api/v1", {}),
    ],
)
def test_a_client_with_a_token_is_served(
    guarded: Client, prefix: str, headers: dict[str, str]
) -> None:
    """A token is valid in Authorization, in `client_token_header`, and in front of the path."""
    assert _create(guarded, prefix, **headers).status == 200


@pytest.mark.parametrize(
    ("prefix", "headers"),
    [
        ("", {}),
        ("", {"Authorization": TOKEN}),
        ("", {"Authorization": f"Basic {TOKEN}"}),
        ("", {"Authorization": f"Bearer {TOKEN[:-1]}"}),
        ("", {"Authorization": "Bearer "}),
        ("", {"X_Api_Key": f"{TOKEN}, {TOKEN}"}),
        ("", {"X_Other": TOKEN}),
        (f"/{TOKEN[:-1]}", {}),
        (f"/api/{TOKEN}", {}),
        (f"/{TOKEN}x", {}),
        ("", {"X_Api_Key": "caf\u00e9"}),
    ],
)
def test_a_client_without_a_valid_token_is_refused(
    guarded: Client, prefix: str, headers: dict[str, str]
) -> None:
    """Every other request gets 401 and a sentence, and reaches no backend."""
    reply = _create(guarded, prefix, **headers)
    assert (reply.status, reply.headers["www-authenticate"]) == (401, "Bearer")
    assert reply.json["message"]


def test_get_and_delete_need_a_token_too(guarded: Client) -> None:
    """A GET shows a password, and a DELETE ends a meeting."""
    assert guarded.get("default.364758328").status == 401
    assert guarded.delete("default.364758328").status == 401
    assert guarded.send("DELETE", f"/{TOKEN}/conference/x").status == 200


def test_no_token_is_ever_logged(
    guarded: Client, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a valid nor a wrong token appears in the log, also if something fails."""
    caplog.set_level("DEBUG")
    wrong = TOKEN[:-1] + "0"
    _create(guarded, f"/{TOKEN}")
    _create(guarded, f"/{wrong}", Authorization=f"Bearer {wrong}")
    _create(guarded, f"/{wrong}", Authorization=f"Bearer {TOKEN}")
    guarded.send("GET", f"/{TOKEN}/unknown")
    guarded.send("GET", f"/{wrong}/unknown", headers={"Authorization": f"Bearer {TOKEN}"})
    guarded.send("GET", f"/{TOKEN}/conference/x y")
    guarded.send("PATCH", f"/{TOKEN}/conference/{TOKEN}")
    guarded.send("DELETE", f"/{TOKEN}/conference/{wrong}")
    guarded.send("GET", f"/conference/{TOKEN}/x", headers={"Authorization": f"Bearer {TOKEN}"})
    exchange(
        guarded.port, b"GET /x HTTP/1.1\r\nAuthorization: Bearer %s\nX: y\r\n\r\n" % TOKEN.encode()
    )
    monkeypatch.setattr("jicofo_reservation_proxy.http.access_log.AccessLogEntry.record", _fail)
    guarded.send("GET", f"/{TOKEN}/conference/x")
    eventually(lambda: "a mistake" in caplog.text)
    assert TOKEN not in caplog.text
    assert wrong not in caplog.text


def _fail(_: object) -> None:
    raise RuntimeError("a mistake")


def test_refusals_are_counted_and_logged_once_a_minute(
    tmp_path: Path,
    token_file: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A refused DELETE is a lost DELETE, so the operator must see it; the log stays small."""
    made: list[Metrics] = []
    real = Metrics.__init__

    def init(self: Metrics) -> None:
        real(self)
        made.append(self)

    monkeypatch.setattr(Metrics, "__init__", init)
    with running(tmp_path, granting(), client_token_file=str(token_file)) as client:
        for _ in range(3):
            assert client.delete("default.x").status == 401
        assert client.send("BREW", "/").status == 401
    labels = {"reason": "token", "method": "DELETE"}
    name = "jicofo_reservation_proxy_refusals_total"
    assert made[0].registry.get_sample_value(name, labels) == 3
    assert made[0].registry.get_sample_value(name, labels | {"method": "other"}) == 1
    lines = [line for line in caplog.messages if "client token" in line]
    assert len(lines) == 1
    assert "DELETE request of 127.0.0.1" in lines[0]


def test_a_new_token_is_valid_without_a_restart(guarded: Client, token_file: Path) -> None:
    """The proxy reads the file again when it changes."""
    new = "1" * 64
    token_file.write_text(new)
    eventually(lambda: guarded.send("DELETE", f"/{new}/conference/x").status == 200)
    assert guarded.send("DELETE", f"/{TOKEN}/conference/x").status == 401


# Host and Origin.


@pytest.mark.parametrize(
    "header",
    [
        {"Origin": "https://example.com"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:7777"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-origin"},
    ],
)
def test_a_web_page_is_refused(tmp_path: Path, header: dict[str, str]) -> None:
    """A browser sends Origin or Sec-Fetch-Site with the request of a page; no client does."""
    with running(tmp_path, granting()) as client:
        created = client.send("POST", "/conference", FORM, FORM_TYPE | header)
        assert created.status == 403
        assert client.send("OPTIONS", "/conference/x", headers=header).status == 403
        assert client.send("GET", "/conference/x", headers=header).status == 403
        assert "access-control-allow-origin" not in created.headers


def _get_with_host(client: Client, *hosts: str) -> int:
    lines = "".join(f"Host: {host}\r\n" for host in hosts)
    return exchange(client.port, f"GET /conference/x HTTP/1.1\r\n{lines}\r\n".encode()).status


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1:7777",
        "[::1]:7777",
        "[::1]",
        "192.0.2.1",
        "localhost:80",
        "LOCALHOST",
    ],
)
def test_an_address_is_accepted_as_host(tmp_path: Path, host: str) -> None:
    """No other site can have an IP address or `localhost` as its name."""
    with running(tmp_path) as client:
        assert _get_with_host(client, host) == 404


def test_an_absent_host_is_accepted(tmp_path: Path) -> None:
    """A client that sends no Host is no browser."""
    with running(tmp_path) as client:
        assert _get_with_host(client) == 404
        assert _get_with_host(client, "") == 404


@pytest.mark.parametrize(
    "host", ["evil.example.com", "evil.example.com:7777", "127.0.0.1.example.com", "localhost.x"]
)
def test_another_name_is_refused_on_a_loopback_address(tmp_path: Path, host: str) -> None:
    """A page can give its own name the address 127.0.0.1 (DNS rebinding)."""
    with running(tmp_path) as client:
        assert _get_with_host(client, host) == 403


def test_names_of_allowed_hosts_are_accepted(tmp_path: Path) -> None:
    """`allowed_hosts` names further hosts, without regard to case and to a dot at the end."""
    with running(tmp_path, allowed_hosts=["proxy.example.com"]) as client:
        assert _get_with_host(client, "Proxy.example.com:7777") == 404
        assert _get_with_host(client, "proxy.example.com.") == 404
        assert _get_with_host(client, "other.example.com") == 403


def test_every_name_is_accepted_on_another_address(tmp_path: Path) -> None:
    """In a network of containers, the base URL has the name of the container."""
    with running(tmp_path, listen="0.0.0.0:0") as client:
        assert _get_with_host(client, "proxy:7777") == 404
    with running(tmp_path, listen="0.0.0.0:0", allowed_hosts=["proxy"]) as client:
        assert _get_with_host(client, "proxy:7777") == 404
        assert _get_with_host(client, "other:7777") == 403


def test_the_name_in_an_absolute_uri_counts(tmp_path: Path) -> None:
    """An authority in the request line replaces Host (RFC 9112, section 3.2.2)."""
    with running(tmp_path) as client:
        head = b"GET http://%s/conference/x HTTP/1.1\r\nHost: localhost\r\n\r\n"
        assert exchange(client.port, head % b"evil.example.com").status == 403
        assert exchange(client.port, head % b"localhost:1").status == 404


# An answer to everything.


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET http://[/ HTTP/1.1\r\n\r\n",
        b"GET http://a]b/conference/x HTTP/1.1\r\n\r\n",
        b"POST /conference HTTP/1.1\r\nContent-Length: " + b"1" * 4301 + b"\r\n\r\n",
        b"POST /conference HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        b"POST /conference HTTP/1.1\r\nContent-Length: 5, 5\r\n\r\nhello",
        b"POST /conference HTTP/1.1\r\nContent-Length: +5\r\n\r\nhello",
        b"POST /conference HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /x HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /x HTTP/1.1\r\nTransfer-Encoding:\r\nContent-Length: 5\r\n\r\nhello",
        b"POST /x HTTP/1.1\r\nTransfer-Encoding: identity\r\n\r\n",
        b"POST /x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /x HTTP/1.1\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
        b"GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET http://a@b/ HTTP/1.1\r\n\r\n",
        b"GET /x HTTP/1.1\r\nX: a\r\n b\r\n\r\n",
        b"GET /x HTTP/1.1\nHost: localhost\n\n",
        b"GET /x HTTP/1.1\r\nX: a\nb\r\n\r\n",
        b"GET /x HTTP/1.1\r\nX : a\r\n\r\n",
        b"GET /x HTTP/1.1\r\nX: \x00\r\n\r\n",
        b"GET /x HTTP/2.0\r\n\r\n",
        b"GET /x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x00\x01\x02\r\n\r\n",
        b" GET /x HTTP/1.1\r\n\r\n",
        b"\x0bGET /x HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_not_http_is_refused_with_400(tmp_path: Path, request_bytes: bytes) -> None:
    """Servers read such a request in different ways, or not at all; then nothing else follows."""
    with (
        running(tmp_path) as client,
        socket.create_connection(("127.0.0.1", client.port), TIMEOUT_SECONDS) as connection,
    ):
        connection.sendall(request_bytes)
        reply = read_reply(connection)
        assert (reply.status, reply.headers["connection"]) == (400, "close")
        assert reply.json["message"]
        assert connection.recv(1) == b""


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("OPTIONS", "*", 404),
        ("CONNECT", "example.com:443", 404),
        ("GET", "/", 404),
        ("GET", "//", 404),
        ("GET", "/conferences", 404),
        ("GET", "/conference", 405),
        ("PUT", "/conference/x", 405),
        ("TRACE", "/conference/x", 405),
        ("GET", "/conference/%00%ff%0a", 404),
        ("GET", "/conference/x?y=z#w", 404),
        ("GET", "/conference/" + "x" * 8000, 404),
    ],
)
def test_every_method_and_path_is_answered(
    tmp_path: Path, method: str, target: str, status: int
) -> None:
    """The answer is one flat JSON object for every method and path (clients.md "body")."""
    with running(tmp_path) as client:
        reply = client.send(method, target)
    assert reply.status == status
    assert reply.json["message"]


def _everything(port: int, request: bytes) -> bytes:
    """Send a request and return all bytes until the end of the connection."""
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS) as connection:
        connection.sendall(request)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    return received


@pytest.mark.parametrize(
    "target", ["/conference/x", "/conference", "/", "*", "/a b", "http://[/", "/" + "x" * 20_000]
)
def test_the_answer_to_head_has_no_body(tmp_path: Path, target: str) -> None:
    """The answer to HEAD is the head of the answer to GET (RFC 9110, section 9.3.2)."""
    request = _head("HEAD", target, {"Host": "localhost", "Connection": "close"})
    with running(tmp_path) as client:
        received = _everything(client.port, request)
    assert received.startswith(b"HTTP/1.")
    assert received.endswith(b"\r\n\r\n")
    assert received.count(b"\r\n\r\n") == 1


def test_the_answer_to_a_refused_head_has_no_body(guarded: Client) -> None:
    """A refusal before the reservation API, such as 401, has no body either."""
    request = _head("HEAD", "/conference/x", {"Host": "localhost", "Connection": "close"})
    received = _everything(guarded.port, request)
    assert received.startswith(b"HTTP/1.1 401")
    assert received.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (_head("POST", "/conference", {"Content-Length": "10000000"}), 413),
        (b"POST /conference HTTP/1.1\r\nX: " + b"x" * 20_000, 431),
        (_head("POST", "/conference", {"Content-Length": "x"}), 400),
    ],
)
def test_a_refusal_arrives_while_the_client_still_sends(
    tmp_path: Path, head: bytes, status: int
) -> None:
    """The server reads what the client still sends, so that no reset destroys the answer."""
    with (
        running(tmp_path) as client,
        socket.create_connection(("127.0.0.1", client.port), TIMEOUT_SECONDS) as connection,
    ):
        connection.sendall(head + b"x" * 10_000_000)
        assert read_reply(connection).status == status
        assert connection.recv(1) == b""


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /conference/x HTTP/1.1\r\nExpect: 100-continue\r\n\r\n", 404),
        (b"GET /conference/x HTTP/1.1\r\nExpect: 200-ok\r\n\r\n", 404),
        (
            b"POST /conference HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 999999\r\n\r\n",
            413,
        ),
    ],
)
def test_expect_without_a_body_is_answered_at_once(
    tmp_path: Path, request_bytes: bytes, status: int
) -> None:
    """The server does not wait for a body that it does not want."""
    with running(tmp_path) as client:
        assert exchange(client.port, request_bytes).status == status


def test_a_client_that_closes_its_side_gets_its_answer(tmp_path: Path) -> None:
    """A half-closed connection is still open for the answer."""
    request = _head("DELETE", "/conference/default.x", {"Host": "localhost"})
    with (
        running(tmp_path) as client,
        socket.create_connection(("127.0.0.1", client.port), TIMEOUT_SECONDS) as connection,
    ):
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        assert read_reply(connection).status == 200


def test_empty_lines_before_a_request_are_ignored(tmp_path: Path) -> None:
    """Old clients send an empty line after a body (RFC 9112, section 2.2)."""
    request = _head("DELETE", "/conference/default.x", {"Host": "localhost"})
    with (
        running(tmp_path) as client,
        socket.create_connection(("127.0.0.1", client.port), TIMEOUT_SECONDS) as connection,
    ):
        for _ in range(2):
            connection.sendall(b"\r\n\r\n" + request)
            assert read_reply(connection).status == 200


# Paths.


@pytest.mark.parametrize("user_agent", [JICOFO, PROSODY])
def test_a_base_url_with_a_path_works_without_a_setting(
    tmp_path: Path, user_agent: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The proxy accepts any path in front of /conference, and logs the first one."""
    caplog.set_level("INFO")
    with running(tmp_path, granting()) as server:
        client = Client(server.port, user_agent)
        created = _create(client, "/api/v1")
        assert created.status == 200
        public_id = created.json["id"]
        assert client.send("GET", f"/api/v1/conference/{public_id}").status == 200
        assert client.send("DELETE", f"/other//conference/{public_id}").status == 200
        assert client.send("GET", f"/conference/{public_id}").status == 404
    lines = [line for line in caplog.messages if "base URL with a path" in line]
    assert len(lines) == 1
    assert "/api/v1" in lines[0]


def test_an_id_may_contain_the_name_of_the_resource(tmp_path: Path) -> None:
    """Only the first `/conference` ends the path of the base URL."""
    with running(tmp_path, granting("a/conference/b")) as server:
        client = Client(server.port, PROSODY)
        public_id = client.create().json["id"]
        assert client.get(public_id).status == 200
        assert client.send("DELETE", "/conference/x/conference/y").status == 200


def test_path_prefix_refuses_other_paths(tmp_path: Path) -> None:
    """With `path_prefix`, only this path is accepted, and the refusal says which one."""
    with running(tmp_path, granting(), path_prefix="/api/v1/") as client:
        assert _create(client, "/api/v1").status == 200
        assert _create(client, "/api//v1/").status == 200
        for prefix in ("", "/api", "/api/v1/v1", "/api/v12"):
            refused = _create(client, prefix)
            assert refused.status == 404
            assert "/api/v1/conference" in refused.json["message"]


def test_a_token_stands_in_front_of_path_prefix(tmp_path: Path, token_file: Path) -> None:
    """The base URL is http://HOST/TOKEN/PREFIX."""
    values = {"client_token_file": str(token_file), "path_prefix": "/api"}
    with running(tmp_path, granting(), **values) as client:
        assert _create(client, f"/{TOKEN}/api").status == 200
        assert _create(client, f"/{TOKEN}").status == 404
        assert _create(client, f"/api/{TOKEN}").status == 401
