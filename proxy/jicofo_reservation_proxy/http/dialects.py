"""The dialects: which client is asking, the ids that it takes, and what its owners mean.

A client is told by its `User-Agent`, or by the setting `client`. How each one wants its answers is
in renderers.py.
"""

from collections.abc import Callable, Mapping

from jicofo_reservation_proxy.model import ClientKind, Dialect

DialectOf = Callable[[str], Dialect]
"""A `User-Agent` → the dialect of the client."""

JICOFO = Dialect(ClientKind.JICOFO, numeric_ids=True, owner_is_a_person=True)
"""Jicofo takes nothing but a number as an id (clients.md "id")."""

PROSODY = Dialect(ClientKind.PROSODY, numeric_ids=False, owner_is_a_person=False)
"""Prosody's anonymous users are new owners at every login, so that an owner says nothing
(clients.md "409 and GET")."""

HANDBOOK = Dialect(ClientKind.UNKNOWN, numeric_ids=True, owner_is_a_person=True)
"""Clients that are not recognized get what Jitsi's handbook says."""

USER_AGENTS: Mapping[str, str] = {
    "jicofo": "Apache-HttpClient/4.5.13 (Java/17)",
    "prosody": "Prosody (0.12.3; posix)",
}
"""What the real clients call themselves, by the names that people call them."""

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
