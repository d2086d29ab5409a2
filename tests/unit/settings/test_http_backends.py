"""The settings of HTTP backends: valid values, error messages, and contradictions."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from jicofo_reservation_proxy.errors import SettingsError
from jicofo_reservation_proxy.settings.addresses import is_http_target, is_local_url
from jicofo_reservation_proxy.settings.schema import (
    AnswerFields,
    Backend,
    BackendName,
    Http,
    RequestFields,
)
from jicofo_reservation_proxy.settings.validation import validate

Tree = dict[str, Any]
LOCAL = "http://127.0.0.1:8080"
REMOTE = "https://reservations.example.com/api/v1"
GRPC = "dns:///reservations.example.com:50051"


def read(target: str = LOCAL, **fields: object) -> Backend:
    """Return the backend with these settings."""
    tree = {"backends": {"a": {"target": target} | fields}}
    return validate(tree).backends[BackendName("a")]


def faults(target: str = LOCAL, **fields: object) -> list[str]:
    """Return the error messages about a backend with these settings."""
    with pytest.raises(SettingsError) as caught:
        read(target, **fields)
    return [str(fault) for fault in caught.value.faults]


def fault_in_http(**http: object) -> str:
    """Return the only error message about the table `http`, without the key of the table."""
    (fault,) = faults(http=http)
    assert fault.startswith("backends.a.http.")
    return fault.removeprefix("backends.a.http.")


# -- the URL -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "is_read_as"),
    [
        (LOCAL, LOCAL),
        (REMOTE, REMOTE),
        ("https://reservations.example.com/", "https://reservations.example.com"),
        ("https://reservations.example.com/api/", "https://reservations.example.com/api"),
        ("HTTPS://Reservations.example.com/Api", "https://Reservations.example.com/Api"),
        ("http://[::1]:8080/a%20b", "http://[::1]:8080/a%20b"),
        ("http://localhost/~me/@x", "http://localhost/~me/@x"),
    ],
)
def test_targets_of_http_backends(target: str, is_read_as: str) -> None:
    """A URL with a host, perhaps a port and a path, is the target of an HTTP backend."""
    assert read(target).target == is_read_as
    assert is_http_target(read(target).target)


@pytest.mark.parametrize(
    "target",
    [
        "http:",
        "http:50051",
        "http://",
        "https:///api",
        "http://:80/",
        "http://example.com:0",
        "http://example.com:65536",
        "http://example.com:x",
        "http://a..b/",
        "http://[::1",
        "http://example.com/?x=1",
        "http://example.com?x=1",
        "http://example.com/#x",
        "http://example.com/a b",
        "http://example.com//a",
        "http://example.com/{id}",
        "http://example.com/{room}/x",
        "http://example.com/%",
        "http://example.com/%zz",
        "http://example.com\\a",
        'http://example.com/"',
        "http://ex\u00e4mple.com/",
        "http://example.com/\n",
    ],
)
def test_urls_that_are_refused(target: str) -> None:
    """A URL without a host, with an impossible port, or with more than a path."""
    assert faults(target) == [
        (
            "backends.a.target: wanted a URL such as https://reservations.example.com/api/v1, "
            f"without '?' and '#', got {target!r}"
        )
    ]


@pytest.mark.parametrize(
    "target",
    [
        "http://juliet:hunter2@example.com/api",
        "HTTPS://juliet:hunter2@example.com",
        "http://hunter2@example.com",
        "http://:hunter2@example.com",
        "http:/juliet:hunter2@example.com",
        "http:juliet:hunter2@example.com",
        "http:///juliet:hunter2@example.com",
        "http://juliet:hunter2/x@example.com",
        "http://juliet:hunter2?x@example.com",
        "http://juliet:hunter2#x@example.com",
        "http://juliet:hunter2 x@example.com",
        "http://juliet:hunter2\\@example.com",
    ],
)
def test_a_password_in_a_url_is_not_shown(target: str) -> None:
    """A URL with a user name is refused, and the message shows nothing of it."""
    assert faults(target) == [
        (
            "backends.a.target: wanted a URL without a user name or a password, got one with them "
            "(not shown: they may be secret); set auth.username and auth.password_file"
        )
    ]


@given(target=st.text(st.sampled_from("htps:/@.x1 ?#[]%\\"), max_size=20).map("http".__add__))
@hypothesis_settings(max_examples=300)
def test_any_url_is_read_or_refused(target: str) -> None:
    """No text in the place of a URL raises another error or shows what stands before an `@`."""
    try:
        found = read(target).target
    except SettingsError as error:
        shown = str(error).partition(", got ")[2]
        assert "@" not in shown or not target.startswith(("http:", "https:"))
    else:
        assert not is_http_target(found) or "@" not in found.split("/")[2]


@pytest.mark.parametrize(
    ("target", "is_http"),
    [
        (LOCAL, True),
        ("HTTPS://example.com", True),
        ("dns:///http", False),
        ("https.example.com:443", False),
        ("unix:http://x", False),
    ],
)
def test_which_targets_are_of_http(target: str, is_http: bool) -> None:
    """Only `http://` and `https://` select an HTTP backend."""
    assert is_http_target(target) is is_http


@pytest.mark.parametrize(
    ("url", "is_local"),
    [
        (LOCAL, True),
        ("http://localhost:80/api", True),
        ("http://LOCALHOST", True),
        ("http://127.9.9.9", True),
        ("http://[::1]:80", True),
        ("http://localhost.example.com", False),
        ("http://127.0.0.1.example.com", False),
        ("http://192.0.2.1", False),
        ("http://[2001:db8::1]", False),
        ("http://127.1", False),
        ("http://0.0.0.0", False),
    ],
)
def test_which_urls_are_local(url: str, is_local: bool) -> None:
    """Only loopback addresses and `localhost` are certainly on this machine."""
    assert is_local_url(url) is is_local


# -- the table http ------------------------------------------------------------------------------


def test_every_setting_can_be_set() -> None:
    """Every setting of the table can be set to a value as TOML delivers it."""
    http = {
        "body": "json",
        "idempotent": True,
        "duration_unit": "minutes",
        "gone_statuses": [404, 410],
        "create": "POST /rooms/{room}/open?tenant={tenant}&name={name}",
        "get": "GET /bookings/{id}/",
        "delete": "POST /bookings/{id}/end",
        "request_fields": {"name": "room_name", "mail_owner": "", "start_time": "begin"},
        "answer_fields": {"id": "data.bookings.0.id", "message": "error.text", "pin": ""},
        "extra_fields": {"site": "blue & green", "empty": ""},
    }
    found = read(http=http).http
    assert found == Http(
        body="json",
        idempotent=True,
        duration_unit="minutes",
        gone_statuses=(404, 410),  # type: ignore[arg-type]
        create=http["create"],  # type: ignore[arg-type]
        get=http["get"],  # type: ignore[arg-type]
        delete=http["delete"],  # type: ignore[arg-type]
        request_fields=RequestFields(name="room_name", mail_owner="", start_time="begin"),  # type: ignore[arg-type]
        answer_fields=AnswerFields(id="data.bookings.0.id", message="error.text", pin=""),  # type: ignore[arg-type]
        extra_fields={"site": "blue & green", "empty": ""},  # type: ignore[dict-item]
    )
    assert read(http={}).http == Http()
    assert read().http is None


def test_values_as_the_environment_writes_them() -> None:
    """Statuses and flags may be texts."""
    found = read(http={"gone_statuses": ["404"], "idempotent": "true"}).http
    assert found
    assert (found.gone_statuses, found.idempotent) == ((404,), True)


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("body", "xml", "wanted 'form' or 'json', got 'xml'"),
        ("body", "", "wanted 'form' or 'json', got ''"),
        ("idempotent", 1, "wanted true or false, got 1"),
        ("duration_unit", "hours", "wanted 'seconds' or 'minutes', got 'hours'"),
        ("gone_statuses", 404, "wanted an array in square brackets, got 404"),
        ("create", 7, "wanted a string, got 7"),
        ("request_fields", "name", "wanted a table, got 'name'"),
        ("answer_fields", ["id"], "wanted a table, got ['id']"),
        ("extra_fields", "x=1", "wanted a table, got 'x=1'"),
    ],
)
def test_values_that_are_refused(key: str, value: object, wanted: str) -> None:
    """A message has the key, the wanted value and the given value."""
    assert fault_in_http(**{key: value}) == f"{key}: {wanted}"


@pytest.mark.parametrize(
    "status", [200, 399, 600, 4040, -404, 404.0, True, "x", "", None, "\u0664"]
)
def test_statuses_that_are_refused(status: object) -> None:
    """A status that means "gone" is an error status of HTTP."""
    assert fault_in_http(gone_statuses=[404, status]) == (
        f"gone_statuses.1: wanted a status from 400 to 599, got {status!r}"
    )


ENDPOINTS = [
    "",
    *(
        "POST /",
        "POST /conference",
        "PUT /a/b.c/",
        "PATCH /~a",
        "DELETE /a%20b",
        "GET /a?b=c&d=/e?",
    ),
]


@pytest.mark.parametrize(
    "endpoint", [*ENDPOINTS, "POST /{room}", "PUT /{tenant}/r-{name}{name}?x={room}"]
)
def test_endpoints_for_rooms(endpoint: str) -> None:
    """A method and a path, perhaps with a query; the placeholders stand anywhere in them."""
    found = read(http={"create": endpoint}).http
    assert found
    assert found.create == endpoint


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "GET /{id}",
        "GET /a/{id}",
        "POST /a/x{id}y/end",
        "DELETE /a?id={id}&b=1",
        "GET /?{id}",
    ],
)
@pytest.mark.parametrize("key", ["get", "delete"])
def test_endpoints_for_conferences(key: str, endpoint: str) -> None:
    """An endpoint that is not switched off has the id."""
    found = read(http={key: endpoint}).http
    assert found
    assert getattr(found, key) == endpoint


BAD_ENDPOINTS = [
    *("/conference", "POST", "POST ", "POST conference", "post /conference", "OPTIONS /", "HEAD /"),
    *(
        "POST  /a",
        "POST /a b",
        "POST /a\r\nX: y",
        "POST //a",
        "POST /a//b",
        "POST /a#b",
        " POST /a",
    ),
    *(
        "POST http://example.com/",
        "POST /caf\u00e9",
        "POST /%",
        "POST /%{name}",
        "POST /a?",
        "* /a",
    ),
    *("POST /{", "POST /}", "POST /{}", "POST /{ROOM}", "POST /{{room}}", "POST /{room", 'POST /"'),
]


@pytest.mark.parametrize(
    "endpoint", [*BAD_ENDPOINTS, "POST /{id}", "POST /{owner}", "POST /?x={id}"]
)
def test_endpoints_for_rooms_that_are_refused(endpoint: str) -> None:
    """Neither a method and a path, nor empty; or another placeholder."""
    assert fault_in_http(create=endpoint) == (
        "create: wanted a method and a path such as POST /conference, with no other placeholders "
        f'than {{room}}, {{tenant}} and {{name}}, or "" to switch it off, got {endpoint!r}'
    )


@pytest.mark.parametrize(
    "endpoint",
    [*BAD_ENDPOINTS, *ENDPOINTS[1:], "GET /{room}", "GET /{id}/{room}", "DELETE /{tenant}"],
)
@pytest.mark.parametrize("key", ["get", "delete"])
def test_endpoints_for_conferences_that_are_refused(key: str, endpoint: str) -> None:
    """Also without the id: a DELETE of the whole collection could end every conference."""
    assert fault_in_http(**{key: endpoint}) == (
        f"{key}: wanted a method and a path such as GET /conference/{{id}}, with the placeholder "
        f'{{id}} and no other, or "" to switch it off, got {endpoint!r}'
    )


def test_endpoints_differ() -> None:
    """Two endpoints with the same method and path cannot do different things."""
    assert fault_in_http(get="POST /x/{id}", delete="POST /x/{id}") == (
        "delete: wanted another path than http.get, because each method does something else, "
        "got 'POST /x/{id}'"
    )
    assert read(http={"get": "GET /x/{id}", "delete": "DELETE /x/{id}"}).http
    assert read(http={"create": "", "get": "", "delete": ""}).http


@pytest.mark.parametrize("name", ["a b", "caf\u00e9", "a\n", "x" * 101, 7, None])
def test_names_of_fields_that_are_refused(name: object) -> None:
    """A name of a field has no spaces and at most 100 characters."""
    assert fault_in_http(request_fields={"name": name}).startswith("request_fields.name: wanted ")
    if isinstance(name, str):
        assert fault_in_http(extra_fields={name: "1"}).startswith(f"extra_fields.{name}: wanted ")


@pytest.mark.parametrize("path", ["a b", "\u00e9", "a.\n", "x" * 201, 7, None])
def test_places_that_are_refused(path: object) -> None:
    """A place in an answer has no spaces and at most 200 characters."""
    assert fault_in_http(answer_fields={"id": path}).startswith("answer_fields.id: wanted ")


@pytest.mark.parametrize("value", [1, True, None, ["a"], {"a": "b"}])
def test_constant_fields_are_texts(value: object) -> None:
    """The value of a constant field is a text."""
    assert fault_in_http(extra_fields={"x": value}).startswith("extra_fields.x: wanted a string")


@pytest.mark.parametrize(
    ("http", "known"),
    [
        ({"path": "x"}, "http.path"),
        ({"request_fields": {"id": "x"}}, "http.request_fields.id"),
        ({"answer_fields": {"conference": "x"}}, "http.answer_fields.conference"),
    ],
)
def test_unknown_keys(http: Tree, known: str) -> None:
    """An unknown key is refused in every table."""
    (fault,) = faults(http=http)
    assert fault.startswith(f"backends.a.{known}: unknown key")


# -- contradictions ------------------------------------------------------------------------------


def test_no_field_is_sent_twice() -> None:
    """Two values with the same name, or a constant field with the name of a value."""
    assert fault_in_http(request_fields={"name": "mail_owner"}) == (
        "request_fields: wanted four different names, got 'mail_owner' twice"
    )
    assert fault_in_http(extra_fields={"name": "x"}) == (
        "extra_fields: wanted a field that the proxy does not send itself, got 'name'"
    )
    assert fault_in_http(request_fields={"name": "room"}, extra_fields={"room": "x"}) == (
        "extra_fields: wanted a field that the proxy does not send itself, got 'room'"
    )
    assert fault_in_http(extra_fields={"": "x"}) == (
        "extra_fields: wanted a field that the proxy does not send itself, got ''"
    )
    renamed = {"name": "room", "mail_owner": "", "duration": ""}
    read(http={"request_fields": renamed, "extra_fields": {"name": "x", "duration": "1"}})


def test_constant_fields_are_bounded() -> None:
    """There are at most 16 constant fields."""
    extra = {f"x{number}": "1" for number in range(17)}
    assert fault_in_http(extra_fields=extra) == "extra_fields: wanted at most 16 fields, got 17"
    del extra["x16"]
    read(http={"extra_fields": extra})


@pytest.mark.parametrize(
    ("key", "fields"),
    [
        ("health_check", {"health_check": "off"}),
        ("health_check", {"health_check": "on"}),
        ("methods", {"methods": {"create": "/a.B/C"}}),
        ("methods", {"methods": {"delete": ""}}),
        ("auth.plugin", {"auth": {"plugin": "acme:auth"}}),
    ],
)
def test_settings_of_grpc_with_an_http_target(key: str, fields: Tree) -> None:
    """A setting that would do nothing is refused."""
    assert faults(REMOTE, **fields) == [
        (
            f"backends.a.{key}: wanted a gRPC target, because HTTP backends do not have this "
            f"setting, got {REMOTE!r}; remove this key"
        )
    ]
    tls: Tree = {"tls": {}} if key == "auth.plugin" else {}
    read(GRPC, **fields, **tls)


def test_the_table_http_with_a_grpc_target() -> None:
    """The table is for HTTP backends, also if it is empty."""
    for http in ({}, {"body": "json"}):
        assert faults(GRPC, http=http) == [
            (
                "backends.a.http: wanted an http:// or https:// target, because this table is for "
                f"HTTP backends, got {GRPC!r}; remove the table, or correct the target"
            )
        ]


def test_tls_needs_https() -> None:
    """`tls` with an http:// target would do nothing; https:// needs no table."""
    assert faults(LOCAL, tls={"server_name": "example.com"}) == [
        (
            f"backends.a.tls: wanted an https:// target, got {LOCAL!r}; correct it, or remove this "
            "table"
        )
    ]
    assert read(REMOTE).tls is None
    assert read(REMOTE, tls={"server_name": "example.com"}).tls
    (fault,) = faults(REMOTE, tls={"xds": True})
    assert fault.startswith("backends.a.tls.xds: wanted an xds:/// target")


