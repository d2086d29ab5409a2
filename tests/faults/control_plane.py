"""An xDS control plane: it serves resources over ADS (Envoy's xDS protocol, version 3).

It answers each request for a type of resource with all resources of the type that have the
requested names, and sends them again when the test publishes other resources.
"""

import json
import queue
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import grpc
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2
from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message

from tests.e2e.support import free_port

AUTHORITY = "authority"
"""The certificate provider that the bootstrap file defines."""

STREAMS = 4


class ControlPlane:
    """A control plane in this process; it can be killed, stalled and started again."""

    def __init__(self, directory: Path, ca_file: Path | None = None) -> None:
        self._address = f"127.0.0.1:{free_port()}"
        self.bootstrap_file = directory / "bootstrap.json"
        self.bootstrap_file.write_text(json.dumps(_bootstrap(self._address, ca_file)))
        self._service = _Service()
        self._executor = ThreadPoolExecutor(STREAMS)
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._executor.shutdown()

    @property
    def refusals(self) -> list[str]:
        """Why the client refused resources (NACK)."""
        return self._service.refusals

    def publish(self, *resources: Message) -> None:
        """Replace the resources of these types and names, and send them to the client."""
        self._service.publish(resources)

    def stall(self) -> None:
        """Accept connections and requests from now on, but send nothing."""
        self._service.is_stalled = True

    def start(self) -> None:
        """Start to serve, also after `kill` or `stall`."""
        self._service.is_stalled = False
        self._server = grpc.server(self._executor, options=(("grpc.so_reuseport", 0),))
        ads_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server(self._service, self._server)
        self._server.add_insecure_port(self._address)
        self._server.start()

    def kill(self) -> None:
        """End all connections at once, and refuse new ones."""
        self._server.stop(0).wait()
        self._service.end_streams()


@dataclass
class _Subscription:
    """What a client asked for, of one type, and the last answer."""

    names: frozenset[str] = frozenset()
    sent: tuple[bytes, ...] | None = None


@dataclass(eq=False)
class _Stream:
    events: "queue.SimpleQueue[discovery_pb2.DiscoveryRequest | str]" = field(
        default_factory=queue.SimpleQueue
    )
    """Requests of the client, `CHANGED`, or `ENDED`."""


CHANGED = "the resources have changed"
ENDED = "the stream has ended"


class _Service(ads_pb2_grpc.AggregatedDiscoveryServiceServicer):  # type: ignore[misc]
    def __init__(self) -> None:
        self.refusals: list[str] = []
        self.is_stalled = False
        self._resources: dict[tuple[str, str], bytes] = {}
        self._streams: set[_Stream] = set()
        self._lock = threading.Lock()
        self._version = 0

    def publish(self, resources: Iterable[Message]) -> None:
        packed = {
            (_type_url(found), _name(found)): found.SerializeToString() for found in resources
        }
        with self._lock:
            self._resources |= packed
            for stream in self._streams:
                stream.events.put(CHANGED)

    def end_streams(self) -> None:
        with self._lock:
            for stream in self._streams:
                stream.events.put(ENDED)

    def StreamAggregatedResources(  # noqa: N802 - gRPC's name
        self,
        request_iterator: Iterator[discovery_pb2.DiscoveryRequest],
        context: grpc.ServicerContext,
    ) -> Iterator[discovery_pb2.DiscoveryResponse]:
        """Answer the requests of a client until the stream ends."""
        stream = _Stream()
        context.add_callback(lambda: stream.events.put(ENDED))
        reader = threading.Thread(target=_read, args=(request_iterator, stream))
        reader.start()
        with self._lock:
            self._streams.add(stream)
        try:
            yield from self._answers(stream)
        finally:
            with self._lock:
                self._streams.discard(stream)

    def _answers(self, stream: _Stream) -> Iterator[discovery_pb2.DiscoveryResponse]:
        subscriptions: dict[str, _Subscription] = {}
        while (event := stream.events.get()) != ENDED:
            if isinstance(event, discovery_pb2.DiscoveryRequest):
                if event.error_detail.message:
                    self.refusals.append(event.error_detail.message)
                found = subscriptions.setdefault(event.type_url, _Subscription())
                found.names = frozenset(event.resource_names)
            for type_url, subscription in subscriptions.items():
                resources = self._named(type_url, subscription.names)
                if self.is_stalled or not resources or resources == subscription.sent:
                    continue
                subscription.sent = resources
                yield self._response(type_url, resources)

    def _named(self, type_url: str, names: frozenset[str]) -> tuple[bytes, ...]:
        with self._lock:
            keys = sorted((type_url, name) for name in names)
            return tuple(self._resources[key] for key in keys if key in self._resources)

    def _response(
        self, type_url: str, resources: tuple[bytes, ...]
    ) -> discovery_pb2.DiscoveryResponse:
        self._version += 1
        return discovery_pb2.DiscoveryResponse(
            version_info=str(self._version),
            nonce=str(self._version),
            type_url=type_url,
            resources=[Any(type_url=type_url, value=value) for value in resources],
        )


def _read(requests: Iterator[discovery_pb2.DiscoveryRequest], stream: _Stream) -> None:
    try:
        for request in requests:
            stream.events.put(request)
    except grpc.RpcError:
        pass  # the connection broke
    except Exception as error:
        if type(error) is not Exception:  # gRPC raises a plain Exception for a cancelled stream
            raise
    stream.events.put(ENDED)


def _type_url(resource: Message) -> str:
    return f"type.googleapis.com/{resource.DESCRIPTOR.full_name}"


def _name(resource: Message) -> str:
    return str(getattr(resource, "cluster_name", "") or getattr(resource, "name", ""))


def _bootstrap(address: str, ca_file: Path | None) -> Mapping[str, object]:
    bootstrap: dict[str, object] = {
        "xds_servers": [
            {
                "server_uri": address,
                "channel_creds": [{"type": "insecure"}],
                "server_features": ["xds_v3"],
            }
        ],
        "node": {"id": "proxy"},
    }
    if ca_file is not None:
        bootstrap["certificate_providers"] = {
            AUTHORITY: {
                "plugin_name": "file_watcher",
                "config": {"ca_certificate_file": str(ca_file), "refresh_interval": "60s"},
            }
        }
    return bootstrap
