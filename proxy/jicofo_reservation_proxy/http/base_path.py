"""The path of the clients' base URL, in front of `/conference`: `/api/v1` for `/api/v1/conference`.

The base URL of both clients may have a path, and Prosody's may end in a slash (clients.md).
"""

import logging
import re

MAX_SHOWN = 200

logger = logging.getLogger(__name__)

_SLASHES = re.compile(r"/{2,}")
_RESOURCE = re.compile(r"/conference(?=/|$)")


def without_double_slashes(path: str) -> str:
    """Return a path in which `//` is `/`, without a slash at the end."""
    if "//" in path or path.endswith("/"):
        return _SLASHES.sub("/", path).rstrip("/") or "/"
    return path


class BasePath:
    """Removes the path of the base URL. `prefix` is the only one allowed; empty: any is allowed.

    `is_secret` says that the path may hold a client token, so the log must not show it.
    """

    def __init__(self, prefix: str = "", *, is_secret: bool = False) -> None:
        self._prefix = without_double_slashes(prefix).rstrip("/")
        self._is_secret = is_secret
        self._is_logged = False

    @property
    def usage(self) -> str:
        """The requests that the proxy wants, for a client that sends another one."""
        resource = f"{self._prefix}/conference"
        return f"Wanted POST {resource}, or GET or DELETE {resource}/{{id}}."

    def shown(self, path: str) -> str:
        """Return a path, or the begin of it, for the log."""
        return "not shown: it may hold a token" if self._is_secret else path[:MAX_SHOWN]

    def remove(self, path: str) -> str | None:
        """Return the path that begins with `/conference`; `None` if there is no such path."""
        if self._prefix:
            rest = path.removeprefix(self._prefix)
            return rest if rest != path and _RESOURCE.match(rest) else None
        found = _RESOURCE.search(path)
        if found is None:
            return None
        if found.start() and not self._is_logged:
            self._is_logged = True
            logger.info(
                "a client uses a base URL with a path (%s); the proxy accepts any path in front of "
                "/conference, unless path_prefix is set",
                self.shown(path[: found.start()]),
            )
        return path[found.start() :]