SECRETS: list[Tree] = [
    {"api_key_file": "/k"},
    {"bearer_token_file": "/t"},
    {"username": "juliet", "password_file": "/p"},
]


@pytest.mark.parametrize("auth", SECRETS)
def test_no_secret_over_plaintext(auth: Tree) -> None:
    """A secret for another machine requires https://."""
    for target in ("http://reservations.example.com", "http://192.0.2.1:80/", "http://127.1"):
        assert faults(target, auth=auth) == [
            (
                "backends.a.auth: wanted TLS or a target on this machine, because the proxy sends "
                f"a secret, got plaintext to {target.rstrip('/')!r}; use https://"
            )
        ]
    for target in (REMOTE, LOCAL, "http://localhost/api", "http://[::1]:80"):
        assert read(target, auth=auth).has_credentials
    assert not read("http://192.0.2.1", auth={"header": "x-acme"}).has_credentials


def test_a_client_certificate_is_a_credential() -> None:
    """A 403 may be about it (http_statuses.py)."""
    assert read(REMOTE, tls={"cert_file": "/c", "key_file": "/k"}).has_credentials
    assert not read(REMOTE, tls={"ca_file": "/c"}).has_credentials


@pytest.mark.parametrize("target", [REMOTE, GRPC])
def test_basic_authentication(target: str) -> None:
    """A user name and the file of a password, for both kinds of backends."""
    found = read(target, tls={}, auth={"username": "juliet", "password_file": "/p"})
    assert (found.auth.username, found.auth.password_file) == ("juliet", Path("/p"))


