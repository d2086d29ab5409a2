"""Which client is asking: its dialect, by its `User-Agent` or by the setting `client`."""

from collections.abc import Callable, Mapping

from jicofo_reservation_proxy.model import HANDBOOK, JICOFO, PROSODY, Dialect

DialectOf = Callable[[str], Dialect]

_SET: Mapping[str, Dialect] = {"jicofo": JICOFO, "prosody": PROSODY, "handbook": HANDBOOK}
"""The values of the setting `client`, but for "auto"."""


def dialect_of(user_agent: str) -> Dialect:
    """Return the dialect of the client that calls itself so (clients.md "User-Agent")."""
    if user_agent.startswith("Apache-HttpClient/"):
        return JICOFO
    if user_agent.startswith("Prosody"):
        return PROSODY
    return HANDBOOK


def recognition(client: str) -> DialectOf:
    """Return how clients are recognized under this value of the setting `client`."""
    if client == "auto":
        return dialect_of
    return lambda _user_agent: _SET[client]
