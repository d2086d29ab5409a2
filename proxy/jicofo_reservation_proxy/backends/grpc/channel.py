"""Make a gRPC channel from a backend's settings and credentials, and the three RPCs over it.

This module sets all options of a channel: load balancing, health checks, and how the channel
resolves names and connects.
"""

from __future__ import annotations

import json
from typing import NamedTuple

import grpc

from jicofo_reservation_proxy import __version__
from jicofo_reservation_proxy.backends.credentials import Credentials, Metadata
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb
from jicofo_reservation_proxy.settings.addresses import is_local_target, is_xds_target, xds_name
from jicofo_reservation_proxy.settings.schema import Backend, Methods

Option = tuple[str, str | int]
Options = tuple[Option, ...]

MAX_RESPONSE_BYTES = 64 * 1024
"""The largest response that the proxy reads. The fields of the largest valid response have less
than 12 kB."""

_OPTIONS: Options = (
    ("grpc.primary_user_agent", f"jicofo-reservation-proxy/{__version__}"),
    # After an outage of 10 s, a channel reconnects in 0.8 s with this back-off. With gRPC's default
    # back-off (1 s to 120 s) it needs 6.2 s.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # Despite its name, this is the time limit of one connection attempt. 3 s is long enough for TLS
    # over a slow line. gRPC's default of 20 s would block calls for too long when a machine
    # disappears without closing its connections.
    ("grpc.min_reconnect_backoff_ms", 3000),
    # After a connection breaks, gRPC asks the name server again, so that it finds a new replica. By
    # default it waits up to 30 s since the last look-up.
    ("grpc.dns_min_time_between_resolutions_ms", 1000),
    # Otherwise a new channel to the same target could reuse the connection of the channel that it
    # replaces.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", MAX_RESPONSE_BYTES),
)


class Calls(NamedTuple):
    """The three RPCs over one channel, and the metadata to send with each call."""

    create: grpc.UnaryUnaryMultiCallable[pb.CreateConferenceRequest, pb.CreateConferenceResponse]
    get: grpc.UnaryUnaryMultiCallable[pb.GetConferenceRequest, pb.GetConferenceResponse]
    delete: grpc.UnaryUnaryMultiCallable[pb.DeleteConferenceRequest, pb.DeleteConferenceResponse]
    metadata: Metadata


def dial(
    backend: Backend,
    found: Credentials,
    plugin: grpc.AuthMetadataPlugin | None,
    options: Options = (),
) -> grpc.Channel:
    """Return a channel to the backend; the channel connects in the background.

    The channel options in `options` precede the options of this module.
    """
    target, options = backend.target, options + _OPTIONS + _target_options(backend)
    channel_credentials = _channel_credentials(backend, found, plugin)
    if channel_credentials is None:
        return grpc.insecure_channel(target, options=options)
    return grpc.secure_channel(target, channel_credentials, options=options)


def service_config(backend: Backend) -> Option:
    """Return gRPC's service config: round-robin load balancing, and health checks.

    The resources of an xDS control plane replace this config.
    """
    config: dict[str, object] = {"loadBalancingConfig": [{"round_robin": {}}]}
    wanted = backend.health_check
    if wanted == "on" or (wanted == "auto" and not backend.auth.has_secret):
        config["healthCheckConfig"] = {"serviceName": ""}
    return "grpc.service_config", json.dumps(config)


def bind(channel: grpc.Channel, methods: Methods, metadata: Metadata) -> Calls:
    """Return the RPCs over this channel, with the method paths from the settings."""
    return Calls(
        create=channel.unary_unary(
            methods.create,
            request_serializer=pb.CreateConferenceRequest.SerializeToString,
            response_deserializer=pb.CreateConferenceResponse.FromString,
        ),
        get=channel.unary_unary(
            methods.get,
            request_serializer=pb.GetConferenceRequest.SerializeToString,
            response_deserializer=pb.GetConferenceResponse.FromString,
        ),
        delete=channel.unary_unary(
            methods.delete,
            request_serializer=pb.DeleteConferenceRequest.SerializeToString,
            response_deserializer=pb.DeleteConferenceResponse.FromString,
        ),
        metadata=metadata,
    )


def _channel_credentials(
    backend: Backend, found: Credentials, plugin: grpc.AuthMetadataPlugin | None
) -> grpc.ChannelCredentials | None:
    """Return the credentials of the channel, or `None` for plaintext.

    If a backend has a secret but no TLS, the channel gets gRPC's local credentials: with these,
    gRPC refuses every connection that leaves this machine.
    """
    base: grpc.ChannelCredentials | None = None
    if found.tls is not None:
        base = grpc.ssl_channel_credentials(found.tls.ca, found.tls.key, found.tls.cert)
        if backend.tls and backend.tls.xds:
            # If a cluster of the control plane sets no TLS, gRPC uses `base`, and never plaintext.
            base = grpc.xds_channel_credentials(base)
    elif backend.auth.has_secret:
        is_socket_file = backend.target.startswith("unix")
        base = grpc.local_channel_credentials(
            grpc.LocalConnectionType.UDS if is_socket_file else grpc.LocalConnectionType.LOCAL_TCP
        )
    if base is None or plugin is None:
        return base
    return grpc.composite_channel_credentials(base, grpc.metadata_call_credentials(plugin))


def _target_options(backend: Backend) -> Options:
    options: Options = ()
    if is_local_target(backend.target):
        # Otherwise gRPC would send the calls, with their secrets, to the HTTP proxy in $http_proxy.
        # That HTTP proxy may be on another machine.
        options += (("grpc.enable_http_proxy", 0),)
    if backend.tls and (name := backend.tls.server_name):
        # With xDS, the virtual hosts of the routes match the authority, which is the target's name.
        authority = xds_name(backend.target) if is_xds_target(backend.target) else name
        options += (
            ("grpc.ssl_target_name_override", name),
            ("grpc.default_authority", authority),
        )
    return options
