"""Addresses: check whether `target` and `listen` are local to this machine."""

import ipaddress
from urllib.parse import urlsplit


def is_local_target(target: str) -> bool:
    """Return whether a gRPC target is certainly on this machine.

    Such a target is a socket file, or has only loopback addresses. A target that names its own DNS
    server (`dns://192.0.2.1/localhost`) is not local, because that server could return any address
    (gRPC's doc/naming.md describes targets).
    """
    scheme, colon, rest = target.partition(":")
    if colon and scheme in {"unix", "unix-abstract"}:
        return True
    if colon and scheme in {"ipv4", "ipv6", "dns"}:
        target = rest.removeprefix("///") if scheme == "dns" else rest
    return "/" not in target and all(_is_loopback(_host(part)) for part in target.split(","))


def is_http_target(target: str) -> bool:
    """Return whether a target is the URL of an HTTP backend."""
    return target.partition(":")[0].lower() in {"http", "https"} and "://" in target


def is_local_url(url: str) -> bool:
    """Return whether the URL of an HTTP backend names this machine."""
    return _is_loopback(urlsplit(url).hostname or "")


def is_xds_target(target: str) -> bool:
    """Return whether an xDS control plane names the addresses of a gRPC target."""
    return target.partition(":")[0].lower() == "xds"


def xds_name(target: str) -> str:
    """Return the name that an xDS target asks the control plane for: `xds:///name`."""
    path = target.partition(":")[2]
    return path[2:].partition("/")[2] if path.startswith("//") else path


def _host(address: str) -> str:
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address.rpartition(":")[0] if address.count(":") == 1 else address


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_loopback_listen(listen: str) -> bool:
    """Return whether `listen` is reachable from this machine only."""
    return _is_loopback(_host(listen))


def split_listen(listen: str) -> tuple[str, int]:
    """Return the host and the port of a validated `listen`."""
    host, _, port = listen.rpartition(":")
    return host.strip("[]"), int(port)