@pytest.mark.parametrize(
    ("auth", "fault"),
    [
        (
            {"username": "juliet"},
            (
                "password_file: wanted a value, because username is set, got none; set both "
                "keys or neither"
            ),
        ),
        (
            {"password_file": "/p"},
            (
                "username: wanted a value, because password_file is set, got none; set both "
                "keys or neither"
            ),
        ),
        (
            {"username": "juliet", "password_file": "/p", "bearer_token_file": "/t"},
            (
                "username: wanted username or bearer_token_file, because both are the header "
                "'authorization', got both; remove one of them"
            ),
        ),
        (
            {"username": "ju:hunter2", "password_file": "/p"},
            "username: wanted a user name without ':' (RFC 7617), got one with it",
        ),
        (
            {
                "username": "juliet",
                "password_file": "/p",
                "api_key_file": "/k",
                "header": "Authorization",
            },
            (
                "header: wanted a header other than 'authorization', because the bearer token or "
                "the user name uses it, got 'authorization'"
            ),
        ),
    ],
)
def test_contradictions_of_basic_authentication(auth: Tree, fault: str) -> None:
    """Half of the credentials, or two for the same header."""
    assert faults(auth=auth) == [f"backends.a.auth.{fault}"]


@pytest.mark.parametrize("username", ["", "caf\u00e9", "a\nb", 7])
def test_user_names_that_are_refused(username: object) -> None:
    """A user name is printable ASCII; the message does not show it."""
    (fault,) = faults(auth={"username": username, "password_file": "/p"})
    assert fault.startswith("backends.a.auth.username: wanted ")
    assert "not shown" in fault


