"""The valid values of each setting, and the error message for every other value."""

import sys
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jicofo_reservation_proxy.errors import SettingsError
from jicofo_reservation_proxy.settings.origins import Origins
from jicofo_reservation_proxy.settings.schema import (
    Auth,
    Methods,
    Route,
    SecretFile,
    Settings,
    Tls,
)
from jicofo_reservation_proxy.settings.validation import validate
from jicofo_reservation_proxy.settings.warnings import warnings_about

Tree = dict[str, Any]
REMOTE = "dns:///reservations.example.com:50051"


def backend(**fields: object) -> Tree:
    """Return settings with one backend, "a", that has these fields."""
    return {"backends": {"a": {"target": "localhost:1"} | fields}}


def routed(*routes: object) -> Tree:
    """Return settings with one backend, "a", and these routes."""
    return backend() | {"routes": list(routes)}


def faults(tree: Tree) -> list[str]:
    """Return the error messages for a tree that is not valid."""
    with pytest.raises(SettingsError) as caught:
        validate(tree)
    assert str(caught.value) == "\n".join(map(str, caught.value.faults))
    return [str(fault) for fault in caught.value.faults]


def test_without_values_all_settings_are_defaults() -> None:
    """Without any setting, all settings have their defaults."""
    assert validate({}) == Settings()


def test_every_setting_can_be_set() -> None:
    """Every setting can be set to a value as TOML delivers it."""
    tree = {
        "listen": "0.0.0.0:80",
        "state_dir": "/var/lib/x",
        "client": "prosody",
        "conflicts": "report",
        "guest_domains": ["guest.example.com", "anon.*"],
        "state": "memory",
        "respond_within": "15s",
        "expire_after": "1m",
        "give_up_after": "2d",
        "threads": 8,
        "drain_within": "1m",
        "log_format": "json",
        "log_level": "debug",
        "backends": {
            "default": {
                "target": REMOTE,
                "answer_within": "250ms",
                "in_flight": 7,
                "when_unreachable": "allow",
                "allow_for": "90m",
                "health_check": "on",
                "tls": {
                    "ca_file": "ca.pem",
                    "cert_file": "cert.pem",
                    "key_file": "key.pem",
                    "server_name": "reservations.example.com",
                },
                "auth": {
                    "api_key_file": "/key",
                    "header": "X-Acme-Key",
                    "bearer_token_file": "/token",
                    "plugin": "acme.auth:Plugin.make",
                },
                "metadata": {"x-deployment": "blue", "x-region": "north east"},
                "methods": {
                    "create": "/acme.v2.Booking/Open",
                    "get": "/acme.v2.Booking/Read",
                    "delete": "/acme.v2.Booking/Close",
                },
            },
            "exec_2": {"target": "unix:/run/exec.sock"},
        },
        "routes": [
            {"tenant": "", "room": "board-*", "backend": "exec_2"},
            {"tenant_regex": "a|b", "room_regex": ".+", "backend": "default"},
        ],
    }
    read = validate(tree)
    assert (read.listen, read.state_dir) == ("0.0.0.0:80", Path("/var/lib/x"))
    assert (read.client, read.conflicts) == ("prosody", "report")
    assert read.guest_domains == ("guest.example.com", "anon.*")
    assert (read.threads, read.drain_within) == (8, timedelta(minutes=1))
    assert (read.state, read.respond_within) == ("memory", timedelta(seconds=15))
    assert (read.expire_after, read.give_up_after) == (timedelta(minutes=1), timedelta(days=2))
    assert (read.log_format, read.log_level) == ("json", "debug")
    assert [str(name) for name in read.backends] == ["default", "exec_2"]
    default, other = read.backends.values()
    assert (default.target, default.answer_within) == (REMOTE, timedelta(milliseconds=250))
    assert (default.in_flight, default.health_check) == (7, "on")
    assert (default.when_unreachable, default.allow_for) == ("allow", timedelta(minutes=90))
    assert (other.in_flight, other.when_unreachable, other.health_check) == (32, "refuse", "auto")
    assert default.tls == Tls(
        ca_file=Path("ca.pem").absolute(),
        cert_file=Path("cert.pem").absolute(),
        key_file=SecretFile(Path("key.pem").absolute()),
        server_name=default.tls.server_name if default.tls else None,
    )
    assert default.tls.server_name == "reservations.example.com"
    assert default.auth.header == "x-acme-key"
    assert default.auth.api_key_file == Path("/key")
    assert default.auth.bearer_token_file == Path("/token")
    assert default.auth.plugin == "acme.auth:Plugin.make"
    assert default.metadata == {"x-deployment": "blue", "x-region": "north east"}
    assert default.methods.create == "/acme.v2.Booking/Open"
    assert default.methods.get == "/acme.v2.Booking/Read"
    assert default.methods.delete == "/acme.v2.Booking/Close"
    assert (other.target, other.tls, other.auth) == ("unix:/run/exec.sock", None, Auth())
    assert other.methods == Methods()
    assert [route.backend for route in read.routes] == ["exec_2", "default"]
    first, second = read.routes
    assert first == Route(tenant="", room="board-*", backend="exec_2")
    assert (second.tenant_regex, second.room_regex) == ("a|b", ".+")
    assert (second.tenant, second.room) == (None, None)


