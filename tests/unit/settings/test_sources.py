"""The sources of settings: flags, environment, file."""

import os
import re
from datetime import timedelta
from pathlib import Path

import pytest
from jicofo_reservation_proxy.errors import SettingsError
from jicofo_reservation_proxy.settings.schema import Settings
from jicofo_reservation_proxy.settings.sources import (
    CONFIG_VARIABLE,
    ENVIRONMENT_PREFIX,
    load,
    near_misses,
)
from jicofo_reservation_proxy.settings.toml_file import MAX_BYTES

Flags = dict[tuple[str, ...], str]


def from_environment(**variables: str) -> Settings:
    """Return the settings from environment variables, whose names are given without the prefix."""
    return load(None, {ENVIRONMENT_PREFIX + name: text for name, text in variables.items()})


def faults(
    file: Path | None = None, variables: dict[str, str] | None = None, flags: Flags | None = None
) -> list[str]:
    """Return the error messages for sources that are not valid."""
    environ = {ENVIRONMENT_PREFIX + name: text for name, text in (variables or {}).items()}
    with pytest.raises(SettingsError) as caught:
        load(file, environ, flags)
    return [str(fault) for fault in caught.value.faults]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a file with settings."""
    file = tmp_path / "proxy.toml"
    file.write_text(
        """
        listen = "127.0.0.1:1"
        threads = 11
        drain_within = "11s"
        guest_domains = ["caf\u00e9.example"]

        [backends.default]
        target = "localhost:11"
        answer_within = "11s"

        [[routes]]
        room = "x"
        backend = "default"
        """,
        "utf-8",
    )
    return file


def test_without_any_source_all_settings_are_defaults() -> None:
    """With no source at all, every setting has its default."""
    assert load(None, {}) == Settings()


def test_the_environment_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """By default, `load` reads the environment of the process."""
    monkeypatch.delenv(CONFIG_VARIABLE, raising=False)
    monkeypatch.setenv(ENVIRONMENT_PREFIX + "THREADS", "7")
    assert load().threads == 7


def test_flag_over_environment_over_file(file: Path) -> None:
    """For each key, a flag overrides the environment, which overrides the file."""
    environ = {
        "JICOFO_RESERVATION_PROXY_THREADS": "22",
        "JICOFO_RESERVATION_PROXY_DRAIN_WITHIN": "22s",
        "JICOFO_RESERVATION_PROXY_BACKENDS__DEFAULT__TARGET": "localhost:22",
    }
    settings = load(
        file, environ, {("threads",): "33", ("backends", "default", "target"): "localhost:33"}
    )
    assert settings.listen == "127.0.0.1:1"
    assert settings.drain_within == timedelta(seconds=22)
    assert settings.threads == 33
    (backend,) = settings.backends.values()
    assert backend.target == "localhost:33"
    assert backend.answer_within == timedelta(seconds=11)
    assert settings.guest_domains == ("caf\u00e9.example",)
    assert load(file, environ).threads == 22
    assert load(file, {}).threads == 11


def test_every_key_has_a_variable() -> None:
    """The variable of a key is its path in capitals, with two underscores between the parts."""
    settings = from_environment(
        LISTEN="127.0.0.1:1",
        GUEST_DOMAINS='["a.example", "b.example"]',
        BACKENDS__EXEC_2__TARGET="localhost:1",
        BACKENDS__EXEC_2__TLS__CA_FILE="ca.pem",
        ROUTES__0__TENANT='""',
        ROUTES__0__BACKEND="exec_2",
    )
    assert settings.listen == "127.0.0.1:1"
    assert settings.guest_domains == ("a.example", "b.example")
    ((name, backend),) = settings.backends.items()
    assert name == "exec_2"
    assert backend.tls is not None
    assert backend.tls.ca_file == Path("ca.pem").absolute()
    assert [(route.tenant, route.backend) for route in settings.routes] == [("", "exec_2")]


def test_other_variables_are_no_settings() -> None:
    """The proxy ignores variables without the prefix. An empty CONFIG_VARIABLE counts as unset."""
    environ = {"PATH": "/bin", "THREADS": "7", CONFIG_VARIABLE: "", "jicofo": ""}
    assert load(None, environ) == Settings()


def test_the_environment_names_the_file(file: Path, tmp_path: Path) -> None:
    """The variable that names the file is not a setting, and `--config` overrides it."""
    assert CONFIG_VARIABLE == "JICOFO_RESERVATION_PROXY_CONFIG"
    assert load(None, {CONFIG_VARIABLE: str(file)}) == load(file, {})
    other = tmp_path / "other.toml"
    other.write_text("threads = 5")
    assert load(other, {CONFIG_VARIABLE: str(file)}) == load(other, {})
    assert faults(None, {"CONFIG": "missing.toml"}) == [
        f"{Path('missing.toml').absolute()}: cannot be read: No such file or directory"
    ]


def test_arrays_and_tables_are_toml() -> None:
    """One variable can hold a whole table or array."""
    settings = from_environment(
        BACKENDS='{a = {target = "localhost:1", tls = {}}, b = {target = "localhost:2"}}',
        ROUTES='[{room = "x", backend = "a"}, {backend = "b"}]',
    )
    assert list(settings.backends) == ["a", "b"]
    assert [route.room for route in settings.routes] == ["x", None]


def test_an_empty_table_turns_tls_on() -> None:
    """An empty table in a variable means TLS with the public authorities."""
    settings = from_environment(BACKENDS__A__TARGET="x.example.com:1", BACKENDS__A__TLS=" {}")
    assert [backend.tls is not None for backend in settings.backends.values()] == [True]


@pytest.mark.parametrize("text", ["[::1]:7777", "[::]:0"])
def test_addresses_in_brackets_are_texts(text: str) -> None:
    """A text that begins with a bracket stays a text if it is not a TOML array."""
    assert from_environment(LISTEN=text).listen == text
    assert load(None, {}, {("listen",): text}).listen == text


@pytest.mark.parametrize("text", ["[ab]*", "{x}", "[a", "[]]", "[", "{"])
def test_globs_in_brackets_are_texts(text: str) -> None:
    """A glob that begins with a bracket stays a glob."""
    settings = from_environment(
        BACKENDS__A__TARGET="localhost:1", ROUTES__0__BACKEND="a", ROUTES__0__ROOM=text
    )
    assert [route.room for route in settings.routes] == [text]


def test_flags_are_texts() -> None:
    """A flag is never read as TOML."""
    assert faults(flags={("guest_domains",): '["a"]'}) == [
        "guest_domains: wanted an array in square brackets, got '[\"a\"]' (from the command line)"
    ]


def test_indexes_go_up() -> None:
    """Routes in the environment are in the order of their numbers, also above 9."""
    variables = {f"ROUTES__{index}__BACKEND": "a" for index in range(12)}
    variables |= {f"ROUTES__{index}__ROOM": f"room-{index}" for index in range(12)}
    settings = from_environment(BACKENDS__A__TARGET="localhost:1", **variables)
    assert [route.room for route in settings.routes] == [f"room-{index}" for index in range(12)]


def test_indexes_change_and_lengthen_what_is_in_the_file(file: Path) -> None:
    """An existing index changes an item of the file; the next free index adds an item."""
    environ = {
        ENVIRONMENT_PREFIX + "ROUTES__0__ROOM": "y",
        ENVIRONMENT_PREFIX + "ROUTES__1__BACKEND": "default",
        ENVIRONMENT_PREFIX + "GUEST_DOMAINS__0": "a.example",
        ENVIRONMENT_PREFIX + "GUEST_DOMAINS__1": "b.example",
    }
    settings = load(file, environ)
    assert [(route.room, route.backend) for route in settings.routes] == [
        ("y", "default"),
        (None, "default"),
    ]
    assert settings.guest_domains == ("a.example", "b.example")


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("ROUTES__2__BACKEND", "routes.2.backend"),
        ("ROUTES__X__BACKEND", "routes.x.backend"),
        ("ROUTES__BACKEND", "routes.backend"),
        ("ROUTES__-1__BACKEND", "routes.-1.backend"),
        ("GUEST_DOMAINS__2", "guest_domains.2"),
        ("LISTEN__HOST", "listen.host"),
        ("LISTEN__HOST__NAME", "listen.host.name"),
        ("BACKENDS__DEFAULT__TARGET__HOST", "backends.default.target.host"),
    ],
)
def test_key_paths_without_a_setting(file: Path, name: str, key: str) -> None:
    """A variable whose key path does not fit the settings is refused, and the message names it."""
    assert faults(file, {name: "hunter2"}) == [
        (
            f"{key}: there is no setting with this key path; check the spelling, and count array "
            f"indexes from 0 without gaps (from ${ENVIRONMENT_PREFIX}{name})"
        )
    ]


def test_all_key_paths_without_a_setting_are_reported(file: Path) -> None:
    """The proxy reports all key paths that do not fit the settings at once."""
    variables = {"LISTEN__A": "x", "LISTEN__B": "x"}
    assert len(faults(file, variables, {("threads", "x"): "1"})) == 3


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("LISTN", "listn"),
        ("", ""),
        ("BACKEND__A__TARGET", "backend"),
        ("BACKENDS__DEFAULT__AUTH__API_KEY", "backends.default.auth.api_key"),
    ],
)
def test_unknown_keys_in_the_environment(file: Path, name: str, key: str) -> None:
    """A misspelt variable is refused. The message names it and does not show its value."""
    (fault,) = faults(file, {name: "hunter2"})
    assert re.match(
        rf"{re.escape(key)}: unknown key(?: \(did you mean .*\))?; wanted one of ", fault
    )
    assert fault.endswith(f" (from ${ENVIRONMENT_PREFIX}{name})")
    assert "hunter2" not in fault


def test_faults_say_where_their_value_came_from(file: Path) -> None:
    """A fault names its source: a variable, the command line, or a line of the file."""
    file.write_text('client = "x"\nlisten = "x"\n')
    told = faults(file, {"LISTEN": "y", "THREADS": "0"}, {("threads",): "-1"})
    listen = "wanted HOST:PORT, such as 127.0.0.1:7777 or [::1]:7777, got 'y'"
    assert sorted(told) == [
        f"client: wanted 'auto' or 'jicofo' or 'prosody' or 'handbook', got 'x' ({file}, line 1)",
        f"listen: {listen} (from $JICOFO_RESERVATION_PROXY_LISTEN)",
        "threads: wanted a whole number from 1 to 1000, got '-1' (from the command line)",
    ]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """The message about an unreadable file names the file and the reason."""
    missing = tmp_path / "missing.toml"
    assert faults(missing) == [f"{missing}: cannot be read: No such file or directory"]
    assert faults(tmp_path) == [f"{tmp_path}: cannot be read: Is a directory"]


def test_a_file_that_is_not_a_settings_file(tmp_path: Path) -> None:
    """A pipe does not block the reader, and a huge file does not use up the memory."""
    pipe, huge = tmp_path / "pipe.toml", tmp_path / "huge.toml"
    os.mkfifo(pipe)
    assert faults(pipe) == [f"{pipe}: wanted a regular file, got a special file, such as a pipe"]
    with huge.open("wb") as opened:
        opened.truncate(MAX_BYTES + 1)
    assert faults(huge) == [f"{huge}: wanted a file of at most {MAX_BYTES} bytes, got a larger one"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"listen: x", "Expected '=' after a key in a key/value pair (at line 1, column 7)"),
        (b"[", "Invalid initial character for a key part (at end of document)"),
        (b"listen = '\xff'", "'utf-8' codec can't decode byte 0xff in position 10: "),
        (b"a = 1\na = 2\n", "Cannot overwrite a value (at line 2, column 6), in the line of a"),
        (
            b"a = 1\n\n[ a ]\n",
            "Cannot overwrite a value (at line 3, column 5), in the line of a",
        ),
        (b"api_key = hunter2\n", "Invalid value (at line 1, column 11), in the line of api_key"),
    ],
)
def test_a_file_that_is_no_toml(tmp_path: Path, content: bytes, reason: str) -> None:
    """The message about a file that is not TOML names the file and the position of the error."""
    file = tmp_path / "proxy.toml"
    file.write_bytes(content)
    (fault,) = faults(file)
    assert fault.startswith(f"{file}: wanted valid TOML, got a parser error: {reason}")


DEEP = 5000


@pytest.mark.parametrize(
    "content",
    [
        f"listen = {'[' * DEEP}{']' * DEEP}",
        f"listen = {'{a = ' * DEEP}1{'}' * DEEP}",
        f"[{'.'.join('a' * DEEP)}]",
        f"[[routes]]\n{'.'.join('a' * DEEP)} = 1",
    ],
)
def test_a_file_that_is_nested_too_deeply(tmp_path: Path, content: str) -> None:
    """A file with thousands of levels gets one message, and no traceback."""
    file = tmp_path / "proxy.toml"
    file.write_text(content)
    (fault,) = faults(file)
    assert "inside each other" in fault or "parser error" in fault


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("LISTEN", "[" * DEEP + "]" * DEEP),
        ("ROUTES", "[" * DEEP + "]" * DEEP),
        ("BACKENDS", "{a = " * DEEP + "1" + "}" * DEEP),
        ("__".join("A" * DEEP), "hunter2"),
    ],
)
def test_a_variable_that_is_nested_too_deeply(name: str, text: str) -> None:
    """A variable with thousands of levels gets one message without its value, and no traceback."""
    (fault,) = faults(variables={name: text})
    assert "wanted" in fault
    assert text not in fault
    assert len(fault) < 4 * DEEP, "the message is hardly longer than the name of the variable"


def test_overrides_do_not_change_the_file(file: Path) -> None:
    """Overrides do not change the file: a second `load` returns the file's own values."""
    load(file, {ENVIRONMENT_PREFIX + "ROUTES__0__ROOM": "y"})
    assert [route.room for route in load(file, {}).routes] == ["x"]


