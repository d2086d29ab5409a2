"""The path of the clients' base URL, in front of `/conference`: `/api/v1` for `/api/v1/conference`.

The base URL of both clients may have a path, and Prosody's may end in a slash (clients.md).
"""

import logging
import re

from jicofo_reservation_proxy.credential_files import MIN_TOKEN_CHARACTERS

MAX_SHOWN = 200

HIDDEN = "\N{HORIZONTAL ELLIPSIS}"

logger = logging.getLogger(__name__)

_SLASHES = re.compile(r"/{2,}")
_RESOURCE = re.compile(r"/conference(?=/|$)")


def without_double_slashes(path: str) -> str:
    """Return a path in which `//` is `/`, without a slash at the end."""
    if "//" in path or path.endswith("/"):
        return _SLASHES.sub("/", path).rstrip("/") or "/"
    return path


def shown(path: str) -> str:
    """Return a path for the log: a segment that could be a client token is not shown."""
    segments = path[:MAX_SHOWN].split("/")
    return "/".join(each if len(each) < MIN_TOKEN_CHARACTERS else HIDDEN for each in segments)


class BasePath:
    """Removes the path of the base URL. `prefix` is the only one allowed; empty: any is allowed."""

    def __init__(self, prefix: str = "") -> None:
        self._prefix = without_double_slashes(prefix).rstrip("/")
        self._is_logged = False

    @property
    def usage(self) -> str:
        """The requests that the proxy wants, for a client that sends another one."""
        resource = f"{self._prefix}/conference"
        return f"Wanted POST {resource}, or GET or DELETE {resource}/{{id}}."

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
                shown(path[: found.start()]),
            )
        return path[found.start() :]