@pytest.mark.parametrize(
    ("tree", "key", "value"),
    [
        ({"listen": "[::1]:7777"}, "listen", "[::1]:7777"),
        ({"listen": "[::]:0"}, "listen", "[::]:0"),
        ({"listen": "localhost:65535"}, "listen", "localhost:65535"),
        ({"state_dir": Path("x")}, "state_dir", Path("x").absolute()),
        ({"threads": 1}, "threads", 1),
        ({"threads": 1000}, "threads", 1000),
        ({"threads": "16"}, "threads", 16),
        ({"drain_within": "0s"}, "drain_within", timedelta(0)),
        ({"drain_within": "0.5m"}, "drain_within", timedelta(seconds=30)),
        ({"drain_within": "5 m"}, "drain_within", timedelta(minutes=5)),
        ({"drain_within": "0.05h"}, "drain_within", timedelta(minutes=3)),
        ({"drain_within": "0.001d"}, "drain_within", timedelta(seconds=86.4)),
        ({"drain_within": "1500ms"}, "drain_within", timedelta(seconds=1.5)),
        ({"state": "disk"}, "state", "disk"),
        ({"respond_within": "100ms"}, "respond_within", timedelta(seconds=0.1)),
        ({"respond_within": "18s"}, "respond_within", timedelta(seconds=18)),
        ({"expire_after": "1s"}, "expire_after", timedelta(seconds=1)),
        (
            {"expire_after": "7d", "give_up_after": "8d"},
            "expire_after",
            timedelta(days=7),
        ),
        (
            {"expire_after": "1s", "give_up_after": "1m"},
            "give_up_after",
            timedelta(minutes=1),
        ),
        ({"give_up_after": "365d"}, "give_up_after", timedelta(days=365)),
        ({"guest_domains": []}, "guest_domains", ()),
        ({"guest_domains": ("a",)}, "guest_domains", ("a",)),
    ],
)
def test_values_that_are_fine(tree: Tree, key: str, value: object) -> None:
    """The proxy accepts each form of a value, up to and including the limits."""
    assert getattr(validate(tree), key) == value


@pytest.mark.parametrize("text", ["10ms", "15s", "0.01s", "0.25 m"])
def test_deadlines_that_are_fine(text: str) -> None:
    """The proxy accepts deadlines from 10 ms to 15 s, below Prosody's time-out of 20 s."""
    assert validate(backend(answer_within=text)).backends


@pytest.mark.parametrize(
    ("key", "value", "read"),
    [
        ("in_flight", 1, 1),
        ("in_flight", "1000", 1000),
        ("when_unreachable", "refuse", "refuse"),
        ("when_unreachable", "allow", "allow"),
        ("allow_for", "1m", timedelta(minutes=1)),
        ("allow_for", "7d", timedelta(days=7)),
        ("health_check", "auto", "auto"),
        ("health_check", "off", "off"),
        ("metadata", {"x-a": " ~" * 128}, {"x-a": " ~" * 128}),
        ("metadata", {f"x-{number}": "1" for number in range(16)}, ANY),
    ],
)
def test_values_of_a_backend_that_are_fine(key: str, value: object, read: object) -> None:
    """The proxy accepts each form of a backend's value, up to and including the limits."""
    (found,) = validate(backend(**{key: value})).backends.values()
    assert getattr(found, key) == read


LISTEN = "wanted HOST:PORT, such as 127.0.0.1:7777 or [::1]:7777"
THREADS = "wanted a whole number from 1 to 1000"
UNITS = "(a number and a unit: ms, s, m, h or d)"
DRAIN = f"wanted a duration from 0s to 5m {UNITS}"
RESPONSE = f"wanted a duration from 100ms to 18s {UNITS}"
GRACE = f"wanted a duration from 1s to 7d {UNITS}"
RETENTION = f"wanted a duration from 1m to 365d {UNITS}"
FALLBACK = f"wanted a duration from 1m to 7d {UNITS}"
DEADLINE = f"wanted a duration from 10ms to 15s {UNITS}"
HEADER = (
    "wanted a header name of letters, digits, '-', '_' and '.' that does not begin with 'grpc-' and"
    " does not end with '-bin'"
)
CLIENT = "wanted 'auto' or 'jicofo' or 'prosody' or 'handbook'"
AUTHORIZATION = (
    "wanted a header other than 'authorization', because the bearer token or the user name uses it,"
    " got 'authorization'"
)
UNTERMINATED = "missing ): ("
NO_ARGUMENT = "no argument for repetition operator: *"
REGEX = "wanted a valid regular expression in RE2's syntax"
NAME = (
    "wanted a name of lower-case letters, digits and single underscores that begins with a letter"
    " and does not end with an underscore"
)
TARGET = (
    "wanted a URL such as https://reservations.example.com/api/v1, or a gRPC target such as "
    "dns:///reservations.example.com:50051, without spaces"
)
METHOD = "wanted a method path of the form /package.Service/Method"
PLUGIN = "wanted a Python object as module:attribute, such as acme.auth:Plugin"
HIDDEN = "a value of type str (not shown: it may be a secret)"
ARRAY = "wanted an array in square brackets"
HOST = "wanted a host name, such as reservations.example.com"
NO_BACKENDS = "wanted the name of a backend (the settings have no backends)"
REQUIRED = "wanted a value, because this key is required, got none"