@pytest.mark.parametrize("service", ["", "METRICS_", "HEADLESS_2_"])
def test_kubernetes_variables_are_no_settings(service: str) -> None:
    """The proxy ignores the variables that Kubernetes sets for Services of the proxy's name."""
    values = {
        "SERVICE_HOST": "10.0.0.7",
        "SERVICE_PORT": "7777",
        "SERVICE_PORT_HTTP": "7777",
        "PORT": "tcp://10.0.0.7:7777",
        "PORT_7777_TCP": "tcp://10.0.0.7:7777",
        "PORT_7777_TCP_ADDR": "10.0.0.7",
        "PORT_7777_TCP_PORT": "7777",
        "PORT_7777_TCP_PROTO": "tcp",
    }
    environ = {f"{ENVIRONMENT_PREFIX}{service}{name}": text for name, text in values.items()}
    assert load(environ=environ) == load(environ={})


@pytest.mark.parametrize("name", ["PORT", "LISTEN_PORT", "HOST"])
def test_variables_that_only_look_like_those_of_kubernetes(name: str) -> None:
    """A setting that does not exist is refused."""
    (fault,) = faults(variables={name: "7777"})
    assert "unknown key" in fault


def test_an_empty_variable_counts_as_not_set(file: Path) -> None:
    """Compose files and charts set an empty variable for a value that is not given."""
    environ = {ENVIRONMENT_PREFIX + name: "" for name in ("THREADS", "LISTEN", "ROUTES", "NOPE")}
    assert load(file, environ) == load(file, {})


