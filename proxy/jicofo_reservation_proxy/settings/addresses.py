"""Addresses: what is this machine's own, and what others may reach."""

import ipaddress


def is_local_target(target: str) -> bool:
    """Tell whether a gRPC target is certainly this machine: a socket file or loopback addresses.

    A name server of one's own choice (`dns://192.0.2.1/localhost`) could say anything, so what has
    one is not (gRPC's doc/naming.md describes targets).
    """
    scheme, colon, rest = target.partition(":")
    if colon and scheme in {"unix", "unix-abstract"}:
        return True
    if colon and scheme in {"ipv4", "ipv6", "dns"}:
        target = rest.removeprefix("///") if scheme == "dns" else rest
    return "/" not in target and all(_is_loopback(_host(part)) for part in target.split(","))


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
    """Tell whether `listen` is reachable from this machine only."""
    return _is_loopback(_host(listen))


def split_listen(listen: str) -> tuple[str, int]:
    """Return the host and the port of a validated `listen`."""
    host, _, port = listen.rpartition(":")
    return host.strip("[]"), int(port)