@pytest.mark.parametrize(
    ("tree", "fault"),
    [
        *(
            ({"listen": bad}, f"listen: {LISTEN}, got {bad!r}")
            for bad in (
                "",
                "7777",
                ":7777",
                "127.0.0.1",
                "127.0.0.1:",
                "127.0.0.1:65536",
                "127.0.0.1:-1",
                "127.0.0.1:1x",
                "::1:7777",
                "[]:1",
                "[::1]",
                "a b:1",
                "a:1 ",
                "a:\u0661",
                "a:999999",
                "http://127.0.0.1:7777",
                "a..b:7777",
                f"{'a' * 64}.example.com:7777",
                "\x01:7777",
            )
        ),
        ({"listen": 7777}, "listen: wanted a string, got 7777"),
        ({"listen": ["a:1"]}, "listen: wanted a string, got ['a:1']"),
        ({"state_dir": ""}, "state_dir: wanted a path, got ''"),
        ({"state_dir": 7}, "state_dir: wanted a string, got 7"),
        (
            {"client": "Jicofo"},
            f"client: {CLIENT}, got 'Jicofo'",
        ),
        (
            {"client": ["auto"]},
            "client: wanted 'auto' or 'jicofo' or 'prosody' or 'handbook', got ['auto']",
        ),
        ({"conflicts": ""}, "conflicts: wanted 'answer' or 'report', got ''"),
        ({"log_format": "xml"}, "log_format: wanted 'text' or 'json', got 'xml'"),
        (
            {"log_level": "trace"},
            "log_level: wanted 'debug' or 'info' or 'warning' or 'error', got 'trace'",
        ),
        ({"guest_domains": "guest.*"}, f"guest_domains: {ARRAY}, got 'guest.*'"),
        ({"guest_domains": {"a": 1}}, f"guest_domains: {ARRAY}, got {{'a': 1}}"),
        ({"guest_domains": ["a", 7]}, "guest_domains.1: wanted a string, got 7"),
        *(
            ({"threads": bad}, f"threads: {THREADS}, got {bad!r}")
            for bad in (
                0,
                -1,
                1001,
                True,
                1.0,
                "",
                "0",
                "x",
                " 1",
                "1.0",
                "+1",
                "10000",
                "\u0661",
                None,
            )
        ),
        *(
            ({"drain_within": bad}, f"drain_within: {DRAIN}, got {bad!r}")
            for bad in (
                "",
                "5",
                "5x",
                "s",
                "-5s",
                "5s ",
                "5.s",
                ".5s",
                "1m30s",
                "301s",
                "5.1m",
                "1h",
                "99999999999999d",
                "999999999d",
                "\u0665s",
                5,
                5.0,
                None,
            )
        ),
        *(
            (backend(answer_within=bad), f"backends.a.answer_within: {DEADLINE}, got {bad!r}")
            for bad in ("9ms", "0s", "15.1s", "16s", "1m", 5)
        ),
        *(
            ({"state": bad}, f"state: wanted 'disk' or 'memory', got {bad!r}")
            for bad in ("", "Memory", "/var/lib", None, True, ["disk"])
        ),
        *(
            ({"respond_within": bad}, f"respond_within: {RESPONSE}, got {bad!r}")
            for bad in ("99ms", "0s", "18.1s", "20s", "1m", "", 12, None)
        ),
        *(
            ({"expire_after": bad}, f"expire_after: {GRACE}, got {bad!r}")
            for bad in ("999ms", "0s", "7.1d", "8d", "-1s", "", 300, None)
        ),
        *(
            ({"give_up_after": bad}, f"give_up_after: {RETENTION}, got {bad!r}")
            for bad in ("59s", "0s", "366d", "365.1d", "1w", "", 7, None)
        ),
        *(
            (backend(in_flight=bad), f"backends.a.in_flight: {THREADS}, got {bad!r}")
            for bad in (0, -1, 1001, True, 1.0, "", "x", None)
        ),
        *(
            (
                backend(when_unreachable=bad),
                f"backends.a.when_unreachable: wanted 'refuse' or 'allow', got {bad!r}",
            )
            for bad in ("", "Allow", "deny", True, None)
        ),
        *(
            (backend(allow_for=bad), f"backends.a.allow_for: {FALLBACK}, got {bad!r}")
            for bad in ("59s", "0s", "7.1d", "8d", "", 3600, None)
        ),
        *(
            (
                backend(health_check=bad),
                f"backends.a.health_check: wanted 'auto' or 'on' or 'off', got {bad!r}",
            )
            for bad in ("", "On", True, False, None)
        ),
        ({"backends": []}, "backends: wanted a table, got []"),
        ({"backends": {"a": "localhost:1"}}, "backends.a: wanted a table, got 'localhost:1'"),
        *(
            ({"backends": {bad: {"target": "x:1"}}}, f"backends.{bad}: {NAME}, got {bad!r}")
            for bad in ("A", "", "1a", "a__b", "a_", "_a", "a-b", "a.b", "\u00e9")
        ),
        ({"backends": {"a": {}}}, f"backends.a.target: {REQUIRED}"),
        (backend(target=""), f"backends.a.target: {TARGET}, got ''"),
        (backend(target="a b"), f"backends.a.target: {TARGET}, got 'a b'"),
        (backend(target=7), "backends.a.target: wanted a string, got 7"),
        (
            backend(tls=True),
            f"backends.a.tls: wanted a table, got {HIDDEN.replace('str', 'bool')}",
        ),
        (
            backend(tls={"ca_file": ""}),
            f"backends.a.tls.ca_file: wanted a path, got {HIDDEN}",
        ),
        (
            backend(tls={"server_name": ""}),
            f"backends.a.tls.server_name: {HOST}, got ''",
        ),
        (
            backend(tls={"cert_file": "x"}),
            (
                "backends.a.tls.key_file: wanted a path, because cert_file is set, got none; "
                "set both keys or neither"
            ),
        ),
        (
            backend(tls={"key_file": "/x"}),
            (
                "backends.a.tls.cert_file: wanted a path, because key_file is set, got none; "
                "set both keys or neither"
            ),
        ),
        *(
            (
                backend(auth={"header": bad}),
                f"backends.a.auth.header: {HEADER}, got {HIDDEN}",
            )
            for bad in ("", "a b", "grpc-x", "GRPC-x", "x-bin", "X-BIN", ":path", "\u00e9", "a\n")
        ),
        (
            backend(
                auth={"api_key_file": "/k", "bearer_token_file": "/t", "header": "Authorization"}
            ),
            f"backends.a.auth.header: {AUTHORIZATION}",
        ),
        *(
            (
                backend(auth={"plugin": bad}),
                f"backends.a.auth.plugin: {PLUGIN}, got {bad!r}",
            )
            for bad in ("", "acme", "acme:", ":x", "a:b:c", "a b:c")
        ),
        *(
            (
                backend(methods={key: bad}),
                f"backends.a.methods.{key}: {METHOD}, got {bad!r}",
            )
            for key in ("create", "get")
            for bad in ("", "/a", "a/b", "/a/b/c", "/a/ b", "//b", "/a/")
        ),
        *(
            (
                backend(methods={"delete": bad}),
                f'backends.a.methods.delete: {METHOD}, or "" for a backend without it, got {bad!r}',
            )
            for bad in ("/a", "a/b", "/a/b/c", "/a/ b", "//b", "/a/", " ")
        ),
        *(
            (
                backend(methods={key: "/a.B/C", other: "/a.B/C"}),
                (
                    f"backends.a.methods.{key}: wanted another path than methods.{other}, because "
                    "each method does something else, got '/a.B/C'"
                ),
            )
            for key, other in (("get", "create"), ("delete", "create"), ("delete", "get"))
        ),
        ({"routes": {}}, f"routes: {ARRAY}, got {{}}"),
        ({"routes": ["a"]}, "routes.0: wanted a table, got 'a'"),
        (routed({}), f"routes.0.backend: {REQUIRED}"),
        (
            routed({"backend": "a"}, {"backend": "b"}),
            "routes.1.backend: wanted the name of a backend (a), got 'b'",
        ),
        (
            {"routes": [{"backend": "a"}]},
            f"routes.0.backend: {NO_BACKENDS}, got 'a'",
        ),
        (
            routed({"tenant": "", "tenant_regex": "", "backend": "a"}),
            "routes.0.tenant_regex: wanted tenant or tenant_regex, got both; remove one of them",
        ),
        (
            routed({"room": "x", "room_regex": "x", "backend": "a"}),
            "routes.0.room_regex: wanted room or room_regex, got both; remove one of them",
        ),
        (routed({"room": 7, "backend": "a"}), "routes.0.room: wanted a string, got 7"),
        (
            routed({"room_regex": "(", "backend": "a"}),
            f"routes.0.room_regex: {REGEX} (error: {UNTERMINATED}), got '('",
        ),
        (
            routed({"tenant_regex": "*", "backend": "a"}),
            f"routes.0.tenant_regex: {REGEX} (error: {NO_ARGUMENT}), got '*'",
        ),
        (
            {"backends": {"a": {"target": "localhost:1"}, "b": {"target": "localhost:2"}}},
            (
                "routes: wanted at least one route, because there are several backends, got none; "
                "add a [[routes]] table that names a backend"
            ),
        ),
    ],
)
def test_faults(tree: Tree, fault: str) -> None:
    """A message has the key, the wanted value and, if it cannot be secret, the given value."""
    assert faults(tree) == [fault]


