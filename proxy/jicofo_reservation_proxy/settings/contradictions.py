"""Contradictions between settings that are each valid alone.

validation.py checks each value. A message says which value was wanted, and because of which other
setting.
"""

from collections.abc import Iterator, Mapping

from jicofo_reservation_proxy.errors import SettingFault

from .addresses import (
    is_http_target,
    is_local_target,
    is_local_url,
    is_xds_target,
    split_listen,
)
from .schema import Backend, BackendName, FieldName, Http, MetadataKey, Methods, Route, Settings

MAX_METADATA = 16
"""The maximum number of constant metadata keys of a backend."""

_OF_HTTP = frozenset(
    [
        "accept",
        "accept-encoding",
        "connection",
        "content-length",
        "content-type",
        "host",
        "idempotency-key",
        "transfer-encoding",
        "user-agent",
        "x-incident-id",
    ]
)
"""The headers that the proxy itself sets in requests to HTTP backends."""

MAX_TENANTS = 100
"""Each tenant in `metrics_tenants` has about five series in Prometheus."""


def contradictions(settings: Settings) -> Iterator[SettingFault]:
    """Yield the contradictions between settings that are each valid alone."""
    if settings.client_token_header and not settings.client_token_file:
        yield SettingFault(
            "client_token_file",
            "wanted a path, because client_token_header is set, got none; set both keys or neither",
        )
    if "_" in (settings.client_token_header or ""):
        yield SettingFault(
            "client_token_header",
            "wanted a header without '_', because the proxy ignores headers with it, got "
            f"{settings.client_token_header!r}",
        )
    if str(settings.admin_listen) == settings.listen and split_listen(settings.listen)[1]:
        yield SettingFault(
            "admin_listen",
            f"wanted another address than listen, got {settings.admin_listen!r} for both",
        )
    if len(settings.metrics_tenants) > MAX_TENANTS:
        got = len(settings.metrics_tenants)
        yield SettingFault("metrics_tenants", f"wanted at most {MAX_TENANTS} tenants, got {got}")
    for name, backend in settings.backends.items():
        yield from _backend_contradictions(f"backends.{name}", backend)
    for index, route in enumerate(settings.routes):
        yield from _route_contradictions(f"routes.{index}", route, settings.backends)
    if len(settings.backends) > 1 and not settings.routes:
        yield SettingFault(
            "routes",
            "wanted at least one route, because there are several backends, got none; add a "
            "[[routes]] table that names a backend",
        )


def _backend_contradictions(key: str, backend: Backend) -> Iterator[SettingFault]:
    yield from _tls_contradictions(key, backend)
    yield from _auth_contradictions(key, backend)
    yield from _metadata_contradictions(key, backend)
    if is_http_target(backend.target):
        yield from _http_contradictions(key, backend)
    elif backend.http is not None:
        yield SettingFault(
            f"{key}.http",
            "wanted an http:// or https:// target, because this table is for HTTP backends, got "
            f"{backend.target!r}; remove the table, or correct the target",
        )
    yield from _equal_paths(f"{key}.methods", backend.methods)


def _equal_paths(key: str, table: Methods | Http) -> Iterator[SettingFault]:
    """Yield a fault for each method that has the path of another one."""
    names: dict[str, str] = {}
    table_name = key.rpartition(".")[2]
    for name in ("create", "get", "delete"):
        path = str(getattr(table, name))
        if path and (other := names.setdefault(path, name)) != name:
            yield SettingFault(
                f"{key}.{name}",
                f"wanted another path than {table_name}.{other}, because each method does "
                f"something else, got {path!r}",
            )


def _http_contradictions(key: str, backend: Backend) -> Iterator[SettingFault]:
    """Yield the faults of an HTTP backend: settings of gRPC, and fields that are set twice."""
    for_grpc = {
        "health_check": backend.health_check != "auto",
        "methods": backend.methods != Methods(),
        "auth.plugin": backend.auth.plugin is not None,
    }
    for name in (name for name, is_set in for_grpc.items() if is_set):
        yield SettingFault(
            f"{key}.{name}",
            "wanted a gRPC target, because HTTP backends do not have this setting, got "
            f"{backend.target!r}; remove this key",
        )
    if backend.tls and backend.target.startswith("http:"):
        yield SettingFault(
            f"{key}.tls",
            f"wanted an https:// target, got {backend.target!r}; correct it, or remove this table",
        )
    for name in sorted({str(backend.auth.header), *backend.metadata} & _OF_HTTP):
        in_metadata = MetadataKey(name) in backend.metadata
        yield SettingFault(
            f"{key}.metadata.{name}" if in_metadata else f"{key}.auth.header",
            f"wanted a header that the proxy does not set itself, got {name!r}",
        )
    http = backend.http or Http()
    yield from _equal_paths(f"{key}.http", http)
    fields = http.request_fields
    own = [fields.name, fields.mail_owner, fields.start_time, fields.duration]
    for field in sorted({field for field in own if field and own.count(field) > 1}):
        yield SettingFault(
            f"{key}.http.request_fields", f"wanted four different names, got {field!r} twice"
        )
    for field in sorted(http.extra_fields.keys() & {FieldName(""), *own}):
        yield SettingFault(
            f"{key}.http.extra_fields",
            f"wanted a field that the proxy does not send itself, got {field!r}",
        )
    if len(http.extra_fields) > MAX_METADATA:
        yield SettingFault(
            f"{key}.http.extra_fields",
            f"wanted at most {MAX_METADATA} fields, got {len(http.extra_fields)}",
        )


