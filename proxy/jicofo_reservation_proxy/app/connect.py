"""Make a backend from its settings: over gRPC or over HTTP, as its target says.

The imports are in the functions, because most proxies need only one of the two.
"""

from jicofo_reservation_proxy.backends.pool import Member
from jicofo_reservation_proxy.errors import SettingFault, SettingsError
from jicofo_reservation_proxy.observability.health import Health
from jicofo_reservation_proxy.observability.metrics import Metrics
from jicofo_reservation_proxy.observability.traces import Tracer
from jicofo_reservation_proxy.settings.addresses import is_http_target
from jicofo_reservation_proxy.settings.schema import Backend


def _no_library(name: str) -> SettingFault:
    return SettingFault(
        f"backends.{name}.target",
        "wanted the Python package urllib3, because the target is an HTTP backend, got none; "
        "install it with: pip install 'jicofo-reservation-proxy[http]'",
    )


def connect(
    name: str, settings: Backend, metrics: Metrics, tracer: Tracer | None, health: Health
) -> Member:
    """Return a backend with its connection, which connects in the background or at the first call.

    Raises `CredentialsError` and `SettingsError`.
    """
    make = _connect_http if is_http_target(settings.target) else _connect_grpc
    return make(name, settings, metrics, tracer, health)


def _connect_grpc(
    name: str, settings: Backend, metrics: Metrics, tracer: Tracer | None, health: Health
) -> Member:
    from jicofo_reservation_proxy.backends.grpc.backend_channel import (  # noqa: PLC0415
        BackendChannel,
    )
    from jicofo_reservation_proxy.backends.grpc.grpc_backend import GrpcBackend  # noqa: PLC0415

    channel = BackendChannel(name, settings, metrics, health)
    return Member(settings, channel, GrpcBackend(name, settings, channel, metrics, tracer, health))


def _connect_http(
    name: str, settings: Backend, metrics: Metrics, tracer: Tracer | None, health: Health
) -> Member:
    try:
        from jicofo_reservation_proxy.backends.http.connections import (  # noqa: PLC0415
            HttpConnections,
        )
        from jicofo_reservation_proxy.backends.http.http_backend import (  # noqa: PLC0415
            HttpBackend,
        )
    except ModuleNotFoundError as error:
        if error.name != "urllib3":
            raise
        raise SettingsError([_no_library(name)]) from None
    connections = HttpConnections(name, settings, metrics, health)
    return Member(
        settings, connections, HttpBackend(name, settings, connections, metrics, tracer, health)
    )