SETTINGS_KEYS = (
    "listen, listen_tls, client_token_file, client_token_header, allowed_hosts, path_prefix,"
    " admin_listen, admin_token_file, mask_rooms, metrics_tenants,"
    " state_dir, state, client, conflicts, guest_domains, respond_within, expire_after,"
    " give_up_after, threads, drain_within, log_format, log_level, backends, routes"
)
BACKEND_KEYS = (
    "target, answer_within, in_flight, when_unreachable, allow_for, health_check, tls, auth,"
    " metadata, methods, http"
)
TLS_KEYS = "ca_file, cert_file, key_file, server_name, xds"
AUTH_KEYS = "api_key_file, header, bearer_token_file, username, password_file, plugin"
ROUTE_KEYS = "tenant, tenant_regex, room, room_regex, backend"


@pytest.mark.parametrize(
    ("tree", "key", "known"),
    [
        ({"api_key": "hunter2"}, "api_key", SETTINGS_KEYS),
        (backend(api_key="hunter2"), "backends.a.api_key", BACKEND_KEYS),
        (backend(tls={"password": "hunter2"}), "backends.a.tls.password", TLS_KEYS),
        (backend(auth={"api_key": "hunter2"}), "backends.a.auth.api_key", AUTH_KEYS),
        (backend(auth={"token": {"x": "hunter2"}}), "backends.a.auth.token", AUTH_KEYS),
        (backend(methods={"open": "hunter2"}), "backends.a.methods.open", "create, get, delete"),
        (routed({"backend": "a", "pin": "hunter2"}), "routes.0.pin", ROUTE_KEYS),
    ],
)
def test_unknown_keys(tree: Tree, key: str, known: str) -> None:
    """An unknown key is refused in every table. Its value may be a secret and is not shown."""
    (fault,) = faults(tree)
    assert fault.startswith(f"{key}: unknown key")
    assert fault.endswith(f"; wanted one of {known}")
    assert "hunter2" not in fault


