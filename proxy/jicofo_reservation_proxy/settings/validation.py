"""Validation: convert a tree of plain values to `Settings`, or report every fault in the tree.

The tree is read along the types of schema.py. Each error message says which value was wanted and
which value the tree has.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from types import NoneType
from typing import Any, Literal, cast, get_args, get_origin
from urllib.parse import urlsplit

from jicofo_reservation_proxy.errors import SettingFault, SettingsError
from jicofo_reservation_proxy.ids import BACKEND_NAME
from jicofo_reservation_proxy.regexes import RegexError, RegexUnavailableError, compile_regex

from .contradictions import contradictions
from .origins import KeyPath, Origins
from .paths import is_like_a_path
from .schema import (
    AdminListen,
    AllowedHost,
    BackendName,
    ConferenceEndpoint,
    Deadline,
    DrainTime,
    FallbackTime,
    FieldName,
    FieldPath,
    GoneStatus,
    Grace,
    HeaderName,
    HostName,
    Listen,
    MetadataKey,
    MetadataValue,
    MethodPath,
    OptionalMethodPath,
    PathPrefix,
    PluginPath,
    Regex,
    ResponseTime,
    Retention,
    RoomEndpoint,
    SecretFile,
    Settings,
    Target,
    ThreadCount,
)

MAX_DEPTH = 16
"""The maximum number of tables and arrays inside each other. No setting needs more than five."""

MAX_METADATA_CHARACTERS = 256
"""By default, gRPC servers may refuse calls with more than 8 KiB of metadata."""

MAX_SHOWN_CHARACTERS = 200
"""An error message shows only the beginning of a longer value."""


def validate(tree: Mapping[str, Any], origins: Origins | None = None) -> Settings:
    """Return the settings of a tree of plain values.

    `origins` tells where the values come from, for error messages. Raises `SettingsError` with
    every invalid value. If all values are valid, raises `SettingsError` with every contradiction
    between them. A tree that is nested too deeply is a single fault.
    """
    origins = origins or Origins()
    if (path := _too_deep(tree)) is not None:
        message = f"wanted at most {MAX_DEPTH} tables and arrays inside each other, got more"
        raise SettingsError([SettingFault(path, message, origins.of((path,)))])
    reading = _Reading()
    settings = reading.settings(tree)
    if reading.faults:
        faults = [
            SettingFault(".".join(path), message, origins.of(path))
            for path, message in reading.faults
        ]
        raise SettingsError(faults)
    if found := list(contradictions(settings)):
        raise SettingsError([_with_origin(fault, origins) for fault in found])
    return settings


class _Reading:
    """Reads a tree along the types of the schema, and collects every fault in it.

    A method that finds a fault returns `None`.
    """

    def __init__(self) -> None:
        self.faults: list[tuple[KeyPath, str]] = []

    def settings(self, tree: Mapping[str, Any]) -> Settings:
        """Return the settings; they are valid only if there are no faults."""
        return cast("Settings", self._table(Settings, tree, ()))

    def _value(self, type_: Any, value: object, path: KeyPath) -> object:  # noqa: ANN401 - a type
        try:
            return self._typed(type_, value, path)
        except _Unwanted as unwanted:
            self.faults.append((path, unwanted.sentence(path)))
        except ValueError as error:
            self.faults.append((path, str(error)))
        return None

    def _typed(self, type_: Any, value: object, path: KeyPath) -> object:  # noqa: ANN401 - a type
        arguments = get_args(type_)
        if NoneType in arguments:
            (type_,) = (part for part in arguments if part is not NoneType)
            return None if value is None else self._typed(type_, value, path)
        if is_dataclass(type_):
            return self._table(type_, value, path)
        origin = get_origin(type_)
        if origin is dict:
            return self._named(arguments, value, path)
        if origin is tuple:
            return self._array(arguments[0], value, path)
        if origin is Literal:
            return _choice(value, arguments)
        return _READERS[type_](value)

    def _table(self, class_: Any, value: object, path: KeyPath) -> object:  # noqa: ANN401 - a type
        given, found = _mapping(value), {}
        for setting in fields(class_):
            inner = (*path, setting.name)
            if setting.name in given:
                found[setting.name] = self._value(setting.type, given[setting.name], inner)
            elif setting.default is MISSING and setting.default_factory is MISSING:
                message = "wanted a value, because this key is required, got none"
                self.faults.append((inner, message))
        known = [setting.name for setting in fields(class_)]
        for key in sorted(given.keys() - set(known)):
            self.faults.append(((*path, key), _unknown(key, known)))
        return None if self.faults else class_(**found)

    def _named(self, types: tuple[Any, ...], value: object, path: KeyPath) -> object:
        """Return a table with keys that the operator chose, such as `backends`, as a dict."""
        key_type, value_type = types
        found = {}
        for key, inner in _mapping(value).items():
            item = self._value(value_type, inner, (*path, str(key)))
            found[self._value(key_type, key, (*path, str(key)))] = item
        return found

    def _array(self, type_: Any, value: object, path: KeyPath) -> object:  # noqa: ANN401 - a type
        if not isinstance(value, list | tuple):
            raise _Unwanted("an array in square brackets", value)
        items = enumerate(value)
        return tuple(self._value(type_, item, (*path, str(index))) for index, item in items)


def _with_origin(fault: SettingFault, origins: Origins) -> SettingFault:
    return fault._replace(origin=origins.of(tuple(fault.key.split("."))))


def _too_deep(tree: Mapping[str, Any]) -> str | None:
    """Return the key at the top level whose value is nested too deeply; `None` if there is none.

    The function does not recurse: a tree of some thousand levels would exceed Python's limit.
    """
    for key, value in tree.items():
        level: list[Any] = [value]
        for _ in range(MAX_DEPTH):
            level = [inner for outer in level for inner in _inside(outer)]
        if any(isinstance(value, Mapping | list | tuple) for value in level):
            return str(key)
    return None


def _inside(value: object) -> Iterable[object]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list | tuple) else ()


class _Unwanted(ValueError):  # noqa: N818 - named after the "wanted" of the message
    """A value that is not valid for its setting."""

    def __init__(self, wanted: str, got: object) -> None:
        super().__init__(wanted, got)
        self.wanted = wanted
        self.got = got

    def sentence(self, path: tuple[str, ...]) -> str:
        """Return the message, without the value of a credential, which may be a secret."""
        is_credential = path[2:3] in _CREDENTIALS and path[2:] not in _NO_SECRETS
        is_secret = is_credential or path[-1].endswith("_file")
        hidden = f"a value of type {type(self.got).__name__} (not shown: it may be a secret)"
        got = hidden if is_secret else _shown(self.got)
        return f"wanted {self.wanted}, got {got}"


def _shown(value: object) -> str:
    """Return a value for an error message; cut a long value."""
    text = repr(value)
    if len(text) <= MAX_SHOWN_CHARACTERS:
        return text
    return text[:MAX_SHOWN_CHARACTERS] + "\N{HORIZONTAL ELLIPSIS}"


_CREDENTIALS = {("tls",), ("auth",), ("metadata",)}
_NO_SECRETS = {("auth", "plugin"), ("tls", "server_name"), ("tls", "xds")}

_WORDS_OF_CREDENTIALS = frozenset(
    [
        "apikey",
        "auth",
        "authorization",
        "cookie",
        "credential",
        "credentials",
        "key",
        "password",
        "secret",
        "token",
    ]
)
"""A metadata key with one of these words names a credential, for example `x-api-key`."""

_OF_THE_PROXY = frozenset(
    [
        "connection",
        "content-length",
        "content-type",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "traceparent",
        "tracestate",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "x-incident-id",
    ]
)

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?) ?(ms|s|m|h|d)")
_METHOD_PATH = r"/[^/\s]+/[^/\s]+"
_IN_PATH = r"(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})"
"""A character of a segment of a path (RFC 3986, section 3.3)."""

_URL = re.compile(rf"https?://[A-Za-z0-9._~:\[\]%-]+(?:/{_IN_PATH}+)*/?", re.IGNORECASE)
_ENDPOINT = re.compile(
    rf"(?:GET|POST|PUT|PATCH|DELETE) /(?:(?:{_IN_PATH}|\{{[a-z]+\}})+/)*"
    rf"(?:{_IN_PATH}|\{{[a-z]+\}})*"
    rf"(?:\?(?:[/?]|{_IN_PATH}|\{{[a-z]+\}})+)?"
)
_PLACEHOLDER = re.compile(r"\{[a-z]+\}")
_LISTEN = re.compile(r"(\[[^\]\s]+\]|[^:\s\[\]]+):([0-9]{1,5})")


def _mapping(value: object) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        raise _Unwanted("a table", value)
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _Unwanted("a string", value)
    return value


def _path(value: object) -> Path:
    text = str(value) if isinstance(value, Path) else _text(value)
    if not text:
        raise _Unwanted("a path", value)
    if not text.isprintable() or "-----BEGIN" in text:
        raise _Unwanted("the path of a file, not the content of the file", value)
    return Path(text).absolute()


def _secret_file(value: object) -> Path:
    path = _path(value)
    if not is_like_a_path(str(value)):
        raise _Unwanted(
            "the path of a file, which is absolute, begins with './' or has a file extension",
            value,
        )
    return path


def _count(value: object) -> int:
    text = str(value) if type(value) is int else value
    if isinstance(text, str) and re.fullmatch(r"[0-9]{1,4}", text) and 1 <= int(text) <= 1000:
        return int(text)
    raise _Unwanted("a whole number from 1 to 1000", value)


def parse_duration(text: str) -> timedelta | None:
    """Parse a duration such as `250ms`, `5s`, `2m`, `1h` or `7d`. `None`: no duration."""
    match = _DURATION.fullmatch(text)
    return timedelta(seconds=float(match[1]) * _UNITS[match[2]]) if match else None


def format_duration(duration: timedelta) -> str:
    """Return a duration in its largest whole unit: `7d` rather than `604800s`."""
    milliseconds = duration // timedelta(milliseconds=1)
    sizes = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000}
    unit = next((unit for unit, size in sizes.items() if milliseconds % size == 0), "ms")
    return f"{milliseconds // sizes.get(unit, 1)}{unit}" if milliseconds else "0s"


def _duration(least: timedelta, most: timedelta) -> Callable[[object], timedelta]:
    def read(value: object) -> timedelta:
        parsed = parse_duration(value) if isinstance(value, str) else None
        if parsed is not None and least <= parsed <= most:
            return parsed
        raise _Unwanted(
            f"a duration from {format_duration(least)} to {format_duration(most)} "
            "(a number and a unit: ms, s, m, h or d)",
            value,
        )

    return read


def _matching(pattern: str, wanted: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        # Not compiled in advance: most patterns belong to settings that most operators do not set.
        if not re.fullmatch(pattern, _text(value)):
            raise _Unwanted(wanted, value)
        return str(value)

    return read


def _header(value: object) -> str:
    lower = _text(value).lower()
    if not re.fullmatch(r"(?!grpc-)[a-z0-9_.-]+(?<!-bin)", lower):
        raise _Unwanted(
            "a header name of letters, digits, '-', '_' and '.' that does not begin with 'grpc-' "
            "and does not end with '-bin'",
            value,
        )
    return lower


def _metadata_key(value: object) -> str:
    text = _text(value)
    if text != text.lower() or text != _header(text):
        raise _Unwanted("a metadata key in lower case", value)
    if _WORDS_OF_CREDENTIALS.intersection(re.split(r"[-_.]", text)):
        raise _Unwanted("a key that holds no credentials (for credentials, use auth)", value)
    if text in _OF_THE_PROXY:
        raise _Unwanted("a key that neither gRPC nor the proxy sets itself", value)
    return text


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return value == "true"
    raise _Unwanted("true or false", value)


def _listen(value: object) -> str:
    if not is_listen(_text(value)):
        raise _Unwanted("HOST:PORT, such as 127.0.0.1:7777 or [::1]:7777", value)
    return str(value)


def _admin_listen(value: object) -> str:
    if value != "" and not is_listen(_text(value)):
        raise _Unwanted('HOST:PORT, such as 127.0.0.1:9777, or "" for no admin listener', value)
    return str(value)


def is_listen(text: str) -> bool:
    """Return whether a text is a valid `listen`."""
    match = _LISTEN.fullmatch(text)
    return match is not None and int(match[2]) <= 65535 and _is_host(match[1])


def _is_host(text: str) -> bool:
    """Return whether a text can be a host name. The look-up would fail for other texts."""
    try:
        text.encode("idna")
    except UnicodeError:
        return False
    return text.isprintable()


def _room_endpoint(value: object) -> str:
    return _endpoint(
        value,
        "POST /conference, with no other placeholders than {room}, {tenant} and {name}",
        lambda found: found <= {"{room}", "{tenant}", "{name}"},
    )


def _conference_endpoint(value: object) -> str:
    # Without the id, a DELETE could end all conferences.
    return _endpoint(
        value,
        "GET /conference/{id}, with the placeholder {id} and no other",
        lambda found: found == {"{id}"},
    )


def _endpoint(value: object, example: str, are_right: Callable[[set[str]], bool]) -> str:
    text = _text(value)
    is_endpoint = _ENDPOINT.fullmatch(text) and are_right(set(_PLACEHOLDER.findall(text)))
    if text and not is_endpoint:
        raise _Unwanted(f'a method and a path such as {example}, or "" to switch it off', value)
    return text


def _gone_status(value: object) -> int:
    text = str(value) if type(value) is int else value
    if isinstance(text, str) and re.fullmatch(r"[45][0-9][0-9]", text):
        return int(text)
    raise _Unwanted("a status from 400 to 599", value)


def _target(value: object) -> str:
    text = _text(value)
    if re.match(r"https?:", text, re.IGNORECASE):
        return _url(text)
    if not re.fullmatch(r"\S+", text):
        raise _Unwanted(
            "a URL such as https://reservations.example.com/api/v1, or a gRPC target such as "
            "dns:///reservations.example.com:50051, without spaces",
            value,
        )
    return text


def _url(text: str) -> str:
    """Return a URL without its last slash."""
    is_url = _URL.fullmatch(text) and _has_server(text)
    if "@" in text and not is_url:
        raise ValueError(
            "wanted a URL without a user name or a password, got one with them (not shown: they "
            "may be secret); set auth.username and auth.password_file"
        )
    if not is_url:
        raise _Unwanted(
            "a URL such as https://reservations.example.com/api/v1, without '?' and '#'", text
        )
    scheme, colon, rest = text.partition(":")
    return (scheme.lower() + colon + rest).rstrip("/")


def _has_server(text: str) -> bool:
    """Return whether a URL names a host and no impossible port."""
    try:
        found = urlsplit(text)
        port = found.port
    except ValueError:
        return False
    return bool(found.hostname) and _is_host(str(found.hostname)) and port != 0


def _regex(value: object) -> str:
    try:
        compile_regex(_text(value))
    except RegexError as error:
        raise _Unwanted(
            f"a valid regular expression in RE2's syntax (error: {error})", value
        ) from None
    except RegexUnavailableError:
        raise ValueError(
            "wanted the Python package google-re2, which matches regular expressions, got none; "
            "install it with: pip install 'jicofo-reservation-proxy[regex]'"
        ) from None
    return str(value)


def _choice(value: object, choices: Sequence[object]) -> object:
    if value not in choices:
        raise _Unwanted(" or ".join(map(repr, choices)), value)
    return value


_READERS: Mapping[Any, Callable[[object], object]] = {
    str: _text,
    bool: _flag,
    Path: _path,
    AdminListen: _admin_listen,
    AllowedHost: _matching(
        r"[A-Za-z0-9._-]+", "a host name without a port, such as proxy.example.com"
    ),
    BackendName: _matching(
        BACKEND_NAME.pattern,
        "a name of lower-case letters, digits and single underscores that begins with a letter "
        "and does not end with an underscore",
    ),
    Deadline: _duration(timedelta(milliseconds=10), timedelta(seconds=15)),
    DrainTime: _duration(timedelta(0), timedelta(minutes=5)),
    HeaderName: _header,
    HostName: _matching(r"\S+", "a host name, such as reservations.example.com"),
    Listen: _listen,
    MetadataKey: _metadata_key,
    MetadataValue: _matching(
        rf"[\x20-\x7e]{{1,{MAX_METADATA_CHARACTERS}}}",
        f"1 to {MAX_METADATA_CHARACTERS} printable ASCII characters",
    ),
    MethodPath: _matching(_METHOD_PATH, "a method path of the form /package.Service/Method"),
    OptionalMethodPath: _matching(
        rf"(?:{_METHOD_PATH})?",
        'a method path of the form /package.Service/Method, or "" for a backend without it',
    ),
    PathPrefix: _matching(
        r"(?:/[A-Za-z0-9._~-]+)*/?",
        "a path of letters, digits and '-', '.', '_' or '~', such as /api/v1",
    ),
    PluginPath: _matching(
        r"[\w.]+:[\w.]+", "a Python object as module:attribute, such as acme.auth:Plugin"
    ),
    Regex: _regex,
    RoomEndpoint: _room_endpoint,
    ConferenceEndpoint: _conference_endpoint,
    FieldName: _matching(r"[!-~]{0,100}", "the name of a field, without spaces"),
    FieldPath: _matching(
        r"[!-~]{0,200}", "the name of a field, or several with dots between, such as data.id"
    ),
    GoneStatus: _gone_status,
    Target: _target,
    Grace: _duration(timedelta(seconds=1), timedelta(days=7)),
    SecretFile: _secret_file,
    ResponseTime: _duration(timedelta(milliseconds=100), timedelta(seconds=18)),
    Retention: _duration(timedelta(minutes=1), timedelta(days=365)),
    FallbackTime: _duration(timedelta(minutes=1), timedelta(days=7)),
    ThreadCount: _count,
}

_TABLES = ("backends", "routes", "listen_tls", "tls", "auth", "methods", "metadata", "http")


def _unknown(key: str, known: Sequence[str]) -> str:
    """Return the message about an unknown key; it does not show the value, perhaps a secret."""
    hint = ""
    if table := next((name for name in _TABLES if key.startswith(f"{name}_")), None):
        hint = (
            f" (did you mean a key in the table {table}? In a variable, two underscores separate "
            "the parts of a key path, as in BACKENDS__DEFAULT__TARGET)"
        )
    elif nearest := get_close_matches(key, known, n=1, cutoff=0.7):
        hint = f" (did you mean {nearest[0]}?)"
    return f"unknown key{hint}; wanted one of {', '.join(known)}"
