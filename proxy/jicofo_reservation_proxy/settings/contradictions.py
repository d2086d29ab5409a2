"""Contradictions between settings that are each valid alone.

validation.py checks each value. A message says which value was wanted, and because of which other
setting.
"""

from collections.abc import Iterator, Mapping

from jicofo_reservation_proxy.errors import SettingFault

from .addresses import is_local_target, is_xds_target, split_listen
from .schema import Backend, BackendName, MetadataKey, Route, Settings

MAX_METADATA = 16
"""The maximum number of constant metadata keys of a backend."""

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
    yield from _metadata_contradictions(key, backend)
    methods = backend.methods
    names: dict[str, str] = {}
    for name, path in (
        ("create", methods.create),
        ("get", methods.get),
        ("delete", methods.delete),
    ):
        if (other := names.setdefault(path, name)) != name:
            yield SettingFault(
                f"{key}.methods.{name}",
                f"wanted another path than methods.{other}, because each method does something "
                f"else, got {path!r}",
            )


def _tls_contradictions(key: str, backend: Backend) -> Iterator[SettingFault]:
    tls, auth = backend.tls, backend.auth
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
    if auth.has_secret and tls is None and not is_local_target(backend.target):
        yield SettingFault(
            f"{key}.auth",
            "wanted TLS or a target on this machine, because the proxy sends a secret, "
            f"got plaintext to {backend.target!r}; set {key}.tls",
        )


def _metadata_contradictions(key: str, backend: Backend) -> Iterator[SettingFault]:
    auth, metadata = backend.auth, backend.metadata
    if auth.api_key_file and auth.bearer_token_file and auth.header == "authorization":
        yield SettingFault(
            f"{key}.auth.header",
            "wanted a header other than 'authorization', because the bearer token uses it, "
            "got 'authorization'",
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