@pytest.mark.parametrize("name", ["auth", "tls", "methods", "target", "routes"])
def test_backends_with_names_of_keys(name: str) -> None:
    """A backend may have the name of a key. The message about it lists the keys of a backend."""
    tree = {"backends": {name: {"target": "localhost:1", "nope": 1}}}
    assert faults(tree) == [f"backends.{name}.nope: unknown key; wanted one of {BACKEND_KEYS}"]


def test_every_fault_is_reported() -> None:
    """One error lists all invalid values. If there are none, it lists all contradictions."""
    tree = {
        "listen": "x",
        "threads": 0,
        "nope": 1,
        "also": 1,
        "backends": {"a": {"tls": {"x": 1}}, "B": {"target": "x:1"}},
        "routes": [{}, {"backend": "a", "room_regex": "("}],
    }
    assert sorted(fault.partition(":")[0] for fault in faults(tree)) == [
        "also",
        "backends.B",
        "backends.a.target",
        "backends.a.tls.x",
        "listen",
        "nope",
        "routes.0.backend",
        "routes.1.room_regex",
        "threads",
    ]
    tree = {
        "backends": {
            "a": {
                "target": REMOTE,
                "auth": {"api_key_file": "/k"},
            },
            "b": {"target": REMOTE, "tls": {"key_file": "/k"}},
        },
        "routes": [{"backend": "c", "room": "", "room_regex": ""}],
    }
    assert [fault.partition(":")[0] for fault in faults(tree)] == [
        "backends.a.auth",
        "backends.b.tls.cert_file",
        "routes.0.room_regex",
        "routes.0.backend",
    ]


SECRETS = [{"api_key_file": "/k"}, {"bearer_token_file": "/t"}, {"plugin": "acme:auth"}]


@pytest.mark.parametrize("auth", SECRETS)
@pytest.mark.parametrize("target", [REMOTE, "192.0.2.1:1", "ipv4:127.0.0.1:1,192.0.2.1:1"])
def test_no_secret_over_plaintext(auth: Tree, target: str) -> None:
    """A secret for another machine requires TLS."""
    wanted = "wanted TLS or a target on this machine, because the proxy sends a secret"
    assert faults(backend(target=target, auth=auth)) == [
        f"backends.a.auth: {wanted}, got plaintext to {target!r}; set backends.a.tls"
    ]
    assert validate(backend(target=target, auth=auth, tls={})).backends