def test_a_password_in_place_of_its_file_is_not_shown() -> None:
    """The path of a password may be a password."""
    (fault,) = faults(auth={"username": "juliet", "password_file": "hunter2\x00"})
    assert fault.startswith("backends.a.auth.password_file: wanted the path of a file")
    assert "hunter2" not in fault


OF_HTTP = ["accept", "accept-encoding"]


@pytest.mark.parametrize("name", OF_HTTP)
def test_headers_that_the_proxy_sets_itself(name: str) -> None:
    """No constant header and no API key replaces one of them; gRPC backends have none of them."""
    wanted = f"wanted a header that the proxy does not set itself, got {name!r}"
    assert faults(metadata={name: "x"}) == [f"backends.a.metadata.{name}: {wanted}"]
    auth = {"api_key_file": "/k", "header": name.title()}
    assert faults(auth=auth) == [f"backends.a.auth.header: {wanted}"]
    read("localhost:1", metadata={name: "x"}, auth={"header": name})


@pytest.mark.parametrize(
    "name",
    ["host", "content-length", "transfer-encoding", "user-agent", "idempotency-key"],
)
def test_no_api_key_in_a_header_of_the_connection(name: str) -> None:
    """An API key could otherwise break the framing of requests."""
    (fault,) = faults(auth={"api_key_file": "/k", "header": name})
    assert fault.startswith("backends.a.auth.header: wanted a header that the proxy does not set")


def test_headers_are_reported_in_order() -> None:
    """Every fault is reported, and always in the same order."""
    found = faults(metadata=dict.fromkeys(reversed(OF_HTTP), "x"))
    assert [fault.partition(": ")[0] for fault in found] == [
        f"backends.a.metadata.{name}" for name in OF_HTTP
    ]
