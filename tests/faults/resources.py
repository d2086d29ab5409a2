"""The xDS resources of the tests: a listener with its routes, clusters, and their endpoints."""

from collections.abc import Mapping, Sequence

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import base_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as manager_pb2,
)
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2
from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message

from .control_plane import AUTHORITY


def _packed(message: Message) -> Any:
    packed = Any()
    packed.Pack(message)
    return packed


def listener(
    name: str, *routes: route_components_pb2.Route, domain: str = "*"
) -> listener_pb2.Listener:
    """Return the listener of a target `xds:///name`; its virtual host matches `domain`."""
    host = route_components_pb2.VirtualHost(name="host", domains=[domain], routes=routes)
    router = manager_pb2.HttpFilter(name="router", typed_config=_packed(router_pb2.Router()))
    manager = manager_pb2.HttpConnectionManager(http_filters=[router])
    manager.route_config.name = "routes"
    manager.route_config.virtual_hosts.append(host)
    found = listener_pb2.Listener(name=name)
    found.api_listener.api_listener.CopyFrom(_packed(manager))
    return found


def route(
    weights: Mapping[str, int], header: tuple[str, str] | None = None
) -> route_components_pb2.Route:
    """Return a route to clusters with these weights, for calls that have this header."""
    found = route_components_pb2.Route()
    found.match.prefix = ""
    if header is not None:
        matcher = found.match.headers.add(name=header[0])
        matcher.string_match.exact = header[1]
    for cluster_name, weight in weights.items():
        weighted = found.route.weighted_clusters.clusters.add(name=cluster_name)
        weighted.weight.value = weight
    return found


def cluster(name: str, certificate_name: str | None = None) -> cluster_pb2.Cluster:
    """Return a cluster with round robin; `certificate_name` turns on TLS."""
    found = cluster_pb2.Cluster(name=name, type=cluster_pb2.Cluster.EDS)
    found.eds_cluster_config.eds_config.ads.SetInParent()
    if certificate_name is not None:
        context = tls_pb2.UpstreamTlsContext()
        validation = context.common_tls_context.validation_context
        validation.ca_certificate_provider_instance.instance_name = AUTHORITY
        validation.match_subject_alt_names.add(exact=certificate_name)
        socket = base_pb2.TransportSocket(
            name="envoy.transport_sockets.tls", typed_config=_packed(context)
        )
        found.transport_socket.CopyFrom(socket)
    return found


def with_outlier_detection(found: cluster_pb2.Cluster) -> cluster_pb2.Cluster:
    """Return a cluster that ejects a replica after few failures, and for the whole test."""
    detection = found.outlier_detection
    detection.interval.nanos = 200_000_000
    detection.base_ejection_time.seconds = 300
    detection.max_ejection_percent.value = 100
    detection.failure_percentage_threshold.value = 30
    detection.enforcing_failure_percentage.value = 100
    detection.failure_percentage_minimum_hosts.value = 1
    detection.failure_percentage_request_volume.value = 3
    return found


def endpoints(cluster_name: str, *priorities: Sequence[str]) -> endpoint_pb2.ClusterLoadAssignment:
    """Return the addresses of a cluster, a sequence for each priority."""
    found = endpoint_pb2.ClusterLoadAssignment(cluster_name=cluster_name)
    for priority, addresses in enumerate(priorities):
        locality = found.endpoints.add(priority=priority)
        locality.locality.region = f"region{priority}"
        locality.load_balancing_weight.value = 1
        locality.lb_endpoints.extend(map(_endpoint, addresses))
    return found


def _endpoint(address: str) -> endpoint_components_pb2.LbEndpoint:
    host, _, port = address.rpartition(":")
    found = endpoint_components_pb2.LbEndpoint()
    found.endpoint.address.socket_address.address = host
    found.endpoint.address.socket_address.port_value = int(port)
    return found