@pytest.mark.parametrize("auth", SECRETS)
def test_a_secret_needs_tls_also_with_a_control_plane(auth: Tree) -> None:
    """A control plane may add TLS, but only the settings guarantee it."""
    target = "xds:///reservations"
    (fault,) = faults(backend(target=target, auth=auth))
    assert fault.startswith("backends.a.auth: wanted TLS")
    assert validate(backend(target=target, auth=auth, tls={"xds": True})).backends


def test_tls_by_xds_needs_an_xds_target() -> None:
    """`tls.xds` with another target is a contradiction, because nothing would set TLS."""
    (fault,) = faults(backend(target=REMOTE, tls={"xds": True}))
    assert fault == (
        "backends.a.tls.xds: wanted an xds:/// target, because only a control plane sets TLS by "
        f"xDS, got {REMOTE!r}; remove this key"
    )
    assert validate(backend(target=REMOTE, tls={"xds": False})).backends


@pytest.mark.parametrize(
    ("value", "read"), [(True, True), (False, False), ("true", True), ("false", False)]
)
def test_flags_as_the_file_and_the_environment_write_them(value: object, *, read: bool) -> None:
    """A flag is a TOML boolean, or one of two words in an environment variable."""
    (found,) = validate(backend(target="xds:///x", tls={"xds": value})).backends.values()
    assert found.tls == Tls(xds=read)


@pytest.mark.parametrize("value", ["yes", "True", 1, 0, "", None])
def test_other_words_are_no_flags(value: object) -> None:
    """A flag is never guessed."""
    (fault,) = faults(backend(target="xds:///x", tls={"xds": value}))
    assert fault == f"backends.a.tls.xds: wanted true or false, got {value!r}"


@pytest.mark.parametrize(
    ("key", "wanted"),
    [
        ("authorization", "a key that holds no credentials (for credentials, use auth)"),
        ("cookie", "a key that holds no credentials (for credentials, use auth)"),
        ("x-api-key", "a key that holds no credentials (for credentials, use auth)"),
        ("apikey", "a key that holds no credentials (for credentials, use auth)"),
        ("x-amz-security-token", "a key that holds no credentials (for credentials, use auth)"),
        ("x_client_secret", "a key that holds no credentials (for credentials, use auth)"),
        ("set-cookie", "a key that holds no credentials (for credentials, use auth)"),
        ("transfer-encoding", "a key that neither gRPC nor the proxy sets itself"),
        ("traceparent", "a key that neither gRPC nor the proxy sets itself"),
        ("tracestate", "a key that neither gRPC nor the proxy sets itself"),
        ("user-agent", "a key that neither gRPC nor the proxy sets itself"),
        ("x-incident-id", "a key that neither gRPC nor the proxy sets itself"),
        ("X-Deployment", "a metadata key in lower case"),
        ("grpc-timeout", "a header name of letters"),
        ("x-bin", "a header name of letters"),
        (":authority", "a header name of letters"),
        ("x y", "a header name of letters"),
        ("", "a header name of letters"),
    ],
)
def test_metadata_keys_that_are_refused(key: str, wanted: str) -> None:
    """Constant metadata holds no credentials, and replaces nothing that gRPC or the proxy sets."""
    (fault,) = faults(backend(metadata={key: "hunter2"}))
    assert wanted in fault
    assert "hunter2" not in fault


@pytest.mark.parametrize("key", ["plugin", "server_name", "xds"])
def test_no_metadata_value_is_shown(key: str) -> None:
    """A metadata key may have the name of a setting whose value is shown."""
    (fault,) = faults(backend(metadata={key: "s\u00e9cret"}))
    assert "cret" not in fault.replace("secret)", "")


@pytest.mark.parametrize("value", ["", "a" * 257, "caf\u00e9", "a\nb", "a\tb", 1, True, ["a"]])
def test_metadata_values_that_are_refused(value: object) -> None:
    """A value is printable ASCII of a bounded length. The message does not show it."""
    (fault,) = faults(backend(metadata={"x-a": value}))
    assert fault.startswith("backends.a.metadata.x-a: wanted ")
    assert fault.endswith(HIDDEN) or "not shown" in fault


def test_metadata_is_bounded_and_does_not_replace_the_api_key() -> None:
    """A backend has at most 16 metadata keys, and none of them is the header of the API key."""
    metadata = {f"x-{number}": "1" for number in range(17)}
    assert faults(backend(metadata=metadata)) == [
        "backends.a.metadata: wanted at most 16 keys, got 17"
    ]
    auth = {"api_key_file": "/k", "header": "x-acme"}
    (fault,) = faults(backend(auth=auth, metadata={"x-acme": "1"}))
    assert fault == (
        "backends.a.metadata: wanted another key than 'x-acme', because the API key uses it;"
        " remove it"
    )
    assert validate(backend(auth={"header": "x-acme"}, metadata={"x-acme": "1"})).backends