def test_two_quotes_are_the_empty_string() -> None:
    """Some settings may be empty, and a variable must be able to say that."""
    settings = from_environment(
        BACKENDS__A__TARGET="localhost:1", BACKENDS__A__METHODS__DELETE='""'
    )
    assert [backend.methods.delete for backend in settings.backends.values()] == [""]


def test_paths_in_the_file_are_relative_to_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not matter where the proxy is started; a variable is relative to that folder."""
    folder, elsewhere = tmp_path / "etc", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    (folder / "proxy.toml").write_text(
        """
        state_dir = "state"
        client_token_file = "tokens.txt"
        [listen_tls]
        cert_file = "tls/cert.pem"
        key_file = "/run/key"
        [backends.a]
        target = "unix:relative.sock"
        tls = { ca_file = "../ca.pem" }
        auth.api_key_file = "./key"
        """
    )
    monkeypatch.chdir(elsewhere)
    for file in (folder / "proxy.toml", Path("../etc/proxy.toml")):
        settings = load(file, {ENVIRONMENT_PREFIX + "BACKENDS__A__AUTH__BEARER_TOKEN_FILE": "./t"})
        (backend,) = settings.backends.values()
        assert settings.listen_tls is not None
        assert backend.tls is not None
        assert backend.tls.ca_file is not None
        assert settings.state_dir.resolve() == folder / "state"
        assert settings.client_token_file is not None
        assert settings.client_token_file.resolve() == folder / "tokens.txt"
        assert settings.listen_tls.cert_file.resolve() == folder / "tls/cert.pem"
        assert settings.listen_tls.key_file == Path("/run/key")
        assert backend.tls.ca_file.resolve() == tmp_path / "ca.pem"
        assert backend.auth.api_key_file == (elsewhere / file).parent / "key"
        assert backend.auth.bearer_token_file == elsewhere / "t"
        assert backend.target == "unix:relative.sock"


@pytest.mark.parametrize("secret", ["hunter2", "c2VjcmV0/c2Vj", "aa.bb." + "c" * 43])
@pytest.mark.parametrize("key", ["client_token_file", "backends.a.auth.api_key_file"])
def test_a_secret_in_place_of_its_path_is_not_shown(tmp_path: Path, key: str, secret: str) -> None:
    """A relative path without an extension may be the secret itself."""
    file = tmp_path / "proxy.toml"
    file.write_text(f'{key} = "{secret}"\nbackends.a.target = "localhost:1"\n')
    (fault,) = faults(file)
    assert fault == (
        f"{key}: wanted the path of a file, which is absolute, begins with './' or has a file "
        f"extension, got a value of type str (not shown: it may be a secret) ({file}, line 1)"
    )


LONG = """\
# A comment, and an empty line.

