"""The names that clients may have in `Host`: a name that nobody set can come from a web page."""

import ipaddress
from collections.abc import Sequence
from functools import lru_cache

from jicofo_reservation_proxy.settings.addresses import is_loopback_listen


class HostNames:
    """The allowed names; any name is allowed if `allowed` is `None`.

    An IP address, `localhost` and an absent `Host` are always allowed: no other site can have such
    a name.
    """

    def __init__(self, allowed: Sequence[str] | None) -> None:
        self._allowed = allowed and frozenset(host.lower() for host in allowed)
        self._checks_names = allowed is not None
        self._is_allowed = lru_cache(maxsize=64)(self._is_allowed_host)

    def allow(self, host: str) -> bool:
        """Return whether this value of `Host` is allowed."""
        return not self._checks_names or self._is_allowed(host)

    def _is_allowed_host(self, host: str) -> bool:
        name = _name(host)
        if not name or name == "localhost" or name in (self._allowed or ()):
            return True
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        return True


def names_to_check(listen: str, allowed_hosts: Sequence[str]) -> Sequence[str] | None:
    """Return the names that `Host` may have; `None` if it may have any name.

    On a loopback address only programs of this machine can connect, so a name that the operator did
    not set can only come from a web page. On another address a name is normal: in a network of
    containers, clients use the name of the container.
    """
    return allowed_hosts if allowed_hosts or is_loopback_listen(listen) else None


def _name(host: str) -> str:
    """Return the name or address in `Host`, without the port and in lower case."""
    name, colon, port = host.rpartition(":")
    return (name if colon and (not port or port.isdecimal()) else host).lower().rstrip(".")