def test_plaintext_without_a_secret() -> None:
    """A backend on another machine needs no TLS if the proxy sends no secret."""
    assert validate(backend(target=REMOTE)).backends
    assert validate(backend(target=REMOTE, auth={"header": "x-acme-key"})).backends


@pytest.mark.parametrize("auth", SECRETS)
@pytest.mark.parametrize(
    "target",
    [
        "unix:/run/reservations.sock",
        "127.0.0.1:1",
        "localhost:1",
        "[::1]:1",
        "dns:///localhost:1",
        "ipv4:127.0.0.1:1,127.0.0.2:2",
    ],
)
def test_secrets_stay_on_this_machine(auth: Tree, target: str) -> None:
    """A secret for a target on this machine needs no TLS."""
    assert validate(backend(target=target, auth=auth)).backends


def test_a_token_and_a_key_may_both_be_set() -> None:
    """A token and an API key may both be set, except with the same header."""
    auth = {"api_key_file": "/k", "bearer_token_file": "/t"}
    assert validate(backend(auth=auth)).backends
    assert validate(backend(auth={"api_key_file": "/k", "header": "authorization"})).backends
    assert validate(backend(auth={"bearer_token_file": "/t", "header": "authorization"})).backends


def test_a_fault_names_the_source_of_its_value() -> None:
    """If the source of a key is unknown, a fault names the source of the table that contains it."""
    tree = {
        "listen": "x",
        "threads": 0,
        "backends": {"a": {"target": "", "answer_within": "", "tls": {"x": 1}}},
    }
    origins = {
        ("listen",): "from the command line",
        ("backends",): "from $BACKENDS",
        ("backends", "a", "answer_within"): "from $WITHIN",
        ("backends", "a", "t"): "from nowhere",
    }
    with pytest.raises(SettingsError) as caught:
        validate(tree, Origins(origins))
    assert {fault.key: fault.origin for fault in caught.value.faults} == {
        "listen": "from the command line",
        "threads": "",
        "backends.a.target": "from $BACKENDS",
        "backends.a.answer_within": "from $WITHIN",
        "backends.a.tls.x": "from $BACKENDS",
    }


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
trees = st.dictionaries(
    st.sampled_from(
        [
            "listen",
            "state_dir",
            "state",
            "client",
            "respond_within",
            "expire_after",
            "give_up_after",
            "threads",
            "drain_within",
            "log_level",
            "guest_domains",
            "backends",
            "routes",
            "nope",
        ]
    ),
    plain
    | st.fixed_dictionaries(
        {
            "a": st.fixed_dictionaries(
                {"target": st.text(max_size=8)},
                optional={
                    "answer_within": plain,
                    "in_flight": plain,
                    "when_unreachable": plain,
                    "allow_for": plain,
                    "health_check": plain,
                    "tls": plain,
                    "auth": plain,
                    "methods": plain,
                },
            )
        }
    )
    | st.lists(
        st.dictionaries(
            st.sampled_from(["backend", "room", "room_regex", "tenant"]),
            plain | st.text("a(*[{9,", max_size=12),
        ),
        max_size=2,
    )
    | st.from_regex(r"[0-9]{1,12}(\.[0-9]{1,12})? ?(ms|s|m|h|d)", fullmatch=True),
    max_size=4,
)


@given(tree=trees)
@settings(max_examples=200)
def test_any_tree_is_settings_or_faults(tree: Tree) -> None:
    """Validation of any tree returns settings or raises `SettingsError` with at least one fault."""
    try:
        read = validate(tree)
    except SettingsError as error:
        told = error.faults
        assert told
        return
    assert isinstance(read, Settings)


@pytest.mark.parametrize("text", ["999999999d", "999999999.999999999d"])
def test_durations_too_large_for_python(text: str) -> None:
    """A duration that is too large for Python gets the same message as other long durations."""
    assert faults({"drain_within": text}) == [f"drain_within: {DRAIN}, got {text!r}"]


@pytest.mark.parametrize("regex", ["(a{1000}){1000}", "(?=a)", r"(a)\1", "a\ud800"])
def test_expressions_that_are_not_linear_are_refused(regex: str) -> None:
    """An expression is refused if RE2 does not support it, or if it is too large or not Unicode."""
    (fault,) = faults(routed({"backend": "a", "room_regex": regex}))
    assert fault.startswith(f"routes.0.room_regex: {REGEX} (error: ")
    assert fault.endswith(f"got {regex!r}")