def _auth_contradictions(key: str, backend: Backend) -> Iterator[SettingFault]:
    auth = backend.auth
    if (auth.username is None) != (auth.password_file is None):
        missing, given = ("password_file", "username")
        if auth.username is None:
            missing, given = given, missing
        yield SettingFault(
            f"{key}.auth.{missing}",
            f"wanted a value, because {given} is set, got none; set both keys or neither",
        )
    if auth.username is not None and auth.bearer_token_file:
        yield SettingFault(
            f"{key}.auth.username",
            "wanted username or bearer_token_file, because both are the header 'authorization', "
            "got both; remove one of them",
        )
    if ":" in (auth.username or ""):
        yield SettingFault(
            f"{key}.auth.username", "wanted a user name without ':' (RFC 7617), got one with it"
        )
    if auth.has_secret and _is_plaintext(backend):
        yield SettingFault(
            f"{key}.auth",
            "wanted TLS or a target on this machine, because the proxy sends a secret, got "
            f"plaintext to {backend.target!r}; "
            + ("use https://" if is_http_target(backend.target) else f"set {key}.tls"),
        )


def _is_plaintext(backend: Backend) -> bool:
    """Return whether the calls leave this machine, and are not encrypted."""
    target = backend.target
    if is_http_target(target):
        return target.startswith("http:") and not is_local_url(target)
    return backend.tls is None and not is_local_target(target)


def _tls_contradictions(key: str, backend: Backend) -> Iterator[SettingFault]:
    tls = backend.tls
    if tls and bool(tls.cert_file) != bool(tls.key_file):
        missing, given = ("key_file", "cert_file") if tls.cert_file else ("cert_file", "key_file")
        yield SettingFault(
            f"{key}.tls.{missing}",
            f"wanted a path, because {given} is set, got none; set both keys or neither",
        )
    if tls and tls.xds and not is_xds_target(backend.target):
        yield SettingFault(
            f"{key}.tls.xds",
            "wanted an xds:/// target, because only a control plane sets TLS by xDS, got "
            f"{backend.target!r}; remove this key",
        )


def _metadata_contradictions(key: str, backend: Backend) -> Iterator[SettingFault]:
    auth, metadata = backend.auth, backend.metadata
    is_authorization = auth.bearer_token_file or auth.username is not None
    if auth.api_key_file and is_authorization and auth.header == "authorization":
        yield SettingFault(
            f"{key}.auth.header",
            "wanted a header other than 'authorization', because the bearer token or the user name "
            "uses it, got 'authorization'",
        )
    if auth.api_key_file and MetadataKey(auth.header) in metadata:
        yield SettingFault(
            f"{key}.metadata",
            f"wanted another key than {auth.header!r}, because the API key uses it; remove it",
        )
    if len(metadata) > MAX_METADATA:
        yield SettingFault(
            f"{key}.metadata", f"wanted at most {MAX_METADATA} keys, got {len(metadata)}"
        )


def _route_contradictions(
    key: str, route: Route, backends: Mapping[BackendName, Backend]
) -> Iterator[SettingFault]:
    if route.tenant is not None and route.tenant_regex is not None:
        yield SettingFault(
            f"{key}.tenant_regex", "wanted tenant or tenant_regex, got both; remove one of them"
        )
    if route.room is not None and route.room_regex is not None:
        yield SettingFault(
            f"{key}.room_regex", "wanted room or room_regex, got both; remove one of them"
        )
    if route.backend not in backends:
        known = ", ".join(backends) or "the settings have no backends"
        yield SettingFault(
            f"{key}.backend", f"wanted the name of a backend ({known}), got {route.backend!r}"
        )
