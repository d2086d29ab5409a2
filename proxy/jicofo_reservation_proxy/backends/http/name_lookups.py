"""Look up the addresses of a host name within a time limit.

The function of the C library has no time limit: a name server that does not answer would hold a
call for 10 s or more. So it runs in a thread, and the calls wait for it as long as they may.
"""

import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Sequence

from .deadline_sockets import AddressInfo

OLD_SECONDS = 0.2
"""How long a call waits for a look-up if it can use older addresses instead."""

KEEP_SECONDS = 5.0
"""How long found addresses are used without another look-up. A backend that moves is found soon,
and a name server is not asked for each call."""

AVOID_SECONDS = 30.0
"""How long an address that did not accept a connection is tried last. Otherwise each connection
would wait for a dead address, such as that of IPv6 in a network without it."""

LookUp = Callable[[str, int], Sequence[AddressInfo]]


def look_up(host: str, port: int) -> Sequence[AddressInfo]:
    """Return the addresses of a host. Raises `OSError`."""
    infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, kind, protocol, address) for family, kind, protocol, _, address in infos]


class NameLookups:
    """Looks up one host name. Any thread may use it; one look-up runs at a time.

    If a look-up fails or takes longer than `OLD_SECONDS`, the addresses of the last one are used.
    """

    def __init__(
        self,
        host: str,
        port: int,
        look_up: LookUp = look_up,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._host, self._port = host, port
        self._look_up = look_up
        self._clock = clock
        self._lock = threading.Lock()
        self._running: _LookUp | None = None
        is_literal = _is_literal(host)
        self._found = look_up(host, port) if is_literal else ()
        self._found_at = float("inf") if is_literal else -float("inf")
        self._avoided_until: dict[AddressInfo, float] = {}

    def addresses(self, within_seconds: float) -> Sequence[AddressInfo]:
        """Return the addresses, the preferred one first, and the dead ones last.

        Raises `OSError` if the name has none, and `TimeoutError`, which is one too.
        """
        found = self._addresses(within_seconds)
        now = self._clock()
        return sorted(found, key=lambda info: self._avoided_until.get(info, 0.0) > now)

    def note(self, info: AddressInfo, *, works: bool) -> None:
        """Note whether an address has accepted a connection."""
        with self._lock:
            now = self._clock()
            avoided = {each: at for each, at in self._avoided_until.items() if at > now}
            avoided.pop(info, None)
            self._avoided_until = avoided if works else avoided | {info: now + AVOID_SECONDS}

    def _addresses(self, within_seconds: float) -> Sequence[AddressInfo]:
        with self._lock:
            if self._clock() - self._found_at < KEEP_SECONDS:
                return self._found
            running = self._running or _LookUp(self._look_up, self._host, self._port)
            self._running = running
            if self._found:
                within_seconds = min(within_seconds, OLD_SECONDS)
        is_over = running.is_over.wait(within_seconds)
        with self._lock:
            if is_over and self._running is running:
                self._running = None
                if running.found:
                    self._found, self._found_at = running.found, self._clock()
            if self._found:
                return self._found
        raise running.failure or TimeoutError(f"the look-up of {self._host} takes too long")


def _is_literal(host: str) -> bool:
    """Return whether a host is an IP address, which needs no look-up."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


class _LookUp:
    """One look-up in a thread of its own, which may outlive the proxy's interest in it."""

    def __init__(self, look_up: LookUp, host: str, port: int) -> None:
        self.found: Sequence[AddressInfo] = ()
        self.failure: OSError | None = None
        self.is_over = threading.Event()
        self._call = look_up, host, port
        threading.Thread(target=self._run, name="name-look-up", daemon=True).start()

    def _run(self) -> None:
        look_up, host, port = self._call
        try:
            self.found = look_up(host, port)
        except (OSError, UnicodeError) as error:
            self.failure = OSError(f"cannot look up {host}: {error}")
        finally:
            self.is_over.set()