def test_without_google_re2_the_message_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without google-re2, an expression is a fault. The message names the package and the extra."""
    monkeypatch.setitem(sys.modules, "re2", None)
    assert faults(routed({"backend": "a", "room_regex": "a+"})) == [
        (
            "routes.0.room_regex: wanted the Python package google-re2, which matches regular "
            "expressions, got none; install it with: pip install 'jicofo-reservation-proxy[regex]'"
        )
    ]
    assert validate(routed({"backend": "a", "room": "a*"})).routes[0].room == "a*"


def nested(levels: int, *, of: type = dict) -> object:
    """Return this many tables or arrays inside each other."""
    value: object = "x"
    for _ in range(levels):
        value = {"a": value} if of is dict else [value]
    return value


@pytest.mark.parametrize("of", [dict, list])
@pytest.mark.parametrize("levels", [17, 5000, 100_000])
@pytest.mark.parametrize("key", ["backends", "listen", "routes", "nope"])
def test_settings_that_are_nested_too_deeply(key: str, levels: int, of: type) -> None:
    """A tree with more than sixteen levels gives one fault and no traceback."""
    with pytest.raises(SettingsError) as caught:
        validate({key: nested(levels, of=of)}, Origins({(key, "a"): "from $X"}))
    assert str(caught.value) == (
        f"{key}: wanted at most 16 tables and arrays inside each other, got more (from $X)"
    )


def test_sixteen_levels_are_not_too_deep() -> None:
    """A tree with sixteen levels gets the usual message."""
    (fault,) = faults({"listen": nested(16)})
    assert fault.startswith("listen: wanted a string, got {'a': ")


def test_a_long_value_is_cut() -> None:
    """A message shows at most 200 characters of a value."""
    (fault,) = faults({"state": "x" * 1000})
    assert (
        fault
        == f"state: wanted 'disk' or 'memory', got {'x' * 199!r}"[:-1] + "\N{HORIZONTAL ELLIPSIS}"
    )


NO_CONTENT = f"wanted the path of a file, not the content of the file, got {HIDDEN}"


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        (
            "tls",
            {"key_file": "-----BEGIN PRIVATE KEY-----\nMIISECRET\n", "cert_file": "/c"},
            f"tls.key_file: {NO_CONTENT}",
        ),
        (
            "auth",
            {"api_key_file": "SECRET\x00"},
            f"auth.api_key_file: {NO_CONTENT}",
        ),
        (
            "auth",
            {"bearer_token_file": ["SECRET"]},
            (
                "auth.bearer_token_file: wanted a string, got a value of type list "
                "(not shown: it may be a secret)"
            ),
        ),
        ("auth", "SECRET", f"auth: wanted a table, got {HIDDEN}"),
    ],
)
def test_a_secret_in_the_wrong_place_is_not_shown(key: str, value: object, sentence: str) -> None:
    """An error message about `tls` or `auth` does not show the value, which may be a secret."""
    with pytest.raises(SettingsError) as caught:
        validate({"backends": {"a": {"target": "x:1", key: value}}})
    assert str(caught.value) == f"backends.a.{sentence}"


@pytest.mark.parametrize("address", ["", "127.0.0.1:0", "[::1]:9777", "0.0.0.0:9777"])
def test_admin_listen_is_an_address_or_empty(address: str) -> None:
    """The empty text switches the admin listener off."""
    assert validate({"admin_listen": address}).admin_listen == address


@pytest.mark.parametrize("address", ["off", "127.0.0.1", ":9777", False])
def test_admin_listen_is_nothing_else(address: object) -> None:
    """Another value is refused, and the message names both kinds."""
    (fault,) = faults({"admin_listen": address})
    assert fault.startswith("admin_listen: wanted ")
    assert address is False or '"" for no admin listener' in fault


def test_the_two_listeners_have_two_addresses() -> None:
    """One address for both is refused at once; port 0 is a different port for each."""
    (fault,) = faults({"listen": "127.0.0.1:1", "admin_listen": "127.0.0.1:1"})
    assert fault == ("admin_listen: wanted another address than listen, got '127.0.0.1:1' for both")
    assert validate({"listen": "127.0.0.1:0", "admin_listen": "127.0.0.1:0"}).listen


def test_the_tenants_of_metrics_are_bounded() -> None:
    """Each tenant needs series in Prometheus, so there are at most 100."""
    (fault,) = faults({"metrics_tenants": [str(number) for number in range(101)]})
    assert fault == "metrics_tenants: wanted at most 100 tenants, got 101"


@pytest.mark.parametrize(("listen", "number"), [("127.0.0.1:1", 0), ("0.0.0.0:1", 1), ("", 0)])
def test_an_admin_listener_for_everyone_is_a_warning(listen: str, number: int) -> None:
    """Whoever reaches it sees the rooms."""
    found = list(warnings_about(validate({"admin_listen": listen}), {}))
    assert len(found) == number
    assert all("mask_rooms" in warning for warning in found)
