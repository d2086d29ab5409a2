"""The ways in which a proxy finds the replicas of a backend: a list, DNS, and xDS (EDS)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, Self

from tests.e2e.support import free_port

from .control_plane import ControlPlane
from .name_server import NameServer
from .resources import cluster, endpoints, listener, route

NAME = "reservations.example.com"
CLUSTER = "reservations"
REPLICAS = ("a", "b", "c")


class Naming(Protocol):
    """A way to find replicas. All replicas have one port, and each has an address of its own."""

    target: str
    environ: Mapping[str, str]
    """The variables that the proxy needs."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def announce(self, addresses: Sequence[str]) -> None:
        """Tell the proxy that the backend has these replicas."""


def replica_addresses() -> Mapping[str, str]:
    """Return an address for each replica, all with the same free port."""
    port = free_port()
    return {name: f"127.0.0.{2 + index}:{port}" for index, name in enumerate(REPLICAS)}


class AddressList:
    """A list of all addresses in the settings, also of replicas that do not run yet."""

    def __init__(self, _: Path, addresses: Mapping[str, str]) -> None:
        self.target = f"ipv4:{','.join(addresses.values())}"
        self.environ: Mapping[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def announce(self, addresses: Sequence[str]) -> None:
        """Change nothing: the list is fixed."""


class Dns:
    """A name whose records are the replicas."""

    def __init__(self, _: Path, addresses: Mapping[str, str]) -> None:
        self._server = NameServer(NAME)
        (port,) = {address.rpartition(":")[2] for address in addresses.values()}
        self.target = self._server.target(int(port))
        self.environ: Mapping[str, str] = {}

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.__exit__()

    def announce(self, addresses: Sequence[str]) -> None:
        """Change the records."""
        self._server.addresses = [address.rpartition(":")[0] for address in addresses]


class Xds:
    """A cluster of a control plane, whose endpoints are the replicas."""

    def __init__(self, directory: Path, _: Mapping[str, str]) -> None:
        self.control_plane = ControlPlane(directory)
        self.target = f"xds:///{NAME}"
        self.environ: Mapping[str, str] = {
            "GRPC_XDS_BOOTSTRAP": str(self.control_plane.bootstrap_file)
        }
        self.control_plane.publish(listener(NAME, route({CLUSTER: 1})), cluster(CLUSTER))

    def __enter__(self) -> Self:
        self.control_plane.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.control_plane.__exit__()

    def announce(self, addresses: Sequence[str]) -> None:
        """Publish the endpoints."""
        self.control_plane.publish(endpoints(CLUSTER, addresses))