guest_domains = [
    "a",
    3,
]
[backends.a]  # the table
target = "x"
answer_within = "1y"
tls = { nope = 1 }

[[routes]]
backend = "a"
[[routes]]
room = "x"
backend = "nope"
[[routes]]
"""


def test_every_fault_names_its_line(tmp_path: Path) -> None:
    """A fault names the line of the key, or of the table in which a key is missing."""
    file = tmp_path / "proxy.toml"
    file.write_text(LONG)
    found = {fault.split(":")[0]: fault.rpartition("line ")[2] for fault in faults(file)}
    assert found == {
        "guest_domains.1": "3)",
        "backends.a.answer_within": "9)",
        "backends.a.tls.nope": "10)",
        "routes.2.backend": "17)",
    }
    file.write_text(LONG.replace('"1y"', '"1s"').replace("nope = 1", "").replace("3,", ""))
    file.write_text(file.read_text().removesuffix("[[routes]]\n"))
    (fault,) = faults(file)
    assert fault.endswith(f"got 'nope' ({file}, line 16)")


def test_a_very_long_file_gets_no_lines(tmp_path: Path) -> None:
    """The search for lines has a limit; the fault is reported without a line."""
    file = tmp_path / "proxy.toml"
    file.write_text("\n" * 1000 + "threads = 0\n")
    assert faults(file) == ["threads: wanted a whole number from 1 to 1000, got 0"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("LISTN", "(did you mean listen?)"),
        ("STATEDIR", "(did you mean state_dir?)"),
        ("BACKENDS_DEFAULT_TARGET", "(did you mean a key in the table backends? "),
        ("ROUTES_0_BACKEND", "(did you mean a key in the table routes? "),
        ("XYZ", "unknown key; wanted"),
    ],
)
def test_unknown_keys_are_corrected(name: str, hint: str) -> None:
    """The message about an unknown key names the nearest one."""
    (fault,) = faults(variables={name: "hunter2"})
    assert hint in fault


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("jicofo_reservation_proxy_listen", "LISTEN"),
        ("RESERVATION_PROXY_LISTEN", "LISTEN"),
        ("JICOFO_RESERVATIONS_PROXY_STATE_DIR", "STATE_DIR"),
        ("JICOFO_RESERVATION_PROXI_BACKENDS__DEFAULT__TARGET", "BACKENDS__DEFAULT__TARGET"),
        ("JICOFO_RESERVATION_CONFIG", "CONFIG"),
        ("JICOFO_RESERVATION_ENABLED", None),
        ("JICOFO_RESERVATION_REST_BASE_URL", None),
        ("PROSODY_RESERVATION_REST_BASE_URL", None),
        ("PATH", None),
    ],
)
def test_variables_that_look_like_ours(name: str, meant: str | None) -> None:
    """A misspelt variable has no effect, so the operator gets a hint; others are left alone."""
    found = list(near_misses({name: "x", ENVIRONMENT_PREFIX + "LISTEN": "x"}))
    expected = f"${name} is not a variable of a setting; did you mean ${ENVIRONMENT_PREFIX}{meant}?"
    assert found == ([expected] if meant else [])
